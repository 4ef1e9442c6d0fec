"""The main table, the same by other drivers, and latency at one rate for all."""

import shutil
from statistics import median

from loads import COLUMNS
from peers import PEERS
from table import Table, count, megabytes, micros, times

# Of what Envoy's redis_proxy can do at most.
PART = 0.7


def main_part(fronts, loads, rounds, say):
    """Alternating rounds: {column: {peer: medians}}."""
    results = {}
    for column in COLUMNS:
        samples = {}
        for number in range(rounds):
            # Turned around each time, so that nobody always follows the same neighbour.
            for peer in fronts.peers[:: 1 if number % 2 == 0 else -1]:
                tried = samples.setdefault(peer.key, {})
                if number == 0:
                    threads = peer.threads
                else:
                    threads = [better_of(tried)] if tried else []
                for one in threads:
                    what = f"{column.title}, {peer.label}"
                    sample = fronts.attempt(what, lambda: loads.run(fronts.get(peer, one), column))
                    if sample:
                        tried.setdefault(one, []).append(sample)
        results[column.key] = {key: summary(tried) for key, tried in samples.items() if tried}
        say(main_table(column, results[column.key]))
    return results


def better_of(tried):
    return max(tried, key=lambda threads: median(sample["rate"] for sample in tried[threads]))


def summary(tried):
    threads = better_of(tried)
    samples = tried[threads]
    return {"threads": threads, "rounds": len(samples), **{name: median(s[name] for s in samples) for name in samples[0]}}


def main_table(column, measured):
    table = Table(column.title, "threads", "ops/s", "ratio", "p50 µs", "p99 µs", "CPU µs/op", "of front", "of Redis", "RSS MB")
    base = measured.get("redis-tls")
    for peer in PEERS:
        row = measured.get(peer.key)
        if row:
            table.row(
                peer.label,
                str(row["threads"] or "–"),
                count(row["rate"]),
                times(row["rate"], base and base["rate"]),
                micros(row["p50"]),
                micros(row["p99"]),
                f"{row['front_cpu'] + row['redis_cpu']:.2f}",
                f"{row['front_cpu']:.2f}",
                f"{row['redis_cpu']:.2f}",
                megabytes(row["resident"]),
            )
    return table


def check_part(fronts, loads, main, say):
    """The columns that redis-benchmark can drive (and memtier_benchmark, where it is on PATH)."""
    # 16 KB over TLS costs redis-benchmark itself 40 ms each; a mix it can't do.
    columns = [column for column in COLUMNS if column.key not in ("20-16k", "mix")]
    drivers = [("redis-benchmark --tls: SET, then GET", lambda front, column, rate: loads.redis_benchmark(front, column, rate))]
    memtier = shutil.which("memtier_benchmark")
    if memtier:
        drivers.append(("memtier_benchmark: SET:GET 1:10", lambda front, column, _: loads.memtier(memtier, front, column)))
    results = {}
    for title, drive in drivers:
        rows = {}
        for column in columns:
            known = main.get(column.key, {})
            for peer in fronts.peers:
                rate = known.get(peer.key, {}).get("rate", 50_000)
                front = fronts.attempt(title, fronts.better, peer, known)
                if front:
                    what = f"{title}, {column.title}, {peer.label}"
                    rows.setdefault(peer.key, {})[column.key] = fronts.attempt(what, drive, front, column, rate)
            loads.filled = None
        results[title] = rows
        table = Table(f"checked by {title}: ops/s, ratio", *[name for column in columns for name in (column.title, "")])
        base = rows.get("redis-tls", {})
        for peer in fronts.peers:
            cells = []
            for column in columns:
                measured = rows.get(peer.key, {}).get(column.key)
                compared = base.get(column.key)
                cells += [count(measured[0]), times(measured[0], compared and compared[0])] if measured else ["–", ""]
            table.row(peer.label, *cells)
        say(table)
    if not memtier:
        say("memtier_benchmark is not on PATH, and did not drive anything.")
    return results


def latency_part(fronts, loads, main, say):
    """p99 at the same rate for all: 70 % of what Envoy's redis_proxy does at most."""
    envoy = next((peer for peer in fronts.peers if peer.key == "envoy-redis"), None)
    results = {}
    for column in COLUMNS:
        known = main.get(column.key, {})
        most = known.get("envoy-redis", {}).get("rate")
        if most is None and envoy:
            found = [fronts.attempt("Envoy's maximum", loads.run, front, column) for front in fronts.all(envoy)]
            most = max((sample["rate"] for sample in found if sample), default=None)
        if most is None:
            say(f"{column.title}: latency at a fixed rate is left out: there is no Envoy to say which")
            continue
        rows = {}
        for peer in fronts.peers:
            front = fronts.attempt(column.title, fronts.better, peer, known)
            if front:
                rows[peer.key] = fronts.attempt(f"latency, {column.title}, {peer.label}", loads.run, front, column, rate=PART * most)
        results[column.key] = {"rate": PART * most, "peers": {key: row for key, row in rows.items() if row}}
    if not results:
        return results
    measured = [column for column in COLUMNS if column.key in results]
    names = [f"{column.title}: {count(results[column.key]['rate'])}/s" for column in measured]
    table = Table("p99 µs at 70 % of Envoy redis_proxy's maximum, from when each request was due", *names)
    for peer in fronts.peers:
        cells = []
        for column in measured:
            row = results[column.key]["peers"].get(peer.key)
            # Who can't keep the rate has no latency, only a queue that grows.
            late = row and row["rate"] < 0.97 * results[column.key]["rate"]
            cells.append("–" if not row else f"can't: {count(row['rate'])}/s" if late else micros(row["p99"]))
        table.row(peer.label, *cells)
    say(table)
    return results
