"""The promises that Quorate makes about its data, checked over Postgres, its ledger and the Redis nodes.

Each query below selects what breaks one promise, so no row is the good answer. They hold at every commit, also in the
middle of a sale. The nodes follow Postgres after the commit: they get SETTLE_S to agree.
"""

import re
import time

import psycopg
import redis

SETTLE_S = 3.0

# What may live on a node; everything else is foreign.
REDIS_KEYS = re.compile(r"(stock|stockver):[0-9]+|(lock|fence|wait):.+|quorate:epoch")

BREAKS = {
    "stock is never negative": """
        SELECT id, stock FROM products WHERE stock < 0""",
    "stock = what the ledger's last row says": """
        SELECT p.id, p.stock, l.stock_after FROM products p
        JOIN LATERAL (SELECT stock_after FROM stock_ledger WHERE product_id = p.id ORDER BY version DESC LIMIT 1) l ON true
        WHERE p.stock <> l.stock_after""",
    "stock = initial stock + sum of the ledger's changes": """
        SELECT p.id, p.stock, l.initial, l.changes FROM products p LEFT JOIN
            (SELECT product_id, sum(delta) FILTER (WHERE reason = 'initial') AS initial,
                    coalesce(sum(delta) FILTER (WHERE reason <> 'initial'), 0) AS changes FROM stock_ledger GROUP BY 1) l
            ON l.product_id = p.id
        WHERE p.stock IS DISTINCT FROM l.initial + l.changes""",
    "each ledger row continues from the one before": """
        SELECT * FROM (
            SELECT product_id, version, delta, stock_after,
                   lag(stock_after) OVER (PARTITION BY product_id ORDER BY version) AS stock_before FROM stock_ledger) l
        WHERE stock_before + delta <> stock_after""",
    "sold by the ledger = sum of purchases": """
        SELECT coalesce(l.product_id, b.product_id) AS product_id, l.sold AS by_ledger, b.sold AS by_purchases FROM
            (SELECT product_id, -sum(delta) AS sold FROM stock_ledger WHERE reason = 'sale' GROUP BY 1) l FULL JOIN
            (SELECT product_id, sum(quantity) AS sold FROM purchases GROUP BY 1) b USING (product_id)
        WHERE l.sold IS DISTINCT FROM b.sold""",
    "each batch sold what its ledger row took": """
        SELECT coalesce(l.product_id, b.product_id) AS product_id, coalesce(l.version, b.version) AS version, taken, sold FROM
            (SELECT product_id, version, token, -delta AS taken FROM stock_ledger WHERE reason = 'sale') l FULL JOIN
            (SELECT product_id, version, token, sum(quantity) AS sold FROM purchases GROUP BY 1, 2, 3) b
            USING (product_id, version, token)
        WHERE taken IS DISTINCT FROM sold""",
    "remaining_stock counts down in order of arrival": """
        SELECT * FROM (
            SELECT id, product_id, version, place, quantity, remaining_stock,
                   lag(remaining_stock) OVER (PARTITION BY product_id, version ORDER BY place) AS before FROM purchases) b
        WHERE before - quantity <> remaining_stock""",
    "tokens grow with versions": """
        SELECT * FROM (
            SELECT product_id, version, token, lag(token) OVER (PARTITION BY product_id ORDER BY version) AS token_before
            FROM stock_ledger) l
        WHERE token < token_before""",
    "the product has seen every token and version": """
        SELECT p.id, p.version, p.last_token, l.version AS version_used, l.token AS token_used FROM products p JOIN
            (SELECT product_id, max(version) AS version, max(token) AS token FROM stock_ledger GROUP BY 1) l
            ON l.product_id = p.id
        WHERE l.version > p.version OR l.token > p.last_token""",
    "one purchase per (product, version, place)": """
        SELECT product_id, version, place, count(*) FROM purchases GROUP BY 1, 2, 3 HAVING count(*) > 1""",
    "one purchase per (user, key)": """
        SELECT user_id, idem, count(*) FROM purchases GROUP BY 1, 2 HAVING count(*) > 1""",
    "every purchase has its user and its product": """
        SELECT b.id, b.user_id, b.product_id FROM purchases b
        LEFT JOIN users u ON u.id = b.user_id LEFT JOIN products p ON p.id = b.product_id
        WHERE u.id IS NULL OR p.id IS NULL""",
}


def broken(database_url, redis_nodes, settle_s=SETTLE_S, all_nodes=False):
    """One sentence per broken promise. A node that can't be reached is passed over, unless all_nodes."""
    with psycopg.connect(database_url, autocommit=True) as database:
        if database.execute("SELECT to_regclass('purchases')").fetchone()[0] is None:
            return []  # nothing was ever migrated
        with database.transaction():
            database.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")  # one moment for all queries
            found = broken_in_postgres(database)
        return found + broken_on_nodes(database, redis_nodes, settle_s, all_nodes)


def broken_in_postgres(database):
    found = []
    for promise, query in BREAKS.items():
        cursor = database.execute(query)
        names = [column.name for column in cursor.description]
        rows = cursor.fetchall()
        for row in rows[:3]:
            values = " ".join(f"{name}={value}" for name, value in zip(names, row))
            found.append(f"broken: {promise}: {values}" + (f" (and {len(rows) - 3} more)" if len(rows) > 3 else ""))
    return found


def broken_on_nodes(database, redis_nodes, settle_s, all_nodes):
    """Compares until all agree or the time is up."""
    ends = time.monotonic() + settle_s
    while True:
        wanted = stock_in_postgres(database)
        found = []
        for node in redis_nodes.split(","):
            try:
                found += broken_on_node(node, wanted)
            except (redis.ConnectionError, redis.TimeoutError) as error:
                if all_nodes:
                    found.append(f"node {node} can't be asked: {error}")
        if not found or time.monotonic() > ends:
            return found
        time.sleep(0.1)


def stock_in_postgres(database):
    rows = database.execute("SELECT id, stock, version FROM products").fetchall()
    return {id: (stock, version) for id, stock, version in rows}


def broken_on_node(node, wanted):
    host, _, port = node.rpartition(":")
    with redis.Redis(host=host, port=int(port), decode_responses=True, encoding_errors="replace",
                     socket_timeout=2) as client:
        held = stock_on_node(client, wanted)
        foreign = [key for key in client.scan_iter(count=1000) if not REDIS_KEYS.fullmatch(key)]
    differing = [id for id in wanted if held[id] != wanted[id]]
    found = [f"node {node} holds (stock, version) {held[id]} of product {id}, Postgres {wanted[id]}" for id in differing[:3]]
    if len(differing) > 3:
        found.append(f"node {node}: and {len(differing) - 3} more products differ")
    return found + [f"node {node} holds a foreign key: {key}" for key in foreign[:3]]


def stock_on_node(client, ids):
    """{id: (stock, version)}; None where the node has none."""
    held, ids = {}, list(ids)
    for start in range(0, len(ids), 1000):
        part = ids[start:start + 1000]
        values = client.mget([f"{kind}:{id}" for id in part for kind in ("stock", "stockver")])
        numbers = [None if value is None else int(value) for value in values]
        held.update(zip(part, zip(numbers[::2], numbers[1::2])))
    return held
