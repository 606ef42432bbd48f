"""What the edge knows of its peers: health, and which inventory leads which product."""

import itertools
import signal
import time

import pytest

from edge_world import Fake, until
from test_edge_calls import NOBODY, token_of

serial = itertools.count(1)


def status(world):
    return world.edge.client().get("/health").status


def timed_until(truth):
    began = time.monotonic()
    until(truth, 5)
    return time.monotonic() - began


@pytest.mark.parametrize("bad, good, code, missing", [
    ("voting 2", "voting 5", "NO_QUORUM", "quorum: 2 of 5 nodes vote, 3 are needed; missing: redis2:6379 (down), "
     "redis3:6379 (down), redis4:6379 (down)"),
    ("serving 0", "serving 1", "DOWN", "no inventory serves"),
    ("mute 1", "mute 0", "DOWN", "no lockd answers")])
def test_G11_health_tells_what_is_missing_within_two_seconds(world, bad, good, code, missing):
    assert status(world) == 200
    world.fake.tell(bad)
    assert timed_until(lambda: status(world) == 503) < 2
    answer = world.edge.client().get("/health")
    assert answer.headers["retry-after"] == "1"
    assert answer.json["status"] == "unhealthy" and answer.json["code"] == code and answer.json["missing"] == [missing]
    assert isinstance(answer.json["detail"], str)
    assert world.edge.client().get("/health/live").status == 200
    world.fake.tell(good)
    assert timed_until(lambda: status(world) == 200) < 2


def test_G11_health_notices_peers_that_stand_still(world):
    world.fake.process.send_signal(signal.SIGSTOP)
    try:
        assert timed_until(lambda: status(world) == 503) < 2
    finally:
        world.fake.process.send_signal(signal.SIGCONT)
    assert timed_until(lambda: status(world) == 200) < 3


def test_three_votes_are_enough(world):
    world.fake.tell("voting 3")
    until(lambda: world.edge.client().get("/health").json["quorum"]["voting"] == 3)
    assert status(world) == 200
    world.fake.tell("voting 5")


def test_G11_health_without_peers(worlds):
    world = worlds()
    ports = [int(url.rpartition(":")[2]) for url in (world.fake.inventory, world.fake.lockd)]
    world.fake.kill()
    assert timed_until(lambda: status(world) == 503) < 2
    # The two are noticed one after the other.
    both = ["no inventory serves", "no lockd answers"]
    assert timed_until(lambda: world.edge.client().get("/health").json["missing"] == both) < 2
    world.fakes[0] = Fake(*ports)
    assert timed_until(lambda: status(world) == 200) < 3


def test_a_product_stays_with_one_inventory_while_that_serves(worlds):
    world = worlds(fakes=3)
    client = world.edge.client(token_of(NOBODY))  # a fake sells to anyone

    def led_by(product):
        key = f"{product}-{next(serial)}"
        assert client.buy(product, headers={"Idempotency-Key": key}).status == 201
        living = [i for i, fake in enumerate(world.fakes) if fake.process.poll() is None]
        return next(i for i in living if any(f" key={key} " in told for told in world.fakes[i].sync().lines[-3:]))

    products = range(1, 61)
    until(lambda: all(peer["state"] == "serving" for peer in client.get("/health").json["inventory"]))
    leaders = {product: led_by(product) for product in products}
    assert set(leaders.values()) == {0, 1, 2}
    assert {product: led_by(product) for product in products} == leaders
    # One that says it can't serve loses its products to the others; theirs stay.
    world.fakes[0].tell("serving 0")
    until(lambda: [peer["state"] for peer in client.get("/health").json["inventory"]].count("serving") == 2)
    moved = {product: led_by(product) for product in products}
    assert all(leader != 0 for leader in moved.values())
    assert all(moved[product] == leaders[product] for product in products if leaders[product] != 0)
    assert client.get("/health").status == 200
    # It comes back, and so do they; another dies.
    world.fakes[0].tell("serving 1")
    until(lambda: [peer["state"] for peer in client.get("/health").json["inventory"]].count("serving") == 3)
    assert {product: led_by(product) for product in products} == leaders
    world.fakes[1].kill()
    until(lambda: [peer["state"] for peer in client.get("/health").json["inventory"]].count("down") == 1)
    assert all(led_by(product) != 1 for product in products)
