"""Runs redis-py's own tests twice, at once: directly and through the proxy; what passes directly must pass through.

redis_py_own_tests.py PORT CERTIFICATES FOLDER DIRECT commands|pubsub|all: FOLDER has the tests, DIRECT is the address of
another Redis of the same version. What may fail stands in redis_py_own_tests.txt, with the reason.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

PORT, CERTS, FOLDER, DIRECT, EXTENT = sys.argv[1:]
HERE = pathlib.Path(__file__).resolve().parent

# The rest tests the library without a server, wants clusters, modules or numpy, connects without TLS, or logs in as others.
PARTS = {
    "commands": ["test_commands", "test_pipeline", "test_scripting", "test_lock", "test_monitor"],
    "pubsub": ["test_pubsub"] + [f"test_asyncio/test_{name}" for name in ("pubsub", "pipeline", "scripting", "monitor")],
}
MORE = ["test_connection", "test_connection_pool", "test_encoding", "test_function", "test_cache"]
MORE += ["test_keyspace_notifications", "test_retry", "test_hash", "test_client"]
MORE += [f"test_asyncio/test_{name}" for name in ("commands", "lock", "connection", "connection_pool", "encoding", "hash", "retry")]
MORE += [f"test_asyncio/test_{name}" for name in ("keyspace_notifications", "client")]
FILES = PARTS.get(EXTENT) or sum(PARTS.values(), []) + MORE
MARKS = "not onlycluster and not redismod and not ssl and not cp_integration and not replica and not multidb_integration"


def start(url, outcomes, left_out):
    files = [f"tests/{name}.py" for name in FILES]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "redis_py_plugin", "-p", "no:cacheprovider", "-m", MARKS]
    # Its own settings ask for plugins that only its developers need.
    command += [f"--deselect={test}" for test in left_out]
    command += ["-o", "addopts=", "-o", "filterwarnings=ignore", "-o", "timeout=60", "--redis-url", url]
    env = dict(os.environ, PYTHONPATH=str(HERE), PYTHONDONTWRITEBYTECODE="1", RESPGATE_OUTCOMES=outcomes)
    log = open(f"{outcomes}.log", "w")
    return subprocess.Popen(command + files, cwd=FOLDER, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def exceptions():
    """The tests that fail through the proxy, and those that are not run at all."""
    failing, left_out = set(), set()
    for line in (HERE / "redis_py_own_tests.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            how, test, _reason = (part.strip() for part in line.split("|"))
            {"fails": failing, "not run": left_out}[how].add(test)
    return failing, left_out


def main():
    allowed, left_out = exceptions()
    tls = f"ssl_ca_certs={CERTS}/ca.pem&ssl_certfile={CERTS}/admin.pem&ssl_keyfile={CERTS}/admin.key"
    with tempfile.TemporaryDirectory() as scratch:
        runs = []
        for name, url in (("direct", f"redis://{DIRECT}/9"), ("proxied", f"rediss://localhost:{PORT}/9?{tls}")):
            outcomes = f"{scratch}/{name}"
            runs.append((outcomes, start(url, outcomes, left_out)))
        results = []
        for outcomes, run in runs:
            # 0: all passed; 1: some failed. Anything else is pytest's own trouble.
            if run.wait() > 1:
                print(pathlib.Path(f"{outcomes}.log").read_text()[-4000:])
                sys.exit(1)
            results.append(json.loads(pathlib.Path(outcomes).read_text()))
    direct, proxied = results
    passed = {test for test, outcome in direct.items() if outcome == "passed"}
    failed = {test for test in passed if proxied.get(test) != "passed"}
    wrong = sorted(failed - allowed)
    needless = sorted(test for test in allowed if test in passed and test not in failed)
    for test in wrong:
        print(f"FAIL {test}\n{proxied.get(test, 'it did not run')}\n")
    for test in needless:
        print(f"FAIL {test} passes: take it out of redis_py_own_tests.txt")
    print(f"{len(passed)} pass directly, {len(passed - failed)} of them through the proxy, {len(failed) - len(wrong)} may fail")
    print("failed" if wrong or needless else "passed")
    sys.exit(1 if wrong or needless else 0)


main()
