"""The whole system as containers, for tests: docker compose with a project name, ports and image tag of its own."""

import contextlib
import functools
import json
import os
import shutil
import subprocess
from pathlib import Path

from support.deployed import NAMES, REDIS, ROOT, SERVICES, Deployed, eventually
from support.system import Ports

TAG = "under-test"  # of the images that tests build; their layers stay, as a cache
PROJECTS = "quorate-test-"

PUBLISHED = {"redis": "REDIS_PORT", "redis1": "REDIS1_PORT", "redis2": "REDIS2_PORT", "redis3": "REDIS3_PORT",
             "redis4": "REDIS4_PORT", "postgres": "POSTGRES_PORT", "lockd": "LOCKD_PORT", "inventory": "INVENTORY_PORT",
             "edge": "EDGE_PORT", "v1-edge": "V1_EDGE_PORT", "lockd2": "LOCKD2_PORT", "inventory2": "INVENTORY2_PORT",
             "edge2": "EDGE2_PORT", "load": "LOAD_PORT", "v1-load": "V1_LOAD_PORT"}


def docker(*arguments, check=True, text=""):
    done = subprocess.run(["docker", *arguments], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}:\n{done.stdout}"
    return done.stdout


@functools.cache
def missing():
    """Why there can be no containers here; empty: there can."""
    if shutil.which("docker") is None:
        return "there is no docker"
    if subprocess.run(["docker", "version"], capture_output=True).returncode != 0:
        return "no Docker engine answers"
    if command() is None:
        return "there is neither docker compose nor docker-compose"
    return ""


@functools.cache
def command():
    """docker compose, or its elder; DOCKER_COMPOSE says which."""
    if chosen := os.environ.get("DOCKER_COMPOSE"):
        return chosen.split()
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def remove_abandoned():
    """What a test run left behind that was killed itself."""
    projects = {line.strip() for line in docker("ps", "-a", "--format", '{{.Label "com.docker.compose.project"}}').splitlines()}
    for project in projects:
        pid = project.removeprefix(PROJECTS).partition("-")[0]
        if project.startswith(PROJECTS) and not os.path.exists(f"/proc/{pid}"):
            compose = Composed(project)
            compose.down()


class Composed(Deployed):
    serial = 0

    def __init__(self, project=None, **settings):
        Composed.serial += 1
        self.project = project or f"{PROJECTS}{os.getpid()}-{Composed.serial}"
        self.blocks = (Ports(), Ports())
        bases = [block.base for block in self.blocks]
        self.ports = {name: bases[place // 10] + place % 10 for place, name in enumerate(PUBLISHED)}
        self.environment = {"COMPOSE_PROJECT_NAME": self.project, "QUORATE_TAG": TAG,
                            **{PUBLISHED[name]: str(port) for name, port in self.ports.items()}, **settings}

    def local(self, *arguments, fails=False, cwd=ROOT):
        """Runs docker compose at the root, as a user does; what it prints is what a failed test shows."""
        # What .env sets, a shell may not: tests run with the file's own values.
        names = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_BUILDKIT", "COMPOSE_DOCKER_CLI_BUILD")
        mine = {name: os.environ[name] for name in names if name in os.environ}
        done = subprocess.run([*command(), *arguments], cwd=cwd, env={**mine, **self.environment}, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert (done.returncode != 0) == fails, f"{' '.join(command())} {' '.join(arguments)}:\n{done.stdout}"
        return done.stdout

    def up(self, *names, **settings):
        self.environment.update(settings)
        self.local("up", "-d", *names)

    def down(self):
        profiles = [word for name in ("v1", "v1-load", "load", "scale") for word in ("--profile", name)]
        # An engine may still count the endpoint of a container that it has just removed; then the networks stay.
        eventually(lambda: self.local(*profiles, "down", "-v", "--remove-orphans") or True)
        self.release()

    def release(self):
        for block in self.blocks:
            block.release()

    def exec(self, name, *argv):
        return self.local("exec", "-T", name, *argv)

    def container(self, name):
        """Its id, running or not; empty: there is none."""
        return docker("ps", "-aq", "--no-trunc", "--filter", f"label=com.docker.compose.project={self.project}", "--filter",
                      f"label=com.docker.compose.service={name}", "--filter", "label=com.docker.compose.oneoff=False").strip()

    def inspect(self, name):
        return json.loads(docker("inspect", self.container(name)))[0]

    def health(self, name):
        return self.inspect(name)["State"]["Health"]["Status"]

    def ps(self):
        rows = {}
        for name in NAMES:
            state = self.inspect(name)["State"]
            rows[name] = {"name": name, "state": state["Status"], "pid": state["Pid"]}
        return rows

    def proxy(self):
        """The engine's process that carries every byte of the edge's published port, if it uses one; else None."""
        for directory in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                words = (directory / "cmdline").read_bytes().split(b"\0") if directory.name.isdecimal() else []
                if words and words[0].endswith(b"docker-proxy") and str(self.ports["edge"]).encode() in words:
                    return int(directory.name)
        return None

    def pid(self, name):
        return self.inspect(name)["State"]["Pid"]

    def log(self, name):
        container = self.container(name)
        return docker("logs", container) if container else ""

    def port(self, name):
        return self.ports[name]

    @functools.cached_property
    def password(self):
        return self.exec("postgres", "cat", "/run/secrets/database-password").strip()

    @property
    def jwt_secret(self):
        return self.exec("edge", "cat", "/run/secrets/jwt-secret-key").strip()

    @property
    def urls(self):
        address = {name: f"127.0.0.1:{port}" for name, port in self.ports.items()}
        return {"EDGE_URL": f"http://{address['edge']}", "LOCKD_URL": f"tcp://{address['lockd']}",
                "INVENTORY_URL": f"tcp://{address['inventory']}",
                "DATABASE_URL": f"postgresql://quorate:{self.password}@{address['postgres']}/quorate",
                "REDIS_NODES": ",".join(address[name] for name in REDIS)}

    def mend(self):
        """After a fault: everything runs, is connected and is healthy again."""
        for name in NAMES:
            if self.inspect(name)["State"]["Paused"]:
                self.local("unpause", name)
        self.local("up", "-d")

    def ended_well(self, name):
        """The container's last end was its own: no forced kill (137), no fault."""
        state = self.inspect(name)["State"]
        return (state["Status"], state["ExitCode"], state["OOMKilled"]) == ("exited", 0, False)


def stop_all_gently(composed):
    for name in reversed(SERVICES):
        composed.stop(name)
        assert composed.ended_well(name), composed.inspect(name)["State"]
