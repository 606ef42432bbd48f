"""A whole system for tests: compose/local in a directory and on ports of its own."""

import fcntl
import itertools
import json
import os
import socket
import subprocess
from pathlib import Path

from support.deployed import NAMES, ROOT, Deployed
from support.wire import Wire

# A shell that evaluated `compose/local env` must not lend us the addresses of its system.
FOREIGN = ("REDIS_NODES", "DATABASE_URL", "LOCKD_URL", "INVENTORY_URL", "EDGE_URL")

# Not in pytest's own temporary directory: the account that runs Postgres could not enter it. Named after our pid.
SYSTEMS = ROOT / "build" / "systems"


def remove_abandoned():
    """Ends what a test run left behind that was killed itself."""
    for directory in SYSTEMS.glob("*-*"):
        if not Path(f"/proc/{directory.name.partition('-')[0]}").exists():
            subprocess.run([ROOT / "compose" / "local", "down", "-v"], env={**os.environ, "LOCAL_DIR": str(directory)})


class Ports:
    """Ten free ports in a row that no other test run takes meanwhile."""

    def __init__(self):
        first = int(os.environ.get("TEST_PORT_BASE", "20000"))
        for base in range(first, first + 1000, 10):
            self._claim = open(f"/tmp/quorate-ports-{base}", "a")
            try:
                fcntl.flock(self._claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._claim.close()
                continue
            if all(self._free(port) for port in range(base, base + 10)):
                self.base = base
                return
            self.release()
        raise RuntimeError(f"no ten free ports from {first} on; set TEST_PORT_BASE")

    @staticmethod
    def _free(port):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
            return True

    def release(self):
        os.unlink(self._claim.name)
        self._claim.close()


class System(Deployed):
    """Made, it owns a directory and ports; up() starts it, down() gives everything back.

    `settings` is a dict, or a function that makes one of this system: for parts that shall reach others through a wire.
    """

    serial = itertools.count(1)

    def __init__(self, settings=None):
        self.directory = SYSTEMS / f"{os.getpid()}-{next(self.serial)}"
        self.ports = Ports()
        self.wires = {}
        self.environment = {
            "LOCAL_DIR": str(self.directory),
            "PORT_BASE": str(self.ports.base),
            "BUILD_DIR": os.environ.get("BUILD_DIR", "build/dev"),
            "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1",
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "TSAN_OPTIONS": f"halt_on_error=0:suppressions={ROOT}/tests/tsan.supp",
            "START_TIMEOUT_SECONDS": "60",
        }
        self.environment.update(settings(self) if callable(settings) else settings or {})
        self._urls = None

    def local(self, *arguments, fails=False):
        """Runs compose/local; what it prints is what a failed test shows."""
        ours = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        done = subprocess.run([ROOT / "compose" / "local", *arguments], env={**ours, **self.environment},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert (done.returncode != 0) == fails, f"compose/local {' '.join(arguments)}:\n{done.stdout}"
        return done.stdout

    def up(self, *names, **settings):
        self.environment.update(settings)
        self.local("up", *names)

    def down(self):
        self.local("down", "-v")
        for wire in self.wires.values():
            wire.close()
        self.ports.release()

    def port(self, name):
        return self.ports.base + NAMES.index(name)

    def wire(self, name):
        """A wire to this part, for those who are given its address."""
        if name not in self.wires:
            self.wires[name] = Wire(self.port(name))
        return self.wires[name]

    def ps(self):
        """By name: state, health, pid, address."""
        return {row["name"]: row for row in json.loads(self.local("ps", "--format", "json"))}

    @property
    def jwt_secret(self):
        return (self.directory / "jwt-secret").read_text().strip()

    def pid(self, name):
        return self.ps()[name]["pid"]

    def log(self, name):
        path = self.directory / name / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def urls(self):
        if self._urls is None:
            pairs = (line.removeprefix("export ").split("=", 1) for line in self.local("env").splitlines())
            self._urls = {name: value.strip("'") for name, value in pairs}
        return self._urls

    def mend(self):
        """After a fault: everything runs and is healthy again."""
        for wire in self.wires.values():
            wire.mend()
        self.local("up")
