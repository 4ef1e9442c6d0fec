"""A pytest plugin for redis-py's own tests: they connect by TLS where the url says so, and tell each test's outcome.

Outcomes go to the file that RESPGATE_OUTCOMES names, as {test: passed | skipped | the failure's text}.
"""

import json
import os

import pytest_timeout

OUTCOMES = {}


def pytest_sessionstart(session):
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


def pytest_sessionfinish(session):
    with open(os.environ["RESPGATE_OUTCOMES"], "w") as out:
        json.dump(OUTCOMES, out)
