"""What else compose.yaml can start: Locust, V1 on one node, two of each service."""

import re
import time

from support.crowd import Crowd
from support.deployed import REDIS, eventually
from support.edge import Edge


def test_the_v3_scenario_by_locust_in_its_container(system):
    system.local("build", "load")
    said = system.local("run", "--rm", "load", "--headless", "-t", "60s", "--only-summary")
    assert "verdict: PASS" in said.strip().splitlines()[-1], said
    assert "Successful Purchases: 100" in said and "Failed Purchases (Stock Exhausted): 200" in said
    assert re.search(r"PASS   mismatches, Postgres and nodes +0 +0 now, 0 in \d+ reads", said), said
    product = system.sql("SELECT id FROM products WHERE name LIKE 'V3 Redlock Aioredlock%%' ORDER BY id DESC LIMIT 1")[0][0]
    assert [system.exec(name, "redis-cli", "GET", f"stock:{product}").strip() for name in REDIS] == ["0"] * 5


def test_locusts_web_page(system):
    system.local("build", "load")
    system.local("--profile", "load", "up", "-d", "load")
    page = Edge(f"http://127.0.0.1:{system.port('load')}")

    def served():
        answer = page.get("/")
        return answer.status_code == 200 and "locust" in answer.text.lower()

    eventually(served, 30)
    system.local("rm", "-fsv", "load")


def test_v1_sells_on_one_node_beside_the_five(system):
    system.local("--profile", "v1", "up", "-d", "v1-edge")
    url = f"http://127.0.0.1:{system.port('v1-edge')}"
    assert eventually(lambda: Edge(url).get("/health").json()["quorum"] == {"voting": 1, "needed": 1, "nodes": 1}, 30)
    buyer = Edge(url).enter("v1 buyer")
    product = buyer.create_product("One node", 5)
    assert [buyer.buy(product).status_code for _ in range(6)] == [201] * 5 + [400]
    assert system.exec("v1-redis", "redis-cli", "GET", f"stock:{product}").strip() == "0"
    assert buyer.get("/api/products").json() != Edge(system.edge_url).enter("other").get("/api/products").json()
    system.local("rm", "-fsv", "v1-edge", "v1-inventory", "v1-lockd", "v1-redis", "v1-postgres")


def test_two_of_each_service(new_system):
    system = new_system(LOCKD_URL="tcp://lockd:7001,tcp://lockd2:7001",
                        INVENTORY_URL="tcp://inventory:7002,tcp://inventory2:7002")
    system.local("--profile", "scale", "up", "-d")
    other = Edge(f"http://127.0.0.1:{system.port('edge2')}")
    eventually(lambda: {row["state"] for row in other.get("/health").json()["inventory"]} == {"serving"}, 30)
    buyer = Edge(system.edge_url).enter("scaled")
    product = buyer.create_product("Scaled", 1_000_000)
    other.session.headers.update(buyer.session.headers)  # the edges share the key that signs tokens
    assert other.buy(product).status_code == 201
    with Crowd(system, product, [buyer], stubborn=True) as crowd:
        for name in ("lockd", "inventory", "lockd2", "inventory2"):
            crowd.sells(20, after=time.monotonic())
            system.stop(name)
            crowd.sells(20, after=time.monotonic(), timeout_s=30)
            system.start(name)
    assert crowd.mismatches() == []
    assert {answer.key for answer in crowd.sold()} == {answer.key for answer in crowd.answers}
