"""Buyers who buy the same product again and again, each over a connection of its own, while a test breaks things.

Every purchase has an Idempotency-Key of its own. A stubborn buyer asks again with the same key until it hears 201 (or
400: sold out), whatever happens to its connection; the others take the first answer and go on with the next purchase.
"""

import http.client
import itertools
import json
import threading
import time
from typing import NamedTuple

from .deployed import eventually

SETTLED = (201, 400)
PAUSE_S = 0.02  # after anything but a sale, so that buyers who hear no don't eat the machine


class Answer(NamedTuple):
    key: str
    status: int  # 0: none, the connection was lost or nothing came in time
    body: dict
    began: float
    ended: float


class Connection:
    """Keep-alive to the edge, dialled anew when it is lost."""

    def __init__(self, address, token, timeout_s):
        self.link = http.client.HTTPConnection(address, timeout=timeout_s)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def post(self, path, fields, key):
        """(status, body); (0, None) if there was no whole answer."""
        try:
            self.link.request("POST", path, json.dumps(fields), {**self.headers, "Idempotency-Key": key})
            answer = self.link.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            self.link.close()
            return 0, None

    def close(self):
        self.link.close()


class Crowd:
    """`with Crowd(system, product, buyers) as crowd:` buys until the block ends. `buyers` are logged in (support.edge)."""

    serial = itertools.count(1)

    def __init__(self, system, product, buyers, size=8, stubborn=False, quantity=1, timeout_s=10):
        self.product = product
        self.system = system
        self.buyers = buyers
        self.stubborn = stubborn
        self.quantity = quantity
        self.timeout_s = timeout_s
        self.answers = []
        self.name = f"crowd{next(self.serial)}"
        self._stopped = threading.Event()
        self._address = system.edge_url.removeprefix("http://")
        self._threads = [threading.Thread(target=self._buy_on, args=(place, buyers[place % len(buyers)]), daemon=True)
                         for place in range(size)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a buyer never heard an end"

    def _buy_on(self, place, buyer):
        connection = Connection(self._address, buyer.token, self.timeout_s)
        for number in itertools.count():
            if self._stopped.is_set():
                break
            self._buy(connection, f"{self.name}-{place}-{number}")
        connection.close()

    def _buy(self, connection, key):
        gives_up = None
        while True:
            began = time.monotonic()
            status, body = connection.post("/api/purchases", {"product_id": self.product, "quantity": self.quantity}, key)
            self.answers.append(Answer(key, status, body, began, time.monotonic()))
            if status == 201:
                return
            self._stopped.wait(PAUSE_S)
            if not self.stubborn or status in SETTLED:
                return
            if self._stopped.is_set():
                gives_up = gives_up or time.monotonic() + 30  # what it began, it ends
                if time.monotonic() > gives_up:
                    return
                time.sleep(PAUSE_S)

    def after(self, moment):
        """Answers to what was asked after this moment."""
        return [answer for answer in list(self.answers) if answer.began >= moment]

    def failed(self):
        return [answer for answer in list(self.answers) if answer.status != 201]

    def sold(self):
        return [answer for answer in list(self.answers) if answer.status == 201]

    def sells(self, count=1, after=0.0, timeout_s=15):
        """Waits for so many sales asked for after this moment. Returns when the first of them was answered."""
        def enough():
            sales = [answer for answer in self.after(after) if answer.status == 201]
            assert len(sales) >= count, f"{len(sales)} of {count} sales; last answers: {self.answers[-3:]}"
            return sales

        sales = eventually(enough, timeout_s)
        return min(answer.ended for answer in sales)

    def mismatches(self):
        """What the buyers heard against what Postgres recorded; call it after the block. One sentence each."""
        rows = self.system.sql("SELECT idem, id, quantity, remaining_stock, total_price FROM purchases "
                               "WHERE product_id = %s AND idem LIKE %s", self.product, f"{self.name}-%")
        recorded = {}
        found = []
        for key, *row in rows:
            if key in recorded:
                found.append(f"{key} is recorded twice")
            recorded[key] = tuple(row)
        heard = {}
        for answer in self.answers:
            heard.setdefault(answer.key, []).append(answer)
        for key, answers in heard.items():
            bodies = {(said["id"], said["quantity"], said["remaining_stock"], said["total_price"])
                      for said in (answer.body for answer in answers if answer.status == 201)}
            found += [f"{key} was answered {body}, recorded is {recorded.get(key)}"
                      for body in bodies if body != recorded.get(key)]
            statuses = {answer.status for answer in answers}
            if statuses <= {400, 401, 404, 422, 503} and key in recorded:
                found.append(f"{key} was told that nothing happened ({statuses}), but is recorded")
            if self.stubborn and not statuses & set(SETTLED):
                found.append(f"{key} never heard how it ended: {statuses}")
        found += [f"{key} is recorded, but nobody asked for it" for key in recorded.keys() - heard.keys()]
        return found
