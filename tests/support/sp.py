"""NNG's request protocol on a bare TCP socket, for messages that no library would send (proto/rpc.proto, THE BYTES)."""

import contextlib
import socket
import struct
import threading

HELLO = b"\0SP\0" + struct.pack(">HH", 0x30, 0)  # we speak REQ
REQUEST_BIT = 0x80000000


class Peer:
    """Sends what it is given and reads whatever comes. When the server closes the connection, it dials again."""

    def __init__(self, url):
        host, _, port = url.removeprefix("tcp://").rpartition(":")
        self.address = host, int(port)
        self.answers = 0
        self.dials = 0
        self.serial = 0
        self.link = None

    def dial(self):
        self.close()
        self.link = socket.create_connection(self.address, 5)
        self.link.settimeout(10)
        self.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.link.sendall(HELLO)
        self.dials += 1
        threading.Thread(target=self._read_on, args=(self.link,), daemon=True).start()

    def _read_on(self, link):
        """Reads, so that the server never waits for us, and counts messages."""
        with contextlib.suppress(OSError), link.makefile("rb") as stream:
            stream.read(len(HELLO))
            while header := stream.read(8):
                (length,) = struct.unpack(">Q", header)
                if len(stream.read(length)) < length:
                    return
                self.answers += 1

    def send(self, body, header=None, length=None):
        """One NNG message. By default well-formed around `body`: a request id before it, its true length before all."""
        if header is None:
            self.serial += 1
            header = struct.pack(">I", REQUEST_BIT | self.serial)
        message = header + body
        self.send_raw(struct.pack(">Q", len(message) if length is None else length) + message)

    def send_raw(self, data):
        for _ in range(2):
            try:
                if self.link is None:
                    self.dial()
                self.link.sendall(data)
                return
            except OSError:
                self.close()

    def close(self):
        if self.link is not None:
            self.link.close()
            self.link = None


def frames(*parts):
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)
