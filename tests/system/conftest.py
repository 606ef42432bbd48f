"""What only the tests of whole systems need."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.edge import Edge

serial = itertools.count(1)


@pytest.fixture(scope="module")
def buyers(module_system):
    """Three accounts for all tests of a module: a password costs more than a purchase."""
    return [Edge(module_system.edge_url).enter(f"shopper{place}") for place in range(3)]


@pytest.fixture
def product_of(buyers):
    """product_of(stock): a new product."""
    return lambda stock: buyers[0].create_product(f"thing {next(serial)}", stock)


@pytest.fixture
def aside():
    """aside(function, ...) runs it beside the test and gives a future."""
    with ThreadPoolExecutor(64) as pool:
        yield pool.submit
