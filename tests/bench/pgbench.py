"""The same purchase as anybody would write it: one statement, one transaction, no lock but Postgres' own.

In the very Postgres that the system uses, on a copy of its tables, with the load generator on the same machine: what the
system's purchases through HTTP are compared to.
"""

import re
import subprocess
from urllib.parse import urlsplit

DATABASE = "bench"

# A sale as Quorate records it: account checked, key unique, stock lowered, purchase and ledger row inserted.
PURCHASE = """\\set user_id random(1, 1000)
\\set key random(1, 9000000000000000000)
WITH moved AS (
  UPDATE products SET stock = stock - 1, version = version + 1 WHERE id = 1 AND stock >= 1
  RETURNING id, price, stock, version),
sold AS (
  INSERT INTO purchases (user_id, product_id, quantity, total_price, remaining_stock, idem, token, version, place)
  SELECT u.id, m.id, 1, m.price, m.stock, :key::bigint::text, 1, m.version, 1 FROM moved m, users u WHERE u.id = :user_id
  RETURNING id, total_price, remaining_stock, purchased_at{ledger_needs}){ledger}
SELECT id, total_price, remaining_stock, purchased_at FROM sold;
"""
LEDGER = """, ledger AS (
  INSERT INTO stock_ledger (product_id, version, token, delta, stock_after, reason)
  SELECT product_id, version, 1, -1, remaining_stock, 'sale' FROM sold)"""


class Pgbench:
    def __init__(self, ground):
        self.url = urlsplit(ground.system.database_url)
        self.bin = self._bin()
        self.scripts = {}
        for name, ledger in (("with ledger", LEDGER), ("without ledger", "")):
            path = ground.directory / f"purchase {name}.sql".replace(" ", "_")
            path.write_text(PURCHASE.format(ledger=ledger, ledger_needs=", product_id, version" if ledger else ""))
            self.scripts[name] = path
        self._prepare()

    @staticmethod
    def _bin():
        return subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True).stdout.strip()

    def _run(self, program, *arguments, text=None):
        command = [f"{self.bin}/{program}", "-h", self.url.hostname, "-p", str(self.url.port), "-U", "quorate", *arguments]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout

    def _prepare(self):
        schema = self._run("pg_dump", "--schema-only", "quorate")
        self._run("psql", "-qv", "ON_ERROR_STOP=1", "quorate", text=f"CREATE DATABASE {DATABASE}")
        self._run("psql", "-qv", "ON_ERROR_STOP=1", DATABASE, text=schema)
        self._run("psql", "-qv", "ON_ERROR_STOP=1", DATABASE, text="""
            INSERT INTO public.users (username, password_hash) SELECT 'bench_' || i, '-' FROM generate_series(1, 1000) AS i;
            INSERT INTO public.products (name, price, stock, version) VALUES ('Hot', 10, 900000000000, 1);
            ANALYZE;""")

    def run(self, clients, seconds, script="with ledger"):
        out = self._run("pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-T", str(seconds),
                        "-f", str(self.scripts[script]), DATABASE)
        tps = float(re.search(r"^tps = ([0-9.]+)", out, re.MULTILINE).group(1))
        latency = float(re.search(r"^latency average = ([0-9.]+) ms", out, re.MULTILINE).group(1))
        return {"clients": clients, "script": script, "per_second": tps, "latency_ms": latency}
