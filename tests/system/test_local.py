"""compose/local itself: what the other tests stand on."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from support.deployed import REDIS, ROOT, eventually
from support.system import System

SERVERS = ("redis", "redis1", "postgres")


@pytest.fixture(scope="module")
def module_servers():
    system = System()
    yield system
    system.down()


@pytest.fixture
def servers(module_servers):
    environment = dict(module_servers.environment)
    module_servers.up(*SERVERS)
    yield module_servers
    module_servers.environment = environment


def test_up_twice_changes_nothing(servers):
    before = servers.ps()
    servers.up(*SERVERS)
    after = servers.ps()
    for name in SERVERS:
        assert after[name]["health"] == "healthy"
        assert after[name]["pid"] == before[name]["pid"]


def test_data_outlives_everything_but_down_with_v(servers):
    servers.redis("redis").set("stock:1", 5)
    servers.sql("CREATE TABLE kept (n int)")
    servers.kill("redis", "postgres")
    servers.start("redis", "postgres")
    assert servers.redis("redis").get("stock:1") == "5"
    servers.local("down")
    servers.up(*SERVERS)
    assert servers.redis("redis").get("stock:1") == "5"
    assert servers.sql("SELECT count(*) FROM kept") == [(0,)]
    servers.local("down", "-v")
    assert not servers.directory.exists()
    servers.up(*SERVERS)
    assert servers.redis("redis").get("stock:1") is None
    assert servers.sql("SELECT to_regclass('kept')") == [(None,)]


def test_stop_kill_pause_and_back(servers):
    for verb, back, state in (("stop", "start", "stopped"), ("kill", "start", "killed"), ("pause", "unpause", "paused")):
        servers.local(verb, *SERVERS)
        assert [servers.ps()[name]["state"] for name in SERVERS] == [state] * 3
        servers.local(back, *SERVERS)
        eventually(lambda: all(servers.ps()[name]["health"] == "healthy" for name in SERVERS))


def test_kill_of_postgres_reaches_its_children(servers):
    with servers.database() as database:
        (child,) = database.execute("SELECT pg_backend_pid()").fetchone()
        servers.kill("postgres")
        assert not Path(f"/proc/{child}").exists() or b") Z" in Path(f"/proc/{child}/stat").read_bytes()


def test_a_process_that_died_is_said_and_started_again(servers):
    os.kill(servers.pid("redis1"), signal.SIGKILL)
    eventually(lambda: servers.ps()["redis1"]["state"] == "died")
    said = servers.local("up", *SERVERS)
    assert "stale" in said
    assert servers.ps()["redis1"]["health"] == "healthy"


def test_a_recycled_pid_is_never_hit(servers):
    """The note of redis1 gets the pid of a stranger, as if the kernel had given the number away."""
    pid = servers.pid("redis1")
    with subprocess.Popen(["sleep", "60"]) as stranger:
        path = servers.directory / "redis1" / "process.json"
        noted = path.read_text()
        path.write_text(noted.replace(f'"pid": {pid}', f'"pid": {stranger.pid}'))
        assert servers.ps()["redis1"]["state"] == "died"
        servers.local("kill", "redis1", fails=True)
        servers.local("pause", "redis1", fails=True)
        servers.local("stop", "redis1")
        time.sleep(0.1)
        assert stranger.poll() is None
        stranger.kill()
        path.write_text(noted)
        assert servers.ps()["redis1"]["state"] == "running"


def test_a_port_in_use_is_told_with_its_owner(servers):
    servers.stop("redis")
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", servers.ports.base))
        thief.listen()
        said = servers.local("start", "redis", fails=True)
        assert f"port {servers.ports.base} is in use by" in said
        assert f"(pid {os.getpid()})" in said
        assert "REDIS_PORT" in said
    servers.start("redis")


def test_a_server_that_cannot_start_shows_its_log(servers):
    servers.stop("redis1")
    appendonly = next((servers.directory / "redis1" / "appendonlydir").glob("*.manifest"))
    whole = appendonly.read_text()
    appendonly.write_text("nonsense\n")
    said = servers.local("start", "redis1", fails=True)
    appendonly.write_text(whole)
    assert "redis1 ended with 1 instead of starting" in said
    assert "manifest" in said


def test_changed_settings_start_a_part_anew(servers):
    before = servers.ps()
    servers.up(*SERVERS, REDIS_APPENDFSYNC="everysec")
    after = servers.ps()
    assert after["redis"]["pid"] != before["redis"]["pid"]
    assert after["postgres"]["pid"] == before["postgres"]["pid"]
    assert servers.redis("redis").config_get("appendfsync") == {"appendfsync": "everysec"}
    assert servers.redis("redis").config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_two_systems_beside_each_other(servers):
    other = System()
    try:
        other.up("redis")
        servers.redis("redis").set("stock:1", 1)
        assert other.redis("redis").get("stock:1") is None
        other.kill("redis")
        assert servers.ps()["redis"]["health"] == "healthy"
    finally:
        other.down()


def test_exec_knows_the_addresses(servers):
    assert servers.local("exec", "redis", "redis-cli", "SET", "stock:1", "7") == "OK\n"
    assert servers.local("exec", "redis1", "redis-cli", "EXISTS", "stock:1") == "0\n"
    assert servers.local("exec", "postgres", "psql", "-Atc", "SELECT current_user") == "quorate\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
def test_an_ordinary_user_can_run_it():
    directory = Path("/tmp/quorate-ordinary-user")
    system = System()
    environment = {**os.environ, **system.environment, "LOCAL_DIR": str(directory)}

    def local(*arguments):
        return subprocess.run([ROOT / "compose" / "local", *arguments], env=environment, user="games", group="games",
                              extra_groups=[], capture_output=True, text=True)

    try:
        done = local("up", "redis", "postgres")
        if "Permission denied" in done.stderr and not done.stdout:
            pytest.skip("the repository lies where other accounts can't read it")
        assert done.returncode == 0, done.stdout + done.stderr
        assert local("exec", "postgres", "psql", "-Atc", "SELECT 1").stdout == "1\n"
    finally:
        local("down", "-v")
        system.down()
    assert not directory.exists()


def test_what_is_not_there_is_said(servers):
    assert "no part is called 'redis9'" in servers.local("stop", "redis9", fails=True)
    assert "redis2 was never up" in servers.local("start", "redis2", fails=True)
    servers.environment["BUILD_DIR"] = "build/nothing"
    assert "is not built" in servers.local("up", fails=True)
    assert all(servers.ps()[name]["state"] == "absent" for name in REDIS[2:])
