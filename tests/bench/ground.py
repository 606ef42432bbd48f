"""What the measurements stand on: a running system with accounts, tokens and products, and the programs that load it."""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import subprocess
import threading
import time
from pathlib import Path

from check import invariants
from support.deployed import ROOT, SERVICES
from support.edge import Edge
from support.system import System

ACCOUNTS = 1000
HOT_STOCK = 900_000_000_000
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def token(secret, user_id, username):
    """As the edge signs it; a thousand logins would take ten seconds of hashing."""

    def part(raw):
        return base64.urlsafe_b64encode(raw).rstrip(b"=")

    now = int(time.time())
    claims = {"sub": username, "user_id": user_id, "iat": now, "exp": now + 86400}
    text = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (text + b"." + part(hmac.new(secret, text, hashlib.sha256).digest())).decode()


class Ground:
    def __init__(self, directory, system=None):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.build = ROOT / os.environ["BUILD_DIR"]
        self.system = system or System({"BUILD_DIR": os.environ["BUILD_DIR"]})
        self.tokens = directory / "tokens"
        self.products = {}

    def up(self, **settings):
        """Starts what is not there, and anew what is set otherwise."""
        self.system.up(**settings)
        if not self.products:
            self._seed()

    def _seed(self):
        rows = self.system.sql("INSERT INTO users (username, password_hash) SELECT 'bench_' || i, '-' "
                               "FROM generate_series(1, %s) AS i RETURNING id, username", ACCOUNTS)
        tokens = [token(self.system.jwt_secret.encode(), *row) for row in rows]
        self.tokens.write_text("".join(f"{text}\n" for text in tokens))
        self.edge = Edge(self.system.edge_url, timeout_s=30)
        self.edge.session.headers["Authorization"] = f"Bearer {tokens[0]}"
        self.products["hot"] = self.edge.create_product("Hot", HOT_STOCK)

    def many_products(self, count):
        """Their ids, first and last: one after the other, since nobody else creates any."""
        if "many" not in self.products:
            ids = [self.edge.create_product(f"Product {i}", HOT_STOCK) for i in range(count)]
            assert ids == list(range(ids[0], ids[0] + count))
            self.products["many"] = f"{ids[0]}-{ids[-1]}"
        return self.products["many"]

    def load(self, job, products, connections, seconds, warm_up=1):
        command = [self.build / "tests" / "bench" / "load", "--port", self.system.edge_url.rpartition(":")[2],
                   "--tokens", self.tokens, "--do", job, "--products", str(products), "--connections", str(connections),
                   "--seconds", str(seconds), "--warm-up", str(warm_up)]
        with Watch(self) as watch:
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{command}: {done.stderr}")
        result = json.loads(done.stdout)
        result["bad"] = result["answers"] + result["broken"] - sum(
            count for status, count in result["statuses"].items() if status.startswith("2"))
        result["memory"] = watch.memory
        result["cpu_us_per_answer"] = {name: round(used * 1e6 / max(result["answers"], 1) * result["seconds"]
                                                   / (result["seconds"] + warm_up), 2)
                                       for name, used in watch.cpu_s.items()}
        return result

    def pids(self):
        """By name, the children's parents only."""
        pids = {name: row["pid"] for name, row in self.system.ps().items()}
        proxy = self.system.proxy()
        return {**pids, "docker-proxy": proxy} if proxy else pids

    def processes(self):
        """All of the system's."""
        pids = self.pids().values()
        return [*pids, *(child for pid in pids for child in children(pid))]

    def check(self):
        """Broken promises, as text; the nodes get a moment to be told the last put."""
        ends = time.monotonic() + 10
        while True:
            found = invariants.broken(self.system.database_url, self.system.urls["REDIS_NODES"], all_nodes=True)
            if not found or time.monotonic() > ends:
                return found + self.system.reports()
            time.sleep(0.5)

    def down(self):
        self.system.down()


def children(pid):
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Watch:
    """Memory and processor time of every process of the system while something runs."""

    PERIOD_S = 0.5

    def __init__(self, ground):
        self.pids = ground.pids()
        self.memory = {name: [] for name in SERVICES}
        self.cpu_s = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self):
        self._before = self._cpu()
        self._children_before = os.times().children_user + os.times().children_system
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        after = self._cpu()
        self.cpu_s = {name: after[name] - self._before[name] for name in after}
        children = os.times().children_user + os.times().children_system
        self.cpu_s["load"] = children - self._children_before

    def _sample(self):
        while not self._stop.wait(self.PERIOD_S):
            for name in SERVICES:
                with contextlib.suppress(OSError):
                    pages = int(Path(f"/proc/{self.pids[name]}/statm").read_text().split()[1])
                    self.memory[name].append(round(pages * PAGE_BYTES / 2**20, 2))

    def _cpu(self):
        used = {}
        for name, pid in self.pids.items():
            group = "redis" if name.startswith("redis") else name
            used[group] = used.get(group, 0) + self._ticks(pid) / TICKS_PER_S
        for child in children(self.pids["postgres"]):
            used["postgres"] += self._ticks(child) / TICKS_PER_S
        return used

    @staticmethod
    def _ticks(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])
        return 0
