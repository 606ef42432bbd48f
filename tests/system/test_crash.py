"""kill -9 of a service in the middle of a sale, at random moments, again and again."""

import random
import time

import pytest

from support.crowd import Crowd
from support.deployed import SERVICES

# A killed inventory leaves its lease behind, and others wait for its end: a short one, so that a round is short.
LEASE_S = 1
SETTINGS = {"LOCK_TIMEOUT_SECONDS": str(LEASE_S)}
STOCK = 1_000_000
RESUME_S = 5.0  # at most: the lease of the killed, and the start of a build with sanitizers


@pytest.mark.parametrize("rounds", [pytest.param(1, marks=pytest.mark.quick), 20])
@pytest.mark.parametrize("name", SERVICES)
def test_killed_again_and_again_it_loses_and_doubles_nothing(system, buyers, product_of, name, rounds):
    product = product_of(STOCK)
    chance = random.Random(name)
    with Crowd(system, product, buyers, stubborn=True) as crowd:
        crowd.sells(20)
        for _ in range(rounds):
            time.sleep(chance.uniform(0, 0.3))  # the random moment
            system.kill(name)
            system.start(name)
            crowd.sells(5, after=time.monotonic(), timeout_s=RESUME_S)
    assert crowd.mismatches() == []
    keys = {answer.key for answer in crowd.answers}
    assert {answer.key for answer in crowd.sold()} == keys  # a stubborn buyer ends with its 201
    assert system.sql("SELECT count(*), sum(quantity), count(DISTINCT remaining_stock) FROM purchases WHERE product_id = %s",
                      product) == [(len(keys), len(keys), len(keys))]
    assert system.sql("SELECT stock FROM products WHERE id = %s", product) == [(STOCK - len(keys),)]
