"""Runs redis-py's own tests twice, at once: directly and through the proxy; what passes directly must pass through.

redis_py_own_tests.py PORT CERTIFICATES FOLDER DIRECT commands|pubsub|all dedicated|shared: FOLDER has the tests, DIRECT is the address of
another Redis of the same version. What may fail stands in redis_py_own_tests.txt, with the reason.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

PORT, CERTS, FOLDER, DIRECT, EXTENT, CONNECTIONS = sys.argv[1:]
HERE = pathlib.Path(__file__).resolve().parent

# The rest tests the library without a server, wants clusters, modules or numpy, connects without TLS, or logs in as others.
PARTS = {
    "commands": ["test_commands", "test_pipeline", "test_scripting", "test_lock", "test_monitor"],
    "pubsub": ["test_pubsub", "test_asyncio/test_pipeline", "test_asyncio/test_scripting", "test_asyncio/test_monitor"],
}
MORE = ["test_connection", "test_connection_pool", "test_encoding", "test_function", "test_cache"]
MORE += ["test_keyspace_notifications", "test_retry", "test_hash", "test_client"]
MORE += [f"test_asyncio/test_{name}" for name in ("commands", "pubsub", "lock", "connection", "connection_pool", "encoding", "hash", "retry")]
MORE += [f"test_asyncio/test_{name}" for name in ("keyspace_notifications", "client")]
FILES = PARTS.get(EXTENT) or sum(PARTS.values(), []) + MORE
MARKS = "not onlycluster and not redismod and not ssl and not cp_integration and not replica and not multidb_integration"


# What the plugin exits with.
HUNG = 9


def prepare(url, outcomes, tests, left_out):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "redis_py_plugin", "-p", "no:cacheprovider", "-m", MARKS]
    # Its own way to show a failure parses the source, and ends in a SystemError of CPython 3.11 now and then.
    command += ["--tb=native"]
    # Its own settings ask for plugins that only its developers need.
    command += [f"--deselect={test}" for test in left_out]
    command += ["-o", "addopts=", "-o", "filterwarnings=ignore", "--redis-url", url]
    env = dict(os.environ, PYTHONPATH=str(HERE), PYTHONDONTWRITEBYTECODE="1", RESPGATE_OUTCOMES=outcomes)
    log = open(f"{outcomes}.log", "w")
    return lambda: subprocess.Popen(command + tests, cwd=FOLDER, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def exceptions():
    """The tests that fail through the proxy, and those that are not run at all."""
    failing, left_out = set(), set()
    for line in (HERE / "redis_py_own_tests.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            how, test, _reason = (part.strip() for part in line.split("|"))
            if how == "fails shared":
                if CONNECTIONS == "shared":
                    failing.add(test)
            else:
                {"fails": failing, "not run": left_out}[how].add(test)
    return failing, left_out


def finish(outcomes, begin, run):
    # 0: all passed; 1: some failed; 5: none was left. Anything else is pytest's own trouble.
    while (code := run.wait()) == HUNG:
        run = begin()
    if code not in (0, 1, 5):
        print(pathlib.Path(f"{outcomes}.log").read_text()[-4000:])
        sys.exit(1)
    return json.loads(pathlib.Path(outcomes).read_text())


def main():
    failing, left_out = exceptions()
    files = [f"tests/{name}.py" for name in FILES]
    tls = f"ssl_ca_certs={CERTS}/ca.pem&ssl_certfile={CERTS}/admin.pem&ssl_keyfile={CERTS}/admin.key"
    direct, proxied = f"redis://{DIRECT}/9", f"rediss://localhost:{PORT}/9?{tls}"
    with tempfile.TemporaryDirectory() as scratch:
        names = [f"{scratch}/direct", f"{scratch}/proxied"]
        begins = [prepare(url, name, files, left_out) for url, name in zip((direct, proxied), names)]
        runs = [begin() for begin in begins]
        directly, through = [finish(*one) for one in zip(names, begins, runs)]
        passed = {test for test, outcome in directly.items() if outcome == "passed"}
        failed = {test for test in passed if through.get(test) != "passed"}
        wrong = sorted(failed - failing)
        # Some give an answer a tenth of a second, and the machine may be busy: what fails must fail alone too, and again.
        for turn in range(3):
            if wrong:
                again = f"{scratch}/again-{turn}"
                begin = prepare(proxied, again, wrong, left_out)
                through.update(finish(again, begin, begin()))
                failed = {test for test in passed if through.get(test) != "passed"}
                wrong = sorted(failed - failing)
    needless = sorted(test for test in failing if test in passed and test not in failed)
    for test in wrong:
        print(f"FAIL {test}\n{through.get(test, 'it did not run')}\n")
    for test in needless:
        print(f"FAIL {test} passes: take it out of redis_py_own_tests.txt")
    print(f"{len(passed)} pass directly, {len(passed - failed)} of them through the proxy, {len(failed) - len(wrong)} may fail")
    good = passed and not wrong and not needless
    print("passed" if good else "failed")
    sys.exit(0 if good else 1)


main()
