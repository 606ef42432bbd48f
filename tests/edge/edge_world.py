"""The real edge between plain sockets and a fake inventory and lockd (fake.c)."""

import contextlib
import fcntl
import http.client
import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("BUILD_DIR", "build/dev")
SECRET = "a secret of at least thirty-two bytes"
SANITIZER_WORDS = ("AddressSanitizer", "ThreadSanitizer", "LeakSanitizer", "runtime error", "check.failed", "Assertion", "close.stuck")

PORTS = range(int(os.environ.get("TEST_EDGE_PORT_BASE", "24100")), 65536)
BLOCK = 100


def claim_ports():
    """A block of ports that no other test run takes meanwhile; held by a lock until this process ends."""
    for base in PORTS[::BLOCK]:
        claim = open(f"/tmp/quorate-edge-ports-{base}", "a")
        with contextlib.suppress(OSError):
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return claim, itertools.cycle(range(base, base + BLOCK))
        claim.close()
    raise RuntimeError("no free block of ports")


claim, ports = claim_ports()


def free_port():
    for port in ports:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def until(truth, seconds=5):
    """Polls until `truth()` is true; its last value."""
    end = time.monotonic() + seconds
    while not (value := truth()):
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(0.02)
    return value


class Fake:
    """Inventory and lockd. `lines` is what it told."""

    def __init__(self, inventory_port=None, lockd_port=None):
        self.inventory = f"tcp://127.0.0.1:{inventory_port or free_port()}"
        self.lockd = f"tcp://127.0.0.1:{lockd_port or free_port()}"
        self.lines = []
        self.process = subprocess.Popen([BUILD / "services/edge/edge_fake", self.inventory, self.lockd],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        until(lambda: "ready" in self.lines, 15)

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def tell(self, command):
        done = self.lines.count("done")
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        until(lambda: self.lines.count("done") > done)

    def sync(self):
        """All that it told before is in `lines`."""
        self.tell("sync")
        return self

    def told(self, word):
        """What it told last about this, as a dict."""
        self.sync()
        line = [line for line in self.lines if line.startswith(word + " ")][-1]
        return dict(pair.split("=", 1) for pair in line.split()[1:])

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(10) == 0


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


class Client:
    """One connection, kept alive."""

    def __init__(self, edge, token=None):
        self.edge = edge
        self.token = token
        self.connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=20)

    def ask(self, method, path, body=None, headers=None, **more):
        headers = dict(headers or {})
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        if "form" in more:
            body = urllib.parse.urlencode(more["form"])
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if "data" in more:
            body = json.dumps(more["data"])
        self.connection.request(method, path, body=body, headers=headers)
        return Answer(self.connection.getresponse())

    def get(self, path, **more):
        return self.ask("GET", path, **more)

    def post(self, path, **more):
        return self.ask("POST", path, **more)

    def buy(self, product_id, quantity=1, **more):
        return self.post("/api/purchases", data={"product_id": product_id, "quantity": quantity}, **more)

    def enter(self, username, password="secret1"):
        """Registers and logs in."""
        # On a machine that has much else to do a password may take longer than a request may.
        until(lambda: self.post("/api/auth/register", data={"username": username, "password": password}).status in (201, 409), 20)
        answer = until(lambda: self.logged_in(username, password), 20)
        self.token = answer.json["access_token"]
        return self

    def logged_in(self, username, password):
        answer = self.post("/api/auth/login", form={"username": username, "password": password})
        return answer if answer.status == 200 else None

    def close(self):
        self.connection.close()


class Edge:
    def __init__(self, fakes, **settings):
        self.port = free_port()
        self.log_path = pathlib.Path(f"/tmp/quorate-edge-test-{os.getpid()}-{self.port}.log")
        environment = {
            "PATH": os.environ["PATH"],
            "EDGE_LISTEN": f"127.0.0.1:{self.port}",
            "INVENTORY_URL": ",".join(fake.inventory for fake in fakes),
            "LOCKD_URL": ",".join(fake.lockd for fake in fakes),
            "JWT_SECRET_KEY": SECRET,
            "OPEN_CATALOG": "true",
            "ASAN_OPTIONS": "abort_on_error=0",
        }
        environment.update({name: str(value) for name, value in settings.items()})
        environment = {name: value for name, value in environment.items() if settings.get(name, "") is not None}
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([BUILD / "services/edge/edge"], env=environment, stderr=log)
        try:
            until(lambda: "started" in self.log(), 15)
        except AssertionError as error:
            self.process.kill()
            raise AssertionError(f"it did not start: {self.log()}") from error

    def log(self):
        return self.log_path.read_text(errors="replace")

    def serving(self):
        """Waits until it knows its peers."""
        until(lambda: self.client().get("/health").status == 200)
        return self

    def client(self, token=None):
        return Client(self, token)

    def socket(self, receive_buffer=None):
        raw = socket.socket()
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(20)
        raw.connect(("127.0.0.1", self.port))
        return raw

    def memory_kib(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def metric(self, name, **labels):
        """The value of one of its own samples."""
        wanted = {"service": "edge", **labels}
        for line in self.client().get("/metrics").body.decode().splitlines():
            head, _, value = line.rpartition(" ")
            if head.partition("{")[0] == name and all(f'{key}="{text}"' in head for key, text in wanted.items()):
                return float(value)
        raise AssertionError(f"no sample {name}{wanted}")

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def close(self):
        """Ends it; it must do so cleanly, and no sanitizer may have said anything."""
        if self.process.poll() is None:
            self.terminate()
        code = self.process.wait(20)
        log = self.log()
        self.log_path.unlink()
        assert code == 0, log[-3000:]
        assert not any(word in log for word in SANITIZER_WORDS), log[-3000:]


def read_response(raw):
    """One response from a plain socket: status line, headers, body."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = raw.recv(1)
        if not part:
            return None
        head += part
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
    body = b""
    while len(body) < int(headers["content-length"]):
        part = raw.recv(int(headers["content-length"]) - len(body))
        assert part, "the body is cut off"
        body += part
    return lines[0], headers, body


def closed_after(raw, seconds):
    """Seconds until the other side closes; what it sent is thrown away."""
    began = time.monotonic()
    raw.settimeout(seconds)
    try:
        while raw.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - began
