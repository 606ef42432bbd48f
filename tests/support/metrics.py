"""What a service counted, asked of itself."""

import rpc_pb2

from .rpc import Caller


def metrics_of(url):
    """{name with labels: value} of the service at this address."""
    with Caller(url) as caller:
        text = caller.call("/quorate.rpc.v1.Peer/Metrics", rpc_pb2.MetricsRequest(), rpc_pb2.MetricsReply).text
    samples = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}
