"""lockd on five real nodes: leases, and what nodes, networks and processes do to them."""

import shutil
import socket
import statistics
import struct
import time

import lock_pb2
import pytest
import rpc_pb2

from support.deployed import REDIS, eventually
from support.lockd import LOCK, Lockd, Locks, fails, refusal_of, seconds
from support.sp import Peer, frames
from support.system import System

TTL_MAX_S = 8  # how long a node that forgot sits out: short, so that tests are


def settings(system):
    return {"LOCK_TTL_MAX_SECONDS": str(TTL_MAX_S), "LOCK_TIMEOUT_SECONDS": "2",
            "REDIS_NODES": ",".join(system.wire(name).address for name in REDIS)}


@pytest.fixture(scope="module")
def servers():
    """Five nodes and a lockd that reaches them through wires; nothing else."""
    system = System(settings)
    try:
        system.up(*REDIS, "lockd")
        yield system
        system.stop("lockd")  # leaks are reported at the end of a process
        assert system.reports() == []
    finally:
        system.down()


@pytest.fixture
def system(servers):
    yield servers
    for wire in servers.wires.values():
        wire.mend()
    servers.up(*REDIS, "lockd")
    with Locks(servers.lockd_url) as locks:
        eventually(lambda: locks.nodes().voting == 5, 3 * TTL_MAX_S, what="all five vote again")
    assert servers.reports() == []


@pytest.fixture
def locks(system):
    with Locks(system.lockd_url) as locks:
        yield locks


@pytest.fixture
def other(system):
    with Locks(system.lockd_url) as locks:
        yield locks


def lock_keys(system, names=REDIS):
    return {name: keys for name in names if (keys := system.redis(name).keys("lock:*"))}


def lose_data(system, name):
    system.kill(name)
    shutil.rmtree(system.directory / name / "data", ignore_errors=True)
    for path in (system.directory / name).glob("append*"):
        shutil.rmtree(path)
    system.start(name)


@pytest.mark.quick
def test_a_lease_from_grant_to_release(system, locks, other):
    lease = locks.acquire("stock:1")
    assert lease.reply.voting == 5 and not lease.reply.waiters
    assert 1_800_000 < lease.reply.validity_us < 2_000_000
    refusal = refusal_of(fails("BUSY", other.acquire, "stock:1", wait_ms=100))
    assert (refusal.holder, refusal.voting, refusal.quorum) == (lease.request_id, 5, 3)
    assert 0 < refusal.remaining_ms <= 2000
    assert lease.extend(ttl_ms=4000).validity_us > 3_800_000
    for name in REDIS:
        node = system.redis(name)
        assert node.get("fence:stock:1") == str(lease.token)
        assert node.get("lock:stock:1").startswith(f"{lease.request_id} ")
        assert node.get("lock:stock:1").endswith(f" {lease.token}")
    lease.release()
    eventually(lambda: not lock_keys(system))
    again = other.acquire("stock:1")
    assert again.token > lease.token
    fails("LOST", lease.extend)
    again.release()


def test_nodes_and_health_say_how_it_is(system, locks):
    nodes = locks.nodes()
    assert (nodes.voting, nodes.quorum, len(nodes.nodes)) == (5, 3, 5)
    assert [node.name for node in nodes.nodes] == [system.wire(name).address for name in REDIS]
    lease = locks.acquire("stock:2")
    lease.release()
    assert all(node.grants > 0 and node.grant_p99_us > 0 for node in locks.nodes().nodes)
    assert locks.serving()
    system.pause("redis2", "redis3", "redis4")
    eventually(lambda: not locks.serving(), 2)
    nodes = locks.nodes()
    assert nodes.voting == 2
    for node in nodes.nodes[2:]:
        assert node.state == lock_pb2.Node.DOWN and node.why
    refusal = refusal_of(fails("NO_QUORUM", locks.acquire, "stock:2", wait_ms=300))
    assert (refusal.voting, refusal.quorum) == (2, 3)
    assert [missing.name for missing in refusal.missing] == [node.name for node in nodes.nodes[2:]]
    system.unpause("redis2", "redis3", "redis4")
    eventually(locks.serving, 3)
    locks.acquire("stock:2").release()


def test_F9_a_release_whose_answers_are_lost_leaves_no_key(system, locks):
    lease = locks.acquire("stock:9", ttl_ms=4000)
    for name in REDIS[:2]:
        system.wire(name).hold("down")
    lease.release()
    eventually(lambda: not lock_keys(system), 2)
    assert all(system.redis(name).get("fence:stock:9") == str(lease.token + 1) for name in REDIS)


