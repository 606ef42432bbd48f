"""compose/stack.yaml on a swarm of one machine, this one, and only if it is in no swarm already."""

import os
import secrets
import subprocess
import time

import pytest

from support.composed import TAG, docker
from support.deployed import NAMES, REDIS, ROOT, eventually
from support.edge import Edge
from support.system import Ports

STACK = f"quorate-test-{os.getpid()}"
SECRETS = ("database-password", "jwt-secret-key", "admin-password")


@pytest.fixture
def swarm():
    state = docker("info", "--format", "{{.Swarm.LocalNodeState}}").strip()
    if state != "inactive":
        pytest.skip(f"this machine's swarm is {state}")
    docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1")
    yield
    docker("stack", "rm", STACK, check=False)
    eventually(lambda: docker("ps", "-q", "--filter", f"label=com.docker.stack.namespace={STACK}") == "", 60)
    docker("swarm", "leave", "--force")
    for volume in docker("volume", "ls", "-q", "--filter", f"label=com.docker.stack.namespace={STACK}").split():
        eventually(lambda volume=volume: "Error" not in docker("volume", "rm", volume, check=False), 20)


def test_the_stack_is_made_from_the_compose_file():
    made = subprocess.run(["python", "-c", "import runpy; print(runpy.run_path('compose/make-stack')['stack'](), end='')"],
                          cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "compose" / "stack.yaml").read_text() == made, "run tests/venv compose/make-stack"


def test_the_stack_sells_on_a_swarm(images, swarm):
    machine = docker("node", "ls", "--format", "{{.ID}}").strip()
    for name in (*REDIS, "postgres"):
        docker("node", "update", "--label-add", f"quorate.{name}=true", machine)
    for name in SECRETS:
        docker("secret", "create", f"quorate-{name}", "-", text=secrets.token_hex(32))
    ports = Ports()
    settings = {**os.environ, "QUORATE_TAG": TAG, "EDGE_PORT": str(ports.base), "LOCK_INIT": "empty", "OPEN_CATALOG": "true",
                "ADMIN_USERNAME": "admin"}
    done = subprocess.run(["docker", "stack", "deploy", "--resolve-image", "never", "-c", "compose/stack.yaml", STACK], cwd=ROOT,
                          env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    url = f"http://127.0.0.1:{ports.base}"

    eventually(lambda: Edge(url, timeout_s=2).get("/health").status_code == 200, 120)
    buyer = Edge(url).enter("swarmer")
    product = buyer.create_product("On a swarm", 3)
    assert [buyer.buy(product).status_code for _ in range(4)] == [201] * 3 + [400]
    assert sorted(docker("stack", "services", "--format", "{{.Name}}", STACK).split()) == sorted(f"{STACK}_{name}" for name in NAMES)
    time.sleep(5)  # nothing is restarted
    tasks = docker("stack", "ps", "--format", "{{.Name}} {{.DesiredState}}", STACK).splitlines()
    assert {task.split()[1] for task in tasks} == {"Running"} and len(tasks) == len(NAMES), tasks
    ports.release()
