"""HTTP/2 in clear text: off unless switched on, and then guarded against rapid resets."""

import struct
import time

import pytest

from edge_world import read_response
from test_edge_calls import NOBODY, token_of

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS_FRAME, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1

SETTINGS = {"HTTP2": "true", "CLIENT_TIMEOUT_MS": 1000, "IDLE_TIMEOUT_MS": 2000}


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    """A header without table and Huffman code."""
    def text(string):
        size = len(string)
        prefix = bytes([size]) if size < 127 else bytes([127, (size - 127) & 127 | 128, (size - 127) >> 7])
        return prefix + string
    return b"\x00" + text(name.encode()) + text(value.encode())


def headers(method, path, **more):
    pairs = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "x")]
    pairs += [(name.replace("_", "-"), value) for name, value in more.items()]
    return b"".join(literal(name, value) for name, value in pairs)


class Http2:
    def __init__(self, world):
        self.raw = world.edge.socket()
        self.raw.sendall(PREFACE + frame(SETTINGS_FRAME, 0, 0))
        self.input = b""
        self.next_stream = 1

    def send(self, *frames):
        self.raw.sendall(b"".join(frames))

    def start(self, block, body=None):
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        frames = [frame(HEADERS, END_HEADERS | (END_STREAM if body is None else 0), stream, block)]
        if body is not None:
            frames.append(frame(DATA, END_STREAM, stream, body))
        return stream, b"".join(frames)

    def receive(self):
        """The next frame: kind, flags, stream, payload; None at the end."""
        while len(self.input) < 9 or len(self.input) < 9 + int.from_bytes(self.input[:3], "big"):
            part = self.raw.recv(65536)
            if not part:
                return None
            self.input += part
        size = int.from_bytes(self.input[:3], "big")
        kind, flags, stream = self.input[3], self.input[4], int.from_bytes(self.input[5:9], "big")
        payload, self.input = self.input[9:9 + size], self.input[9 + size:]
        return kind, flags, stream, payload

    def body_of(self, stream):
        body = b""
        while True:
            kind, flags, of, payload = self.receive()
            if of == stream and kind == DATA:
                body += payload
            if of == stream and flags & END_STREAM:
                return body


def test_requests_side_by_side(world):
    client = Http2(world)
    live = [client.start(headers("GET", "/health/live")) for _ in range(5)]
    client.send(*(text for _, text in live))
    assert client.body_of(live[-1][0]).startswith(b'{"status":"alive",')
    bearer = "Bearer " + token_of(NOBODY)
    stream, text = client.start(headers("POST", "/api/purchases", authorization=bearer),
                                b'{"product_id":1,"quantity":2}')
    client.send(text)
    assert b'"total_price":20' in client.body_of(stream)
    world.fake.tell("rows 1200")
    stream, text = client.start(headers("GET", "/api/products?limit=1000", authorization=bearer))
    client.send(text)
    # The window is 64 KiB: more comes only when it is asked for.
    body = b""
    while True:
        kind, flags, of, payload = client.receive()
        if of == stream and kind == DATA:
            body += payload
            if payload:
                update = struct.pack(">I", len(payload))
                client.send(frame(8, 0, 0, update), frame(8, 0, stream, update))
        if of == stream and flags & END_STREAM:
            break
    assert body.count(b'"id":') == 1000 and body.endswith(b"]")
    world.fake.tell("rows 0")


def test_a_reset_stream_leaves_the_others_alone(world):
    client = Http2(world)
    bearer = "Bearer " + token_of(NOBODY)
    never, text = client.start(headers("POST", "/api/purchases", authorization=bearer), b'{"product_id":3000,"quantity":1}')
    later, more = client.start(headers("POST", "/api/purchases", authorization=bearer), b'{"product_id":2020,"quantity":1}')
    client.send(text, more, frame(RST_STREAM, 0, never, struct.pack(">I", 8)))
    assert b'"product_id":2020' in client.body_of(later)


def test_rapid_resets_are_cut_off(world):
    """CVE-2023-44487: streams that are opened only to be reset."""
    client = Http2(world)
    bearer = "Bearer " + token_of(NOBODY)
    block = headers("GET", "/api/products/3000", authorization=bearer)
    began = time.monotonic()
    with pytest.raises((ConnectionResetError, BrokenPipeError, StopIteration)):
        for _ in range(400):
            stream, text = client.start(block)
            client.send(text, frame(RST_STREAM, 0, stream, struct.pack(">I", 8)))
            time.sleep(0.002)
        while client.receive() is not None:
            pass
        raise StopIteration
    assert time.monotonic() - began < 4
    assert world.edge.metric("quorate_edge_connections_closed_total", why="resets") >= 1


def test_a_few_resets_are_nothing(world):
    client = Http2(world)
    bearer = "Bearer " + token_of(NOBODY)
    for _ in range(50):
        stream, text = client.start(headers("GET", "/api/products/3000", authorization=bearer))
        client.send(text, frame(RST_STREAM, 0, stream, struct.pack(">I", 8)))
    stream, text = client.start(headers("GET", "/health/live"))
    client.send(text)
    assert client.body_of(stream).startswith(b'{"status":"alive",')


def test_connections_without_requests_are_closed(world):
    client = Http2(world)
    stream, text = client.start(headers("GET", "/health/live"))
    client.send(text)
    client.body_of(stream)
    began = time.monotonic()
    while client.receive() is not None:  # pings do not keep it
        client.send(frame(6, 0, 0, b"12345678"))
        time.sleep(0.1)
    assert 1.5 < time.monotonic() - began < 4


def test_it_is_off_by_default(worlds):
    world = worlds()
    raw = world.edge.socket()
    raw.sendall(PREFACE + frame(SETTINGS_FRAME, 0, 0))
    assert read_response(raw)[0].startswith("HTTP/1.1 400 ")
    raw = world.edge.socket()
    raw.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n")
    assert read_response(raw)[0].startswith("HTTP/1.1 200 ")
