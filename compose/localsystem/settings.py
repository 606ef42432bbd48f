"""Where the system lives: directory, addresses, programs.

`up` takes these from the environment (before it, compose/settings) and notes them in LOCAL_DIR/system.json; every
other verb goes by that note, so it needs no more than LOCAL_DIR to find the system.
"""

import json
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

REDIS_NAMES = ("redis", "redis1", "redis2", "redis3", "redis4")
NAMES = (*REDIS_NAMES, "postgres", "lockd", "inventory", "edge")
PORTS = dict(zip(NAMES, (6380, 6381, 6382, 6383, 6384, 5433, 7001, 7002, 8080)))

# name: (default, meaning)
OWN = {
    "LOCAL_DIR": (".local", "data, logs and pids of this system; relative to the repository"),
    "BUILD_DIR": ("build/release", "where the services were built"),
    "BIND": ("127.0.0.1", "the address that everything listens on"),
    "PORT_BASE": ("", "moves all nine ports: redis gets this one, redis1 the next, and so on in the order of `ps`"),
    **{f"{name.upper()}_PORT": (str(port), f"port of {name}") for name, port in PORTS.items()},
    "REDIS_APPENDFSYNC": ("always", "how the nodes sync their file: always, everysec or no"),
    "REDIS_SERVER": ("redis-server", "the program"),
    "POSTGRES_BIN": ("", "directory of Postgres' programs; empty: the newest in /usr/lib/postgresql"),
    "POSTGRES_ACCOUNT": ("postgres", "who runs Postgres when root starts the system"),
    "POSTGRES_DIR": ("", "Postgres' data; empty: in LOCAL_DIR, if that account can reach it, else in /var/lib"),
    "START_TIMEOUT_SECONDS": ("120", "how long `up` waits until everything is healthy"),
}


class Fault(Exception):
    """Something that a person must mend; the text says what."""


def read_file(path):
    """NAME=value lines."""
    pairs = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.isidentifier():
            raise Fault(f"{path}:{number}: not NAME=value")
        pairs[name] = value
    return pairs


class Settings:
    def __init__(self, pairs, environment):
        self.pairs = pairs  # our own, complete
        self.environment = environment  # what a service's settings are taken from
        self.dir = (ROOT / pairs["LOCAL_DIR"]).absolute()
        self.build_dir = (ROOT / pairs["BUILD_DIR"]).absolute()
        self.bind = pairs["BIND"]
        self.timeout_s = self._number("START_TIMEOUT_SECONDS", 1, 3600)
        self.ports = {}
        for place, name in enumerate(NAMES):
            key = f"{name.upper()}_PORT"
            if pairs["PORT_BASE"] and pairs[key] == str(PORTS[name]):
                self.ports[name] = self._number("PORT_BASE", 1, 65535 - len(NAMES)) + place
            else:
                self.ports[name] = self._number(key, 1, 65535)
        if len(set(self.ports.values())) != len(NAMES):
            raise Fault(f"two parts have the same port: {self.ports}")
        if pairs["REDIS_APPENDFSYNC"] not in ("always", "everysec", "no"):
            raise Fault("REDIS_APPENDFSYNC must be always, everysec or no")

    def __getitem__(self, name):
        return self.pairs[name]

    def _number(self, name, low, high):
        text = self.pairs[name]
        if not text.isdecimal() or not low <= int(text) <= high:
            raise Fault(f"{name}={text}: not a number from {low} to {high}")
        return int(text)

    def address(self, name):
        return f"{self.bind}:{self.ports[name]}"

    def addresses_for_services(self):
        """What the services must know of each other. A setting in the environment comes before these."""
        return {
            "LOCKD_LISTEN": f"tcp://{self.address('lockd')}",
            "INVENTORY_LISTEN": f"tcp://{self.address('inventory')}",
            "EDGE_LISTEN": self.address("edge"),
            "LOCKD_URL": f"tcp://{self.address('lockd')}",
            "INVENTORY_URL": f"tcp://{self.address('inventory')}",
            "DATABASE_URL": f"postgresql://quorate@{self.address('postgres')}/quorate",
            "REDIS_NODES": ",".join(self.address(name) for name in REDIS_NAMES),
            "JWT_SECRET_KEY_FILE": str(self.dir / "jwt-secret"),
        }

    def redis_nodes(self, text):
        """REDIS_NODES as compose.yaml writes it (redis:6379,redis1:6379) means the same here."""
        nodes = []
        for node in text.split(","):
            host = node.strip().rpartition(":")[0]
            nodes.append(self.address(host) if host in REDIS_NAMES else node.strip())
        return ",".join(nodes)

    def note(self):
        self.dir.mkdir(parents=True, exist_ok=True)
        write_json(self.dir / "system.json", self.pairs)


def from_environment():
    environment = {**read_file(ROOT / "compose" / "settings"), **os.environ}
    pairs = {name: environment.get(name) or default for name, (default, _) in OWN.items()}
    return Settings(pairs, environment)


def from_note():
    """The settings that `up` noted, or those of the environment if this system was never up."""
    fresh = from_environment()
    note = read_json(fresh.dir / "system.json")
    if note is None:
        return fresh
    return Settings({**fresh.pairs, **note, "LOCAL_DIR": fresh["LOCAL_DIR"]}, fresh.environment)


def read_json(path):
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def write_json(path, value):
    """Whole or not at all, whatever kills us."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(json.dumps(value, indent=1) + "\n")
    part.rename(path)