def test_F9_a_release_reaches_a_node_that_was_away_when_it_is_back(system, locks):
    lease = locks.acquire("stock:9", ttl_ms=4000)
    system.kill("redis4")
    lease.release()
    system.start("redis4")
    eventually(lambda: not lock_keys(system), 1)


def test_F11_a_lease_that_ended_is_known_to_have_ended(locks, other):
    lease = locks.acquire("stock:11", ttl_ms=300)
    other.acquire("stock:11", wait_ms=2000).release()
    fails("LOST", lease.extend)


def test_F13_a_black_hole_costs_nothing_but_its_vote(system, locks):
    def p99_s(count=400):
        taken = []
        for _ in range(count):
            began = time.monotonic()
            lease = locks.acquire("stock:13")
            taken.append(time.monotonic() - began)
            lease.release()
        return statistics.quantiles(taken, n=100)[98]

    healthy = p99_s()
    with system.wire("redis3").black_hole():
        assert p99_s() < 2 * healthy + 0.005  # the machine's own noise
        assert locks.nodes().voting == 4


def test_F18_nodes_that_restart_with_their_data_vote_at_once_and_know_the_holder(system, locks, other):
    lease = locks.acquire("stock:18", ttl_ms=TTL_MAX_S * 1000)
    for name in REDIS[:3]:
        system.kill(name)
        system.start(name)
        eventually(lambda: locks.nodes().voting == 5, 2)
        lease.extend(ttl_ms=TTL_MAX_S * 1000)
    assert refusal_of(fails("BUSY", other.acquire, "stock:18", no_wait=True)).holder == lease.request_id
    assert lease.extend().voting == 5
    lease.release()


def test_F18_nodes_that_restart_empty_elect_no_second_holder(system, locks, other):
    began = time.monotonic()
    lease = locks.acquire("stock:18", ttl_ms=TTL_MAX_S * 1000)
    for name in REDIS[:3]:
        lose_data(system, name)
    eventually(lambda: [node.state for node in locks.nodes().nodes[:3]] == [lock_pb2.Node.QUARANTINE] * 3, 2)
    assert locks.nodes().voting == 2
    assert all(0 < node.quarantine_ms <= TTL_MAX_S * 1020 for node in locks.nodes().nodes[:3])
    while time.monotonic() - began < TTL_MAX_S - 0.1:
        fails("NO_QUORUM", other.acquire, "stock:18", no_wait=True)
    second = eventually(lambda: locks.nodes().voting == 5 and other.acquire("stock:18"), 3 * TTL_MAX_S)
    assert second.token > lease.token
    second.release()


def test_F25_paused_nodes_wake_with_no_lock_that_nobody_owns(system, locks):
    """Not even when the pause outlasts what lockd remembers to release."""
    lease = locks.acquire("stock:25", ttl_ms=1000)
    lease.release()
    eventually(lambda: not lock_keys(system))
    system.pause(*REDIS[:3])
    for _ in range(5):
        fails("NO_QUORUM", locks.acquire, "stock:25", ttl_ms=500, wait_ms=200)
    eventually(lambda: locks.nodes().voting == 2)
    time.sleep(1)
    system.unpause(*REDIS[:3])
    assert lock_keys(system) == {}
    eventually(lambda: locks.nodes().voting == 5, 3)
    assert lock_keys(system) == {}
    locks.acquire("stock:25", no_wait=True).release()


def test_F29_a_lease_whose_answer_was_lost_is_released_by_its_request_id(system, locks):
    wire = system.wire("lockd")
    wire.hold("down")
    peer = Peer(f"tcp://{wire.address}")
    acquire = lock_pb2.AcquireRequest(resource="stock:29", request_id="lost-29", ttl_ms=4000)
    peer.send(frames(rpc_pb2.Call(call_id=1, method=LOCK + "Acquire",
                                  body=acquire.SerializeToString()).SerializeToString()))
    eventually(lambda: len(lock_keys(system)) == 5)
    peer.close()
    wire.cut()
    assert refusal_of(fails("BUSY", locks.acquire, "stock:29", no_wait=True)).holder == "lost-29"
    locks.release("stock:29", "lost-29")
    locks.acquire("stock:29", no_wait=True).release()
    fails("LOST", locks.acquire, "stock:29", request_id="lost-29")  # an Acquire that its Release overtook


