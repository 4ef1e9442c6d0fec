"""Which fronts run, and which of a peer's is the better one."""

from peers import BY_KEY, PEERS
from scene import Unmeasured


class Fronts:
    """Starts each front once, when it is first wanted."""

    def __init__(self, scene, keys):
        self.scene, self.notes, self.failures = scene, [], []
        self.started, self.peers = {}, []
        for peer in PEERS:
            if peer.key not in keys:
                continue
            missing = peer.missing(scene)
            if missing:
                self.notes.append(missing)
            else:
                self.peers.append(peer)

    def get(self, peer, threads):
        key = peer.key, threads
        if key not in self.started:
            try:
                self.started[key] = peer.start(self.scene, threads)
            except Unmeasured as why:
                # Once is enough, and the failure is told wherever it is missed.
                self.started[key] = why
        if isinstance(self.started[key], Unmeasured):
            raise self.started[key]
        return self.started[key]

    def all(self, peer):
        return [self.get(peer, threads) for threads in peer.threads]

    def better(self, peer, results):
        """The threads that did better in a column of the main part; the most where that isn't known."""
        known = (results or {}).get(peer.key) or {}
        return self.get(peer, known.get("threads", peer.threads[-1]))

    def attempt(self, what, measurement, *arguments, **options):
        """Measures; what can't be measured is told and makes the run fail, but doesn't end it."""
        try:
            return measurement(*arguments, **options)
        except Unmeasured as why:
            self.failures.append(f"{what}: {why}")
            print(f"\n!!! {what}: NOT MEASURED: {why}\n", flush=True)
            return None


def keys_of(text):
    """PEERS as it is written: names with commas, none for all. What all is compared to is always there."""
    if not text:
        return list(BY_KEY)
    keys = [key.strip() for key in text.split(",") if key.strip()]
    unknown = [key for key in keys if key not in BY_KEY]
    if unknown:
        raise Unmeasured(f"PEERS: unknown: {', '.join(unknown)} (there are: {', '.join(BY_KEY)})")
    return ["redis-tls"] + [key for key in keys if key != "redis-tls"]
