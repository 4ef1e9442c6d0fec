"""A pytest plugin for redis-py's own tests: they connect by TLS where the url says so, and tell each test's outcome.

Outcomes go to the file that RESPGATE_OUTCOMES names, as {test: passed | skipped | the failure's text}. What is in it at the start
has run already.

Now and then two threads of a test wait for each other (pub/sub, on a busy machine, with any server), where no signal reaches them.
Then all ends at once with exit code 9, and whoever has started it may go on behind that test.
"""

import json
import os
import threading
import time

import pytest_timeout

FILE = os.environ["RESPGATE_OUTCOMES"]
OUTCOMES = {}
HUNG = 9
# Longer than the limit that tests are given below.
PATIENCE = 90
NOW = {"test": None, "since": 0}


def watch():
    while True:
        time.sleep(1)
        if NOW["test"] and time.monotonic() - NOW["since"] > PATIENCE:
            OUTCOMES[NOW["test"]] = "it hung"
            write()
            os._exit(HUNG)


def write():
    with open(FILE, "w") as out:
        json.dump(OUTCOMES, out)


def pytest_collection_modifyitems(items):
    if os.path.exists(FILE):
        with open(FILE) as file:
            OUTCOMES.update(json.load(file))
        items[:] = [item for item in items if item.nodeid not in OUTCOMES]


def pytest_runtest_logstart(nodeid):
    NOW.update(test=nodeid, since=time.monotonic())


def pytest_sessionstart(session):
    threading.Thread(target=watch, daemon=True).start()
    url = session.config.getoption("--redis-url")
    if url.startswith("rediss:"):
        import redis
        import tests.conftest

        # The suite's own client fixture takes the url's options, but never the connection class that goes with it.
        tests.conftest.Connection = redis.connection.SSLConnection


def pytest_timeout_set_timer(item, settings):
    # Some tests have 5 seconds and end the whole process then: too little for a busy machine, and too much at stake.
    return pytest_timeout.pytest_timeout_set_timer(item, settings._replace(timeout=60, method="signal"))


def pytest_runtest_logreport(report):
    if report.failed:
        OUTCOMES[report.nodeid] = str(report.longrepr)[-2000:]
    elif report.skipped or report.when == "call":
        OUTCOMES.setdefault(report.nodeid, report.outcome)


def pytest_sessionfinish():
    NOW.update(test=None)
    write()
