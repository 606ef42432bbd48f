"""A lease as any program takes it over the RPC."""

import itertools
import os

import lock_pb2

from .rpc import Caller

serial = itertools.count(1)


class Lease:
    """`with Lease(system, "stock:1") as lease:` holds it until the block ends; lease.token is its token."""

    def __init__(self, system, resource, ttl_ms=10000, wait_ms=5000):
        self.url = system.lockd_url
        self.resource = resource
        self.ttl_ms = ttl_ms
        self.wait_ms = wait_ms
        self.request_id = f"test-{os.getpid()}-{next(serial)}"

    def __enter__(self):
        self.caller = Caller(self.url)
        request = lock_pb2.AcquireRequest(resource=self.resource, request_id=self.request_id, ttl_ms=self.ttl_ms,
                                          wait_ms=self.wait_ms)
        answer = self.caller.call("/quorate.lock.v1.Lock/Acquire", request, lock_pb2.AcquireReply, self.wait_ms + 2000)
        self.token = answer.token
        return self

    def __exit__(self, *_):
        request = lock_pb2.ReleaseRequest(resource=self.resource, request_id=self.request_id)
        self.caller.call("/quorate.lock.v1.Lock/Release", request, lock_pb2.ReleaseReply)
        self.caller.close()
