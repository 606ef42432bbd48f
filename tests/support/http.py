"""HTTP on a bare socket, for requests that no library would send."""

import json
import socket
from typing import NamedTuple


class Answer(NamedTuple):
    status: int
    headers: dict  # names in lower case
    body: bytes

    def json(self):
        return json.loads(self.body)


class Line:
    """One connection to the edge."""

    def __init__(self, url, timeout_s=10, receive_bytes=None):
        host, _, port = url.removeprefix("http://").rpartition(":")
        self.socket = socket.socket()
        self.socket.settimeout(timeout_s)
        if receive_bytes:  # before the handshake, which fixes the window's scale
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.connect((host, int(port)))
        self.stream = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def answer(self):
        """The next answer; None when the connection ended."""
        start = self.stream.readline()
        if not start:
            return None
        headers = {}
        while (line := self.stream.readline().strip()):
            name, _, value = line.partition(b":")
            headers[name.decode().lower()] = value.strip().decode()
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.stream.readline(), 16):
                body += self.stream.read(size)
                self.stream.readline()
            self.stream.readline()
        else:
            body = self.stream.read(int(headers.get("content-length", 0)))
        return Answer(int(start.split()[1]), headers, body)

    def ask(self, method, path, token=None, body=None, **headers):
        """`headers` by name with _ for -."""
        lines = [f"{method} {path} HTTP/1.1", "Host: quorate"]
        if token:
            lines.append(f"Authorization: Bearer {token}")
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
            headers.setdefault("Content_Type", "application/json")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        return self.answer()

    def ended(self):
        """Whether the other side has closed; waits for it as long as the timeout."""
        try:
            return self.stream.read(1) == b""
        except ConnectionError:
            return True
