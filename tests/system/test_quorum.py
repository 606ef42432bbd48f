"""What buyers see when Redis nodes go away, one after the other, and come back."""

import time

from support.crowd import Crowd
from support.deployed import REDIS, eventually
from support.nodes import Watch

STOCK = 1_000_000
ANSWER_S = 2.0  # within this, a purchase without quorum is refused
RESUME_S = 1.0  # after the admission of the node that makes the quorum


def recorded(system, product):
    return system.sql("SELECT coalesce(sum(quantity), 0) FROM purchases WHERE product_id = %s", product)[0][0]


def assert_refused(crowd, after):
    """From `after` on every answer is 503, and none takes longer than it may."""
    def enough():
        answers = crowd.after(after)
        assert len(answers) >= 50, f"{len(answers)} answers"
        return answers

    answers = eventually(enough)
    assert {answer.status for answer in answers} == {503}, [answer for answer in answers if answer.status != 503][:3]
    assert {answer.body["code"] for answer in answers} == {"NO_QUORUM"}
    assert max(answer.ended - answer.began for answer in answers) < ANSWER_S


def assert_level(system, product, names):
    (stock,) = system.sql("SELECT stock FROM products WHERE id = %s", product)[0]

    def level():
        held = [system.redis(name).get(f"stock:{product}") for name in names]
        assert held == [str(stock)] * len(names), f"{held} on {names}, {stock} in Postgres"
        return True

    eventually(level, 2)


def test_sales_while_nodes_go_and_come_back(system, fault, buyers, product_of):
    product = product_of(STOCK)
    with Crowd(system, product, buyers) as crowd, Watch(system) as watch:
        crowd.sells(20)
        for name in ("redis4", "redis3"):
            fault.hit(name)
            crowd.sells(100, after=time.monotonic())
            assert crowd.failed() == []

        fault.hit("redis2")
        gone = time.monotonic()
        eventually(lambda: time.monotonic() > gone + ANSWER_S)
        settled = recorded(system, product)
        assert_refused(crowd, gone + ANSWER_S)
        assert recorded(system, product) == settled
        transition = [answer for answer in crowd.answers if answer.status != 201]
        assert {answer.status for answer in transition} == {503}
        assert max(answer.ended - answer.began for answer in transition) < ANSWER_S

        began = time.monotonic()
        fault.mend("redis2")
        sold = crowd.sells(after=began)
        admitted = eventually(lambda: watch.since(3, began))
        assert sold <= admitted + RESUME_S
        mended = time.monotonic()
        crowd.sells(100, after=mended)
        assert {answer.status for answer in crowd.after(mended)} == {201}
    assert_level(system, product, REDIS[:3])

    with crowd_again(crowd) as late:
        late.sells(20)
        fault.mend("redis3", "redis4")
        late.sells(100, after=time.monotonic())
        assert late.failed() == []
    assert_level(system, product, REDIS)
    assert crowd.mismatches() + late.mismatches() == []
    sold = len(crowd.sold()) + len(late.sold())
    assert sold == recorded(system, product) <= STOCK


def crowd_again(crowd):
    return Crowd(crowd.system, crowd.product, crowd.buyers)
