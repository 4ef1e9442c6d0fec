"""What applications do, with redis-py: matrix_redis_py.py PORT CERTIFICATES UPSTREAM sync|asyncio default|2|3.

Written once for both kinds of client: `done` waits where there is something to wait for.
"""

import asyncio
import inspect
import time

import redis
import redis.asyncio

from matrix import CERTS, PORT, REST, SHARED, UPSTREAM, NotHere, restart, run_all

ASYNC = REST[0] == "asyncio"
PROTOCOL = {} if REST[1] == "default" else {"protocol": int(REST[1])}
LIBRARY = redis.asyncio if ASYNC else redis


async def done(value):
    return await value if inspect.isawaitable(value) else value


def at_once(call, *args, **kwargs):
    """The call while something else goes on."""
    return asyncio.ensure_future(call(*args, **kwargs)) if ASYNC else asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs))


async def collect(iterator):
    return [item async for item in iterator] if ASYNC else await asyncio.to_thread(list, iterator)


class Factory:
    """Makes clients as an application would: an address, its certificate, nothing else."""

    def __init__(self, place):
        self.place, self.made = place, []

    def __call__(self, name="cart", **more):
        client = LIBRARY.Redis(**self.place(name), decode_responses=more.pop("decode_responses", True), **PROTOCOL, **more)
        self.made.append(client)
        return client

    async def close(self):
        for client in self.made:
            try:
                await done(client.aclose() if ASYNC else client.close())
            except (redis.RedisError, OSError):
                pass
        self.made.clear()


def proxied(name):
    return {
        "host": "localhost",
        "port": PORT,
        "ssl": True,
        "ssl_ca_certs": f"{CERTS}/ca.pem",
        "ssl_certfile": f"{CERTS}/{name}.pem",
        "ssl_keyfile": f"{CERTS}/{name}.key",
    }


def direct(_name):
    host, _, port = UPSTREAM.rpartition(":")
    return {"host": host, "port": int(port)}


def resp3():
    """Whether RESP3 is what this library asks for."""
    if PROTOCOL:
        return PROTOCOL["protocol"] == 3
    return int(redis.__version__.split(".")[0]) >= 8


async def refused(awaitable):
    try:
        answer = await done(awaitable())
    except redis.exceptions.NoPermissionError as why:
        return str(why)
    raise AssertionError(f"not refused: {answer!r}")


# === the checks ===


async def strings(make):
    r, raw = make(), make(decode_responses=False)
    assert await done(r.ping())
    assert await done(r.set("cart:s", "value")) is True
    assert await done(r.get("cart:s")) == "value"
    assert await done(r.get("cart:none")) is None
    await done(r.delete("cart:n"))
    assert [await done(r.incr("cart:n")), await done(r.incrby("cart:n", 41))] == [1, 42]
    assert await done(r.mset({"cart:m1": "1", "cart:m2": "2"}))
    assert await done(r.mget("cart:m1", "cart:none", "cart:m2")) == ["1", None, "2"]
    assert await done(r.set("cart:ttl", "x", ex=100)) and 0 < await done(r.ttl("cart:ttl")) <= 100
    binary = bytes(range(256)) * 7 + b"\r\n$-1\r\n*3\r\n\x00"
    assert await done(raw.set(b"cart:\x00\xff", binary))
    assert await done(raw.get(b"cart:\x00\xff")) == binary


async def collections(make):
    r = make()
    await done(r.delete("cart:h", "cart:l", "cart:set", "cart:z", "cart:x"))
    assert await done(r.hset("cart:h", mapping={"a": "1", "b": "zwei"})) == 2
    assert await done(r.hgetall("cart:h")) == {"a": "1", "b": "zwei"}
    assert await done(r.rpush("cart:l", "a", "b", "c")) == 3
    assert await done(r.lrange("cart:l", 0, -1)) == ["a", "b", "c"]
    assert await done(r.sadd("cart:set", "x", "y")) == 2
    assert set(await done(r.smembers("cart:set"))) == {"x", "y"}
    assert await done(r.zadd("cart:z", {"one": 1, "half": 0.5})) == 2
    scores = await done(r.zrange("cart:z", 0, -1, withscores=True))
    assert [(member, score) for member, score in scores] == [("half", 0.5), ("one", 1.0)], scores
    assert await done(r.zscore("cart:z", "half")) == 0.5
    first = await done(r.xadd("cart:x", {"field": "value"}))
    await done(r.xadd("cart:x", {"field": "more"}))
    assert await done(r.xgroup_create("cart:x", "group", id="0"))
    read = await done(r.xreadgroup("group", "consumer", {"cart:x": ">"}, count=1))
    read = list(read.items()) if isinstance(read, dict) else read
    assert read[0][0] == "cart:x" and first in str(read), read
    assert await done(r.xack("cart:x", "group", first)) == 1
    assert len(await done(r.xrange("cart:x"))) == 2


