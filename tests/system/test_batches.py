"""Orders that meet in one batch, batches that meet at one product, and buyers whose answer was lost."""

import json
import os
import signal
import socket
import subprocess

import inventory_pb2
import pytest

from support.deployed import REPORTS, eventually
from support.metrics import metrics_of
from support.rpc import Caller, Failed
from support.wire import SELL


def SETTINGS(system):
    return {"DATABASE_URL": f"postgresql://quorate@{system.wire('postgres').address}/quorate"}


def open_orders(system):
    return metrics_of(system.inventory_url)["quorate_orders_open"]


@pytest.fixture
def one_batch(system, buyers, aside):
    """one_batch(product, [(buyer, quantity, key), ...]): lets one purchase occupy the lane until all of these wait, so that
    they run in one batch, in this order. Their answers."""
    def run(product, orders):
        trap = system.wire("postgres").trap("up", (SELL, f"first of {product}"), lambda link: link.hold())
        first = aside(buyers[0].beside().buy, product, key=f"first of {product}")
        link = trap.wait()
        asked = []
        for buyer, quantity, key in orders:
            asked.append(aside(buyer.beside().buy, product, quantity, key=key))
            eventually(lambda: open_orders(system) == 1 + len(asked))
        batches = metrics_of(system.inventory_url)["quorate_batches_total"]
        link.release()
        assert first.result().status_code == 201
        answers = [answer.result() for answer in asked]
        assert metrics_of(system.inventory_url)["quorate_batches_total"] - batches <= 2  # orders may run again
        return answers
    return run


def stock_of(system, product):
    return system.sql("SELECT stock FROM products WHERE id = %s", product)[0][0]


def test_G12_an_order_too_big_keeps_nobody_out(system, buyers, product_of, one_batch):
    product = product_of(1 + 3)
    answers = one_batch(product, [(buyers[place % 3], quantity, f"G12-{place}")
                                  for place, quantity in enumerate((5, 1, 1, 1))])
    assert [answer.status_code for answer in answers] == [400, 201, 201, 201]
    assert answers[0].json()["detail"].startswith(f"Insufficient stock for product {product}: requested 5, available ")
    assert [answer.json()["remaining_stock"] for answer in answers[1:]] == [2, 1, 0]
    assert stock_of(system, product) == 0


def test_G13_repeated_clicks_take_one_unit(system, buyers, product_of, one_batch):
    product = product_of(1 + 2)
    answers = one_batch(product, [(buyers[0], 1, "G13-click"), (buyers[0], 1, "G13-click"), (buyers[1], 1, "G13-other")])
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert answers[0].text == answers[1].text
    assert answers[0].json()["id"] != answers[2].json()["id"]
    assert stock_of(system, product) == 0


def test_one_key_with_two_bodies_in_a_batch(system, buyers, product_of, one_batch):
    product = product_of(1 + 5)
    answers = one_batch(product, [(buyers[0], 1, "twice"), (buyers[0], 2, "twice"), (buyers[1], 1, "twice")])
    assert [answer.status_code for answer in answers] == [201, 422, 201]
    assert answers[1].json()["code"] == "KEY_REUSED"
    assert stock_of(system, product) == 3


def test_G21_a_lost_201_is_told_again_when_nothing_is_left(system, buyers, product_of):
    product, key = product_of(1), "G21"
    host, port = system.edge_url.removeprefix("http://").split(":")
    body = json.dumps({"product_id": product, "quantity": 1})
    with socket.create_connection((host, int(port))) as link:
        link.sendall(f"POST /api/purchases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {buyers[0].token}\r\n"
                     f"Idempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
                     .encode())
        recorded = eventually(lambda: system.sql("SELECT id FROM purchases WHERE product_id = %s", product))
    sold_out = buyers[1].buy(product)
    assert (sold_out.status_code, sold_out.json()["code"]) == (400, "INSUFFICIENT")
    answers = [buyers[0].beside().buy(product, key=key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201] * 3
    assert len({answer.text for answer in answers}) == 1
    assert [(answers[0].json()["id"],)] == recorded
    assert answers[0].json()["remaining_stock"] == 0


def test_G22_keys_crossing_between_two_products_never_deadlock(system, buyers, product_of, one_batch, aside):
    """The same keys of one user, up at one product and down at the other. One of each pair wins, the other is told."""
    rounds, keys = 8, 24
    for number in range(rounds):
        products = product_of(1000), product_of(1000)
        names = [f"G22-{number}-{place}" for place in range(keys)]
        traps = [system.wire("postgres").trap("up", (SELL, f"first of {product}"), lambda link: link.hold())
                 for product in products]
        firsts = [aside(buyers[0].beside().buy, product, key=f"first of {product}") for product in products]
        links = [trap.wait() for trap in traps]
        asked = [aside(buyers[0].beside().buy, product, key=name) for pair in zip(names, reversed(names))
                 for product, name in zip(products, pair)]
        eventually(lambda: open_orders(system) == 2 + 2 * keys)
        for link in links:
            link.release()
        assert [first.result().status_code for first in firsts] == [201, 201]
        statuses = sorted(answer.result().status_code for answer in asked)
        assert statuses == [201] * keys + [422] * keys
    log = system.log("postgres")
    assert "deadlock detected" not in log


@pytest.fixture
def second_inventory(system):
    """The address of another inventory on the same database, nodes and lockd."""
    noted = json.loads((system.directory / "inventory" / "process.json").read_text())["what"]
    url = f"tcp://127.0.0.1:{system.ports.base + 9}"
    log = system.directory / "second-inventory.log"
    with open(log, "w") as out:
        process = subprocess.Popen(noted["argv"], env={**noted["environment"], "INVENTORY_LISTEN": url},
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        eventually(lambda: metrics_of(url))
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(10) == 0
        finally:
            process.kill()
        said = log.read_text()
        os.unlink(log)
        assert not REPORTS.search(said), said


def test_G5_two_inventories_sell_one_product(system, buyers, product_of, second_inventory, aside):
    """Each lane has its own queue; lease and fence keep them apart, and no stock is written from a stale read."""
    stock, each, sellers = 300, 30, 4
    product = product_of(stock)
    user = buyers[0].get("/api/auth/me").json()["id"]

    def buy(url, name):
        sold = 0
        with Caller(url) as caller:
            for number in range(each):
                request = inventory_pb2.BuyRequest(user_id=user, product_id=product, quantity=1,
                                                   idempotency_key=f"G5-{name}-{number}")
                try:
                    caller.call("/quorate.inventory.v1.Inventory/Buy", request, inventory_pb2.Purchase)
                    sold += 1
                except Failed as failed:
                    assert failed.reason == "BUSY", failed
        return sold

    urls = (system.inventory_url, second_inventory)
    asked = [[aside(buy, url, f"{place}-{number}") for number in range(sellers)] for place, url in enumerate(urls)]
    sold = [sum(one.result() for one in group) for group in asked]
    assert all(sold), "both inventories sell"
    assert stock_of(system, product) == stock - sum(sold)
    assert system.sql("SELECT count(*) FROM purchases WHERE product_id = %s", product) == [(sum(sold),)]
