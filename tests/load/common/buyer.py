"""Buyers for Locust. FastHttpUser, because Locust shares the machine with what it measures."""

import itertools
import random
import socket
import uuid

import gevent
from geventhttpclient.connectionpool import ConnectionPool
from locust import FastHttpUser, task
from locust.exception import RescheduleTask


def send_at_once(_pool, connection):
    """The client writes head and body of a POST one after the other; without this the body would wait in the kernel until
    the server's acknowledgement of the head, which is delayed by 40 ms, and that would be measured."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


ConnectionPool.after_connect = send_at_once

PASSWORD = "password123"
serial = itertools.count(1)


class Buyer(FastHttpUser):
    """Has an account, knows the product, can buy and look. What he does when is the scenario's."""

    abstract = True
    scenario = None  # set by the locustfile
    tally = None  # a new one for each run
    product = None  # its id
    network_timeout = 10.0
    connection_timeout = 10.0

    def wait_time(self):
        return random.uniform(*self.scenario.wait_s)

    def on_start(self):
        self.key = None  # of a purchase without an answer yet
        self.tried = False
        self.answered = False
        self.username = f"{self.scenario.name}_{next(serial)}"
        credentials = {"username": self.username, "password": PASSWORD}
        self._until_good(lambda: self.client.post("/api/auth/register", json=credentials, catch_response=True), (201, 409))
        self.login()

    def login(self):
        form = {"username": self.username, "password": PASSWORD}
        answer = self._until_good(lambda: self.client.post("/api/auth/login", data=form, catch_response=True), (200,))
        self.bearer = {"Authorization": f"Bearer {answer['access_token']}"}

    @staticmethod
    def _until_good(request, good):
        """The body of the first answer that is one of `good`; others count as failures and are tried again."""
        while True:
            with request() as answer:
                if answer.status_code in good:
                    answer.success()
                    return answer.json()
                answer.failure(f"{answer.status_code} {answer.text or ''}"[:200])
            gevent.sleep(1)

    def look(self, path, name=None):
        with self.client.get(path, name=name or path, headers=self.bearer, catch_response=True) as answer:
            if answer.status_code == 200:
                return answer.json()
            answer.failure(f"{answer.status_code} {answer.text or ''}"[:200])
            expired = answer.status_code == 401
        if expired:
            self.login()
        raise RescheduleTask()

    def look_at_stock(self):
        stock = self.look(f"/api/products/{self.product}/stock", "/api/products/[id]/stock")
        self.tally.stock_reads += 1
        if stock["redis_stock"] is not None and stock["redis_stock"] != stock["db_stock"]:
            self.tally.mismatches.append(stock)

    def look_at_products(self):
        self.look("/api/products")

    def look_at_history(self):
        self.look("/api/purchases/me")

    def may_buy(self):
        return not self.answered or self.scenario.repeats

    def buy(self):
        """One try. Without a clear answer the next one carries the same key, so that it can't buy twice."""
        if not self.tried:
            self.tried = True
            self.tally.buyers += 1
        self.key = self.key or str(uuid.uuid4())
        order = {"product_id": self.product, "quantity": 1}
        headers = {**self.bearer, "Idempotency-Key": self.key}
        with self.client.post(self.scenario.path, json=order, headers=headers, catch_response=True) as answer:
            if self._judge(answer):
                self.key = None
                self.answered = True
            expired = answer.status_code == 401
        if expired:
            self.login()

    def _judge(self, answer):
        """True if the purchase is settled, one way or the other."""
        status, text = answer.status_code, answer.text or ""
        if status == 201:
            self.tally.sold.add(answer.json()["id"])
            return True
        if status == 400 and "Insufficient stock" in text:
            self.tally.refused += 1
            answer.success()
            return True
        answer.failure(f"{status} {text}"[:200])
        if status == 400 and "Failed to acquire lock" in text:
            self.tally.busy += 1
        elif status == 503:
            self.tally.unavailable += 1
        elif status in (0, 504):
            self.tally.unknown += 1
        else:
            self.tally.count_strange(f"{status} {text}"[:200])
        return False


class Visitor(Buyer):
    """Comes by, looks, buys again and again, looks at what he has."""

    abstract = True

    @task
    def visit(self):
        self.look_at_stock()
        self.buy()
        self.look_at_history()


class Browser(Buyer):
    """Browses, and tries once to buy (REPEAT=1: again and again)."""

    abstract = True

    @task(4)
    def purchase(self):
        if self.may_buy():
            self.buy()
        else:
            self.look_at_stock()

    @task(3)
    def stock(self):
        self.look_at_stock()

    @task(1)
    def products(self):
        self.look_at_products()

    @task(2)
    def history(self):
        self.look_at_history()
