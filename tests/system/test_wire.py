"""The wire that other tests break: that it breaks as it says."""

import socket
import threading

import pytest

from support.deployed import eventually
from support.wire import Wire


class Echo:
    """Answers what it hears in capitals, and remembers it."""

    def __init__(self):
        self.heard = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                link, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(link,), daemon=True).start()

    def _answer(self, link):
        try:
            while data := link.recv(4096):
                self.heard += data
                link.sendall(data.upper())
        except OSError:
            pass


@pytest.fixture
def echo():
    echo = Echo()
    yield echo
    echo.listener.close()


@pytest.fixture
def wire(echo):
    wire = Wire(echo.port)
    yield wire
    wire.close()


@pytest.fixture
def client(wire):
    with socket.create_connection(("127.0.0.1", wire.port), 5) as client:
        client.settimeout(0.2)
        client.sendall(b"hello")
        assert client.recv(100) == b"HELLO"
        yield client


def test_held_it_loses_nothing(wire, echo, client):
    with wire.black_hole():
        client.sendall(b"one")
        with pytest.raises(TimeoutError):
            client.recv(100)
        assert echo.heard == b"hello"
    client.settimeout(5)
    assert client.recv(100) == b"ONE"


def test_a_trap_acts_before_its_text_passes(wire, echo, client):
    trap = wire.trap("up", "two", lambda link: link.hold())
    client.sendall(b"one")
    assert client.recv(100) == b"ONE"
    client.sendall(b"t")
    assert client.recv(100) == b"T"
    client.sendall(b"wo")
    link = trap.wait()
    assert echo.heard == b"helloonet"
    link.cut_client()
    with pytest.raises(ConnectionError):
        client.recv(100)
    link.release()
    eventually(lambda: echo.heard == b"helloonetwo")
    eventually(lambda: link.came_bytes["down"] == len("helloonetwo"))


def test_cut_drops_what_is_held(wire, echo, client):
    trap = wire.trap("up", "gone", lambda link: link.hold())
    client.sendall(b"gone")
    trap.wait().cut()
    with pytest.raises(ConnectionError):
        client.recv(100)
    wire.mend()
    assert echo.heard == b"hello"


def test_cut_in_the_middle_of_an_answer(wire, client):
    wire.links[0].cut_after("down", 3)
    client.sendall(b"abcdef")
    client.settimeout(5)
    got = b""
    try:
        while data := client.recv(100):
            got += data
    except ConnectionError:
        pass
    assert got in (b"", b"ABC")  # a reset may overtake what was sent before it


def test_refused(wire):
    wire.refuse()
    with pytest.raises(ConnectionError), socket.create_connection(("127.0.0.1", wire.port), 5) as client:
        client.sendall(b"x")
        assert client.recv(1) != b""
