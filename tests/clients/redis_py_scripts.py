"""Scripts that the policy names, as redis-py registers them: redis_py_scripts.py PORT CERTIFICATES UPSTREAM."""

import sys

import redis

port, certs, upstream = int(sys.argv[1]), sys.argv[2], sys.argv[3]
SCRIPT = "-- What is in the cart.\nreturn redis.call('get', KEYS[1])\n"

host, _, upstream_port = upstream.rpartition(":")
direct = redis.Redis(host=host, port=int(upstream_port))
r = redis.Redis(
    host="localhost",
    port=port,
    ssl=True,
    ssl_ca_certs=f"{certs}/ca.pem",
    ssl_certfile=f"{certs}/cart.pem",
    ssl_keyfile=f"{certs}/cart.key",
    decode_responses=True,
    socket_timeout=20,
)

get = r.register_script(SCRIPT)
for _ in range(3):
    assert get(keys=["cart:1"]) == "apples"
    assert get(keys=["cart:1"]) == "apples"
    # redis-py asks which scripts exist, and loads those that don't.
    for transaction in (True, False):
        with r.pipeline(transaction=transaction) as pipe:
            get(keys=["cart:1"], client=pipe)
            pipe.ping()
            assert pipe.execute() == ["apples", True]
    direct.script_flush()

for foreign in (lambda: r.register_script("return 1")(), lambda: r.eval("return 1", 0)):
    try:
        foreign()
        raise AssertionError("a foreign script ran")
    except redis.exceptions.NoPermissionError as error:
        assert "does not name" in str(error), error

print("passed")
