"""Worlds for the edge's tests: the real edge, a fake behind it."""

import itertools

import pytest

from edge_world import Edge, Fake

serial = itertools.count(1)


class World:
    def __init__(self, fakes, edge):
        self.fakes = fakes
        self.edge = edge

    @property
    def fake(self):
        return self.fakes[0]


@pytest.fixture(scope="module")
def worlds():
    """worlds(SETTING=value) starts one more; all end with the module, cleanly."""
    opened = []

    def start(fakes=1, **settings):
        these = [Fake() for _ in range(fakes)]
        world = World(these, Edge(these, **settings).serving())
        opened.append(world)
        return world

    yield start
    for world in opened:
        world.edge.close()
        for fake in world.fakes:
            if fake.process.poll() is None:
                fake.close()


@pytest.fixture(scope="module")
def world(worlds, request):
    """The module's own, with its SETTINGS."""
    return worlds(**getattr(request.module, "SETTINGS", {}))


@pytest.fixture
def buyer(world):
    """A client that is logged in."""
    client = world.edge.client().enter(f"buyer{next(serial)}")
    yield client
    client.close()
