"""Lists: whole ones streamed in pages, pages, and what happens when a page fails or nobody reads."""

import json
import time

import pytest

from edge_world import closed_after, until

SETTINGS = {"REQUEST_TIMEOUT_MS": 1000, "CLIENT_TIMEOUT_MS": 1500}


@pytest.fixture(autouse=True)
def plain_lists(world):
    yield
    for command in ("rows 0", "row_bytes 0", "page_max 0", "break -1 0 0"):
        world.fake.tell(command)


def pages(world):
    return [line for line in world.fake.lines if line.startswith("page ")]


@pytest.mark.parametrize("rows", [0, 1, 499, 500, 501, 1000, 20000])
def test_a_list_without_limit_holds_everything(world, buyer, rows):
    world.fake.tell(f"rows {rows}")
    answer = buyer.get("/api/products")
    assert answer.status == 200
    assert [row["id"] for row in answer.json] == list(range(1, rows + 1))
    answer = buyer.get("/api/purchases/me")
    assert [row["id"] for row in answer.json] == list(range(rows, 0, -1))
    assert ("transfer-encoding" in answer.headers) == (rows > 500)  # what fits into a page has a length
    assert buyer.get("/health/live").status == 200


def test_pages_follow_one_another(world, buyer):
    world.fake.tell("rows 1234")
    seen, after = [], 0
    while rows := buyer.get(f"/api/products?limit=100&after={after}").json:
        assert len(rows) == min(100, 1234 - after)
        seen += [row["id"] for row in rows]
        after = seen[-1]
    assert seen == list(range(1, 1235))
    rows = buyer.get("/api/purchases/me?after=100&limit=3").json
    assert [row["id"] for row in rows] == [99, 98, 97]


@pytest.mark.parametrize("limit", [1, 499, 500, 501, 999, 1000])
def test_limits_are_exact(world, buyer, limit):
    world.fake.tell("rows 1200")
    assert len(buyer.get(f"/api/products?limit={limit}").json) == limit


def test_an_inventory_that_sends_short_pages(world, buyer):
    world.fake.tell("rows 100")
    world.fake.tell("page_max 7")
    assert len(buyer.get("/api/products?limit=50").json) == 50
    assert [row["id"] for row in buyer.get("/api/products").json] == list(range(1, 101))


def test_rows_as_inventory_has_them(world, buyer):
    world.fake.tell("rows 2")
    world.fake.tell("row_bytes 3")
    row = buyer.get("/api/products").json[1]
    assert row == {"id": 2, "name": "row", "description": "ddd", "price": 10, "stock": 0, "redis_stock": 0,
                   "created_at": "2026-01-02T03:04:05.678901Z", "updated_at": "2026-01-02T03:04:05.678901Z"}
    row = buyer.get("/api/purchases/me").json[0]
    assert set(row) == {"id", "user_id", "product_id", "quantity", "total_price", "purchased_at", "remaining_stock"}


def test_a_first_page_that_fails_is_an_ordinary_failure(world, buyer):
    world.fake.tell("rows 1200")
    world.fake.tell("break 0 4 1")
    answer = buyer.get("/api/products")
    assert (answer.status, answer.json["code"]) == (503, "OVERLOADED")
    assert len(buyer.get("/api/products").json) == 1200


def test_a_later_page_is_asked_for_again(world, buyer):
    world.fake.tell("rows 1200")
    world.fake.tell("break 500 3 3")
    assert len(buyer.get("/api/products").json) == 1200


