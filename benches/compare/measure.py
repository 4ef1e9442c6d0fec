"""What processes use, from /proc: CPU time and resident memory."""

import os
import pathlib

PROC = pathlib.Path("/proc")
TICK = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def tree(pid):
    """The process and its descendants: nginx and hitch have workers."""
    children = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            fields = stat_of(entry.name)
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, new = [], [pid]
    while new:
        one = new.pop()
        found.append(one)
        new += children.get(one, [])
    return found


def stat_of(pid):
    """The fields of /proc/PID/stat behind the name, which may hold anything."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


class Cpu:
    """The CPU seconds of a process and its descendants from now on."""

    def __init__(self, pid):
        self.pids = tree(pid)
        self.before = self.read()

    def read(self):
        exact, rounded = 0, 0
        for pid in self.pids:
            fields = stat_of(pid)
            if fields:
                rounded += (int(fields[11]) + int(fields[12])) * TICK
            # A process' own schedstat is that of its first thread alone.
            for task in (PROC / str(pid) / "task").glob("*/schedstat"):
                try:
                    exact += int(task.read_text().split()[0]) / 1e9
                except (OSError, ValueError, IndexError):
                    pass
        return exact, rounded

    def spent(self):
        """Exact to the nanosecond, but where threads ended meanwhile: then in ticks, which count those."""
        exact, rounded = (now - then for now, then in zip(self.read(), self.before))
        return exact if rounded - exact < 4 * TICK * len(self.pids) else rounded


def resident(pid):
    """Bytes in memory, of the process and its descendants. What they share counts in each."""
    total = 0
    for one in tree(pid):
        try:
            total += int((PROC / str(one) / "statm").read_text().split()[1]) * PAGE
        except (OSError, IndexError):
            pass
    return total


def machine():
    """The machine in a few words, for who reads the table elsewhere."""
    model = "unknown CPU"
    for line in (PROC / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} × {model}, Linux {os.uname().release}"
