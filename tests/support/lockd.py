"""lockd as a program of its own, beside or without a whole system, and its callers."""

import contextlib
import itertools
import os
import signal
import subprocess
import time

import health_pb2
import lock_pb2
import pynng

from .nodes import nodes_of
from .rpc import Caller, Failed
from .deployed import REPORTS, ROOT, eventually

LOCK = "/quorate.lock.v1.Lock/"
serial = itertools.count(1)


class Locks:
    """One connection to lockd."""

    def __init__(self, url, timeout_s=15):
        self.caller = Caller(url, timeout_s)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.caller.close()

    def acquire(self, resource, request_id=None, deadline_ms=5000, **more):
        """`more` fields of the AcquireRequest. The reply, with the request id on it as `.request_id` of the pair."""
        request_id = request_id or f"id-{os.getpid()}-{next(serial)}"
        request = lock_pb2.AcquireRequest(resource=resource, request_id=request_id, **more)
        return Lease(self, resource, request_id,
                     self.caller.call(LOCK + "Acquire", request, lock_pb2.AcquireReply, deadline_ms))

    def release(self, resource, request_id, token=0):
        request = lock_pb2.ReleaseRequest(resource=resource, request_id=request_id, token=token)
        return self.caller.call(LOCK + "Release", request, lock_pb2.ReleaseReply)

    def nodes(self):
        return nodes_of(self.caller)

    def serving(self):
        answer = self.caller.call("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(),
                                  health_pb2.HealthCheckResponse)
        return answer.status == health_pb2.HealthCheckResponse.SERVING


class Lease:
    """What was granted."""

    def __init__(self, locks, resource, request_id, reply):
        self.locks = locks
        self.resource = resource
        self.request_id = request_id
        self.reply = reply
        self.token = reply.token

    def extend(self, ttl_ms=0):
        request = lock_pb2.ExtendRequest(resource=self.resource, request_id=self.request_id, token=self.token,
                                         ttl_ms=ttl_ms)
        return self.locks.caller.call(LOCK + "Extend", request, lock_pb2.ExtendReply)

    def release(self):
        return self.locks.release(self.resource, self.request_id, self.token)


def refusal_of(failed):
    assert failed.status.detail_type == "quorate.lock.v1.Refusal"
    return lock_pb2.Refusal.FromString(failed.status.detail)


class Lockd:
    """A lockd started by the test itself, over any nodes. Its log is checked for reports when it ends."""

    def __init__(self, directory, nodes, *arguments, **settings):
        self.url = f"ipc://{directory}/lockd-{next(serial)}.sock"
        self.log_path = directory / f"lockd-{next(serial)}.log"
        environment = {**os.environ, "REDIS_NODES": ",".join(nodes), "LOCKD_LISTEN": self.url, "LOCK_INIT": "empty",
                       **settings}
        build = ROOT / os.environ.get("BUILD_DIR", "build/dev")
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen([build / "services/lockd/lockd", *arguments], env=environment, stderr=log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
        assert not REPORTS.search(self.log()), self.log()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def locks(self):
        """A caller; the server may still be starting."""
        def dial():
            with contextlib.suppress(pynng.ConnectionRefused):
                return Locks(self.url)
        return eventually(dial)

    def until_voting(self, count, timeout_s=15):
        with self.locks() as locks:
            eventually(lambda: locks.nodes().voting == count, timeout_s, what=lambda: locks.nodes())
        return self

    def end(self, number=signal.SIGTERM, timeout_s=10):
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)


def fails(reason, act, *arguments, **more):
    """The Failed that act raises, which must be for this reason."""
    try:
        answer = act(*arguments, **more)
    except Failed as failed:
        assert failed.reason == reason, failed
        return failed
    raise AssertionError(f"not {reason} but {answer}")


def seconds(act, *arguments, **more):
    began = time.monotonic()
    act(*arguments, **more)
    return time.monotonic() - began
