"""Each cause of a failure is told as what it is, and health tells the truth."""

import time

import pytest

from support.crowd import Crowd
from support.deployed import REDIS, eventually
from support.lease import Lease

HEALTH_S = 2.0  # within this, /health knows


def heard(answer):
    return answer.status_code, answer.json()["code"]


def test_G7_sold_out_is_not_a_lock_failure(system, buyers, product_of):
    """Even while somebody else holds the lock."""
    product = product_of(1)
    assert buyers[0].buy(product).status_code == 201
    assert heard(buyers[0].buy(product)) == (400, "INSUFFICIENT")
    with Lease(system, f"stock:{product}"):
        answer = buyers[0].buy(product)
        assert heard(answer) == (400, "INSUFFICIENT")
        assert answer.json()["detail"] == f"Insufficient stock for product {product}: requested 1, available 0"


def test_G7_a_lock_held_by_others_is_told_so(system, buyers, product_of):
    product = product_of(5)
    with Lease(system, f"stock:{product}", ttl_ms=30000):
        answer = buyers[0].buy(product)
        assert heard(answer) == (400, "BUSY")
        assert answer.json()["detail"].startswith("Failed to acquire lock for resource")
        assert system.sql("SELECT count(*) FROM purchases WHERE product_id = %s", product) == [(0,)]
    assert eventually(lambda: buyers[0].buy(product).status_code == 201)


@pytest.mark.parametrize("parts, code", [(REDIS[:3], "NO_QUORUM"), (("lockd",), "DOWN"), (("postgres",), "DOWN"),
                                         (("inventory",), "DOWN")], ids=["nodes", "lockd", "postgres", "inventory"])
def test_G7_what_is_down_is_told_and_sells_again_when_it_is_back(system, buyers, product_of, parts, code):
    product = product_of(1000)
    sold = 0
    system.stop(*parts)

    def buy():
        nonlocal sold
        answer = buyers[0].beside().buy(product)
        sold += answer.status_code == 201
        return answer

    def refused():
        answer = buy()
        assert answer.status_code == 503, answer.text
        assert answer.json()["code"] == code, answer.text
        assert int(answer.headers["Retry-After"]) >= 1
        return True

    eventually(refused, HEALTH_S + 5)
    system.start(*parts)
    eventually(lambda: buy().status_code == 201)
    assert system.sql("SELECT count(*) FROM purchases WHERE product_id = %s", product) == [(sold,)]


def test_G7_a_product_that_is_not_there_is_told(buyers):
    answer = buyers[0].buy(10 ** 9)
    assert heard(answer) == (404, "NOT_FOUND")
    assert answer.json()["detail"] == f"Product with id {10 ** 9} not found"


@pytest.mark.parametrize("parts", [REDIS[:3], ("postgres",), ("lockd",), ("inventory",)], ids=lambda parts: parts[0])
@pytest.mark.parametrize("away, back", [("stop", "start"), ("pause", "unpause")], ids=["stop", "pause"])
def test_G11_health_knows_within_two_seconds(system, buyers, parts, away, back):
    def health():
        return buyers[0].beside().get("/health")

    assert health().status_code == 200
    system.local(away, *parts)
    began = time.monotonic()
    while health().status_code == 200:
        assert time.monotonic() - began < HEALTH_S, "still healthy"
        assert buyers[0].get("/health/live").status_code == 200
    said = health()
    assert (said.status_code, said.json()["status"]) == (503, "unhealthy")
    assert said.json()["missing"], said.text
    system.local(back, *parts)
    began = time.monotonic()
    while health().status_code != 200:
        assert time.monotonic() - began < HEALTH_S + 3, f"still unhealthy: {health().text}"
        assert buyers[0].get("/health/live").status_code == 200


def test_G24_an_account_that_is_gone_blocks_nobody(system, edge, buyers, product_of):
    product = product_of(10_000)
    ghost = edge.enter("ghost")
    system.sql("DELETE FROM users WHERE username = 'ghost'")
    with Crowd(system, product, buyers, size=4) as crowd:
        crowd.sells(10)
        for _ in range(10):
            assert heard(ghost.buy(product)) == (401, "UNAUTHENTICATED")
        crowd.sells(10, after=time.monotonic())
    assert crowd.failed() == []
    assert crowd.mismatches() == []
    alone = product_of(1)
    assert heard(ghost.buy(alone)) == (401, "UNAUTHENTICATED")
    assert buyers[0].buy(alone).status_code == 201
