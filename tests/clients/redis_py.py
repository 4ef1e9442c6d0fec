"""Drives the proxy with redis-py as applications do: redis_py.py PORT CERTIFICATES."""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from proxy import certs, connect, port


def refused(call, *args, **kwargs):
    try:
        answer = call(*args, **kwargs)
    except redis.exceptions.NoPermissionError as error:
        return str(error)
    raise AssertionError(f"not refused: {answer!r}")


# Without a login, with an old password, with user and password.
for login in ({}, {"password": "cart-secret"}, {"username": "cart", "password": "cart-secret"}):
    r = connect("cart", **login)
    assert r.ping()
    assert r.set("cart:py", "value")
    assert r.get("cart:py") == "value"
    assert r.get("cart:none") is None
    assert "flushall" in refused(r.flushall)
    assert "key" in refused(r.get, "other")
    assert r.get("cart:py") == "value"
    r.close()

r = connect("cart", db=3, client_name="shop")

# A pipeline: the refusal is in its place.
with r.pipeline(transaction=False) as pipe:
    pipe.set("cart:a", "1").get("other").get("cart:a").execute_command("FLUSHALL").get("cart:a")
    answers = pipe.execute(raise_on_error=False)
assert answers[0] is True and answers[2] == "1" and answers[4] == "1", answers
assert isinstance(answers[1], redis.exceptions.NoPermissionError), answers
assert isinstance(answers[3], redis.exceptions.NoPermissionError), answers

# A transaction: all or nothing.
with r.pipeline(transaction=True) as pipe:
    assert pipe.set("cart:t", 1).incr("cart:t").execute() == [True, 2]
with r.pipeline(transaction=True) as pipe:
    try:
        pipe.incr("cart:t").get("other").execute()
        raise AssertionError("a refused transaction ran")
    except redis.exceptions.ResponseError:
        pass
assert r.get("cart:t") == "2"

# Optimistic locking.
with r.pipeline() as pipe:
    pipe.watch("cart:t")
    seen = int(pipe.get("cart:t"))
    pipe.multi()
    pipe.set("cart:t", seen + 1)
    assert pipe.execute() == [True]
assert r.get("cart:t") == "3"

# Types of every reply.
assert r.rpush("cart:l", "a", "b", "c") >= 3
assert r.lrange("cart:l", 0, -1)[-1] == "c"
assert r.blpop("cart:l", timeout=1) is not None
assert r.hset("cart:h", mapping={"a": 1, "b": "zwei"}) >= 0
assert r.hgetall("cart:h") == {"a": "1", "b": "zwei"}
binary = bytes(range(256)) * 10_000
raw = connect("cart")
raw.connection_pool.connection_kwargs["decode_responses"] = False
assert raw.set("cart:bin", binary)
assert raw.get("cart:bin") == binary

# redis-py waits half a minute between its attempts; the first tells it all.
once = {"retry": Retry(NoBackoff(), 0)}

# The wrong password of a right certificate, and a right certificate of nobody.
for client in (connect("cart", password="wrong", **once), connect("nobody", **once)):
    try:
        client.ping()
        raise AssertionError("let in")
    except (redis.exceptions.AuthenticationError, redis.exceptions.ResponseError, redis.exceptions.ConnectionError):
        pass

# Without a certificate nobody gets in.
try:
    redis.Redis(host="localhost", port=port, ssl=True, ssl_ca_certs=f"{certs}/ca.pem", socket_timeout=20, **once).ping()
    raise AssertionError("let in without a certificate")
except (redis.exceptions.ConnectionError, OSError):
    pass

print("passed")
