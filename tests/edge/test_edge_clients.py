"""Clients that are slow, silent, many, or gone."""

import contextlib
import json
import time

import pytest

from edge_world import closed_after, read_response, until

SETTINGS = {"REQUEST_TIMEOUT_MS": 1500, "CLIENT_TIMEOUT_MS": 1000, "IDLE_TIMEOUT_MS": 2500}

LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def trickle(raw, text, seconds):
    """Sends a byte every 100 ms; seconds until the other side hangs up."""
    began = time.monotonic()
    raw.settimeout(0.1)
    for byte in text:
        try:
            raw.sendall(bytes([byte]))
            if raw.recv(1000) == b"":
                return time.monotonic() - began
        except TimeoutError:
            pass
        except (ConnectionResetError, BrokenPipeError):
            return time.monotonic() - began
        assert time.monotonic() - began < seconds, "it is still open"
    raise AssertionError("all was taken")


def test_a_head_that_trickles(world):
    text = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"x: y\r\n" * 100
    assert 0.9 < trickle(world.edge.socket(), text, 3) < 1.8


def test_a_head_that_trickles_on_a_connection_that_served(world):
    raw = world.edge.socket()
    raw.sendall(LIVE)
    assert read_response(raw)[0].split()[1] == "200"
    time.sleep(1.2)
    assert 0.9 < trickle(raw, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"x: y\r\n" * 100, 3) < 1.8


def test_a_body_that_trickles(world):
    raw = world.edge.socket()
    raw.sendall(b"POST /api/purchases HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")
    assert 0.9 < trickle(raw, b" " * 100, 3) < 1.8


