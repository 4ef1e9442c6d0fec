"""Runs redis-py's own tests twice, at once: directly and through the proxy; what passes directly must pass through.

redis_py_own_tests.py PORT CERTIFICATES FOLDER DIRECT VERSION part|all: FOLDER has the tests, DIRECT is the address of another
Redis of the same VERSION. What may fail stands in redis_py_own_tests.txt, with the reason.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

PORT, CERTS, FOLDER, DIRECT, VERSION, EXTENT = sys.argv[1:]
HERE = pathlib.Path(__file__).resolve().parent

# What a server on its own answers; the rest tests the library without one, or wants clusters, modules and the like.
PART = ["test_commands", "test_pubsub", "test_pipeline", "test_scripting", "test_lock", "test_monitor"]
PART += ["test_asyncio/test_pubsub", "test_asyncio/test_pipeline", "test_asyncio/test_scripting", "test_asyncio/test_monitor"]
ALL = PART + ["test_connection", "test_connection_pool", "test_encoding", "test_function", "test_cache", "test_credentials"]
ALL += ["test_keyspace_notifications", "test_multiprocessing", "test_retry", "test_hash", "test_vsets", "test_client"]
ALL += [f"test_asyncio/test_{name}" for name in ("commands", "lock", "connection", "connection_pool", "encoding", "hash", "retry")]
ALL += [f"test_asyncio/test_{name}" for name in ("credentials", "keyspace_notifications", "cwe_404", "client", "vsets")]
MARKS = "not onlycluster and not redismod and not ssl and not cp_integration and not replica and not multidb_integration"


def start(url, outcomes):
    files = [f"tests/{name}.py" for name in (PART if EXTENT == "part" else ALL)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "redis_py_plugin", "-p", "no:cacheprovider", "-m", MARKS]
    # Its own settings ask for plugins that only its developers need.
    command += ["-o", "addopts=", "-o", "filterwarnings=ignore", "-o", "timeout=60", "--redis-url", url]
    env = dict(os.environ, PYTHONPATH=str(HERE), PYTHONDONTWRITEBYTECODE="1", RESPGATE_OUTCOMES=outcomes)
    log = open(f"{outcomes}.log", "w")
    return subprocess.Popen(command + files, cwd=FOLDER, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def exceptions():
    """The tests that may fail through the proxy: {test: reason}."""
    found = {}
    for line in (HERE / "redis_py_own_tests.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            test, versions, reason = (part.strip() for part in line.split("|"))
            if versions == "all" or VERSION in versions.split():
                found[test] = reason
    return found


def main():
    tls = f"ssl_ca_certs={CERTS}/ca.pem&ssl_certfile={CERTS}/admin.pem&ssl_keyfile={CERTS}/admin.key"
    with tempfile.TemporaryDirectory() as scratch:
        runs = []
        for name, url in (("direct", f"redis://{DIRECT}/9"), ("proxied", f"rediss://localhost:{PORT}/9?{tls}")):
            outcomes = f"{scratch}/{name}"
            runs.append((outcomes, start(url, outcomes)))
        results = []
        for outcomes, run in runs:
            run.wait()
            try:
                results.append(json.loads(pathlib.Path(outcomes).read_text()))
            except FileNotFoundError:
                print(pathlib.Path(f"{outcomes}.log").read_text()[-4000:])
                sys.exit(1)
    direct, proxied = results
    passed = {test for test, outcome in direct.items() if outcome == "passed"}
    failed = {test for test in passed if proxied.get(test) != "passed"}
    allowed = exceptions()
    wrong = sorted(failed - allowed.keys())
    needless = sorted(test for test in allowed if test in passed and test not in failed)
    for test in wrong:
        print(f"FAIL {test}\n{proxied.get(test, 'it did not run')}\n")
    for test in needless:
        print(f"FAIL {test} passes: take it out of redis_py_own_tests.txt")
    print(f"{len(passed)} pass directly, {len(passed - failed)} of them through the proxy, {len(failed) - len(wrong)} may fail")
    print("failed" if wrong or needless else "passed")
    sys.exit(1 if wrong or needless else 0)


main()
