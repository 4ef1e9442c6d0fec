"""respgate beside its peers: the comparison that `make bench` runs.

Starts each peer on loopback with mutual TLS in front of one Redis 7.0.15, drives them in alternating
rounds, prints tables, writes target/bench/results.json and, of a whole run, benches/compare.svg.

Environment:
  BENCH     parts, with commas: micro main redis-benchmark latency memory handshakes growth (default: all)
  PEERS     peers, with commas: respgate respgate-dedicated envoy-redis envoy-tcp haproxy nginx stunnel hitch
            redis-plain (default: all; Redis' own TLS is always there)
  ROUNDS    rounds of throughput and latency, of which the median counts (default 3)
  DURATION  seconds of each measurement (default 1.5)

Needs Python 3.9 and nothing but its standard library. The exit code is 1 where something that is there
could not be measured, or answered wrongly.
"""

import datetime
import json
import os
import signal
import subprocess
import sys

import costs
import growth
import throughput
from fronts import Fronts, keys_of
from loads import Loads
from measure import machine
from picture import draw
from scene import ROOT, TARGET, Scene, Unmeasured

PARTS = ["micro", "main", "redis-benchmark", "latency", "memory", "handshakes", "growth"]
OUT = TARGET / "bench"


def main():
    parts = [part.strip() for part in (os.environ.get("BENCH") or ",".join(PARTS)).split(",")]
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise Unmeasured(f"BENCH: unknown: {', '.join(unknown)} (there are: {', '.join(PARTS)})")
    keys = keys_of(os.environ.get("PEERS"))
    rounds = int(os.environ.get("ROUNDS") or 3)
    seconds = float(os.environ.get("DURATION") or 1.5)

    # Before we are what it is busy with.
    busy = os.getloadavg()[0]
    if "micro" in parts:
        cargo = os.environ.get("CARGO", "cargo")
        subprocess.run([cargo, "bench", "--locked", "--bench", "scan", "--bench", "decide"], cwd=ROOT, check=True)
    if parts == ["micro"]:
        return 0
    # Ended from outside, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    scene = Scene()
    try:
        scene.open()
        return compare(scene, parts, keys, rounds, seconds, busy)
    finally:
        scene.close()


def compare(scene, parts, keys, rounds, seconds, busy):
    OUT.mkdir(parents=True, exist_ok=True)
    file = OUT / "results.json"
    # What an earlier run found is where this one looks up rates and threads of parts that it leaves out.
    results = json.loads(file.read_text()) if file.exists() else {}
    text = open(OUT / "tables.txt", "w", encoding="utf-8")

    def say(what):
        print(f"\n{what}", end="", flush=True)
        text.write(f"\n{what}")
        text.flush()

    fronts = Fronts(scene, keys)
    loads = Loads(scene, seconds)
    versions = {name: scene.binaries[name]["version"] for name in ("7.0.15", "envoy", "haproxy", "nginx", "stunnel", "hitch") if name in scene.binaries}
    results["run"] = {
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "rounds": rounds,
        "seconds": seconds,
        "versions": versions,
        "left_out": fronts.notes,
        "load_before": busy,
    }
    peers = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "7.0.15")
    say(
        f"Mutual TLS 1.3 with P-256 certificates, in front of Redis {versions['7.0.15']}; {peers}\n"
        f"{machine()}, which the load generator shares. Driven by benches/load, {rounds} rounds of {seconds:g} s, medians; "
        "SET:GET 1:1 and 64 B values where a column doesn't say otherwise;\n"
        "each peer with the better of one and two threads. CPU is that of the front and of Redis; "
        "ratios are to Redis' own TLS; spread is that of ops/s over the rounds.\n"
    )
    if is_busy(busy):
        say(f"This machine is busy with other work (load {busy:.1f} on {os.cpu_count()} cores): numbers are rough, p99 most of all.\n")
    for note in fronts.notes:
        say(f"{note}\n")

    def part(name, run, *arguments):
        if name in parts:
            results[name] = run(fronts, loads, *arguments, say)
            file.write_text(json.dumps(results, indent=1) + "\n")

    part("main", throughput.main_part, rounds)
    if "main" in parts:
        save_picture(results, versions, whole="PEERS" not in os.environ and not fronts.failures)
    main = results.get("main", {})
    part("redis-benchmark", throughput.check_part, main)
    part("latency", throughput.latency_part, main, rounds)
    part("memory", costs.memory_part)
    part("handshakes", costs.handshakes_part, seconds)
    part("growth", growth.growth_part)
    for failure in fronts.failures:
        say(f"NOT MEASURED: {failure}\n")
    say(f"Written to {OUT}: results.json, tables.txt, compare.svg\n")
    return 1 if fronts.failures else 0


def is_busy(load):
    """Whether others use so much of this machine that numbers suffer."""
    return load > os.cpu_count() / 4


def save_picture(results, versions, whole):
    if not any(row.get("redis-tls") for row in results["main"].values()):
        return
    run = results["run"]
    peers = ", ".join(f"{name} {version}" for name, version in versions.items() if name not in ("7.0.15",))
    note = f"{os.cpu_count()} cores with the load generator on them, {run['date']}; Redis {versions['7.0.15']}, {peers}"
    if is_busy(run["load_before"]):
        note += "; they were busy with other work, too"
    svg = draw(results["main"], note)
    (OUT / "compare.svg").write_text(svg)
    # The README's picture is of all peers or stays what it was.
    if whole:
        (ROOT / "benches" / "compare.svg").write_text(svg)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Unmeasured as why:
        sys.exit(f"bench: {why}")
    except KeyboardInterrupt:
        sys.exit(130)
