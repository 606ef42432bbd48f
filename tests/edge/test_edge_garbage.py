"""Ten thousand mutated requests: each gets an answer or a closed connection, and others' calls go on."""

import random
import socket

from edge_world import read_response

SEEDS = [
    b"POST /api/purchases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nIdempotency-Key: k\r\nContent-Length: 31\r\n\r\n"
    b'{"product_id": 1, "quantity":1}',
    b"POST /api/products HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 42\r\n\r\n"
    b'{"name": "thing", "price": 10, "stock": 5}',
    b"POST /api/purchases HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer %s\r\n\r\n"
    b'1f\r\n{"product_id": 1, "quantity":1}\r\n0\r\n\r\n',
    b"GET /api/products?limit=10&after=3 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n",
    b"GET /api/products/1/stock HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\ntraceparent: 00-aa-bb-01\r\n\r\n",
    b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nX-Token: %s\r\nContent-Length: 40\r\n\r\n"
    b"username=nobody%%20%%c3%%a4&password=&x=1&y=2",
]


def mutated(random_one, text):
    text = bytearray(text)
    for _ in range(random_one.choice((1, 1, 2, 3, 8))):
        place = random_one.randrange(len(text))
        kind = random_one.randrange(6)
        if kind == 0:
            text[place] = random_one.randrange(256)
        elif kind == 1:
            text[place] ^= 1 << random_one.randrange(8)
        elif kind == 2:
            del text[place:place + random_one.randrange(1, 20)]
        elif kind == 3:
            text[place:place] = random_one.randbytes(random_one.randrange(1, 20))
        elif kind == 4:
            other = random_one.randrange(len(text))
            text[place:place] = text[other:other + random_one.randrange(1, 40)]
        else:
            del text[place:]
        if not text:
            return b"\x00"
    return bytes(text)


def test_ten_thousand_mutated_requests(worlds):
    world = worlds(CLIENT_TIMEOUT_MS=1000, REQUEST_TIMEOUT_MS=1000)
    buyer = world.edge.client().enter("steady")
    random_one = random.Random(20260102)
    before = world.edge.descriptors()
    for number in range(10000):
        seed = random_one.choice(SEEDS) % buyer.token.encode()
        with socket.create_connection(("127.0.0.1", world.edge.port)) as raw:
            raw.sendall(mutated(random_one, seed))
            if number % 100 == 0:  # one in a hundred waits for what comes
                raw.shutdown(socket.SHUT_WR)
                raw.settimeout(5)
                try:
                    response = read_response(raw)
                    assert response is None or response[0].startswith("HTTP/1.1 ")
                except ConnectionResetError:
                    pass
        if number % 500 == 0:
            assert buyer.buy(1).status == 201
    assert buyer.buy(1).status == 201
    assert world.edge.descriptors() < before + 200
