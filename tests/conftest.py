"""What system tests share: whole systems on ports of their own, faults, and the check after every test.

A module's tests share one system, started with the module's SETTINGS (optional; a dict, or a function that makes one
of the system). After every test all faults are mended, the invariants are checked over Postgres and the nodes, and the
services' logs are searched for reports of sanitizers. A test that needs a system for itself, or a second one, takes
`new_system`.
"""

import contextlib
import itertools

import pytest

from support.deployed import SERVICES
from support.edge import Edge
from support.system import System, remove_abandoned

serial = itertools.count(1)
started = []  # systems of this run, for reports


def pytest_sessionstart(session):
    remove_abandoned()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows how its system was and what the services said last."""
    report = (yield).get_result()
    if not report.failed:
        return
    for system in started:
        with contextlib.suppress(AssertionError):
            report.sections.append(("compose/local ps", system.local("ps")))
        for name in SERVICES:
            report.sections.append((f"end of {name}'s log", "\n".join(system.log(name).splitlines()[-30:])))


@contextlib.contextmanager
def running(settings=None):
    system = System(settings)
    started.append(system)
    try:
        system.up()
        yield system
        system.stop(*reversed(SERVICES))  # leaks are reported at the end of a process
        assert system.reports() == []
    finally:
        started.remove(system)
        system.down()


@pytest.fixture(scope="session")
def start_system():
    """What starts a system and ends it; tests/compose has another one."""
    return running


@pytest.fixture(scope="module")
def module_system(request, start_system):
    with start_system(getattr(request.module, "SETTINGS", None)) as system:
        yield system


@pytest.fixture
def system(module_system):
    """The module's system, all well."""
    yield module_system
    module_system.mend()
    assert module_system.violations() == []


@pytest.fixture
def new_system(start_system):
    """new_system(SETTING="value") starts a further system; it is checked and removed after the test."""
    with contextlib.ExitStack() as stack:
        systems = []

        def start(**settings):
            systems.append(stack.enter_context(start_system(settings)))
            return systems[-1]

        yield start
        for system in systems:
            system.mend()
            assert system.violations() == []


@pytest.fixture
def edge(system):
    """A client without account."""
    return Edge(system.edge_url)


@pytest.fixture
def buyer(system):
    """A client that is logged in; OPEN_CATALOG lets it create products too."""
    return Edge(system.edge_url).enter(f"buyer{next(serial)}")


class Fault:
    """One way to take a part away, and back."""

    BACK = {"stop": "start", "kill": "start", "pause": "unpause"}

    def __init__(self, system, verb):
        self.system = system
        self.verb = verb

    def hit(self, *names):
        self.system.local(self.verb, *names)

    def mend(self, *names):
        self.system.local(self.BACK[self.verb], *names)


@pytest.fixture(params=["stop", "kill", "pause"])
def fault(request, system):
    """Each test runs once with SIGTERM, once with SIGKILL, once with SIGSTOP."""
    return Fault(system, request.param)
