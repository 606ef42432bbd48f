"""Leases on the real chain: grants and calls that come too late, holders and nodes that slept."""

import itertools
import time

import lock_pb2
import pytest
import rpc_pb2

from support.crowd import Crowd
from support.deployed import REDIS, eventually
from support.lease import Lease
from support.nodes import nodes_of, voting
from support.rpc import Caller, Failed

LEASE_S = 1.0


def SETTINGS(system):
    return {
        "LOCKD_URL": f"tcp://{system.wire('lockd').address}",  # of inventory and edge; tests ask lockd itself
        "LOCK_TIMEOUT_SECONDS": str(int(LEASE_S)),
    }


def locks_on(system, names=REDIS):
    return [key for name in names for key in system.redis(name).scan_iter("lock:*", count=1000)]


def test_F11_a_paused_inventory_knows_that_its_lease_is_over(system, buyers, product_of):
    """It held the lease when it fell asleep; when it wakes, another holds it, and nothing else would stop a sale."""
    product = product_of(1_000_000)

    def recorded():
        return system.sql("SELECT count(*) FROM purchases WHERE product_id = %s", product)[0][0]

    with Crowd(system, product, buyers, stubborn=True) as crowd:
        crowd.sells(50)
        system.pause("inventory")
        with Lease(system, f"stock:{product}", ttl_ms=20000, wait_ms=5000):
            before = recorded()
            system.unpause("inventory")
            awake = time.monotonic()
            eventually(lambda: len([answer for answer in crowd.answers if answer.ended > awake + 0.2]) >= 8)
            assert recorded() == before
        crowd.sells(50, after=time.monotonic())
    assert crowd.mismatches() == []


def test_F17_a_grant_that_comes_too_late_is_dead_on_arrival(system, buyers, product_of, aside):
    """Nothing is sold under it, the buyer hears that nothing happened or is sold to under the next, and no key stays."""
    product = product_of(5)
    wire = system.wire("lockd")
    wire.hold("down")
    asked = aside(buyers[0].beside().buy, product, key="F17")
    keys = eventually(lambda: locks_on(system, REDIS[:1]))
    late_token = int(system.redis("redis").get(keys[0]).split()[-1])
    eventually(lambda: not locks_on(system, REDIS[:1]), LEASE_S + 2, "the end of the lease whose grant is held")
    wire.release()
    answer = asked.result()
    assert answer.status_code in (201, 503), answer.text
    rows = system.sql("SELECT token FROM purchases WHERE product_id = %s", product)
    assert len(rows) == (answer.status_code == 201)
    assert all(token > late_token for (token,) in rows)
    eventually(lambda: buyers[0].buy(product, key="F17").status_code == 201)
    eventually(lambda: locks_on(system) == [], LEASE_S / 2)


def test_F24_what_waited_for_a_dead_lockd_is_not_executed(system, aside):
    """NNG keeps what is sent meanwhile and delivers it to the next lockd; the call was meant for the last one."""
    with Caller(system.lockd_url, timeout_s=30) as caller:
        hello = caller.call("/quorate.rpc.v1.Peer/Hello", rpc_pb2.HelloRequest(program="test"), rpc_pb2.HelloReply)
        system.stop("lockd")
        acquire = lock_pb2.AcquireRequest(resource="F24", request_id="F24", ttl_ms=60000)
        exact = {"instance": hello.instance, "expires_us": hello.boottime_us + 300_000}
        asked = aside(caller.call, "/quorate.lock.v1.Lock/Acquire", acquire, lock_pb2.AcquireReply, **exact)
        eventually(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) * 1e6 > exact["expires_us"])
        system.start("lockd")
        with pytest.raises(Failed) as failed:
            asked.result()
        assert failed.value.reason == "EXPIRED"
    assert not any(system.redis(name).exists("lock:F24") for name in REDIS)


def test_F24_what_waited_in_a_paused_lockd_is_not_executed(system, buyers, product_of, aside):
    """Its socket holds an Acquire of inventory whose deadline passes meanwhile: on waking it grants nothing."""
    product = product_of(5)
    system.pause("lockd")
    answer = aside(buyers[0].beside().buy, product, key="F24").result()
    assert answer.status_code == 503, answer.text
    assert system.sql("SELECT count(*) FROM purchases WHERE product_id = %s", product) == [(0,)]
    system.unpause("lockd")
    eventually(lambda: buyers[0].beside().buy(product, key="F24").status_code == 201)
    eventually(lambda: buyers[0].get("/health").status_code == 200)
    eventually(lambda: locks_on(system) == [], 2)


def test_F25_paused_nodes_wake_to_no_ghost_lock(system, aside):
    """Three nodes fall asleep under acquires of a minute, which stay in their sockets while the connections are dropped.
    On waking they execute them, and must find the release behind them, or get it before they vote."""
    def acquire_on(place):
        """Until one is refused for want of nodes."""
        with Caller(system.lockd_url) as caller:
            for number in itertools.count():
                ids = {"resource": f"F25-{place}-{number}", "request_id": f"F25-{place}-{number}"}
                request = lock_pb2.AcquireRequest(**ids, ttl_ms=60_000, wait_ms=300)
                try:
                    caller.call("/quorate.lock.v1.Lock/Acquire", request, lock_pb2.AcquireReply)
                except Failed as failed:
                    assert failed.reason == "NO_QUORUM"
                    return number
                caller.call("/quorate.lock.v1.Lock/Release", lock_pb2.ReleaseRequest(**ids), lock_pb2.ReleaseReply)

    asked = [aside(acquire_on, place) for place in range(8)]
    eventually(lambda: locks_on(system))
    system.pause(*REDIS[1:4])
    assert sum(one.result() for one in asked) > 0
    eventually(lambda: voting(system) == 2)
    system.unpause(*REDIS[1:4])
    eventually(lambda: voting(system) == 5)
    eventually(lambda: locks_on(system) == [], 2, "no key without a live owner")
    with Caller(system.lockd_url) as caller:
        assert all(node.state == lock_pb2.Node.VOTING for node in nodes_of(caller).nodes)
