"""Tests of the system as containers. They run where a Docker engine answers; elsewhere each is skipped by its name.

The images are made once for all: the base images by compose/base-images where they are not there, then the tree's own.
"""

import contextlib
import subprocess

import pytest

from support import composed
from support.composed import Composed
from support.deployed import NAMES, ROOT, SERVICES, eventually
from system.conftest import aside, buyers, product_of

__all__ = ["aside", "buyers", "product_of"]

TIMEOUT_S = 900  # the first one makes the images


def pytest_collection_modifyitems(items):
    why = composed.missing()
    for item in items:
        if item.path.is_relative_to(ROOT / "tests" / "compose"):
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))
            if why:
                item.add_marker(pytest.mark.skip(reason=why))


def has_base_images():
    names = ("debian:bookworm-slim", "redis:7.0-bookworm", "postgres:15-bookworm")
    return subprocess.run(["docker", "image", "inspect", *names], capture_output=True).returncode == 0


@pytest.fixture(scope="session")
def images():
    composed.remove_abandoned()
    if not has_base_images():
        done = subprocess.run([ROOT / "compose" / "base-images"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout
    builder = Composed()
    builder.local("build", *SERVICES)
    builder.release()


@contextlib.contextmanager
def running(settings=None):
    system = Composed(**(settings or {}))
    try:
        system.up()
        eventually(lambda: all(system.health(name) == "healthy" for name in NAMES), 60)
        yield system
    finally:
        system.down()


@pytest.fixture(scope="session")
def start_system(images):
    return running
