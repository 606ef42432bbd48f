"""A wire that can be broken: a TCP proxy in user space between two parts of the system.

"up" is what the client sends, "down" what the server answers. Each connection is a link with two pumps. A wire or a
single link can be held (nothing passes, nothing is lost), and a link can be cut in two ways: whole, or only the
client's half, so that what is held still reaches a server which does not know that its client is gone. A trap waits for
texts in the stream and acts before they are passed on.
"""

import contextlib
import socket
import struct
import threading
import time

DIRECTIONS = ("up", "down")
CHUNK_BYTES = 65536
SELL = "\0sell"  # how inventory's statements of a batch, sell and sell_one, are named on the wire to Postgres


def close_hard(link):
    """With a reset: no half-close, nothing more is sent."""
    with contextlib.suppress(OSError):
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        link.shutdown(socket.SHUT_RD)  # wakes a pump that reads it
    link.close()


class Link:
    """One connection through the wire."""

    def __init__(self, wire, client, server):
        self.wire = wire
        self.client = client
        self.server = server
        self.held = set()
        self.came_bytes = dict.fromkeys(DIRECTIONS, 0)  # passed or held
        self.left_bytes = dict.fromkeys(DIRECTIONS)  # until it is cut; None: for ever
        self.seen = dict.fromkeys(DIRECTIONS, b"")  # the end of what came, for traps
        self.client_gone = False
        self.closed = False

    def hold(self, *directions):
        with self.wire.changed:
            self.held.update(directions or DIRECTIONS)

    def release(self):
        with self.wire.changed:
            self.held.clear()
            self.wire.changed.notify_all()

    def cut(self):
        with self.wire.changed:
            self.closed = True
            self.wire.changed.notify_all()
        close_hard(self.client)
        close_hard(self.server)

    def cut_client(self):
        """The client sees a reset; the server's half stays, with what is held on the way to it."""
        with self.wire.changed:
            self.client_gone = True
            self.wire.changed.notify_all()
        close_hard(self.client)

    def cut_after(self, direction, count):
        """Passes this many bytes more, and cuts instead of the next."""
        with self.wire.changed:
            self.left_bytes[direction] = count

    def take(self, direction, data):
        """What of it may pass before the cut."""
        with self.wire.changed:
            left = self.left_bytes[direction]
            if left is not None:
                self.left_bytes[direction] = max(0, left - len(data))
            return data[:left]

    def pump(self, direction):
        source, sink = (self.client, self.server) if direction == "up" else (self.server, self.client)
        try:
            while data := source.recv(CHUNK_BYTES):
                self.came_bytes[direction] += len(data)
                self.wire.spring(self, direction, data)
                if not self.wire.may_pass(self, direction):
                    return
                if direction == "down" and self.client_gone:
                    continue  # read on, so that the server never waits for us
                passing = self.take(direction, data)
                sink.sendall(passing)
                if len(passing) < len(data):
                    break
        except OSError:
            pass
        if not (direction == "up" and self.client_gone):
            self.cut()


class Trap:
    """Springs once, when all these texts first come by together in this direction: `act(link)` runs before the last of
    them is passed on."""

    def __init__(self, direction, texts, act):
        self.direction = direction
        self.texts = [text.encode() for text in ([texts] if isinstance(texts, str) else texts)]
        self.act = act
        self.sprung = threading.Event()
        self.link = None

    def wait(self, timeout_s=10):
        assert self.sprung.wait(timeout_s), f"{self.texts} never came by within {timeout_s} s"
        return self.link


class Wire:
    def __init__(self, port, host="127.0.0.1"):
        self.target = (host, port)
        self.changed = threading.Condition()
        self.held = set()
        self.refusing = False
        self.delay_s = 0
        self.links = []
        self.traps = []
        self.listener = socket.create_server((host, 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.address = f"{host}:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.refusing:
                close_hard(client)
                continue
            try:
                server = socket.create_connection(self.target, 5)
            except OSError:
                close_hard(client)
                continue
            server.settimeout(None)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(self, client, server)
            with self.changed:
                self.links = [old for old in self.links if not old.closed] + [link]
            for direction in DIRECTIONS:
                threading.Thread(target=link.pump, args=(direction,), daemon=True).start()

    def spring(self, link, direction, data):
        with self.changed:
            if not self.traps:
                return
            text = link.seen[direction] + data
            link.seen[direction] = text[-300:]
            due = [trap for trap in self.traps if trap.direction == direction and all(one in text for one in trap.texts)]
            self.traps = [trap for trap in self.traps if trap not in due]
        for trap in due:
            trap.link = link
            trap.act(link)
            trap.sprung.set()

    def may_pass(self, link, direction):
        """Waits while the wire or the link is held. False: the link was closed meanwhile."""
        if self.delay_s:
            time.sleep(self.delay_s)
        with self.changed:
            self.changed.wait_for(lambda: link.closed or not (direction in self.held or direction in link.held))
            return not link.closed

    def hold(self, *directions):
        """From now on nothing passes, on new connections neither: a black hole that loses nothing."""
        with self.changed:
            self.held.update(directions or DIRECTIONS)

    def release(self):
        with self.changed:
            self.held.clear()
            for link in self.links:
                link.held.clear()
            self.changed.notify_all()

    @contextlib.contextmanager
    def black_hole(self):
        self.hold()
        try:
            yield
        finally:
            self.release()

    def cut(self):
        for link in list(self.links):
            link.cut()

    def refuse(self, refusing=True):
        self.refusing = refusing

    def trap(self, direction, texts, act):
        trap = Trap(direction, texts, act)
        with self.changed:
            self.traps.append(trap)
        return trap

    def mend(self):
        """As new; connections that lost their client are closed."""
        with self.changed:
            self.traps.clear()
        self.delay_s = 0
        self.refusing = False
        self.release()
        for link in list(self.links):
            if link.client_gone:
                link.cut()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.release()
        self.cut()
