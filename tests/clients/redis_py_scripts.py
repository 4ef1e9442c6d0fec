"""Scripts that the policy names, as redis-py registers them: redis_py_scripts.py PORT CERTIFICATES UPSTREAM."""

import redis

from proxy import connect, rest

SCRIPT = "-- What is in the cart.\nreturn redis.call('get', KEYS[1])\n"

host, _, upstream_port = rest[0].rpartition(":")
direct = redis.Redis(host=host, port=int(upstream_port))
r = connect("cart")

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