async def pipeline(make):
    r = make()
    pipe = r.pipeline(transaction=False)
    pipe.set("cart:p", "1").get("other").get("cart:p").execute_command("FLUSHALL").get("cart:p")
    answers = await done(pipe.execute(raise_on_error=False))
    assert [answers[0], answers[2], answers[4]] == [True, "1", "1"], answers
    assert all(isinstance(answers[i], redis.exceptions.NoPermissionError) for i in (1, 3)), answers


async def transaction(make):
    r, other = make(), make()
    await done(r.delete("cart:t"))
    assert await done(r.pipeline().set("cart:t", 1).incr("cart:t").execute()) == [True, 2]
    pipe = r.pipeline()
    await done(pipe.watch("cart:t"))
    assert await done(pipe.get("cart:t")) == "2"
    await done(other.incr("cart:t"))
    pipe.multi()
    pipe.set("cart:t", 100)
    try:
        raise AssertionError(await done(pipe.execute()))
    except redis.exceptions.WatchError:
        pass
    await done(pipe.reset())
    assert await done(r.get("cart:t")) == "3"
    pipe = r.pipeline()
    pipe.incr("cart:t").get("other")
    try:
        raise AssertionError(await done(pipe.execute()))
    except redis.exceptions.NoPermissionError:
        pass
    assert await done(r.get("cart:t")) == "3", "half a transaction ran"


async def scan(make):
    r = make()
    pipe = r.pipeline(transaction=False)
    for i in range(300):
        pipe.set(f"cart:scan:{i}", i).hset("cart:scanned", f"f{i}", i).zadd("cart:zscanned", {f"m{i}": i})
    await done(pipe.execute())
    found = await collect(r.scan_iter(match="cart:scan:*", count=50))
    assert sorted(set(found)) == sorted(f"cart:scan:{i}" for i in range(300))
    assert len(set(key for key, _ in await collect(r.hscan_iter("cart:scanned")))) == 300
    assert len(set(key for key, _ in await collect(r.zscan_iter("cart:zscanned")))) == 300


async def scripts(make):
    r, admin = make(), make("admin")
    assert await done(r.eval("return {KEYS[1], ARGV[1], 3}", 1, "cart:k", "a")) == ["cart:k", "a", 3]
    double = r.register_script("return redis.call('incrby', KEYS[1], ARGV[1]) * 2")
    await done(r.delete("cart:script"))
    await done(admin.script_flush())
    assert await done(double(keys=["cart:script"], args=[5])) == 10
    await done(admin.script_flush())
    assert await done(double(keys=["cart:script"], args=[5])) == 20
    pipe = r.pipeline()
    await done(double(keys=["cart:script"], args=[5], client=pipe))
    pipe.get("cart:script")
    assert await done(pipe.execute()) == [30, "15"]
    try:
        raise AssertionError(await done(r.evalsha("0" * 40, 0)))
    except redis.exceptions.NoScriptError:
        pass


async def blocking_pop(make):
    r, other = make(), make()
    await done(r.delete("cart:queue"))
    waiting = at_once(r.blpop, "cart:queue", timeout=20)
    await blocked(make, 1)
    await done(other.rpush("cart:queue", "job"))
    assert list(await waiting) == ["cart:queue", "job"]
    await done(r.delete("cart:stream"))
    waiting = at_once(r.xread, {"cart:stream": "$"}, block=20_000)
    await blocked(make, 1)
    await done(other.xadd("cart:stream", {"f": "event"}))
    assert "event" in str(await waiting)


async def blocked(make, count):
    admin = make("admin")
    await eventually(lambda: admin.info("clients"), lambda info: info["blocked_clients"] == count)


async def eventually(ask, good):
    start = time.monotonic()
    while not good(answer := await done(ask())):
        assert time.monotonic() - start < 20, answer
        await asyncio.sleep(0.01)


