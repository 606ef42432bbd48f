"""Clients that dawdle cost nobody anything but themselves."""

import time
from pathlib import Path

import pytest

from support.crowd import Crowd
from support.deployed import eventually
from support.http import Line

PATIENCE_S = 1.0
SETTINGS = {"CLIENT_TIMEOUT_MS": str(int(PATIENCE_S * 1000)), "IDLE_TIMEOUT_MS": "1500",
            "ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=4"}
CLIENTS = 40
READERS = 10


def open_sockets(pid):
    return sum(link.startswith("socket:") for link in map(readlink, Path(f"/proc/{pid}/fd").iterdir()))


def readlink(path):
    try:
        return str(path.readlink())
    except OSError:
        return ""


def resident_bytes(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


HEAD = b"POST /api/purchases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n{"


@pytest.mark.parametrize("sent", [b"", HEAD[:20], HEAD], ids=["nothing", "half a head", "half a body"])
def test_a_byte_now_and_then_keeps_no_connection(system, buyers, product_of, sent):
    """Each client goes on dribbling, so that silence alone is not what ends it."""
    product, pid = product_of(1_000_000), system.pid("edge")
    before = open_sockets(pid)
    with Crowd(system, product, buyers, size=4) as crowd:
        crowd.sells(10)
        lines = [Line(system.edge_url) for _ in range(CLIENTS)]
        began = time.monotonic()
        for line in lines:
            line.send(sent)
        eventually(lambda: open_sockets(pid) >= before + CLIENTS)
        living = list(lines)
        dribble = b" " if sent == HEAD else b"a"
        while living:
            assert time.monotonic() < began + PATIENCE_S + 3, f"{len(living)} are still there"
            for line in list(living):
                if sent:
                    try:
                        line.socket.send(dribble)
                    except OSError:
                        living.remove(line)
                        continue
                if closed_by_peer(line):
                    living.remove(line)
            time.sleep(0.1)
        crowd.sells(10, after=time.monotonic())
    for line in lines:
        line.close()
    assert crowd.failed() == []
    eventually(lambda: open_sockets(pid) <= before + 1)


def closed_by_peer(line):
    line.socket.setblocking(False)
    try:
        while data := line.socket.recv(65536):  # an answer may come before the end
            assert data
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        line.socket.setblocking(True)


def test_a_client_that_never_reads_is_cut_off_and_costs_little(system, buyers, product_of):
    """It asks for a long list many times at once and takes no byte of the answers, which fill what the kernel buffers."""
    pid = system.pid("edge")
    fill(system, buyers[0], 40_000)
    product = product_of(1_000_000)
    buyers[0].get("/api/purchases/me?limit=1000")
    before = resident_bytes(pid)
    request = f"GET /api/purchases/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {buyers[0].token}\r\n\r\n".encode()
    with Crowd(system, product, buyers, size=2) as crowd:
        crowd.sells(10)
        sockets = open_sockets(pid)
        lines = [Line(system.edge_url, receive_bytes=4096) for _ in range(READERS)]
        for line in lines:
            line.send(request * 20)
        eventually(lambda: open_sockets(pid) >= sockets + READERS)
        peak = 0

        def cut_off():
            nonlocal peak
            peak = max(peak, resident_bytes(pid))
            return open_sockets(pid) <= sockets

        eventually(cut_off, PATIENCE_S + 10)
        crowd.sells(10, after=time.monotonic())
    for line in lines:
        line.close()
    assert crowd.failed() == []
    assert peak - before < READERS << 20, f"{(peak - before) >> 20} MiB for {READERS} clients"


def fill(system, buyer, count):
    """`count` purchases of one more product, recorded as one batch would have done it."""
    user, product = buyer.get("/api/auth/me").json()["id"], buyer.create_product("long list", count)
    with system.database() as database, database.transaction():
        database.execute("UPDATE products SET stock = 0, version = version + 1, last_token = 1 WHERE id = %s", (product,))
        database.execute("INSERT INTO stock_ledger (product_id, version, token, delta, stock_after, reason) "
                         "SELECT id, version, 1, %s, 0, 'sale' FROM products WHERE id = %s", (-count, product))
        database.execute("INSERT INTO purchases (product_id, user_id, idem, token, version, place, quantity, total_price, "
                         "remaining_stock) SELECT id, %s, 'long list ' || n, 1, version, n, 1, 1, %s - n "
                         "FROM products, generate_series(1, %s) n WHERE id = %s", (user, count, count, product))
    eventually(lambda: buyer.stock(product)["synced"])  # a read brings nodes level that are behind