def test_F30_a_lockd_with_another_node_list_gets_no_vote(system, tmp_path):
    nodes = [f"127.0.0.1:{system.port(name)}" for name in REDIS[:3]]
    with Lockd(tmp_path, nodes, LOCK_TTL_MAX_SECONDS=str(TTL_MAX_S), LOCK_TIMEOUT_SECONDS="2") as stranger:
        with stranger.locks() as locks:
            eventually(lambda: all(node.state == lock_pb2.Node.REFUSED for node in locks.nodes().nodes))
            assert all(node.why.startswith("WRONG_CLUSTER") for node in locks.nodes().nodes)
            failed = fails("NO_QUORUM", locks.acquire, "stock:30", wait_ms=200)
            assert "WRONG_CLUSTER" in refusal_of(failed).missing[0].why
            assert not locks.serving()
    assert lock_keys(system) == {}


def test_two_lockds_of_one_cluster_keep_each_other_out(system, locks, tmp_path):
    nodes = [system.wire(name).address for name in REDIS]
    with Lockd(tmp_path, nodes, LOCK_TTL_MAX_SECONDS=str(TTL_MAX_S), LOCK_TIMEOUT_SECONDS="2") as second:
        second.until_voting(5)
        with second.locks() as elsewhere:
            lease = locks.acquire("stock:33")
            failed = fails("BUSY", elsewhere.acquire, "stock:33", wait_ms=200)
            assert refusal_of(failed).holder == lease.request_id
            lease.locks = elsewhere
            fails("LOST", lease.extend)  # F33: only the instance that granted extends
            lease.locks = locks
            lease.release()
            eventually(lambda: not lock_keys(system))  # else it finds it held and waits for the lease's end
            after = elsewhere.acquire("stock:33")
            assert after.token > lease.token
            after.release()


def test_a_killed_lockd_frees_what_it_held_when_the_lease_ends(system, locks):
    lease = locks.acquire("stock:k", ttl_ms=1500)
    forgotten = locks.acquire("stock:l", ttl_ms=4000)
    system.kill("lockd")
    system.start("lockd")
    with Locks(system.lockd_url) as after:
        eventually(lambda: after.nodes().voting == 5)
        waited = seconds(lambda: after.acquire("stock:k", wait_ms=3000).release())
        assert waited < 1.6
        after.release("stock:l", forgotten.request_id)  # by its id, at a lockd that did not grant it
        assert seconds(lambda: after.acquire("stock:l", wait_ms=3000).release()) < 0.5
    assert lease.token


def test_sigterm_answers_those_who_wait(system, tmp_path, aside):
    nodes = [system.wire(name).address for name in REDIS]
    with Lockd(tmp_path, nodes, LOCK_TTL_MAX_SECONDS=str(TTL_MAX_S), LOCK_TIMEOUT_SECONDS="2") as second:
        second.until_voting(5)
        with second.locks() as holder, second.locks() as waiter:
            holder.acquire("stock:t")
            waiting = aside(fails, "DOWN", waiter.acquire, "stock:t", wait_ms=5000)
            time.sleep(0.3)
            assert not waiting.done()
            took = seconds(second.end)
            waiting.result(1)
            assert took < 2 and second.process.returncode == 0


def test_settings_that_make_no_sense_are_all_said(tmp_path):
    with Lockd(tmp_path, ["nonsense"], LOCK_TIMEOUT_SECONDS="0", LOCK_INIT="maybe") as lockd:
        assert lockd.process.wait(10) == 2
        for name in ("REDIS_NODES", "LOCK_TIMEOUT_SECONDS", "LOCK_INIT"):
            assert name in lockd.log()
    with Lockd(tmp_path, ["a:1"], LOCK_TIMEOUT_SECONDS="90") as lockd:
        assert lockd.process.wait(10) == 2
        assert "LOCK_TTL_MAX_SECONDS" in lockd.log()


