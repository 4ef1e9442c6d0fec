"""Writes through a failover, as an application behind Sentinel does: PORT CERTIFICATES SENTINEL_PORT…

Appends numbers to cart:log on whoever the Sentinels say is master, each behind a WAIT for one replica,
until cart:stop is there. Prints the numbers that were acknowledged, then "passed".
"""

import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from proxy import certs, rest

tls = {
    "ssl": True,
    "ssl_ca_certs": f"{certs}/ca.pem",
    "ssl_certfile": f"{certs}/cart.pem",
    "ssl_keyfile": f"{certs}/cart.key",
    "decode_responses": True,
    "socket_timeout": 5,
    # What fails is tried again below, where it is counted.
    "retry": Retry(NoBackoff(), 0),
}
sentinel = Sentinel([("localhost", int(port)) for port in rest], sentinel_kwargs=tls, **tls)
master = sentinel.master_for("shop")

acknowledged, number, deadline = [], 0, time.monotonic() + 60
while time.monotonic() < deadline:
    number += 1
    try:
        # One connection for both: WAIT counts what this one wrote.
        length, replicas = master.pipeline(transaction=False).rpush("cart:log", number).wait(1, 2000).execute()
        if replicas >= 1:
            acknowledged.append(number)
        if master.exists("cart:stop"):
            break
    except (redis.exceptions.RedisError, OSError):
        time.sleep(0.05)
else:
    raise SystemExit("nobody said stop")

assert len(sentinel.discover_slaves("shop")) >= 1
print(*acknowledged)
print("passed")
