"""Malformed requests against the whole system: a clear error each, on a connection that stays usable."""

import base64
import hashlib
import hmac
import json
import time

import pytest

from support.http import Line

PURCHASE = "/api/purchases"


def body(**fields):
    return json.dumps(fields).encode()


# what: (method, path, body, headers, status)
REFUSED = {
    "no body": ("POST", PURCHASE, None, {}, 422),
    "empty body": ("POST", PURCHASE, b"", {}, 422),
    "not JSON": ("POST", PURCHASE, b"{\"product_id\": 1, ", {}, 422),
    "two documents": ("POST", PURCHASE, body(product_id=1, quantity=1) * 2, {}, 422),
    "an array": ("POST", PURCHASE, b"[1, 1]", {}, 422),
    "not UTF-8": ("POST", PURCHASE, b"{\"product_id\": 1, \"quantity\": 1, \"x\": \"\xff\"}", {}, 422),
    "too deep": ("POST", PURCHASE, b"[" * 20000 + b"]" * 20000, {}, 422),
    "a NUL": ("POST", "/api/products", b"{\"name\": \"a\\u0000b\", \"price\": 1, \"stock\": 1}", {}, 422),
    "no product": ("POST", PURCHASE, body(quantity=1), {}, 422),
    "no quantity": ("POST", PURCHASE, body(product_id=1), {}, 422),
    **{f"quantity {value}": ("POST", PURCHASE, b"{\"product_id\": 1, \"quantity\": %s}" % value.encode(), {}, 422)
       for value in ("0", "-1", "1000001", "1.5", "\"1\"", "true", "null", "[]", "9223372036854775808", "1e400", "NaN")},
    **{f"product {value}": ("POST", PURCHASE, b"{\"product_id\": %s, \"quantity\": 1}" % value.encode(), {}, 422)
       for value in ("0", "-5", "\"1\"", "null", "99999999999999999999")},
    "key too long": ("POST", PURCHASE, body(product_id=1, quantity=1), {"Idempotency_Key": "k" * 256}, 422),
    "name too long": ("POST", "/api/products", body(name="n" * 201, price=1, stock=1), {}, 422),
    "no name": ("POST", "/api/products", body(name="", price=1, stock=1), {}, 422),
    "price 0": ("POST", "/api/products", body(name="p", price=0, stock=1), {}, 422),
    "price too high": ("POST", "/api/products", body(name="p", price=10 ** 12 + 1, stock=1), {}, 422),
    "stock below 0": ("POST", "/api/products", body(name="p", price=1, stock=-1), {}, 422),
    "stock too high": ("POST", "/api/products", body(name="p", price=1, stock=10 ** 12 + 1), {}, 422),
    "short username": ("POST", "/api/auth/register", body(username="ab", password="secret"), {}, 422),
    "long username": ("POST", "/api/auth/register", body(username="a" * 51, password="secret"), {}, 422),
    "short password": ("POST", "/api/auth/register", body(username="abc", password="12345"), {}, 422),
    "long password": ("POST", "/api/auth/register", body(username="abc", password="1" * 101), {}, 422),
    "login by JSON": ("POST", "/api/auth/login", body(username="abc", password="secret"), {}, 422),
    "login without password": ("POST", "/api/auth/login", b"username=abc",
                               {"Content_Type": "application/x-www-form-urlencoded"}, 422),
    "unknown login": ("POST", "/api/auth/login", b"username=nobody&password=secret",
                      {"Content_Type": "application/x-www-form-urlencoded"}, 401),
    "limit 0": ("GET", "/api/products?limit=0", None, {}, 422),
    "limit 1001": ("GET", "/api/products?limit=1001", None, {}, 422),
    "limit x": ("GET", "/api/purchases/me?limit=x", None, {}, 422),
    "after x": ("GET", "/api/purchases/me?after=x", None, {}, 422),
    "id x": ("GET", "/api/products/x", None, {}, 422),
    "id of nothing": ("GET", "/api/products/999999999", None, {}, 404),
    "stock of nothing": ("GET", "/api/products/999999999/stock", None, {}, 404),
    "purchase of nothing": ("POST", PURCHASE, body(product_id=999999999, quantity=1), {}, 404),
    "unknown path": ("GET", "/api/nothing", None, {}, 404),
    "a path above": ("GET", "/../../etc/passwd", None, {}, 404),
    "wrong method": ("DELETE", PURCHASE, None, {}, 405),
    "unknown method": ("BREW", "/health", None, {}, 405),
}


