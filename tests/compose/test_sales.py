"""What the tests of local processes show of a sale and its faults, shown again on containers."""

import time

from support.composed import docker, stop_all_gently
from support.crowd import Crowd
from support.deployed import SERVICES, eventually
from system.test_quorum import assert_level, test_sales_while_nodes_go_and_come_back
from system.test_restarts import test_every_service_stops_gently_and_loses_nobody
from system.test_sale import test_exactly_the_stock_is_sold

__all__ = ["test_sales_while_nodes_go_and_come_back", "test_every_service_stops_gently_and_loses_nobody",
           "test_exactly_the_stock_is_sold"]

STOCK = 1_000_000


def test_a_node_that_is_cut_off_and_back(system, buyers, product_of):
    """Nothing is closed: its packets vanish."""
    product = product_of(STOCK)
    network, node = f"{system.project}_back", system.container("redis3")
    with Crowd(system, product, buyers) as crowd:
        crowd.sells(20)
        docker("network", "disconnect", network, node)
        crowd.sells(100, after=time.monotonic())
        docker("network", "connect", "--alias", "redis3", network, node)
        crowd.sells(100, after=time.monotonic())
        assert crowd.failed() == []
    assert crowd.mismatches() == []
    assert_level(system, product, ("redis", "redis1", "redis2", "redis3", "redis4"))


def test_what_dies_is_started_again_by_the_engine(system, buyers, product_of):
    product = product_of(STOCK)
    with Crowd(system, product, buyers, stubborn=True) as crowd:
        for name in SERVICES:
            crowd.sells(20, after=time.monotonic())
            before = system.pid(name)
            # Not by `docker kill`, which the engine takes for a wish, and not from inside, where its number is 1.
            docker("run", "--rm", "--pid", "host", "debian:bookworm-slim", "sh", "-c", f"kill -9 {before}")
            crowd.sells(20, after=time.monotonic(), timeout_s=30)
            assert system.pid(name) != before
    assert crowd.mismatches() == []
    # A lease of the lockd that died stands in the way until its end.
    assert {answer.body["code"] for answer in crowd.answers if answer.status == 400} <= {"BUSY"}


def test_a_container_stops_by_itself_in_its_time(system, buyers, product_of):
    """SIGTERM is enough: no forced kill, and no lease is left for a lane that has ended."""
    product = product_of(STOCK)
    with Crowd(system, product, buyers, stubborn=True) as crowd:
        crowd.sells(20)
    stop_all_gently(system)
    assert eventually(lambda: system.exec("redis", "redis-cli", "KEYS", "lock:*").strip() == "")
