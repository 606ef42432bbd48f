"""The checker itself: it finds every broken promise. Each one is broken once here, in a transaction that is rolled back."""

import itertools

import pytest

from check import invariants

serial = itertools.count(1)

# What would break each promise; {p} is the product, {v} the version of its last batch.
BREAKS = {
    "stock is never negative":
        "ALTER TABLE products DROP CONSTRAINT IF EXISTS products_stock_check; UPDATE products SET stock = -1 WHERE id = {p}",
    "stock = what the ledger's last row says":
        "UPDATE products SET stock = stock + 1 WHERE id = {p}",
    "stock = initial stock + sum of the ledger's changes":
        "DELETE FROM stock_ledger WHERE product_id = {p} AND reason = 'initial'",
    "each ledger row continues from the one before":
        "UPDATE stock_ledger SET stock_after = stock_after + 1 WHERE product_id = {p} AND version = {v}",
    "sold by the ledger = sum of purchases":
        "DELETE FROM purchases WHERE id = (SELECT max(id) FROM purchases WHERE product_id = {p})",
    "each batch sold what its ledger row took":
        "UPDATE purchases SET version = version - 1 WHERE product_id = {p} AND version = {v}",
    "remaining_stock counts down in order of arrival":
        """INSERT INTO purchases (product_id, user_id, idem, token, version, place, quantity, total_price, remaining_stock)
           SELECT product_id, user_id, 'other', token, version, place + 1, 1, 1, remaining_stock FROM purchases
           WHERE product_id = {p} AND version = {v}""",
    "tokens grow with versions":
        "UPDATE stock_ledger SET token = 1 WHERE product_id = {p} AND version = {v}",
    "the product has seen every token and version":
        "UPDATE products SET last_token = 1 WHERE id = {p}",
    "one purchase per (product, version, place)":
        """INSERT INTO purchases (product_id, user_id, idem, token, version, place, quantity, total_price, remaining_stock)
           SELECT product_id, user_id, 'other', token, version, place, 1, 1, remaining_stock FROM purchases
           WHERE product_id = {p} AND version = {v}""",
    "one purchase per (user, key)":
        """ALTER TABLE purchases DROP CONSTRAINT purchases_one_per_key;
           UPDATE purchases SET idem = 'same' WHERE product_id = {p}""",
    "every purchase has its user and its product":
        "UPDATE purchases SET user_id = 0 WHERE product_id = {p} AND version = {v}",
}


@pytest.fixture
def sold(system, buyer):
    """A product with three batches of one purchase each; (id, version of the last)."""
    product = buyer.create_product(f"checked {next(serial)}", 10)
    for _ in range(3):
        assert buyer.buy(product).status_code == 201
    (version,) = system.sql("SELECT max(version) FROM purchases WHERE product_id = %s", product)[0]
    return product, version


def test_each_promise_has_its_break():
    assert BREAKS.keys() == invariants.BREAKS.keys()


@pytest.mark.parametrize("promise", BREAKS)
def test_each_broken_promise_is_found(system, sold, promise):
    product, version = sold
    with system.database() as database, database.transaction(force_rollback=True):
        assert invariants.broken_in_postgres(database) == []
        for statement in BREAKS[promise].format(p=product, v=version).split(";"):
            database.execute(statement)
        found = invariants.broken_in_postgres(database)
        assert any(promise in line for line in found), found


def test_a_node_that_differs_is_found(system, sold):
    product, _ = sold
    system.redis("redis3").set(f"stock:{product}", 99)
    found = invariants.broken(system.database_url, system.urls["REDIS_NODES"], settle_s=0)
    system.redis("redis3").set(f"stock:{product}", 7)
    assert len(found) == 1 and "(99, " in found[0]


def test_a_foreign_key_is_found(system):
    system.redis("redis1").set("something:else", 1)
    found = invariants.broken(system.database_url, system.urls["REDIS_NODES"], settle_s=0)
    system.redis("redis1").delete("something:else")
    assert [line for line in found if "foreign key: something:else" in line] == found != []
