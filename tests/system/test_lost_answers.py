"""Statements and answers that get lost, late or torn between inventory and Postgres, and inventories that die there."""

import time

import pytest

from support.deployed import REDIS, eventually
from support.wire import SELL

DEADLINE_S = 5.0  # of a request at the edge
RESUME_S = 10.0


def SETTINGS(system):
    return {
        "DATABASE_URL": f"postgresql://quorate@{system.wire('postgres').address}/quorate",
        "REDIS_NODES": ",".join(system.wire(name).address for name in REDIS),
        "LOCK_TIMEOUT_SECONDS": "1",  # a killed holder's lease is over soon
    }


@pytest.fixture
def wire(system):
    return system.wire("postgres")


def hold_answer(link):
    link.hold("down")


def hold_statement(link):
    link.hold()


def recorded(system, product):
    """Keys and quantities of all purchases."""
    return sorted(system.sql("SELECT idem, quantity FROM purchases WHERE product_id = %s", product))


def stock_of(system, product):
    return system.sql("SELECT stock FROM products WHERE id = %s", product)[0][0]


def ask_until_sold(buyer, product, key, quantity=1):
    def sold():
        answer = buyer.beside().buy(product, quantity, key=key)
        assert answer.status_code == 201, answer.text
        return answer.json()

    return eventually(sold, RESUME_S)


def waiting_for_locks(system):
    return system.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'quorate' AND wait_event_type = 'Lock'")[0][0]


