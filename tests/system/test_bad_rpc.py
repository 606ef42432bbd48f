"""Garbage at the RPC ports: dropped and counted, or answered with an error; nobody dies, nobody waits."""

import random
import struct
import time
from pathlib import Path

import health_pb2
import inventory_pb2
import lock_pb2
import pytest
import rpc_pb2

from support import sp
from support.crowd import Crowd
from support.deployed import eventually
from support.metrics import metrics_of
from support.rpc import Caller, Failed

# What is freed is kept from reuse for a while by AddressSanitizer: little of it, so that memory says something.
SETTINGS = {"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=4"}
MESSAGES = 10_000
GROWTH_BYTES_MAX = 48 << 20
GAP_S = 2.0  # between two sales
STALL_S = 1.0  # nobody waits longer for an answer because of them


def call(method, request, **more):
    """A Call without its call_id, which `numbered` puts before it."""
    return rpc_pb2.Call(method=method, body=request.SerializeToString(), **more).SerializeToString()


def numbered(chance, part):
    return rpc_pb2.Call(call_id=chance.randint(1, 300)).SerializeToString() + part


LOCK, INVENTORY, ACCOUNTS = "/quorate.lock.v1.Lock/", "/quorate.inventory.v1.Inventory/", "/quorate.inventory.v1.Accounts/"
SHARED = [
    call("/quorate.rpc.v1.Peer/Hello", rpc_pb2.HelloRequest(program="mutant")),
    call("/quorate.rpc.v1.Peer/Metrics", rpc_pb2.MetricsRequest()),
    call("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest()),
    call("/grpc.health.v1.Health/Watch", health_pb2.HealthCheckRequest(), timeout_ms=50),
    rpc_pb2.Call(kind=rpc_pb2.Call.CANCEL).SerializeToString(),
    call("/quorate.nothing.v1.Nothing/Nothing", rpc_pb2.HelloRequest()),
]
SEEDS = {
    "lockd": SHARED + [
        call(LOCK + "Acquire", lock_pb2.AcquireRequest(resource="mutant:1", request_id="mutant-1", ttl_ms=50, wait_ms=20)),
        call(LOCK + "Acquire", lock_pb2.AcquireRequest(resource="mutant:2", request_id="mutant-2", ttl_ms=20, no_wait=True),
             metadata=rpc_pb2.Metadata(request_id="m", traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01")),
        call(LOCK + "Release", lock_pb2.ReleaseRequest(resource="mutant:1", request_id="mutant-1")),
        call(LOCK + "Extend", lock_pb2.ExtendRequest(resource="mutant:1", request_id="mutant-1", token=1, ttl_ms=20)),
        call(LOCK + "Nodes", lock_pb2.NodesRequest()),
    ],
    "inventory": SHARED + [
        call(INVENTORY + "Buy", inventory_pb2.BuyRequest(user_id=1, product_id=10 ** 6, quantity=1, idempotency_key="mutant")),
        call(INVENTORY + "GetProduct", inventory_pb2.GetProductRequest(id=1)),
        call(INVENTORY + "GetStock", inventory_pb2.GetStockRequest(product_id=1)),
        call(INVENTORY + "ListProducts", inventory_pb2.ListProductsRequest(limit=3)),
        call(INVENTORY + "ListPurchases", inventory_pb2.ListPurchasesRequest(user_id=1, limit=3)),
        call(INVENTORY + "CreateProduct", inventory_pb2.CreateProductRequest(name="mutant", price=1, stock=1,
                                                                            idempotency_key="mutant")),
        call(ACCOUNTS + "CreateAccount", inventory_pb2.CreateAccountRequest(username="mutant", password_hash="$argon2id$x")),
        call(ACCOUNTS + "FindAccount", inventory_pb2.FindAccountRequest(username="mutant")),
        call(ACCOUNTS + "GetAccount", inventory_pb2.GetAccountRequest(id=1)),
    ],
}


def flip_bits(chance, data):
    data = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def truncate(chance, data):
    return data[:chance.randrange(len(data))]


def extend(chance, data):
    return data + chance.randbytes(chance.randint(1, 400))


def insert(chance, data):
    place = chance.randrange(len(data))
    return data[:place] + chance.randbytes(chance.randint(1, 40)) + data[place:]


def splice(chance, data):
    place = chance.randrange(len(data))
    return data[place:] + data[:place]


def relength(chance, data):
    """A frame's length that is not its length."""
    lengths = (0, 1, len(data), len(data) + 1, 256 << 10, (256 << 10) + 1, 1 << 31, 0xFFFFFFFF)
    return struct.pack(">I", chance.choice(lengths)) + data[4:]


def repeat(chance, data):
    return data * chance.randint(2, 80)  # also more frames than a message may hold, equal call ids


def garbage(chance, data):
    return chance.randbytes(chance.randint(0, 2 * len(data)))


def inflate(chance, data):
    return sp.frames(data[4:] + b"\x42" + b"\xff\xff\x0f" + bytes(chance.choice((100_000, 300_000))))


MUTATIONS = (flip_bits, flip_bits, truncate, extend, insert, splice, relength, repeat, garbage)


def mutant(chance, seeds):
    parts = [numbered(chance, part) for part in chance.sample(seeds, chance.randint(1, 3))]
    if chance.random() < 0.003:
        return inflate(chance, sp.frames(parts[0]))
    if chance.random() < 0.5:  # inside a frame that is sound outside
        return sp.frames(*(chance.choice(MUTATIONS)(chance, part) for part in parts))
    return chance.choice(MUTATIONS)(chance, sp.frames(*parts))


def resident_bytes(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("name", SEEDS)
def test_ten_thousand_mutants(system, buyers, product_of, name):
    chance = random.Random(f"{name} 1")
    url, pid = getattr(system, f"{name}_url"), system.pid(name)
    peer = sp.Peer(url)
    product = product_of(1_000_000)
    early = None
    with Crowd(system, product, buyers, size=2, stubborn=True) as crowd, Caller(url, timeout_s=STALL_S) as other:
        crowd.sells(10)
        for number in range(MESSAGES):
            kind = chance.random()
            if kind < 0.002:
                peer.send(b"", header=chance.randbytes(chance.randint(0, 4)))  # no request id, or a broken one
            elif kind < 0.003:
                peer.send(b"", length=chance.choice((1 << 20, 1 << 40, (1 << 64) - 1)))  # more than will come, or may
                peer.close()
            elif kind < 0.004:
                peer.send_raw(chance.randbytes(100))
                peer.close()
            else:
                peer.send(mutant(chance, SEEDS[name]))
            if number % 10 == 0:  # others are served meanwhile; this also keeps us from being faster than the service
                other.call("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(),
                           health_pb2.HealthCheckResponse)
            if number == MESSAGES // 4:
                early = resident_bytes(pid)
        crowd.sells(10, after=time.monotonic())
    # A busy disk can hold all nodes for longer than a round waits: 503 then, for a moment. Buying never stops.
    assert {answer.status for answer in crowd.answers} <= {201, 503}
    sales = sorted(answer.ended for answer in crowd.sold())
    assert max(later - earlier for earlier, later in zip(sales, sales[1:])) < GAP_S
    assert crowd.mismatches() == []
    assert system.pid(name) == pid
    assert peer.answers > MESSAGES / 4, "some of it was served"
    assert resident_bytes(pid) - early < GROWTH_BYTES_MAX
    peer.close()


@pytest.mark.parametrize("name", SEEDS)
def test_what_can_be_read_but_not_served_is_answered(system, name):
    url = getattr(system, f"{name}_url")

    def refused(reason, method, request, **more):
        with Caller(url) as caller, pytest.raises(Failed) as failed:
            caller.call(method, request, rpc_pb2.Answer, **more)
        assert failed.value.reason == reason
        assert failed.value.status.message

    empty = rpc_pb2.HelloRequest()
    refused("NO_METHOD", "/quorate.nothing.v1.Nothing/Nothing", empty)
    refused("NO_METHOD", "", empty)
    refused("EXPIRED", "/grpc.health.v1.Health/Check", empty, instance=12345)
    refused("EXPIRED", "/grpc.health.v1.Health/Check", empty, expires_us=1)
    garbage = inventory_pb2.FindAccountRequest(username="\x01" * 9)  # a text where a number stands in others
    if name == "lockd":
        for request in (lock_pb2.AcquireRequest(), lock_pb2.AcquireRequest(resource="a b", request_id="x"),
                        lock_pb2.AcquireRequest(resource="a", request_id="x" * 65),
                        lock_pb2.AcquireRequest(resource="a", request_id="x", ttl_ms=1 << 31),
                        lock_pb2.AcquireRequest(resource="a", request_id="x", min_token=1 << 63)):
            refused("INVALID", LOCK + "Acquire", request)
    else:
        refused("INVALID", INVENTORY + "GetProduct", garbage)
        for request in (inventory_pb2.BuyRequest(), inventory_pb2.BuyRequest(user_id=1, product_id=1, quantity=0,
                                                                            idempotency_key="k"),
                        inventory_pb2.BuyRequest(user_id=1, product_id=1, quantity=10 ** 6 + 1, idempotency_key="k"),
                        inventory_pb2.BuyRequest(user_id=1, product_id=1, quantity=1, idempotency_key="k" * 256),
                        inventory_pb2.BuyRequest(user_id=-1, product_id=1, quantity=1, idempotency_key="k")):
            refused("INVALID", INVENTORY + "Buy", request)
        refused("INVALID", INVENTORY + "ListProducts", inventory_pb2.ListProductsRequest(limit=1001))


@pytest.mark.parametrize("name", SEEDS)
def test_what_is_dropped_is_counted(system, name):
    url = getattr(system, f"{name}_url")

    def dropped():
        return sum(value for sample, value in metrics_of(url).items() if "drop" in sample)

    before = dropped()
    peer = sp.Peer(url)
    for _ in range(5):
        peer.send(b"\xff" * 20)
    eventually(lambda: dropped() >= before + 5)
    peer.close()