def test_a_list_that_can_not_be_completed_is_broken_off(world, buyer):
    world.fake.tell("rows 1200")
    world.fake.tell("break 500 3 1000000")
    raw = world.edge.socket()
    began = time.monotonic()
    raw.sendall(b"GET /api/products HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + buyer.token.encode() + b"\r\n\r\n")
    text = b""
    while part := raw.recv(65536):
        text += part
    assert time.monotonic() - began < 3
    assert text.startswith(b"HTTP/1.1 200 ") and b'"id":500' in text
    assert not text.endswith(b"0\r\n\r\n")  # no end of the chunks: the client sees that it is cut
    assert buyer.get("/health/live").status == 200


def test_http_1_0_gets_the_end_of_the_connection(world, buyer):
    world.fake.tell("rows 1200")
    raw = world.edge.socket()
    raw.sendall(b"GET /api/products HTTP/1.0\r\nConnection: keep-alive\r\nAuthorization: Bearer " + buyer.token.encode() +
                b"\r\n\r\n")
    text = b""
    while part := raw.recv(65536):
        text += part
    assert len(json.loads(text.partition(b"\r\n\r\n")[2])) == 1200


def test_head_of_a_list(world, buyer):
    world.fake.tell("rows 1200")
    raw = world.edge.socket()
    for path in (b"/api/products", b"/api/products?limit=5"):
        raw.sendall(b"HEAD " + path + b" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + buyer.token.encode() + b"\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += raw.recv(1)
        assert head.startswith(b"HTTP/1.1 200 ")
    raw.settimeout(0.3)
    with pytest.raises(TimeoutError):
        raw.recv(1)


def test_who_does_not_read_a_long_list_costs_a_page_and_is_closed(worlds):
    """Ten clients ask for 200 MB each and read nothing."""
    # The sanitizer keeps what was freed for a while: not here, where memory is measured.
    world = worlds(ASAN_OPTIONS="quarantine_size_mb=1", **SETTINGS)
    buyer = world.edge.client().enter("reader")
    world.fake.tell("rows 1000000")
    world.fake.tell("row_bytes 200")
    before = world.edge.memory_kib()
    stalled = world.edge.metric("quorate_edge_connections_closed_total", why="stopped_reading")
    raws = []
    for _ in range(10):
        raw = world.edge.socket(receive_buffer=4096)
        raw.sendall(b"GET /api/products HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + buyer.token.encode() + b"\r\n\r\n")
        raws.append(raw)
    until(lambda: len(pages(world)) >= 10)
    time.sleep(1)
    asked = len(pages(world))
    time.sleep(0.3)
    assert len(pages(world)) == asked  # nobody fetches what nobody reads
    assert world.edge.memory_kib() - before < 20 * 1024
    until(lambda: world.edge.metric("quorate_edge_connections_closed_total", why="stopped_reading") >= stalled + 10)
    for raw in raws:
        assert closed_after(raw, 5) < 5
    assert buyer.get("/health/live").status == 200


def test_lists_that_nobody_reads_are_bounded_together(worlds):
    world = worlds(REQUEST_TIMEOUT_MS=2000, CLIENT_TIMEOUT_MS=5000)
    buyer = world.edge.client().enter("hoarder")
    world.fake.tell("rows 1000000")
    world.fake.tell("row_bytes 300")
    ask = b"GET /api/products HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + buyer.token.encode() + b"\r\n\r\n"
    raws = []
    for _ in range(200):
        raw = world.edge.socket(receive_buffer=4096)
        raw.sendall(ask)
        raws.append(raw)
    until(lambda: world.edge.metric("quorate_edge_requests_total", route="/api/products", method="GET", status="5xx") > 0, 10)
    answer = buyer.get("/api/products")
    assert (answer.status, answer.json["code"]) == (503, "OVERLOADED")
    assert buyer.buy(1).status == 201  # others go on
    for raw in raws:
        raw.close()
    until(lambda: buyer.get("/api/products?limit=600").status == 200, 10)


def test_who_reads_a_long_list_slowly_gets_all_of_it(world, buyer):
    world.fake.tell("rows 4000")
    raw = world.edge.socket(receive_buffer=16384)
    raw.sendall(b"GET /api/products HTTP/1.0\r\nAuthorization: Bearer " + buyer.token.encode() + b"\r\n\r\n")
    text, began = b"", time.monotonic()
    while part := raw.recv(16384):
        text += part
        time.sleep(0.05)
    assert time.monotonic() - began > 1.5  # longer than who stops is given
    assert len(json.loads(text.partition(b"\r\n\r\n")[2])) == 4000
