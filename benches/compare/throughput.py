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
        samples, chosen = {}, {}
        for number in range(rounds):
            # Turned around each time, so that nobody always follows the same neighbour.
            for peer in fronts.peers[:: 1 if number % 2 == 0 else -1]:
                tried = samples.setdefault(peer.key, {})
                for threads in chosen.get(peer.key, peer.threads):
                    what = f"{column.title}, {peer.label}"
                    sample = fronts.attempt(what, lambda: loads.run(fronts.get(peer, threads), column))
                    if sample:
                        tried.setdefault(threads, []).append(sample)
                # The first round chooses: a later one would let one lucky sample stand for a peer.
                if tried and peer.key not in chosen:
                    chosen[peer.key] = [max(tried, key=lambda threads: tried[threads][0]["rate"])]
        results[column.key] = {key: summary(threads, samples[key][threads]) for key, (threads,) in chosen.items()}
        say(main_table(column, results[column.key]))
    return results


def summary(threads, samples):
    rates = [sample["rate"] for sample in samples]
    spread = (max(rates) - min(rates)) / median(rates)
    medians = {name: median(sample[name] for sample in samples) for name in samples[0]}
    return {"threads": threads, "rounds": len(samples), "spread": spread, **medians}


def main_table(column, measured):
    table = Table(column.title, "threads", "ops/s", "ratio", "spread", "p50 µs", "p99 µs", "CPU µs/op", "of front", "of Redis", "RSS MB")
    base = measured.get("redis-tls")
    for peer in PEERS:
        row = measured.get(peer.key)
        if row:
            table.row(
                peer.label,
                str(row["threads"] or "–"),
                count(row["rate"]),
                times(row["rate"], base and base["rate"]),
                f"{row['spread'] * 100:.0f} %",
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
    # 16 KB over TLS costs redis-benchmark itself 40 ms each.
    columns = [column for column in COLUMNS if column.key != "20-16k"]
    drivers = [("redis-benchmark --tls: SET, then GET, its handshakes included", lambda front, column, rate: loads.redis_benchmark(front, column, rate))]
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
        table = Table(f"checked by {title}: ops/s, ratio", *[name for column in columns for name in (column.short, "")])
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
        say("memtier_benchmark is not on PATH, and did not drive anything.\n")
    return results


def latency_part(fronts, loads, main, rounds, say):
    """p99 at the same rate for all: 70 % of what Envoy's redis_proxy does at most. Alternating rounds."""
    results = {}
    for column in COLUMNS:
        known = main.get(column.key, {})
        rate = PART * envoys_most(fronts, loads, column, known)
        if not rate:
            say(f"{column.title}: latency at a fixed rate is left out: there is no Envoy to say which\n")
            continue
        samples = {}
        for number in range(rounds):
            for peer in fronts.peers[:: 1 if number % 2 == 0 else -1]:
                what = f"latency, {column.title}, {peer.label}"
                sample = fronts.attempt(
                    what, lambda: loads.run(fronts.better(peer, known), column, rate=rate, seconds=loads.seconds / 2)
                )
                if sample:
                    samples.setdefault(peer.key, []).append(sample)
        results[column.key] = {
            "rate": rate,
            "peers": {key: {name: median(s[name] for s in many) for name in many[0]} for key, many in samples.items()},
        }
    measured = [column for column in COLUMNS if column.key in results]
    if measured:
        say(latency_table(fronts.peers, measured, results))
    return results


def envoys_most(fronts, loads, column, known):
    """What the main part found, in this run or the last one; else it is found now."""
    envoy = next((peer for peer in fronts.peers if peer.key == "envoy-redis"), None)
    if "envoy-redis" in known:
        return known["envoy-redis"]["rate"]
    if envoy is None:
        return 0
    found = [fronts.attempt("Envoy's maximum", lambda: loads.run(fronts.get(envoy, one), column)) for one in envoy.threads]
    return max((sample["rate"] for sample in found if sample), default=0)


def latency_table(peers, columns, results):
    title = (
        "p99 µs at 70 % of the most that Envoy redis_proxy does, counted from when a request was due\n"
        "(where the rate isn't kept the queue grows: the rate that was)"
    )
    table = Table(title, *[column.short for column in columns])
    table.row("asked: ops/s", *[count(results[column.key]["rate"]) for column in columns])
    for peer in peers:
        cells = []
        for column in columns:
            row, rate = results[column.key]["peers"].get(peer.key), results[column.key]["rate"]
            late = row and row["rate"] < 0.97 * rate
            cells.append("–" if not row else f"({count(row['rate'])}/s)" if late else micros(row["p99"]))
        table.row(peer.label, *cells)
    return table