@pytest.fixture(scope="module")
def line(module_system):
    """One connection for all: each refusal must leave it usable for the next."""
    with Line(module_system.edge_url) as line:
        yield line


@pytest.mark.parametrize("what", REFUSED)
def test_refused_with_a_clear_error(system_unchecked, buyers, line, what):
    method, path, sent, headers, status = REFUSED[what]
    answer = line.ask(method, path, buyers[0].token, sent, **headers)
    assert answer.status == status, answer
    said = answer.json()
    assert said["code"], said
    if status == 422:
        assert all({"loc", "msg", "type"} <= fault.keys() for fault in said["detail"]), said
    else:
        assert isinstance(said["detail"], str) and said["detail"]
    if status == 405:
        assert answer.headers["allow"]
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    assert line.ask("GET", "/api/auth/me", buyers[0].token).status == 200


@pytest.fixture
def system_unchecked(module_system):
    """Dozens of refusals that change nothing: the last test of the module checks for all of them."""
    return module_system


def jwt(secret, algorithm="HS256", **claims):
    def part(fields):
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=")

    signed = part({"alg": algorithm, "typ": "JWT"}) + b"." + part(claims)
    signature = base64.urlsafe_b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).rstrip(b"=")
    return (signed + b"." + signature).decode()


def test_tokens_that_are_not_ours(system, buyers, line):
    secret = (system.directory / "jwt-secret").read_text().strip()
    user, now = buyers[0].get("/api/auth/me").json(), int(time.time())
    claims = {"sub": user["username"], "user_id": user["id"], "iat": now, "exp": now + 600}
    assert line.ask("GET", "/api/auth/me", jwt(secret, **claims)).status == 200
    good = buyers[0].token
    for token in (None, "x", "a.b.c", good[:-2], good + "A", jwt("another secret" * 3, **claims),
                  jwt(secret, **{**claims, "exp": now - 1}), jwt(secret, algorithm="none", **claims),
                  jwt(secret, algorithm="none", **claims).rpartition(".")[0] + ".", "x" * 5000):
        answer = line.ask("POST", PURCHASE, token, body(product_id=1, quantity=1))
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), token
        assert answer.json()["code"] == "UNAUTHENTICATED"
    assert line.ask("POST", PURCHASE, None, body()).json()["detail"] == "Not authenticated"


CLOSED = {
    "a body too long": (b"POST /api/purchases HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n" + b"x" * 65537, 413),
    "a length that is none": (b"POST /api/purchases HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
    "a chunk that is none": (b"POST /api/purchases HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "a request line that is none": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "a header without end": (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 500_000, 400),
}


@pytest.mark.parametrize("what", CLOSED)
def test_what_the_parser_refuses_closes_the_connection(system, buyers, line, what):
    sent, status = CLOSED[what]
    with Line(system.edge_url) as doomed:
        doomed.send(sent)
        answer = doomed.answer()
        assert answer is not None and answer.status == status, answer
        assert doomed.ended()
    assert line.ask("GET", "/api/auth/me", buyers[0].token).status == 200


def test_many_requests_in_one_packet_are_all_answered_in_order(system, buyers, product_of):
    product = product_of(50)
    request = body(product_id=product, quantity=1)
    head = (f"POST {PURCHASE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {buyers[0].token}\r\n"
            f"Content-Length: {len(request)}\r\n\r\n").encode()
    with Line(system.edge_url) as line:
        line.send((head + request) * 50)
        answers = [line.answer() for _ in range(50)]
    assert [answer.status for answer in answers] == [201] * 50
    assert [answer.json()["remaining_stock"] for answer in answers] == list(range(49, -1, -1))
