"""What a request may not be, and that the connection survives it."""

import json

import pytest

from edge_world import read_response

GOOD = {"product_id": 1, "quantity": 1}


def fault_of(answer):
    """The only fault of a 422."""
    assert answer.status == 422, answer.body
    assert set(answer.json) == {"detail", "code"} and answer.json["code"] == "INVALID"
    for fault in answer.json["detail"]:
        assert set(fault) == {"loc", "msg", "type"}
        assert isinstance(fault["msg"], str) and isinstance(fault["type"], str)
    assert len(answer.json["detail"]) == 1
    return answer.json["detail"][0]


BROKEN = [
    b"x", b"{", b'{"product_id":1', b'{"product_id":1,"quantity":1}x', b'{"product_id":1,"quantity":1,}',
    b"{'product_id':1}", b'{"product_id":1,"product_id":2,"quantity":1}', b'{"product_id":1,"quantity":9223372036854775808}',
    b'{"product_id":1,"quantity":' + b"9" * 400 + b"}", b'{"product_id":1,"quantity":1e999}',
    b'{"product_id":1,"quantity":1,"x":"\x00"}', b'{"product_id":1,"quantity":1,"x":"\\u0000"}',
    b'{"product_id":1,"quantity":1,"x":"\xff"}', b'{"product_id":1,"quantity":1,"x":"\\ud800"}',
    b'{"product_id":1,"quantity":1,"x":NaN}', b"[" * 60000, b'{"a":' * 12000, b'{"x":' + b"[" * 40 + b"]" * 40 + b"}",
    b"\xef\xbb\xbf{}", b"product_id=1&quantity=1", b"\x1f\x8b\x08\x00",
]


@pytest.mark.parametrize("body", BROKEN, ids=lambda body: repr(body[:40]))
def test_broken_json(buyer, body):
    fault = fault_of(buyer.post("/api/purchases", body=body))
    assert fault["type"] == "json_invalid" and fault["loc"][0] == "body" and isinstance(fault["loc"][1], int)
    assert buyer.buy(1).status == 201


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"text"', b"true"])
def test_json_that_is_no_object(buyer, body):
    fault = fault_of(buyer.post("/api/purchases", body=body))
    assert fault["loc"] == ["body"] and fault["type"] == "model_attributes_type"
    assert buyer.buy(1).status == 201


def test_no_body_at_all(buyer):
    assert fault_of(buyer.post("/api/purchases"))["type"] == "missing"
    assert fault_of(buyer.post("/api/purchases", body=b""))["loc"] == ["body"]
    assert buyer.buy(1).status == 201


@pytest.mark.parametrize("change, field, kind", [
    ({"quantity": 0}, "quantity", "greater_than"), ({"quantity": -1}, "quantity", "greater_than"),
    ({"quantity": 10**6 + 1}, "quantity", "less_than_equal"), ({"quantity": 2**63 - 1}, "quantity", "less_than_equal"),
    ({"quantity": 1.0}, "quantity", "int_type"), ({"quantity": 1.5}, "quantity", "int_type"),
    ({"quantity": "1"}, "quantity", "int_type"), ({"quantity": None}, "quantity", "int_type"),
    ({"quantity": True}, "quantity", "int_type"), ({"quantity": [1]}, "quantity", "int_type"),
    ({"quantity": {}}, "quantity", "int_type"), ({"product_id": 0}, "product_id", "greater_than"),
    ({"product_id": -(2**63)}, "product_id", "greater_than"), ({"product_id": "1"}, "product_id", "int_type"),
])
def test_wrong_purchases(buyer, change, field, kind):
    fault = fault_of(buyer.post("/api/purchases", data={**GOOD, **change}))
    assert fault["loc"] == ["body", field] and fault["type"] == kind
    assert buyer.buy(1).status == 201


@pytest.mark.parametrize("field", ["product_id", "quantity"])
def test_missing_fields(buyer, field):
    fault = fault_of(buyer.post("/api/purchases", data={key: value for key, value in GOOD.items() if key != field}))
    assert fault == {"loc": ["body", field], "msg": "Field required", "type": "missing"}


def test_all_faults_at_once(buyer):
    answer = buyer.post("/api/purchases", data={"quantity": "x"}, headers={"Idempotency-Key": ""})
    assert answer.status == 422
    assert [fault["loc"] for fault in answer.json["detail"]] == [["body", "product_id"], ["body", "quantity"],
                                                               ["header", "idempotency-key"]]


def test_the_largest_good_purchase(buyer):
    answer = buyer.post("/api/purchases", data={"product_id": 2**63 - 1, "quantity": 10**6, "extra": {"is": "ignored"}})
    assert answer.status == 201 and answer.json["product_id"] == 2**63 - 1