LOSSES = {
    "late": lambda wire, link: link.release(),
    "cut": lambda wire, link: link.cut(),
    "torn": lambda wire, link: (link.cut_after("down", 40), link.release()),
    "swallowed": lambda wire, link: None,
    "all": lambda wire, link: wire.hold(),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_G16_G6_a_lost_commit_answer_is_no_failure(system, wire, buyers, product_of, aside, loss):
    product, key = product_of(3), f"G16-{loss}"
    trap = wire.trap("up", (SELL, key), hold_answer)
    began = time.monotonic()
    asked = aside(buyers[0].beside().buy, product, key=key)
    link = trap.wait()
    eventually(lambda: recorded(system, product) == [(key, 1)])
    LOSSES[loss](wire, link)
    first = asked.result()
    assert time.monotonic() - began < DEADLINE_S + 1
    assert first.status_code in ({"late": (201,), "all": (504,)}.get(loss, (201, 504))), first.text
    wire.mend()
    again = ask_until_sold(buyers[0], product, key)
    if first.status_code == 201:
        assert again == first.json()
    assert again["remaining_stock"] == 2
    assert recorded(system, product) == [(key, 1)]
    assert stock_of(system, product) == 2
    assert ask_until_sold(buyers[1], product, f"G16-{loss}-others")["remaining_stock"] == 1


# What is done to the statement, and what becomes of it afterwards.
STEPS = {
    "dropped": (hold_statement, lambda link: link.cut()),
    "delayed": (hold_statement, lambda link: (link.cut_client(), link.release())),
    "answered in vain": (hold_answer, lambda link: link.cut()),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("victim", ["inventory", "lockd"])
def test_G4_killed_between_lock_and_write(system, wire, buyers, product_of, aside, victim, step):
    product, key = product_of(5), f"G4-{victim}-{step}"
    act, afterwards = STEPS[step]
    trap = wire.trap("up", (SELL, key), act)
    asked = aside(buyers[0].beside().buy, product, key=key)
    link = trap.wait()
    if step == "answered in vain":
        eventually(lambda: recorded(system, product))
    system.kill(victim)
    afterwards(link)
    system.start(victim)
    first = asked.result()
    assert first.status_code in ((504,) if victim == "inventory" else (201, 504)), first.text
    again = ask_until_sold(buyers[0], product, key)
    if first.status_code == 201:
        assert again == first.json()
    assert recorded(system, product) == [(key, 1)]
    assert stock_of(system, product) == 4


@pytest.mark.parametrize("step", STEPS)
def test_G15_the_loser_of_the_last_unit_keeps_nothing(system, wire, buyers, product_of, aside, step):
    product, keys = product_of(1), [f"G15-{step}-{place}" for place in range(2)]
    act, afterwards = STEPS[step]
    trap = wire.trap("up", (SELL, f"G15-{step}"), act)
    asked = [aside(buyer.beside().buy, product, key=key) for buyer, key in zip(buyers, keys)]
    link = trap.wait()
    if step == "answered in vain":
        eventually(lambda: recorded(system, product))
    system.kill("inventory")
    afterwards(link)
    system.start("inventory")
    for answer in asked:
        assert answer.result().status_code in (503, 504)

    def settled():
        answers = [buyer.beside().buy(product, key=key) for buyer, key in zip(buyers, keys)]
        assert {answer.status_code for answer in answers} <= {201, 400}, answers
        return answers

    answers = eventually(settled, RESUME_S)
    assert sorted(answer.status_code for answer in answers) == [201, 400]
    (winner,) = (key for answer, key in zip(answers, keys) if answer.status_code == 201)
    assert recorded(system, product) == [(winner, 1)]
    assert stock_of(system, product) == 0


def test_G20_a_statement_that_comes_after_its_repeat_is_refused(system, wire, buyers, product_of, aside):
    """It wants more than there is, and is told so; later there is more, and it must not be sold to behind its back."""
    product, key = product_of(2), "G20-straggler"
    ask_until_sold(buyers[0], product, "G20-first")
    trap = wire.trap("up", (SELL, key), hold_statement)
    asked = aside(buyers[0].beside().buy, product, 2, key=key)
    link = trap.wait()
    link.cut_client()
    refused = asked.result()
    assert (refused.status_code, refused.json()["code"]) == (400, "INSUFFICIENT")
    system.sql("WITH p AS (UPDATE products SET stock = stock + 5, version = version + 1 WHERE id = %s "
               "           RETURNING id, version, last_token, stock) "
               "INSERT INTO stock_ledger (product_id, version, token, delta, stock_after, reason) "
               "SELECT id, version, last_token, 5, stock, 'adjustment' FROM p", product)
    answered = link.came_bytes["down"]
    link.release()
    eventually(lambda: link.came_bytes["down"] > answered, what="Postgres' answer to the straggler")
    assert recorded(system, product) == [("G20-first", 1)]
    assert stock_of(system, product) == 6
    assert ask_until_sold(buyers[0], product, "G20-next")["remaining_stock"] == 5


def test_G23_a_repeat_behind_its_own_straggler_refuses_nobody(system, wire, buyers, product_of, aside):
    product, key = product_of(1), "G23"
    trap = wire.trap("up", (SELL, key), lambda link: None)
    with system.database() as database:
        with database.transaction():
            database.execute("SELECT 1 FROM products WHERE id = %s FOR UPDATE", (product,))
            asked = aside(buyers[0].beside().buy, product, key=key)
            link = trap.wait()
            eventually(lambda: waiting_for_locks(system) == 1)
            link.cut_client()
            eventually(lambda: waiting_for_locks(system) == 2, what="the repeat, behind the first")
    first = asked.result()
    assert first.status_code == 201, first.text
    assert ask_until_sold(buyers[0], product, key) == first.json()
    assert recorded(system, product) == [(key, 1)]
    assert stock_of(system, product) == 0


@pytest.mark.parametrize("step", [*STEPS, "no node told"])
def test_G9_killed_while_a_product_is_made(system, wire, buyers, aside, step):
    name = f"G9 {step}"

    def made():
        return system.sql("SELECT id FROM products WHERE name = %s", name)

    if step == "no node told":
        for node in REDIS:
            system.wire(node).hold()
    else:
        act, afterwards = STEPS[step]
        trap = wire.trap("up", name, act)
    asked = aside(buyers[0].beside().post, "/api/products", json={"name": name, "price": 1, "stock": 4})
    if step != "no node told":
        link = trap.wait()
    if step in ("answered in vain", "no node told"):
        eventually(made)
    system.kill("inventory")
    if step == "no node told":
        for node in REDIS:
            system.wire(node).release()
    else:
        afterwards(link)
    system.start("inventory")
    assert asked.result().status_code in ((201, 504) if step == "no node told" else (504,))
    if step == "delayed":
        eventually(made)

    def known():
        answer = buyers[0].beside().post("/api/products", json={"name": name, "price": 1, "stock": 4})
        assert answer.status_code == (201 if step == "dropped" else 409), answer.text
        return True

    eventually(known, RESUME_S)
    ((product,),) = made()

    def everywhere():
        held = [system.redis(node).get(f"stock:{product}") for node in REDIS]
        assert held == ["4"] * 5, held
        return True

    eventually(everywhere, 2)
    assert ask_until_sold(buyers[0], product, f"G9-{step}")["remaining_stock"] == 3
