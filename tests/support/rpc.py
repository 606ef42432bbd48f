"""Calls a service over its RPC as any program may: a plain req0 socket and protobuf (proto/rpc.proto)."""

import struct

import pynng
import rpc_pb2


class Failed(Exception):
    def __init__(self, status):
        super().__init__(f"{rpc_pb2.Reason.Name(status.reason)}: {status.message}")
        self.status = status
        self.reason = rpc_pb2.Reason.Name(status.reason).removeprefix("REASON_")


class Caller:
    def __init__(self, url, timeout_s=10):
        timeout_ms = int(timeout_s * 1000)
        self.socket = pynng.Req0(dial=url, resend_time=-1, recv_timeout=timeout_ms, send_timeout=timeout_ms)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def call(self, method, request, reply_type, timeout_ms=5000, **more):
        """One unary call, for example "/quorate.lock.v1.Lock/Nodes"; `more` fields of the Call. Raises Failed with its
        status."""
        call = rpc_pb2.Call(call_id=1, method=method, timeout_ms=timeout_ms, body=request.SerializeToString(), **more)
        frame = call.SerializeToString()
        self.socket.send(struct.pack(">I", len(frame)) + frame)
        message = self.socket.recv()
        (length,) = struct.unpack(">I", message[:4])
        answer = rpc_pb2.Answer.FromString(message[4:4 + length])
        if answer.HasField("status"):
            raise Failed(answer.status)
        return reply_type.FromString(answer.body)