async def pub_sub(make):
    r = make()
    ps = r.pubsub()
    await done(ps.subscribe("cart:news", "cart:more"))
    await done(ps.psubscribe("cart:p*"))
    assert [await next_of(ps) for _ in range(3)] == [
        ("subscribe", None, "cart:news", 1),
        ("subscribe", None, "cart:more", 2),
        ("psubscribe", None, "cart:p*", 3),
    ]
    for i in range(50):
        assert await done(r.publish("cart:news", f"message {i}")) == 1
        assert await done(r.publish("cart:pattern", f"pattern {i}")) == 1
        assert await next_of(ps) == ("message", None, "cart:news", f"message {i}")
        assert await next_of(ps) == ("pmessage", "cart:p*", "cart:pattern", f"pattern {i}")
    if not resp3():
        # In RESP3 it is an ordinary reply, which redis-py's get_message can't read.
        await done(ps.ping())
        assert (await next_of(ps))[0] == "pong"
    await done(ps.unsubscribe("cart:news"))
    assert await next_of(ps) == ("unsubscribe", None, "cart:news", 2)
    assert await done(r.publish("cart:news", "unheard")) == 0
    await done(ps.subscribe("cart:again"))
    assert await next_of(ps) == ("subscribe", None, "cart:again", 3)
    await done(r.publish("cart:more", "still here"))
    assert await next_of(ps) == ("message", None, "cart:more", "still here")
    await done(ps.unsubscribe())
    await done(ps.punsubscribe())
    kinds = sorted([(await next_of(ps))[0] for _ in range(3)])
    assert kinds == ["punsubscribe", "unsubscribe", "unsubscribe"], kinds
    await done(ps.aclose() if ASYNC else ps.close())


async def next_of(ps):
    start = time.monotonic()
    while time.monotonic() - start < 20:
        message = await done(ps.get_message(timeout=5))
        if message is not None:
            return (message["type"], message["pattern"], message["channel"], message["data"])
    raise AssertionError("no message")


async def channels_of_others(make):
    """Only with a policy: directly there is none."""
    r = make()
    ps = r.pubsub()
    assert "channel" in await refused(lambda: r.publish("other", "x"))
    await done(ps.subscribe("other"))
    try:
        raise AssertionError(await next_of(ps))
    except redis.exceptions.NoPermissionError:
        pass
    await done(ps.aclose() if ASYNC else ps.close())
    assert await done(r.ping())


async def sharded_pub_sub(make):
    if not hasattr(LIBRARY.client.PubSub, "ssubscribe"):
        # redis-py's asyncio client learned it late; the words are Redis' own.
        r = make()
        await done(r.execute_command("SPUBLISH", "cart:shard", "x"))
        return
    r = make()
    ps = r.pubsub()
    await done(r.execute_command("SPUBLISH", "cart:shard", "nobody"))
    await done(ps.ssubscribe("cart:shard"))
    assert (await next_of(ps))[0] == "ssubscribe"
    assert await done(r.execute_command("SPUBLISH", "cart:shard", "m")) == 1
    message = await sharded_next(ps)
    assert message["type"] == "smessage" and message["data"] == "m", message
    await done(ps.aclose() if ASYNC else ps.close())


async def sharded_next(ps):
    start = time.monotonic()
    while time.monotonic() - start < 20:
        message = await done(ps.get_message(timeout=5))
        if message is not None:
            return message
    raise AssertionError("no message")


async def refusals(make):
    r = make()
    assert "flushall" in await refused(r.flushall)
    assert "key" in await refused(lambda: r.get("other"))
    assert "config|get" in await refused(lambda: r.config_get("*"))
    assert await done(r.ping())


async def large_value(make):
    r = make(decode_responses=False)
    value = bytes(range(256)) * (20 * 1024 * 4)
    assert await done(r.set("cart:large", value))
    assert await done(r.get("cart:large")) == value
    await done(r.delete("cart:large"))


async def long_pipeline(make):
    r = make()
    pipe = r.pipeline(transaction=False)
    for i in range(5_000):
        pipe.set(f"cart:long:{i % 100}", i).get(f"cart:long:{i % 100}")
    answers = await done(pipe.execute())
    assert answers == [answer for i in range(5_000) for answer in (True, str(i))]


async def databases(make):
    one, other = make(db=3), make(db=4)
    await done(one.set("cart:db", "three"))
    assert await done(one.get("cart:db")) == "three"
    assert await done(other.get("cart:db")) is None


async def names_and_ids(make):
    r, admin = make(client_name="shop", single_connection_client=True), make("admin")
    if ASYNC:
        await r.initialize()
    assert await done(r.client_getname()) == "shop"
    number = await done(r.client_id())
    mine = [c for c in await done(admin.client_list()) if c["name"] == "shop"]
    if SHARED:
        # The Redis has no such client.
        assert (mine, await done(admin.client_kill_filter(_id=number))) == ([], 0), mine
        return
    assert [int(c["id"]) for c in mine] == [number], mine
    assert await done(admin.client_kill_filter(_id=number)) == 1
    again = make(client_name="shop")
    assert await done(again.client_getname()) == "shop"
    assert await done(again.client_id()) != number


async def who_am_i(make):
    r = make()
    assert await done(r.acl_whoami()) == "cart"
    assert await refused(r.acl_list)


