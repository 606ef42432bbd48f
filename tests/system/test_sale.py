"""The main job: a crowd buys a limited stock, and exactly that is sold."""

from concurrent.futures import ThreadPoolExecutor

import health_pb2
import pytest

from support.deployed import REDIS
from support.edge import Edge
from support.rpc import Caller

BUYERS = 60
STOCK = 20


@pytest.mark.quick
def test_exactly_the_stock_is_sold(system, buyer):
    product = buyer.create_product("crowd", STOCK)

    def buy(_):
        return buyer.beside().buy(product)

    with ThreadPoolExecutor(BUYERS) as crowd:
        answers = list(crowd.map(buy, range(BUYERS)))

    sold = [answer.json() for answer in answers if answer.status_code == 201]
    refused = [answer.json() for answer in answers if answer.status_code == 400]
    assert (len(sold), len(refused)) == (STOCK, BUYERS - STOCK), [answer.status_code for answer in answers]
    assert sorted(purchase["remaining_stock"] for purchase in sold) == list(range(STOCK))
    assert all(answer["detail"] == f"Insufficient stock for product {product}: requested 1, available 0"
               for answer in refused)
    recorded = system.sql("SELECT id FROM purchases WHERE product_id = %s", product)
    assert {row[0] for row in recorded} == {purchase["id"] for purchase in sold}
    stock = buyer.stock(product)
    assert (stock["db_stock"], stock["redis_stock"], stock["synced"]) == (0, 0, True)
    assert all(system.redis(name).get(f"stock:{product}") == "0" for name in REDIS)


def test_a_new_product_is_on_all_nodes_G2(system, buyer):
    product = buyer.create_product("everywhere", 7)
    assert [system.redis(name).get(f"stock:{product}") for name in REDIS] == ["7"] * 5


def test_an_order_too_big_changes_nothing_G1(system, buyer):
    product = buyer.create_product("too big", 5)
    answer = buyer.buy(product, 10)
    assert answer.status_code == 400
    assert answer.json()["detail"] == f"Insufficient stock for product {product}: requested 10, available 5"
    assert buyer.stock(product)["db_stock"] == 5
    assert [system.redis(name).get(f"stock:{product}") for name in REDIS] == ["5"] * 5


def test_the_same_key_a_hundred_times_buys_once_G8(system, buyer):
    product = buyer.create_product("clicks", 50)

    def buy(_):
        return buyer.beside().buy(product, key="click")

    with ThreadPoolExecutor(100) as crowd:
        answers = list(crowd.map(buy, range(100)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert buyer.stock(product)["db_stock"] == 49
    assert buyer.buy(product, 2, key="click").status_code == 422


def test_the_three_other_names_of_the_purchase(system, buyer):
    product = buyer.create_product("names", 3)
    for name in ("redlock-aioredlock", "redlock-manual", "redlock-manual-async"):
        assert buyer.buy(product, path=f"/api/purchases/{name}").status_code == 201
    assert buyer.stock(product)["db_stock"] == 0


def test_health_of_every_service_over_the_rpc(system):
    for url in (system.lockd_url, system.inventory_url):
        with Caller(url) as caller:
            answer = caller.call("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(),
                                 health_pb2.HealthCheckResponse)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert Edge(system.edge_url).get("/health").json()["status"] == "healthy"
