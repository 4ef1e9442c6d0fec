"""What a connection costs: memory while it is idle, CPU when it comes, and what many that come do to others."""

import time
from dataclasses import replace
from statistics import median

from loads import COLUMNS
from measure import resident
from peers import Front
from table import Table, count, micros

CONNECTIONS = 5000
HANDSHAKES = 500
# What the running sessions ask for while others shake hands: little, so that latency isn't load.
RATE = 5000
STORM = 200
# By then Redis has taken idle clients' buffers back (after 2 s), and the others have come to rest.
SETTLE = 3


def tls_peers(fronts):
    return [peer for peer in fronts.peers if peer.key != "redis-plain"]


def memory_part(fronts, loads, say):
    """RSS for each idle connection, of fresh processes with one thread; what Redis says it uses for it, too."""
    scene = fronts.scene
    number = scene.connections(CONNECTIONS)
    if number < CONNECTIONS:
        say(f"{CONNECTIONS} connections don't fit: this process may open {scene.descriptors} files, so {number} are held")
    loads.fill(64, 10_000)
    results = {}
    for peer in tls_peers(fronts):
        results[peer.key] = fronts.attempt(f"memory, {peer.label}", idle, fronts, loads, peer, number)
    table = Table(f"{number:,} idle connections, one GET each; one thread", "RSS KB each", "and in Redis", "RSS MB before", "after")
    for peer in tls_peers(fronts):
        row = results[peer.key]
        if row:
            each = lambda size: "–" if size is None else f"{size / number / 1024:.1f}"
            table.row(peer.label, each(row["front"]), each(row["redis"]), f"{row['before'] / 1e6:.1f}", f"{row['after'] / 1e6:.1f}")
    say(table)
    return results


def idle(fronts, loads, peer, number):
    scene = fronts.scene
    if peer.key == "redis-tls":
        # The one that all share keeps memory from before. A new one has no keys: its GETs bring nil.
        front = Front(peer, 0, *scene.another_redis())
    else:
        front = peer.start(scene, peer.threads[0])
    # What it allocates once, it allocates for these.
    warm = loads.own("idle", front, "--connections", 50)
    warm.expect("READY")
    warm.finish()
    time.sleep(SETTLE)
    before, used_before = resident(front.process.pid), scene.used_memory()
    held = loads.own("idle", front, "--connections", number)
    try:
        held.expect("READY")
        time.sleep(SETTLE)
        after, used = resident(front.process.pid), scene.used_memory()
    finally:
        if held.child.poll() is None:
            held.finish()
        front.process.stop()
    behind = None if peer.key == "redis-tls" else used - used_before
    return {"front": after - before, "redis": behind, "before": before, "after": after}


def handshakes_part(fronts, loads, seconds, say):
    """CPU for each connection that shakes hands, asks one GET and goes; then p99 of others meanwhile."""
    loads.fill(64, 10_000)
    results = {}
    for peer in tls_peers(fronts):
        row = {}
        for kind in ("full", "resumed"):
            what = f"handshakes, {kind}, {peer.label}"
            row[kind] = fronts.attempt(what, shake, fronts, loads, peer, kind)
        row["storm"] = fronts.attempt(f"storm, {peer.label}", best_storm, fronts, loads, peer, seconds)
        results[peer.key] = row
    table = Table(
        "handshakes: CPU µs of front and Redis for a connection with one GET, one thread; how many one by one;\n"
        f"p99 µs of 50 clients at {RATE:,} ops/s, calm and while {STORM} others a second shake hands, with the better of one and two",
        "full",
        "resumed",
        "full one by one",
        "p99 calm",
        "in storm",
        "threads",
    )
    for peer in tls_peers(fronts):
        row = results[peer.key]
        full, resumed, stormy = row["full"], row["resumed"], row["storm"]
        table.row(
            peer.label,
            f"{full['cpu']:.0f}" if full else "–",
            "–" if not resumed else f"{resumed['cpu']:.0f}" if resumed["resumed"] > 0.95 else "doesn't resume",
            f"{count(full['rate'])}/s" if full else "–",
            micros(stormy["calm"]) if stormy else "–",
            micros(stormy["storm"]) if stormy else "–",
            str(stormy["threads"] or "–") if stormy else "–",
        )
    say(table)
    return results


def shake(fronts, loads, peer, kind):
    front = fronts.get(peer, peer.threads[0])
    options = ["--resume"] if kind == "resumed" else []
    generator = loads.own("handshakes", front, "--count", HANDSHAKES, *options)
    generator.expect("START")
    sample = loads.sample(front, generator)
    return {**sample, "cpu": sample["front_cpu"] + sample["redis_cpu"]}


def best_storm(fronts, loads, peer, seconds):
    found = [storm(loads, front, seconds) for front in fronts.all(peer)]
    return min(found, key=lambda row: row["storm"])


def storm(loads, front, seconds):
    """The median of three turns each: a p99 of two seconds is chance."""
    column = replace(COLUMNS[0], key="storm")
    calm, stormy = [], []
    for _ in range(3):
        calm.append(loads.run(front, column, rate=RATE, seconds=seconds / 2)["p99"])
        # Long enough for the others to connect and warm up: they are measured wholly within it.
        number = int((seconds / 2 + 1) * STORM)
        others = loads.own("handshakes", front, "--count", number, "--rate", STORM)
        others.expect("START")
        stormy.append(loads.run(front, column, rate=RATE, seconds=seconds / 2)["p99"])
        others.report()
        others.finish()
    return {"threads": front.threads, "calm": median(calm), "storm": median(stormy)}
