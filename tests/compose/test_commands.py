"""The commands of the scenario's own README, word for word, and those of ours."""

import re
import time

import pytest

from support.composed import docker
from support.crowd import Crowd
from support.deployed import NAMES, REDIS, SERVICES, eventually
from support.edge import Edge


def test_ps_lists_every_part_as_running(system):
    text = system.local("ps")
    for name in NAMES:
        assert re.search(rf"{system.project}[-_]{name}[-_]1 .*\b[Uu]p\b", text), text


@pytest.mark.parametrize("name", REDIS)
def test_exec_redis_cli_ping(system, name):
    assert system.exec(name, "redis-cli", "ping").strip() == "PONG"


def test_get_stock_is_equal_on_all_nodes(system, buyers, product_of):
    product = product_of(9)
    assert buyers[0].buy(product, 2).status_code == 201
    assert [system.exec(name, "redis-cli", "GET", f"stock:{product}").strip() for name in REDIS] == ["7"] * 5


def test_the_lock_can_be_seen_during_a_sale(system, buyers, product_of):
    product = product_of(1_000_000)
    with Crowd(system, product, buyers) as crowd:
        crowd.sells(20)
        value = eventually(lambda: system.exec("redis", "redis-cli", "GET", f"lock:stock:{product}").strip())
        ttl = eventually(lambda: (left := int(system.exec("redis", "redis-cli", "TTL", f"lock:stock:{product}"))) >= 0 and [left])
    assert re.fullmatch(r"inventory\.\S+ [0-9a-f]{16} [0-9]{16}", value), value
    assert 0 <= ttl[0] <= 10


def test_a_setting_is_changed_by_up(system, buyers, product_of):
    product = product_of(10)
    system.up(LOCK_TIMEOUT_SECONDS="1")
    assert eventually(lambda: buyers[0].beside().buy(product).status_code == 201)
    assert "LOCK_TIMEOUT_SECONDS=1 " in system.log("lockd")
    system.environment.pop("LOCK_TIMEOUT_SECONDS")
    system.up()
    assert eventually(lambda: buyers[0].beside().buy(product).status_code == 201)
    assert "LOCK_TIMEOUT_SECONDS=10 " in system.log("lockd")


def test_wrong_settings_are_refused_all_together_and_said_in_the_log(system):
    system.up("lockd", LOCK_TIMEOUT_SECONDS="0", LOCK_WAIT_MS="soon", LOG_LEVEL="loud")
    eventually(lambda: "lockd: not started" in system.local("logs", "--no-color", "lockd"))
    said = system.local("logs", "--no-color", "lockd")
    for fault in ("LOCK_TIMEOUT_SECONDS: ", "LOCK_WAIT_MS: ", "LOG_LEVEL: "):
        assert fault in said, said
    for name in ("LOCK_TIMEOUT_SECONDS", "LOCK_WAIT_MS", "LOG_LEVEL"):
        system.environment.pop(name)


def test_a_lost_quorum_restarts_nothing(system):
    before = {name: system.pid(name) for name in SERVICES}
    system.stop(*REDIS[:3])
    assert eventually(lambda: Edge(system.edge_url).get("/health").status_code == 503)
    time.sleep(10)  # three checks of health
    assert {name: system.pid(name) for name in SERVICES} == before
    assert {name: system.health(name) for name in SERVICES} == dict.fromkeys(SERVICES, "healthy")
    assert Edge(system.edge_url).get("/health/live").status_code == 200


def test_the_administrator_is_there_from_the_start(new_system):
    system = new_system(OPEN_CATALOG="false")
    password = system.exec("edge", "cat", "/run/secrets/admin-password").strip()
    admin = Edge(system.edge_url)
    assert admin.login("admin", password).status_code == 200
    product = admin.create_product("By the administrator", 3)
    buyer = Edge(system.edge_url).enter("nobody")
    assert buyer.buy(product).status_code == 201
    answer = buyer.post("/api/products", json={"name": "By a buyer", "price": 1, "stock": 1})
    assert answer.status_code == 403


def test_fresh_start_after_down_and_nothing_is_left(new_system):
    system = new_system()
    Edge(system.edge_url).enter("somebody")
    eventually(lambda: system.local("down", "-v") or True)
    label = f"label=com.docker.compose.project={system.project}"
    assert docker("ps", "-aq", "--filter", label) == ""
    assert docker("volume", "ls", "-q", "--filter", label) == ""
    assert docker("network", "ls", "-q", "--filter", label) == ""
    del system.password  # of a system that is no more
    began = time.monotonic()
    system.up()
    buyer = Edge(system.edge_url).enter("somebody")  # the name is free again
    product = buyer.create_product("First", 1)
    assert buyer.buy(product).status_code == 201
    print(f"cold up to the first purchase: {time.monotonic() - began:.1f} s")
    assert [system.exec(name, "redis-cli", "GET", f"stock:{product}").strip() for name in REDIS] == ["0"] * 5
