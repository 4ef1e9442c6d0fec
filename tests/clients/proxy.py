"""Connections to the proxy, as the other files of this folder make them: PORT CERTIFICATES …"""

import sys

import redis

port, certs, rest = int(sys.argv[1]), sys.argv[2], sys.argv[3:]


def connect(name, **more):
    return redis.Redis(
        host="localhost",
        port=port,
        ssl=True,
        ssl_ca_certs=f"{certs}/ca.pem",
        ssl_certfile=f"{certs}/{name}.pem",
        ssl_keyfile=f"{certs}/{name}.key",
        decode_responses=True,
        socket_timeout=20,
        **more,
    )
