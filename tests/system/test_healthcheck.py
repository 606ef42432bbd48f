"""`NAME --healthcheck`, what a container engine asks: at first whether it serves, later whether it lives."""

import os
import subprocess

import pytest

from support.deployed import REDIS, ROOT, SERVICES, eventually


def ask(system, name):
    """Exit code and the line said."""
    urls = system.urls
    settings = {**urls, "LOCKD_LISTEN": urls["LOCKD_URL"], "INVENTORY_LISTEN": urls["INVENTORY_URL"],
                "EDGE_LISTEN": urls["EDGE_URL"].removeprefix("http://")}
    program = ROOT / system.environment["BUILD_DIR"] / "services" / name / name
    done = subprocess.run([program, "--healthcheck"], env={**os.environ, **settings}, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize("name", SERVICES)
def test_what_serves_is_healthy(system, name):
    assert eventually(lambda: ask(system, name) == (0, "serves"))


def test_a_young_service_that_does_not_serve_is_not_healthy_yet_and_is_when_it_does(system):
    system.stop(*REDIS[:3])
    system.restart(*SERVICES)
    for name in SERVICES:
        assert eventually(lambda name=name: ask(system, name) == (1, "alive, does not serve"))
    system.start(*REDIS[:3])
    for name in SERVICES:
        assert eventually(lambda name=name: ask(system, name) == (0, "serves"))
    system.stop(*REDIS[:3])  # what has served once is not called unhealthy for that, however young it is
    for name in SERVICES:
        assert eventually(lambda name=name: ask(system, name) == (0, "alive, does not serve"))


@pytest.mark.parametrize("name", SERVICES)
def test_a_frozen_service_is_not_healthy(system, name):
    system.pause(name)
    assert ask(system, name) == (1, "no answer")
    system.unpause(name)
    assert eventually(lambda: ask(system, name) == (0, "serves"))
