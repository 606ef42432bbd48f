"""What the servers say after a run: Postgres, every Redis node, lockd."""

from typing import NamedTuple, Optional

import lock_pb2
import psycopg
import redis

from check import invariants
from load.common.scenarios import address
from support.rpc import Caller


class NodeFacts(NamedTuple):
    name: str
    stock: Optional[int]  # None: not there, or not reachable
    version: Optional[int]


class Product(NamedTuple):
    id: int
    name: str
    stock: int
    purchase: int  # id of the last purchase of it; 0: none


class Facts(NamedTuple):
    initial: int  # stock when the run began
    stock: int
    version: int
    sold: int  # units since then, by the purchases recorded
    ids: set
    nodes: list
    broken: list  # promises about all data that do not hold


def newest_product(scenario):
    """The scenario's product that was created last, as it is now; None if there is none."""
    with psycopg.connect(address("DATABASE_URL")) as database:
        row = database.execute(
            """SELECT p.id, p.name, p.stock, (SELECT coalesce(max(id), 0) FROM purchases WHERE product_id = p.id)
               FROM products p WHERE starts_with(name, %s) ORDER BY id DESC LIMIT 1""", (scenario.product,)).fetchone()
    return row and Product(*row)


def facts(product):
    with psycopg.connect(address("DATABASE_URL")) as database:
        stock, version = database.execute("SELECT stock, version FROM products WHERE id = %s", (product.id,)).fetchone()
        rows = database.execute("SELECT id, quantity FROM purchases WHERE product_id = %s AND id > %s",
                                (product.id, product.purchase)).fetchall()
    broken = invariants.broken(address("DATABASE_URL"), address("REDIS_NODES"))
    nodes = [node_facts(node, product.id) for node in address("REDIS_NODES").split(",")]
    return Facts(product.stock, stock, version, sum(quantity for _, quantity in rows), {id for id, _ in rows}, nodes, broken)


def node_facts(node, id):
    host, _, port = node.rpartition(":")
    try:
        with redis.Redis(host=host, port=int(port), socket_timeout=2) as client:
            stock, version = client.mget(f"stock:{id}", f"stockver:{id}")
    except (redis.ConnectionError, redis.TimeoutError):
        stock = version = None
    return NodeFacts(node, stock and int(stock), version and int(version))


def lock_facts():
    """lockd's own count of rounds and times, by its Nodes method."""
    with Caller(address("LOCKD_URL")) as lockd:
        return lockd.call("/quorate.lock.v1.Lock/Nodes", lock_pb2.NodesRequest(), lock_pb2.NodesReply)
