"""Asks each kind of server how it is.

Alive means that it has started and answers; well, that it does its job: a lockd without a quorum is alive, not well.
"""

import http.client
import itertools
import json
import socket
import struct
import subprocess
from typing import NamedTuple

TIMEOUT_S = 1.0


class Health(NamedTuple):
    alive: bool
    well: bool
    why: str  # not well; for people


WELL = Health(True, True, "")


def _silent(error):
    why = "no answer" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return Health(False, False, why)


def redis(host, port):
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as link:
            link.sendall(b"PING\r\n")
            answer = link.recv(200).decode(errors="replace").strip()
    except OSError as error:
        return _silent(error)
    return WELL if answer == "+PONG" else Health(False, False, answer or "connection closed")


def postgres(pg_isready, host, port):
    try:
        done = subprocess.run([pg_isready, "-q", "-t", "1", "-h", host, "-p", str(port), "-U", "quorate", "-d", "quorate"],
                              timeout=3)
    except subprocess.TimeoutExpired as error:
        return _silent(TimeoutError(error))
    why = {1: "not accepting connections yet", 2: "no answer"}.get(done.returncode, "pg_isready failed")
    return WELL if done.returncode == 0 else Health(False, False, why)


def edge(host, port):
    """Its /health: 200, or 503 with what is missing."""
    link = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        link.request("GET", "/health")
        answer = link.getresponse()
        body = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return _silent(error)
    finally:
        link.close()
    if answer.status == 200:
        return WELL
    try:
        said = json.loads(body)
        body = said.get("detail") or ", ".join(f"{key}: {value}" for key, value in said.items())
    except (ValueError, AttributeError):
        pass
    return Health(True, False, f"{answer.status} {body}"[:200])


# lockd and inventory answer grpc.health.v1 over NNG's request protocol. proto/rpc.proto documents the bytes; a client
# for this one call needs no more than these few lines.

SERVING = 1
CODES = {4: "it says that the call came too late", 12: "it has no health service", 14: "it is not available"}


def rpc(host, port):
    try:
        code, message, body = _call(host, port, "/grpc.health.v1.Health/Check")
    except (OSError, ValueError, struct.error) as error:
        return _silent(error)
    if code:
        return Health(True, False, message or CODES.get(code, f"status {code}"))
    return WELL if _fields(body).get(1) == SERVING else Health(True, False, "not serving")


def _call(host, port, method):
    """One unary call with an empty body: (code, message, body)."""
    name = method.encode()
    call = b"\x08\x01" + b"\x1a" + bytes([len(name)]) + name + b"\x30" + _varint(int(TIMEOUT_S * 1000))
    message = struct.pack(">II", 0x80000001, len(call)) + call
    with socket.create_connection((host, port), TIMEOUT_S) as link:
        link.sendall(b"\0SP\0" + struct.pack(">HH", 0x30, 0))
        if _read(link, 8) != b"\0SP\0" + struct.pack(">HH", 0x31, 0):
            raise ValueError("not an NNG reply socket")
        link.sendall(struct.pack(">Q", len(message)) + message)
        (length,) = struct.unpack(">Q", _read(link, 8))
        if not 8 <= length <= 1 << 20:
            raise ValueError(f"an answer of {length} bytes")
        _, frame = struct.unpack(">II", _read(link, 8))
        answer = _fields(_read(link, length - 8)[:frame])
    status = _fields(answer.get(3, b""))
    return status.get(1, 0), status.get(3, b"").decode(errors="replace"), answer.get(4, b"")


def _read(link, count):
    parts = []
    while count:
        part = link.recv(count)
        if not part:
            raise ConnectionError("connection closed")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _varint(number):
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _fields(message):
    """The last value of each field of a protobuf message, by number."""
    fields, rest = {}, iter(message)

    def varint():
        number = 0
        for shift in itertools.count(0, 7):
            byte = next(rest, None)
            if byte is None or shift > 63:
                raise ValueError("not a protobuf message")
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number

    while (key := next(rest, None)) is not None:
        number, kind = key >> 3, key & 7
        if kind == 0:
            fields[number] = varint()
        else:
            size = {1: 8, 5: 4}.get(kind) or varint()
            fields[number] = bytes(itertools.islice(rest, size))
    return fields
