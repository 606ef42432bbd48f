"""Two lockds on the same five nodes, each with more clients than the resource can serve: both get their turns."""

import threading
import time

import pytest

from support.deployed import REDIS
from support.lockd import Lockd, Locks
from support.system import System

CLIENTS = 4  # at each lockd
RUN_S = 6
HOLD_S = 0.002


@pytest.fixture
def nodes():
    system = System()
    try:
        system.up(*REDIS)
        yield system.urls["REDIS_NODES"].split(",")
    finally:
        system.down()


class Client(threading.Thread):
    def __init__(self, url, granted, stopped):
        super().__init__(daemon=True)
        self.url = url
        self.granted = granted  # tokens, in the order in which they were held; shared by all
        self.stopped = stopped
        self.grants = 0
        self.longest_s = 0

    def run(self):
        with Locks(self.url) as locks:
            while not self.stopped.is_set():
                began = time.monotonic()
                lease = locks.acquire("stock:1", wait_ms=10000, deadline_ms=12000)
                self.longest_s = max(self.longest_s, time.monotonic() - began)
                self.granted.append(lease.token)
                self.grants += 1
                time.sleep(HOLD_S)
                lease.release()


def test_two_lockds_take_turns(nodes, tmp_path):
    with Lockd(tmp_path, nodes) as one, Lockd(tmp_path, nodes) as other:
        one.until_voting(5)
        other.until_voting(5)
        granted, stopped = [], threading.Event()
        crowds = [[Client(lockd.url, granted, stopped) for _ in range(CLIENTS)] for lockd in (one, other)]
        for client in (client for crowd in crowds for client in crowd):
            client.start()
        time.sleep(RUN_S)
        stopped.set()
        for client in (client for crowd in crowds for client in crowd):
            client.join(20)
            assert not client.is_alive(), "a client was never granted"
    shares = [sum(client.grants for client in crowd) for crowd in crowds]
    longest_s = max(client.longest_s for crowd in crowds for client in crowd)
    print(f"grants {shares}, longest wait {longest_s:.2f} s")
    assert sum(shares) > 200
    assert min(shares) > 0.2 * sum(shares), shares
    assert granted == sorted(granted)  # one after the other, each with a higher token