class Nodes:
    """Redis servers of a test's own, from a system's parts."""

    def __init__(self, count):
        self.system = System({"REDIS_APPENDFSYNC": "always"})
        self.names = REDIS[:count]
        self.system.up(*self.names)
        self.addresses = [f"127.0.0.1:{self.system.port(name)}" for name in self.names]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.system.down()


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_nodes_work_the_same(count, tmp_path):
    with Nodes(count) as nodes, Lockd(tmp_path, nodes.addresses) as lockd:
        lockd.until_voting(count)
        with lockd.locks() as locks:
            lease = locks.acquire("stock:1")
            fails("BUSY", locks.acquire, "stock:1", no_wait=True)
            lease.release()
            assert locks.acquire("stock:1").token > lease.token
            nodes.system.kill(*nodes.names[count // 2:])
            fails("NO_QUORUM", locks.acquire, "stock:2", wait_ms=100)
            nodes.system.start(*nodes.names[count // 2:])
            eventually(lambda: locks.nodes().voting == count, 5)
            locks.acquire("stock:2").release()


def test_F28_one_server_under_two_names_votes_once(tmp_path):
    with Nodes(2) as nodes:
        port = nodes.system.port("redis")
        names = [f"127.0.0.1:{port}", f"localhost:{port}", nodes.addresses[1]]
        with Lockd(tmp_path, names, LOCK_TTL_MAX_SECONDS="1", LOCK_TIMEOUT_SECONDS="1") as lockd, \
                lockd.locks() as locks:
            eventually(lambda: any(node.state == lock_pb2.Node.REFUSED for node in locks.nodes().nodes))
            whys = [node.why for node in locks.nodes().nodes[:2] if node.state == lock_pb2.Node.REFUSED]
            assert len(whys) == 1 and whys[0].startswith("it is the same server as ")


def test_G10_a_node_whose_eviction_policy_drops_keys_is_refused(tmp_path):
    with Nodes(3) as nodes:
        nodes.system.redis("redis1").config_set("maxmemory-policy", "volatile-lru")
        with Lockd(tmp_path, nodes.addresses, LOCK_TTL_MAX_SECONDS="1", LOCK_TIMEOUT_SECONDS="1") as lockd, \
                lockd.locks() as locks:
            eventually(lambda: locks.nodes().nodes[1].state == lock_pb2.Node.REFUSED)
            assert "maxmemory-policy" in locks.nodes().nodes[1].why


def test_reconfigure_adopts_new_settings_when_every_lockd_has_stopped(tmp_path):
    short = {"LOCK_TTL_MAX_SECONDS": "2", "LOCK_TIMEOUT_SECONDS": "1"}
    longer = {"LOCK_TTL_MAX_SECONDS": "3", "LOCK_TIMEOUT_SECONDS": "1"}
    with Nodes(3) as nodes:
        with Lockd(tmp_path, nodes.addresses, **short) as lockd:
            lockd.until_voting(3)
            with lockd.locks() as locks:
                token = locks.acquire("stock:1").token
            with Lockd(tmp_path, nodes.addresses, "--reconfigure", **longer) as tool:
                with lockd.locks() as locks:  # somebody still runs
                    while tool.process.poll() is None:
                        locks.acquire("stock:1", wait_ms=3000)
                        time.sleep(0.1)
                assert tool.process.returncode == 1 and "some lockd is running" in tool.log()
        with Lockd(tmp_path, nodes.addresses, "--reconfigure", **longer) as tool:
            assert tool.process.wait(15) == 0, tool.log()
        with Lockd(tmp_path, nodes.addresses, **longer) as lockd, Lockd(tmp_path, nodes.addresses, **short) as old:
            lockd.until_voting(3)
            with lockd.locks() as locks, old.locks() as before:
                assert locks.acquire("stock:1").token > token
                eventually(lambda: before.nodes().nodes[0].why.startswith("WRONG_CLUSTER"))


def test_a_caller_that_vanishes_keeps_its_lease_and_loses_its_place(system, locks, other, aside):
    with Locks(system.lockd_url) as doomed:
        doomed.acquire("stock:v", request_id="doomed", ttl_ms=3000)
    assert refusal_of(fails("BUSY", locks.acquire, "stock:v", no_wait=True)).holder == "doomed"
    host, _, port = system.lockd_url.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port))) as link:  # waits, and vanishes
        link.sendall(b"\0SP\0" + struct.pack(">HH", 0x30, 0))
        acquire = lock_pb2.AcquireRequest(resource="stock:v", request_id="vanished", wait_ms=5000)
        frame = rpc_pb2.Call(call_id=1, method=LOCK + "Acquire", timeout_ms=5000,
                             body=acquire.SerializeToString()).SerializeToString()
        message = struct.pack(">II", 0x80000001, len(frame)) + frame
        link.sendall(struct.pack(">Q", len(message)) + message)
        link.settimeout(0.2)
        with pytest.raises(TimeoutError):
            link.recv(8)
            link.recv(8)
    waiting = aside(other.acquire, "stock:v", request_id="patient", wait_ms=4000)
    time.sleep(0.2)
    locks.release("stock:v", "doomed")
    waiting.result(1).release()


def test_a_paused_lockd_wakes_with_all_its_nodes(system, locks):
    """It must not take its own absence for theirs."""
    locks.acquire("stock:p").release()
    reconnects = [node.reconnects for node in locks.nodes().nodes]
    pid = system.pid("lockd")
    system.pause("lockd")
    time.sleep(1.5)
    system.unpause("lockd")
    assert system.pid("lockd") == pid
    assert seconds(lambda: locks.acquire("stock:p").release()) < 1
    assert [node.reconnects for node in locks.nodes().nodes] == reconnects
