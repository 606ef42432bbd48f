"""The edge as a client sees it."""

import requests

PASSWORD = "correct horse"


class Edge:
    """One client: one connection, one account at most."""

    def __init__(self, url, timeout_s=10):
        self.url = url
        self.timeout_s = timeout_s
        self.session = requests.Session()
        self.user_id = None

    def call(self, method, path, **options):
        return self.session.request(method, self.url + path, timeout=self.timeout_s, **options)

    def get(self, path, **options):
        return self.call("GET", path, **options)

    def post(self, path, **options):
        return self.call("POST", path, **options)

    def register(self, username, password=PASSWORD):
        return self.post("/api/auth/register", json={"username": username, "password": password})

    def login(self, username, password=PASSWORD):
        answer = self.post("/api/auth/login", data={"username": username, "password": password})
        if answer.status_code == 200:
            self.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return answer

    def enter(self, username):
        """Registers if need be, and logs in."""
        assert self.register(username).status_code in (201, 409)
        answer = self.login(username)
        assert answer.status_code == 200, answer.text
        return self

    @property
    def token(self):
        return self.session.headers["Authorization"].removeprefix("Bearer ")

    def beside(self):
        """Another connection with the same account."""
        other = Edge(self.url, self.timeout_s)
        other.session.headers.update(self.session.headers)
        return other

    def create_product(self, name, stock, price=10):
        answer = self.post("/api/products", json={"name": name, "price": price, "stock": stock})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def buy(self, product, quantity=1, key=None, path="/api/purchases"):
        headers = {"Idempotency-Key": key} if key else {}
        return self.post(path, json={"product_id": product, "quantity": quantity}, headers=headers)

    def stock(self, product):
        return self.get(f"/api/products/{product}/stock").json()
