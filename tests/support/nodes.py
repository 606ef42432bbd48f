"""What lockd says of its nodes."""

import threading
import time

import lock_pb2
import pynng

from .rpc import Caller


def nodes_of(caller):
    return caller.call("/quorate.lock.v1.Lock/Nodes", lock_pb2.NodesRequest(), lock_pb2.NodesReply)


def voting(system):
    with Caller(system.lockd_url) as caller:
        return nodes_of(caller).voting


class Watch:
    """Asks lockd all the time, from `with` to its end, and knows since when how many nodes vote."""

    def __init__(self, system):
        self.url = system.lockd_url
        self.changes = []  # (moment when the answer had come, voting)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._thread.join()

    def _ask_on(self):
        with Caller(self.url, timeout_s=2) as caller:
            while not self._stopped.wait(0.005):
                try:
                    count = nodes_of(caller).voting
                except pynng.Timeout:
                    continue
                if not self.changes or self.changes[-1][1] != count:
                    self.changes.append((time.monotonic(), count))

    def since(self, count, after):
        """The moment after which at least `count` nodes were said to vote; None: not yet."""
        moments = [moment for moment, said in list(self.changes) if said >= count and moment >= after]
        return moments[0] if moments else None
