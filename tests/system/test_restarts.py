"""Restarts in the middle of a sale, of one part and of all, and what outlives them."""

import time

import pytest

from support.crowd import Crowd
from support.deployed import REDIS, eventually
from support.edge import Edge

STOCK = 1_000_000


@pytest.mark.parametrize("away", ["stop", "kill"])
def test_postgres_restarts_in_the_middle_of_a_sale(system, buyers, product_of, away):
    product = product_of(STOCK)
    with Crowd(system, product, buyers, stubborn=True) as crowd:
        for _ in range(3):
            crowd.sells(50, after=time.monotonic())
            system.local(away, "postgres")
            system.start("postgres")
        crowd.sells(50, after=time.monotonic())
    assert crowd.mismatches() == []
    keys = {answer.key for answer in crowd.answers}
    assert {answer.key for answer in crowd.sold()} == keys
    assert {answer.status for answer in crowd.answers} <= {201, 503, 504}
    assert system.sql("SELECT stock FROM products WHERE id = %s", product) == [(STOCK - len(keys),)]


def test_every_service_stops_gently_and_loses_nobody(system, buyers, product_of):
    """SIGTERM: what was begun is ended; what comes meanwhile is told to come again."""
    product = product_of(STOCK)
    with Crowd(system, product, buyers, stubborn=True) as crowd:
        for name in ("lockd", "inventory", "edge"):
            crowd.sells(20, after=time.monotonic())
            system.restart(name)
        crowd.sells(20, after=time.monotonic())
    assert crowd.mismatches() == []
    assert {answer.key for answer in crowd.sold()} == {answer.key for answer in crowd.answers}


@pytest.mark.parametrize("away", ["stop", "kill"])
@pytest.mark.parametrize("wiped", [False, True], ids=["kept", "wiped"])
def test_G3_a_node_that_was_away_is_level_within_a_second(system, buyers, product_of, away, wiped):
    product, new = product_of(100), None
    system.local(away, "redis3")
    for _ in range(10):
        assert buyers[0].buy(product).status_code == 201
    new = product_of(7)  # made while the node is away
    stock = buyers[0].stock(product)
    assert (stock["db_stock"], stock["redis_stock"], stock["synced"]) == (90, 90, True)
    if wiped:
        for file in (system.directory / "redis3" / "appendonlydir").iterdir():
            file.unlink()
    system.start("redis3")
    back = time.monotonic()

    def level():
        held = [system.redis("redis3").get(f"stock:{id}") for id in (product, new)]
        assert held == ["90", "7"], held
        return True

    eventually(level, back + 1 - time.monotonic())


def test_the_whole_system_restarts_and_keeps_everything(new_system):
    system = new_system()
    buyer = Edge(system.edge_url).enter("keeper")
    product = buyer.create_product("kept", 10)
    first = buyer.buy(product, 3, key="before")
    assert first.status_code == 201
    before = system.ps()
    system.up()  # a second time
    assert {name: row["pid"] for name, row in system.ps().items()} == {name: row["pid"] for name, row in before.items()}
    system.local("down")
    assert {row["state"] for row in system.ps().values()} == {"stopped"}
    system.up()
    again = Edge(system.edge_url)
    again.session.headers.update(buyer.session.headers)  # the token outlives it too
    assert again.buy(product, 3, key="before").json() == first.json()
    assert again.buy(product, 3, key="after").json()["remaining_stock"] == 4
    assert [system.redis(name).get(f"stock:{product}") for name in REDIS] == ["4"] * 5
    assert [item["id"] for item in again.get("/api/products").json()] == [product]


def test_two_systems_side_by_side(system, buyers, new_system):
    other = new_system()
    mine = buyers[0].create_product("side by side", 5)
    stranger = Edge(other.edge_url).enter("stranger")
    theirs = stranger.create_product("side by side", 5)
    assert stranger.buy(theirs).status_code == 201
    assert buyers[0].stock(mine)["db_stock"] == 5
    assert Edge(other.edge_url).get("/api/auth/me", headers=buyers[0].session.headers).status_code == 401
    other.kill("lockd")
    other.pause("redis", "redis1", "redis2")
    assert buyers[0].buy(mine).status_code == 201