async def monitor(make):
    r, admin = make(), make("admin")
    if ASYNC:
        async with admin.monitor() as lines:
            await r.set("cart:watched", "m")
            async for line in lines.listen():
                if "cart:watched" in line["command"]:
                    break
    else:
        with admin.monitor() as lines:
            r.set("cart:watched", "m")
            for line in lines.listen():
                if "cart:watched" in line["command"]:
                    break
    assert line["command"].startswith("SET cart:watched"), line


async def native_types(make):
    r = make()
    if not resp3():
        raise NotHere
    await done(r.delete("cart:set3", "cart:z3", "cart:h3"))
    await done(r.sadd("cart:set3", "a"))
    await done(r.zadd("cart:z3", {"m": 1.5}))
    await done(r.hset("cart:h3", "f", "v"))
    # Without redis-py's own conversion, which knows only how RESP2 looks.
    connection = await done(r.connection_pool.get_connection())

    async def call(*args):
        await done(connection.send_command(*args))
        return await done(connection.read_response())

    try:
        assert isinstance(await call("SMEMBERS", "cart:set3"), (set, list))
        assert await call("ZSCORE", "cart:z3", "m") == 1.5
        assert await call("HGETALL", "cart:h3") == {"f": "v"}
        assert await call("GET", "cart:none") is None
        config = await call("EVAL", "redis.setresp(3); return redis.call('HGETALL', KEYS[1])", "1", "cart:h3")
        assert config == {"f": "v"}, config
        hello = await call("HELLO", "3")
        assert int(hello["proto"]) == 3, hello
    finally:
        await done(r.connection_pool.release(connection))


async def tracking(make):
    r, other = make(single_connection_client=True), make()
    if ASYNC:
        await r.initialize()
    if not resp3():
        # RESP2: the invalidations go to another connection.
        admin = make("admin", single_connection_client=True)
        if ASYNC:
            await admin.initialize()
        listener = admin.pubsub()
        await done(listener.subscribe("__redis__:invalidate"))
        assert (await next_of(listener))[0] == "subscribe"
        number = max(int(c["id"]) for c in await done(make("admin").client_list()) if int(c.get("sub", 0)) == 1)
        await done(r.execute_command("CLIENT", "TRACKING", "ON", "REDIRECT", number))
        await done(r.get("cart:tracked"))
        await done(other.set("cart:tracked", "new"))
        message = await next_of(listener)
        assert "cart:tracked" in str(message), message
        await done(listener.aclose() if ASYNC else listener.close())
        return
    heard = []

    def hear(push, *_):
        heard.append(push)
        return push

    async def hear_async(push, *_):
        return hear(push)

    parser = r.connection._parser
    if hasattr(parser, "set_invalidation_push_handler"):
        parser.set_invalidation_push_handler(hear_async if ASYNC else hear)
    else:
        parser.set_pubsub_push_handler(hear_async if ASYNC else hear)
    assert await done(r.execute_command("CLIENT", "TRACKING", "ON")) in (True, "OK", b"OK")
    await done(r.get("cart:tracked"))
    await done(other.set("cart:tracked", "new"))
    await eventually(r.ping, lambda _: heard)
    assert "cart:tracked" in str(heard), heard
    assert await done(r.get("cart:tracked")) == "new"


async def client_side_cache(make):
    """The library's own cache: it asks for Redis 7.4 and RESP3, and only the blocking client has it."""
    if ASYNC or not resp3():
        raise NotHere
    from redis.cache import CacheConfig

    r, other = make(cache_config=CacheConfig()), make()
    r.set("cart:cached", "old")
    assert r.get("cart:cached") == "old" and r.get("cart:cached") == "old"
    assert r.get_cache().size == 1
    other.set("cart:cached", "new")
    await eventually(lambda: r.get("cart:cached"), lambda value: value == "new")


async def reconnect(make):
    r = make()
    await done(r.set("cart:before", "x"))
    restart()
    start = time.monotonic()
    while True:
        try:
            # The new Redis is empty.
            assert await done(r.get("cart:before")) is None
            break
        except redis.exceptions.ConnectionError:
            assert time.monotonic() - start < 20
            await asyncio.sleep(0.02)
    assert await done(r.set("cart:after", "y"))


async def main():
    print(f"library redis-py {redis.__version__}", flush=True)
    checks = [strings, collections, pipeline, transaction, scan, scripts, blocking_pop, pub_sub, channels_of_others]
    checks += [sharded_pub_sub, refusals, large_value, long_pipeline, databases, names_and_ids, who_am_i, monitor]
    checks += [native_types, tracking, client_side_cache, reconnect]
    await run_all(checks, Factory(proxied), Factory(direct))


asyncio.run(main())
