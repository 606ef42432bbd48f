"""A service whose sockets do not close ends all the same: late, with a word in its log and the code that it would have had."""

import contextlib
import os
import re
import signal
import socket
import subprocess

import pytest
from support.deployed import REPORTS, ROOT, SERVICES, eventually

BUILD = ROOT / os.environ.get("BUILD_DIR", "build/dev")
STUCK = re.compile(r'^\S+Z warn close\.stuck text="[^"]+" code=(\d+)$', re.MULTILINE)
SANITIZERS = {"ASAN_OPTIONS": "verify_asan_link_order=0", "TSAN_OPTIONS": f"suppressions={ROOT}/tests/tsan.supp"}


class Service:
    """One service on its own, without anything that it could ask."""

    def __init__(self, name, folder, stuck, listen):
        self.program = BUILD / "services" / name / name
        self.path = folder / f"{name}.log"
        self.environment = {
            "PATH": os.environ["PATH"], **SANITIZERS, f"{name.upper()}_LISTEN": listen, "LOG_LEVEL": "error",
            "REDIS_NODES": "127.0.0.1:1", "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
            **{f"{other.upper()}_URL": f"ipc://{folder}/no-{other}" for other in SERVICES[:2] if other != name}}
        preload = {"LD_PRELOAD": str(BUILD / "tests/rpc/libstuck_close.so")} if stuck else {}
        with open(self.path, "wb") as log:
            self.process = subprocess.Popen([self.program], env={**self.environment, **preload}, stderr=log)

    def alive(self):
        asked = subprocess.run([self.program, "--healthcheck"], env=self.environment, capture_output=True, text=True)
        return asked.stdout.startswith("alive")

    def log(self):
        return self.path.read_text(errors="replace")


@pytest.fixture
def start(tmp_path):
    """start(NAME, stuck=, listen=) starts one; what still runs after the test is killed."""
    with contextlib.ExitStack() as stack:
        def start(name, stuck, listen=None):
            service = Service(name, tmp_path, stuck, listen or f"ipc://{tmp_path}/{name}")
            stack.callback(service.process.kill)
            return service

        yield start


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.mark.parametrize("stuck", [True, False], ids=["stuck", "not stuck"])
def test_a_service_that_is_stopped_ends(start, stuck):
    listen = {"edge": f"127.0.0.1:{free_port()}"}
    services = [start(name, stuck, listen.get(name)) for name in SERVICES]
    for service in services:
        eventually(service.alive, 30)
        assert not STUCK.search(service.log())
    for service in services:
        service.process.send_signal(signal.SIGTERM)
    for service in services:
        assert service.process.wait(60) == 0, service.log()
        assert STUCK.findall(service.log()) == (["0"] if stuck else [])
        assert not REPORTS.search(service.log()), service.log()


def test_a_service_that_could_not_start_keeps_its_code(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        edge = start("edge", stuck=True, listen=f"127.0.0.1:{taken.getsockname()[1]}")
        assert edge.process.wait(60) == 1, edge.log()
    assert STUCK.findall(edge.log()) == ["1"]
