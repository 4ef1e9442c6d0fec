"""What every Python program of the client matrix shares: running its checks and telling how they went.

A program is called with PORT CERTIFICATES UPSTREAM …. It prints one line a check: `pass NAME`, or
`lacks NAME: TEXT` where the same check fails with the same text on a plain connection to the Redis
itself: then it is the server, or the library with that server, that can't do it. `none NAME` is what
the library, or this way to use it, doesn't have. Anything else is a failure. `restart` asks whoever
started the program to restart the Redis and to answer with a line.
"""

import faulthandler
import os
import sys
import traceback

PORT, CERTS, UPSTREAM = int(sys.argv[1]), sys.argv[2], sys.argv[3]
REST = sys.argv[4:]

# Whether clients share their connections to the Redis.
SHARED = "MATRIX_SHARED" in os.environ

# A check that hangs ends the program and shows where; the time is what a busy machine may need for all.
faulthandler.dump_traceback_later(150, exit=True)


class NotHere(Exception):
    """The library, or this way to use it, has no such thing."""


def restart():
    print("restart", flush=True)
    assert sys.stdin.readline().strip() == "done"


async def run_all(checks, proxied, direct):
    """Runs each check with a factory of connections by the proxy, and where it fails with one of direct connections."""
    failed = 0
    for check in checks:
        name = check.__name__.replace("_", " ")
        why = await outcome(check, proxied)
        if why is None:
            print(f"pass {name}", flush=True)
            continue
        if isinstance(why, NotHere):
            print(f"none {name}", flush=True)
            continue
        same = await outcome(check, direct)
        if same is not None and text(same) == text(why) and not isinstance(why, AssertionError):
            print(f"lacks {name}: {text(why)}", flush=True)
            continue
        failed += 1
        print(f"FAIL {name}: {text(why)} | direct: {'passes' if same is None else text(same)}", flush=True)
        traceback.print_exception(type(why), why, why.__traceback__, limit=-6)
    print("failed" if failed else "passed", flush=True)
    sys.exit(1 if failed else 0)


async def outcome(check, make):
    try:
        await check(make)
    except Exception as why:  # Whatever it is, it is told.
        return why
    finally:
        await make.close()
    return None


def text(why):
    return f"{type(why).__name__}: {why}".replace("\n", " ")