@pytest.mark.parametrize("key", ["", "k" * 256, "käse", "tab\there"])
def test_bad_idempotency_keys(buyer, key):
    fault = fault_of(buyer.buy(1, headers={"Idempotency-Key": key.encode()}))
    assert fault["loc"] == ["header", "idempotency-key"]
    answer = buyer.post("/api/products", data={"name": "bad key", "price": 1, "stock": 1},
                        headers={"Idempotency-Key": key.encode()})
    assert fault_of(answer)["loc"] == ["header", "idempotency-key"]
    assert buyer.buy(1, headers={"Idempotency-Key": "k" * 255}).status == 201


def test_two_idempotency_keys(world, buyer):
    raw = world.edge.socket()
    body = json.dumps(GOOD).encode()
    raw.sendall(b"POST /api/purchases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + buyer.token.encode() +
                b"\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert read_response(raw)[0].startswith("HTTP/1.1 422 ")


@pytest.mark.parametrize("change, field, kind", [
    ({"name": ""}, "name", "string_too_short"), ({"name": "n" * 201}, "name", "string_too_long"),
    ({"name": "상" * 201}, "name", "string_too_long"), ({"name": 5}, "name", "string_type"),
    ({"name": None}, "name", "string_type"), ({"price": 0}, "price", "greater_than"),
    ({"price": 10**12 + 1}, "price", "less_than_equal"), ({"price": 9.99}, "price", "int_type"),
    ({"stock": -1}, "stock", "greater_than_equal"), ({"stock": 10**12 + 1}, "stock", "less_than_equal"),
    ({"description": 5}, "description", "string_type"), ({"description": "d" * 10001}, "description", "string_too_long"),
    ({"description": "상" * 3334}, "description", "string_too_long")])
def test_wrong_products(buyer, change, field, kind):
    fault = fault_of(buyer.post("/api/products", data={"name": "x", "price": 1, "stock": 1, **change}))
    assert fault["loc"] == ["body", field] and fault["type"] == kind


def test_the_longest_good_product(buyer):
    new = {"name": "상" * 200, "price": 10**12, "stock": 10**12, "description": "d" * 10000}
    answer = buyer.post("/api/products", data=new)
    assert answer.status == 201 and answer.json["description"] == new["description"]


@pytest.mark.parametrize("change, field, kind", [
    ({"username": "ab"}, "username", "string_too_short"), ({"username": "u" * 51}, "username", "string_too_long"),
    ({"password": "p" * 5}, "password", "string_too_short"), ({"password": "p" * 101}, "password", "string_too_long"),
    ({"password": 123456}, "password", "string_type"), ({"email": "e" * 321}, "email", "string_too_long"),
    ({"email": 1}, "email", "string_type")])
def test_wrong_registrations(buyer, change, field, kind):
    answer = buyer.post("/api/auth/register", data={"username": "fine", "password": "secret1", **change})
    fault = fault_of(answer)
    assert fault["loc"] == ["body", field] and fault["type"] == kind
    assert b"ppppp" not in answer.body  # a password is never echoed


@pytest.mark.parametrize("body, locations", [
    ("", ["username", "password"]), ("username=ann", ["password"]), ("username=&password=x", ["username"]),
    ("username=%ff&password=x", ["username"]), ("username=ann&password=%00", ["password"]),
    ("username=ann&password=%zz", ["password"]), ('{"username":"ann","password":"x"}', ["username", "password"]),
    ("username=ann&password=secret1&grant_type=client_credentials", ["grant_type"])])
def test_wrong_logins(buyer, body, locations):
    answer = buyer.post("/api/auth/login", body=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status == 422
    assert [fault["loc"] for fault in answer.json["detail"]] == [["body", name] for name in locations]


def test_logins_as_oauth2_clients_send_them(buyer):
    me = buyer.get("/api/auth/me").json["username"]
    form = {"grant_type": "password", "username": me, "password": "secret1", "scope": "", "client_id": "string",
            "client_secret": ""}
    assert buyer.post("/api/auth/login", form=form).status == 200


@pytest.mark.parametrize("path", ["/api/products/abc", "/api/products/1.0", "/api/products/9223372036854775808/stock",
                                  "/api/products/1e3", "/api/products/+1"])
def test_ids_that_are_no_numbers(buyer, path):
    fault = fault_of(buyer.get(path))
    assert fault["loc"] == ["path", "id"] and fault["type"] == "int_parsing"


@pytest.mark.parametrize("query, field", [
    ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"), ("limit=", "limit"), ("limit=1.0", "limit"),
    ("after=-1", "after"), ("after=x", "after"), ("after=9223372036854775808", "after"), ("limit=%zz", "limit")])
@pytest.mark.parametrize("path", ["/api/products", "/api/purchases/me"])
def test_wrong_pages(buyer, path, query, field):
    assert fault_of(buyer.get(f"{path}?{query}"))["loc"] == ["query", field]


def send(world, text):
    raw = world.edge.socket()
    raw.sendall(text)
    return raw


POST = b"POST /api/purchases HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize("size, status", [(65536, 401), (65537, 413), (10**9, 413)])
def test_bodies_are_bounded(world, size, status):
    raw = send(world, POST + b"Content-Length: %d\r\n\r\n" % size + b" " * min(size, 200000))
    line, headers, body = read_response(raw)
    assert line.split()[1] == str(status)
    assert headers["content-type"] == "application/json" and "detail" in json.loads(body)
    if status == 413:
        assert headers["connection"] == "close" and json.loads(body)["code"] == "TOO_LARGE"
        assert raw.recv(1) == b""


def test_chunked_bodies(world, buyer):
    head = POST + b"Authorization: Bearer " + buyer.token.encode() + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = json.dumps(GOOD).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    raw = send(world, head + chunks)
    assert read_response(raw)[0].startswith("HTTP/1.1 201 ")
    raw.sendall(head + chunks)  # and again on the same connection
    assert read_response(raw)[0].startswith("HTTP/1.1 201 ")
    raw.sendall(head + b"10000\r\n" + b" " * 65536 + b"\r\n10000\r\n" + b" " * 65536)
    assert read_response(raw)[0].startswith("HTTP/1.1 413 ")


@pytest.mark.parametrize("head", [
    b"Content-Length: x\r\n", b"Content-Length: -1\r\n", b"Content-Length: 1 2\r\n",
    b"Transfer-Encoding: gzip\r\n", b"Transfer-Encoding: chunked, chunked\r\n"])
def test_broken_lengths(world, head):
    raw = send(world, POST + head + b"\r\n{}")
    line, headers, body = read_response(raw)
    assert line.startswith("HTTP/1.1 400 ") and headers["connection"] == "close"
    assert json.loads(body)["code"] == "INVALID"


def test_broken_chunks(world):
    raw = send(world, POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
    line, _, body = read_response(raw)
    assert line.startswith("HTTP/1.1 400 ") and json.loads(body)["code"] == "INVALID"


def test_unknown_expectations(world):
    raw = send(world, POST + b"Expect: magic\r\nContent-Length: 2\r\n\r\n{}")
    line, _, body = read_response(raw)
    assert line.startswith("HTTP/1.1 417 ") and json.loads(body)["code"] == "EXPECTATION_FAILED"


def test_clients_that_wait_for_100_continue(world, buyer):
    body = json.dumps(GOOD).encode()
    raw = send(world, POST + b"Authorization: Bearer " + buyer.token.encode() +
               b"\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += raw.recv(1)
    assert head == b"HTTP/1.1 100 Continue\r\n\r\n"
    raw.sendall(body)
    assert read_response(raw)[0].startswith("HTTP/1.1 201 ")


@pytest.mark.parametrize("text", [
    b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\x00" * 64,
    b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 101 + b"\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], ids=lambda text: repr(text[:24]))
def test_what_is_no_http(world, text):
    raw = send(world, text)
    assert read_response(raw)[0].startswith("HTTP/1.1 400 ")
    assert raw.recv(1) == b""


def test_heads_are_bounded(world):
    raw = send(world, b"GET / HTTP/1.1\r\n")
    try:
        for _ in range(2000):
            raw.sendall(b"x: " + b"y" * 1000)
        answer = raw.recv(100)
    except (ConnectionResetError, BrokenPipeError):
        answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert world.edge.client().get("/health/live").status == 200


def test_pipelined_requests_are_answered_in_order(world, buyer):
    raw = world.edge.socket()
    token = b"Authorization: Bearer " + buyer.token.encode() + b"\r\n"
    first = json.dumps({"product_id": 2010, "quantity": 1}).encode()  # answered late
    raw.sendall(POST + token + b"Content-Length: %d\r\n\r\n" % len(first) + first +
                b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
    statuses = [read_response(raw)[0].split()[1] for _ in range(3)]
    assert statuses == ["201", "200", "404"]


def test_http_1_0(world):
    raw = send(world, b"GET /health/live HTTP/1.0\r\n\r\n")
    line, headers, body = read_response(raw)
    assert line.split()[1] == "200" and headers["connection"] == "close" and body.startswith(b'{"status":"alive",')
    assert raw.recv(1) == b""
