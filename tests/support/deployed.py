"""The whole system, however it was started: what tests do to its parts, and where they reach them."""

import re
import time
from pathlib import Path

import psycopg
import redis

from check import invariants

ROOT = Path(__file__).resolve().parents[2]
REDIS = ("redis", "redis1", "redis2", "redis3", "redis4")
NAMES = (*REDIS, "postgres", "lockd", "inventory", "edge")
SERVICES = ("lockd", "inventory", "edge")

# What a sanitizer or a CHECK leaves in a service's log.
REPORTS = re.compile(r"(ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error: |^check\.failed ).*", re.MULTILINE)


class Deployed:
    """A subclass has local(verb, *names), up(), port(name), log(name) and `urls`."""

    def local(self, *arguments, fails=False):
        raise NotImplementedError

    def port(self, name):
        raise NotImplementedError

    def log(self, name):
        raise NotImplementedError

    @property
    def urls(self):
        raise NotImplementedError

    def proxy(self):
        """The process, if any, that stands between a client and the edge."""
        return None

    def stop(self, *names):
        self.local("stop", *names)

    def start(self, *names):
        self.local("start", *names)

    def restart(self, *names):
        self.local("restart", *names)

    def kill(self, *names):
        self.local("kill", *names)

    def pause(self, *names):
        self.local("pause", *names)

    def unpause(self, *names):
        self.local("unpause", *names)

    @property
    def edge_url(self):
        return self.urls["EDGE_URL"]

    @property
    def lockd_url(self):
        return self.urls["LOCKD_URL"]

    @property
    def inventory_url(self):
        return self.urls["INVENTORY_URL"]

    @property
    def database_url(self):
        return self.urls["DATABASE_URL"]

    def database(self):
        return psycopg.connect(self.database_url, autocommit=True)

    def sql(self, query, *arguments):
        with self.database() as database:
            cursor = database.execute(query, arguments)
            return cursor.fetchall() if cursor.description else []

    def redis(self, name):
        return redis.Redis(host="127.0.0.1", port=self.port(name), decode_responses=True, socket_timeout=2)

    def violations(self):
        """Broken promises: invariants, and what sanitizers and CHECKs said."""
        found = invariants.broken(self.urls["DATABASE_URL"], self.urls["REDIS_NODES"])
        return found + self.reports()

    def reports(self):
        return [f"{name}: {match.group(0)}" for name in SERVICES for match in REPORTS.finditer(self.log(name))]


def eventually(truth, timeout_s=10, what=None):
    """Polls until truth() is true and returns what it gave; an AssertionError or a lost connection inside is a "not yet"."""
    ends, last = time.monotonic() + timeout_s, None
    while True:
        try:
            value = truth()
            if value:
                return value
        except (AssertionError, OSError) as error:
            last = error
        if time.monotonic() > ends:
            raise AssertionError(f"not within {timeout_s} s: {what or last or truth}")
        time.sleep(0.02)
