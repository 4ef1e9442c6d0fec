"""How the cost of an operation grows: with connections, users, patterns and the size of values."""

from loads import Column
from peers import BY_KEY
from table import Table, count

CONNECTIONS = [10, 100, 1000, 5000]
USERS = [1, 10, 100, 1000, 10_000]
PATTERNS = [1, 10, 100]
SIZES = [64, 1 << 10, 16 << 10, 256 << 10, 1 << 20]
# Who stands beside respgate where it means something.
BESIDE = ["redis-tls", "respgate", "respgate-dedicated", "envoy-redis", "haproxy"]
# Requests under way together, on however many connections.
WINDOW = 10


def growth_part(fronts, loads, say):
    """All fronts with one thread: {what: {peer: {step: sample}}}."""
    peers = [peer for peer in fronts.peers if peer.key in BESIDE]
    most = fronts.scene.connections(CONNECTIONS[-1])
    if most < CONNECTIONS[-1]:
        say(f"{CONNECTIONS[-1]} connections don't fit: this process may open {fronts.scene.descriptors} files")
    counts = [number for number in CONNECTIONS if number <= most]
    results = {}

    def beside(what, title, steps, column_of, named):
        rows = {peer.key: {} for peer in peers}
        # Step by step, so that the values are made once for all.
        for step in steps:
            for peer in peers:
                label = f"growth, {named(step)}, {peer.label}"
                front = fronts.attempt(label, fronts.get, peer, peer.threads[0])
                if front:
                    rows[peer.key][step] = fronts.attempt(label, loads.run, front, column_of(step), window=WINDOW)
        results[what] = rows
        say(grown(title, [named(step) for step in steps], {BY_KEY[key].label: list(row.values()) for key, row in rows.items()}))

    beside(
        "connections",
        f"connections, of which {WINDOW} wait for a reply at a time, in turns",
        counts,
        lambda number: Column("growth", "", "", number),
        lambda number: f"{number:,}",
    )
    beside("values", f"size of values, {WINDOW} connections", SIZES, lambda size: Column("growth", "", "", WINDOW, size=size, keys=64), bytes_of)
    if any(peer.key == "respgate" for peer in peers):
        for what, steps in [("users", USERS), ("patterns", PATTERNS)]:
            rows = {step: fronts.attempt(f"growth, {step} {what}", with_policy, fronts, loads, what, step) for step in steps}
            results[what] = {"respgate": rows}
            title = {"users": "users in the ACL file", "patterns": "key patterns of the user, of which the last matches"}[what]
            say(grown(f"{title}; 50 connections, pipeline 16", [f"{step:,}" for step in steps], {"respgate": list(rows.values())}))
    return results


def with_policy(fronts, loads, what, step):
    if what == "users":
        policy = {"more_users": step - 1}
    else:
        policy = {"patterns": [f"~key{number}:*" for number in range(step - 1)] + ["~key:*"]}
    peer = BY_KEY["respgate"]
    front = peer.starter(peer, fronts.scene, 1, **policy)
    try:
        return loads.run(front, Column("growth", "", "", 50, pipeline=16))
    finally:
        front.process.stop()


def grown(title, names, rows):
    """Two lines a peer: what the front and Redis compute for an operation, and operations a second."""
    table = Table(f"growth with {title}", "", *names)
    for label, samples in rows.items():
        cpu = [f"{s['front_cpu'] + s['redis_cpu']:.2f}" if s else "–" for s in samples]
        table.row(label, "CPU µs/op", *cpu)
        table.row("", "ops/s", *[count(s["rate"]) if s else "–" for s in samples])
    return table


def bytes_of(size):
    return f"{size} B" if size < 1 << 10 else f"{size >> 10} KB" if size < 1 << 20 else f"{size >> 20} MB"