def test_chunks_that_trickle(world):
    raw = world.edge.socket()
    raw.sendall(b"POST /api/purchases HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert 0.9 < trickle(raw, b"1\r\n \r\n" * 20, 3) < 1.8


def test_who_always_has_half_a_request_on_its_way(world):
    """Each arrives in time, so the connection stays, however long there is something to wait for."""
    raw = world.edge.socket()
    raw.sendall(LIVE[:20])
    for _ in range(30):
        time.sleep(0.1)
        raw.sendall(LIVE[20:] + LIVE[:20])
        assert read_response(raw)[0].split()[1] == "200"


def test_who_says_nothing_at_all(world):
    assert 0.9 < closed_after(world.edge.socket(), 3) < 1.8


def test_who_says_nothing_more(world):
    raw = world.edge.socket()
    for _ in range(3):
        raw.sendall(LIVE)
        assert read_response(raw)[0].split()[1] == "200"
        time.sleep(1.2)  # longer than a request may take, shorter than a connection may rest
    raw.sendall(LIVE)
    read_response(raw)
    assert 2.4 < closed_after(raw, 5) < 3.3


def test_who_sends_and_never_reads(world):
    """Requests without end, answers unread: the socket fills, and then it is over."""
    raw = world.edge.socket(receive_buffer=4096)
    raw.settimeout(0.5)
    began = time.monotonic()
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        while time.monotonic() - began < 15:
            try:
                raw.sendall(LIVE * 1000)
            except TimeoutError:
                pass
    assert world.edge.metric("quorate_edge_connections_closed_total", why="stopped_reading") >= 1


def test_many_who_send_half_a_large_request_do_not_fill_the_memory(worlds):
    world = worlds(CLIENT_TIMEOUT_MS=60000, ASAN_OPTIONS="quarantine_size_mb=1")
    before = world.edge.memory_kib()
    raws = []
    for _ in range(800):
        raw = world.edge.socket()
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nx: " + b"y" * 120000)
        raws.append(raw)
    assert world.edge.client().get("/health/live").status == 200
    until(lambda: world.edge.metric("quorate_edge_connections_closed_total", why="slow_request") > 300)
    assert world.edge.metric("quorate_edge_connections_closed_total", why="slow_request") < 790
    assert world.edge.memory_kib() - before < 150 * 1024  # of 100 MB sent, in buffers of twice the size
    for raw in raws:
        raw.close()


def test_a_head_without_end(worlds):
    world = worlds(CLIENT_TIMEOUT_MS=60000)
    raw = world.edge.socket()
    raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nx: " + b"y" * 200000)
    assert closed_after(raw, 3) < 1


def test_clients_that_vanish_cost_nothing(world, buyer):
    before = world.edge.descriptors()
    body = json.dumps({"product_id": 3000, "quantity": 1}).encode()
    for _ in range(150):
        raw = world.edge.socket()
        raw.sendall(b"POST /api/purchases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + buyer.token.encode() +
                    b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        raw.close()
    assert buyer.get("/health/live").status == 200
    until(lambda: world.edge.descriptors() <= before + 2, 4)  # once their requests' deadline has passed


def test_clients_that_vanish_in_the_middle(world, buyer):
    before = world.edge.descriptors()
    whole = b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\nusername=nobody&password=secret"
    for cut in range(1, len(whole) + 1):
        raw = world.edge.socket()
        raw.sendall(whole[:cut])
        raw.close()
    assert buyer.get("/health/live").status == 200
    until(lambda: world.edge.descriptors() <= before + 2, 4)


def test_connections_are_bounded_and_the_idle_make_room(worlds):
    world = worlds(CONNECTIONS_MAX=20, IDLE_TIMEOUT_MS=60000, CLIENT_TIMEOUT_MS=60000)
    idle = [world.edge.socket() for _ in range(19)]
    for raw in idle:
        raw.sendall(LIVE)
        assert read_response(raw)[0].split()[1] == "200"
    more = [world.edge.socket() for _ in range(10)]  # those that rest the longest go
    for raw in more:
        raw.sendall(LIVE)
        assert read_response(raw)[0].split()[1] == "200"
    assert closed_after(idle[0], 1) < 1
    idle[-1].sendall(LIVE)
    assert read_response(idle[-1])[0].split()[1] == "200"


def test_when_all_places_are_busy_the_next_waits(worlds):
    world = worlds(CONNECTIONS_MAX=5, REQUEST_TIMEOUT_MS=2000)
    client = world.edge.client().enter("busy")
    token = client.token
    client.close()
    body = json.dumps({"product_id": 2050, "quantity": 1}).encode()  # 500 ms
    busy = [world.edge.socket() for _ in range(5)]
    for raw in busy:
        raw.sendall(b"POST /api/purchases HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " +
                    token.encode() + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    time.sleep(0.1)
    began = time.monotonic()
    raw = world.edge.socket()
    raw.sendall(LIVE)
    assert read_response(raw)[0].split()[1] == "200"
    assert time.monotonic() - began > 0.2
    for raw in busy:
        assert read_response(raw)[0].split()[1] == "201"


def test_sigterm_drains(worlds):
    world = worlds(REQUEST_TIMEOUT_MS=3000)
    client = world.edge.client().enter("late")
    idle = world.edge.socket()
    idle.sendall(LIVE)
    read_response(idle)
    pending = world.edge.socket()
    body = json.dumps({"product_id": 2080, "quantity": 1}).encode()  # 800 ms
    pending.sendall(b"POST /api/purchases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + client.token.encode() +
                    b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    time.sleep(0.2)
    world.edge.terminate()
    assert closed_after(idle, 2) < 0.5
    with pytest.raises(ConnectionRefusedError):
        until(lambda: world.edge.socket() and False, 2)
    line, headers, _ = read_response(pending)
    assert line.split()[1] == "201" and headers["connection"] == "close"
    assert pending.recv(1) == b""
    assert world.edge.process.wait(3) == 0


def test_sigterm_over_a_request_that_is_never_answered(worlds):
    world = worlds(REQUEST_TIMEOUT_MS=800)
    client = world.edge.client().enter("lost")
    pending = world.edge.socket()
    body = json.dumps({"product_id": 3000, "quantity": 1}).encode()
    pending.sendall(b"POST /api/purchases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + client.token.encode() +
                    b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    time.sleep(0.2)
    world.edge.terminate()
    assert read_response(pending)[0].split()[1] == "504"
    assert world.edge.process.wait(3) == 0


def test_sigterm_with_passwords_under_way(worlds):
    world = worlds(REQUEST_TIMEOUT_MS=30000)
    raws = []
    for number in range(20):
        body = b'{"username":"hurry%d","password":"secret1"}' % number
        raw = world.edge.socket()
        raw.sendall(b"POST /api/auth/register HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        raws.append(raw)
    time.sleep(0.1)
    for raw in raws[::2]:
        raw.close()
    world.edge.terminate()
    for raw in raws[1::2]:
        assert read_response(raw)[0].split()[1] == "201"
    assert world.edge.process.wait(10) == 0


def test_passwords_past_the_queue_are_put_off(worlds):
    world = worlds(PASSWORD_QUEUE_MAX=3, REQUEST_TIMEOUT_MS=30000)
    raws = []
    for _ in range(12):
        body = b"username=nobody&password=secret1"
        raw = world.edge.socket()
        raw.sendall(b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        raws.append(raw)
    live = world.edge.client()
    began = time.monotonic()
    assert live.get("/health/live").status == 200  # the loop is free meanwhile
    assert time.monotonic() - began < 0.5
    answers = [read_response(raw) for raw in raws]
    statuses = [line.split()[1] for line, _, _ in answers]
    assert set(statuses) == {"401", "503"} and statuses.count("401") >= 3
    for line, headers, body in answers:
        if line.split()[1] == "503":
            assert headers["retry-after"] == "1" and json.loads(body)["code"] == "OVERLOADED"
