"""Uses a Cluster behind the proxy: PORT CERTIFICATES MODE NODE_PORT…

MODE write: appends numbers to lists in many slots, each behind a WAIT for one replica, until cart:stop
is there; prints the numbers that were acknowledged, as LIST:NUMBER. Where a master died no replica is left:
there the wait is in vain, and short.
MODE follow: writes and reads the key cart:{moving}, wherever the nodes send it.
Prints "passed" at the end.
"""

import time

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

from proxy import certs, rest

mode, ports = rest[0], {int(port) for port in rest[1:]}


def connect():
    return RedisCluster(
        host="localhost",
        port=min(ports),
        ssl=True,
        ssl_ca_certs=f"{certs}/ca.pem",
        ssl_certfile=f"{certs}/cart.pem",
        ssl_keyfile=f"{certs}/cart.key",
        decode_responses=True,
        socket_timeout=5,
        # What fails is tried again below, where it is counted.
        retry=Retry(NoBackoff(), 3),
    )


cluster = connect()
if mode == "follow":
    assert cluster.set("cart:{moving}", "there")
    assert cluster.get("cart:{moving}") == "there"
elif mode == "write":
    acknowledged, number, deadline = [], 0, time.monotonic() + 60
    while time.monotonic() < deadline:
        number += 1
        key = f"cart:log:{number % 30}"
        try:
            node = cluster.get_node_from_key(key)
            cluster.rpush(key, number)
            # The node's pool hands out the connection that was given back last.
            if node == cluster.get_node_from_key(key) and cluster.wait(1, 100, target_nodes=node) >= 1:
                acknowledged.append(f"{number % 30}:{number}")
            if cluster.exists("cart:stop"):
                break
        except (redis.exceptions.RedisError, OSError):
            time.sleep(0.05)
    else:
        raise SystemExit("nobody said stop")
    print(*acknowledged)
else:
    raise SystemExit(__doc__)

# Nobody named a plaintext port.
assert {node.port for node in cluster.get_nodes()} <= ports, cluster.get_nodes()
print("passed")
