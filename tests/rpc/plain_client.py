"""All that a program needs to call a service: a plain NNG req0 socket and the messages of proto/ (see rpc.proto)."""

import struct

import pynng
import rpc_pb2


class Failed(Exception):
    def __init__(self, status):
        super().__init__(f"{rpc_pb2.Reason.Name(status.reason)}: {status.message}")
        self.status = status


class Client:
    def __init__(self, url):
        self.socket = pynng.Req0(dial=url, resend_time=-1)  # never twice: a call may change something
        self.calls = 0

    def call(self, method, request, reply_type, timeout_ms=5000, **more):
        """One unary call, such as "/quorate.lock.v1.Lock/Acquire". Calls of several threads run side by side."""
        self.calls += 1
        call = rpc_pb2.Call(call_id=self.calls, method=method, timeout_ms=timeout_ms, body=request.SerializeToString(), **more)
        frame = call.SerializeToString()
        with self.socket.new_context() as context:
            context.recv_timeout = timeout_ms + 1000  # no answer at all: it may or may not have happened
            context.send(struct.pack(">I", len(frame)) + frame)
            message = context.recv()
        answer = rpc_pb2.Answer.FromString(message[4:4 + struct.unpack(">I", message[:4])[0]])
        assert answer.call_id == call.call_id
        if answer.HasField("status"):
            raise Failed(answer.status)
        return reply_type.FromString(answer.body)
