"""Manages users with redis-py as operators do: redis_py_acl.py PORT CERTIFICATES."""

import redis

from proxy import connect


admin, cart = connect("admin"), connect("cart")
assert cart.set("cart:py", "value")

assert "read" in admin.acl_cat() and "get" in admin.acl_cat("read")
assert admin.acl_whoami() == "admin"
assert admin.acl_users() == ["admin", "cart", "search"]
assert len(admin.acl_genpass()) == 64 and len(admin.acl_genpass(5)) == 2
assert admin.acl_help()
assert len(admin.acl_list()) == 3
assert admin.acl_dryrun("cart", "get", "cart:1") == "OK"
assert "no permissions" in admin.acl_dryrun("cart", "flushall")

assert admin.acl_setuser(
    "bob",
    enabled=True,
    passwords=["+secret"],
    commands=["+get", "+@hash", "-hset"],
    keys=["bob:*"],
    channels=["news"],
    selectors=[("+set", "~w:*")],
)
bob = admin.acl_getuser("bob")
assert bob["enabled"] and "on" in bob["flags"] and len(bob["passwords"]) == 1, bob
assert bob["keys"] == ["~bob:*"] and bob["channels"] == ["&news"], bob
assert bob["commands"] == ["+get", "-hset"] and bob["selectors"][0][1] == "-@all +set", bob
assert admin.acl_getuser("nosuch") is None
assert admin.acl_deluser("bob", "nosuch") == 1

assert admin.acl_log_reset()
for call in (lambda: cart.get("other"), lambda: cart.get("other"), cart.flushall):
    try:
        call()
        raise AssertionError("not refused")
    except redis.exceptions.NoPermissionError:
        pass
log = admin.acl_log()
assert [entry["object"] for entry in log] == ["flushall", "other"], log
assert log[1]["count"] == 2 and log[1]["reason"] == "key" and log[1]["username"] == "cart", log
assert log[0]["client-info"]["user"] == "cart" and float(log[0]["age-seconds"]) < 60, log
assert len(admin.acl_log(count=1)) == 1

admin.acl_setuser("passing", enabled=True)
assert admin.acl_save()
admin.acl_setuser("passing", enabled=False)
assert admin.acl_load()
assert admin.acl_getuser("passing")["enabled"]

print("passed")
