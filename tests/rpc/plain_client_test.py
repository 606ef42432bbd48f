"""A program in another language calls a service with NNG and protobuf alone."""

import importlib
import os
import pathlib
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pynng
import pytest
import rpc_pb2

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from plain_client import Client, Failed  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]
PROBE = "/quorate.probe.v1.Probe/"


@pytest.fixture(scope="module")
def probe_pb2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("messages")
    subprocess.run(["protoc", f"-I{ROOT}/tests/rpc", f"--python_out={folder}", "probe.proto"], check=True)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("probe_pb2")
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def url():
    program = ROOT / os.environ.get("BUILD_DIR", "build/dev") / "tests" / "rpc" / "probe_server"
    if not program.exists():
        pytest.skip(f"{program} is not built")
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with subprocess.Popen([program, url], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == "ready\n"
        yield url
        server.terminate()
        assert server.wait(10) == 0


@pytest.fixture
def client(url):
    client = Client(url)
    yield client
    client.socket.close()


def test_hello_tells_instance_and_clock(client):
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    hello = client.call("/quorate.rpc.v1.Peer/Hello", rpc_pb2.HelloRequest(program="test"), rpc_pb2.HelloReply)
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    assert hello.instance != 0 and hello.program == "probe" and hello.frames_max == 32
    assert before - 1 <= hello.boottime_us <= after + 1


def test_a_unary_call(client, probe_pb2):
    metadata = rpc_pb2.Metadata(request_id="r-1")
    reply = client.call(PROBE + "Echo", probe_pb2.EchoRequest(text="grüß dich"), probe_pb2.EchoReply, metadata=metadata)
    assert (reply.text, reply.request_id) == ("grüß dich", "r-1")


def test_a_failure_has_code_reason_and_detail(client, probe_pb2):
    request = probe_pb2.FailRequest(reason=rpc_pb2.REASON_BUSY, message="held by others", detail_bumps=7)
    with pytest.raises(Failed) as failed:
        client.call(PROBE + "Fail", request, probe_pb2.CountReply)
    status = failed.value.status
    assert (status.code, status.reason) == (rpc_pb2.ABORTED, rpc_pb2.REASON_BUSY)
    assert status.message == "held by others" and status.detail_type == "quorate.probe.v1.CountReply"
    assert probe_pb2.CountReply.FromString(status.detail).bumps == 7


def test_a_message_is_always_text_that_protobuf_can_read(client, probe_pb2):
    method = (PROBE + "Nothing").encode() + b"\xff\xfe"
    with pytest.raises(Failed) as failed:
        client.call(PROBE + "Nothing", probe_pb2.CountRequest(), probe_pb2.CountReply)
    assert failed.value.status.code == rpc_pb2.UNIMPLEMENTED
    frame = b"\x08\x01\x1a" + bytes([len(method)]) + method  # a method that is no UTF-8
    client.socket.recv_timeout = 5000
    client.socket.send(len(frame).to_bytes(4, "big") + frame)
    assert rpc_pb2.Answer.FromString(client.socket.recv()[4:]).status.code == rpc_pb2.UNIMPLEMENTED


def test_several_contexts_at_once_and_out_of_order(client, probe_pb2):
    def bump(hold_ms):
        client.call(PROBE + "Bump", probe_pb2.BumpRequest(hold_ms=hold_ms), probe_pb2.CountReply)
        return time.monotonic()

    waits = [400, 20, 300, 200] + [100] * 60
    with ThreadPoolExecutor(len(waits)) as pool:
        ends = list(pool.map(bump, waits))
    assert ends[1] < ends[3] < ends[2] < ends[0]


def test_the_server_keeps_the_deadline(client, probe_pb2):
    began = time.monotonic()
    with pytest.raises(Failed) as failed:
        client.call(PROBE + "Bump", probe_pb2.BumpRequest(hold_ms=1500, stubborn=True), probe_pb2.CountReply, timeout_ms=200)
    assert failed.value.status.reason == rpc_pb2.REASON_OUTCOME_UNKNOWN
    assert 0.15 < time.monotonic() - began < 1.5


def test_late_or_astray_is_not_executed(client, probe_pb2):
    hello = client.call("/quorate.rpc.v1.Peer/Hello", rpc_pb2.HelloRequest(), rpc_pb2.HelloReply)
    before = client.call(PROBE + "Count", probe_pb2.CountRequest(), probe_pb2.CountReply).bumps
    for wrong in ({"instance": hello.instance ^ 1}, {"instance": hello.instance, "expires_us": hello.boottime_us}):
        with pytest.raises(Failed) as failed:
            client.call(PROBE + "Bump", probe_pb2.BumpRequest(), probe_pb2.CountReply, **wrong)
        assert failed.value.status.reason == rpc_pb2.REASON_EXPIRED
    right = {"instance": hello.instance, "expires_us": hello.boottime_us + 60_000_000}
    assert client.call(PROBE + "Bump", probe_pb2.BumpRequest(), probe_pb2.CountReply, **right).bumps == before + 1


def test_a_stream_answers_a_plain_socket_with_its_first_message(url, probe_pb2):
    with pynng.Req0(dial=url, resend_time=-1, recv_timeout=5000) as plain:
        body = probe_pb2.StreamRequest(count=3).SerializeToString()
        frame = rpc_pb2.Call(call_id=5, method=PROBE + "Stream", body=body).SerializeToString()
        plain.send(len(frame).to_bytes(4, "big") + frame)
        message = plain.recv()
        length = int.from_bytes(message[:4], "big")
        answer = rpc_pb2.Answer.FromString(message[4:4 + length])
        assert answer.more and answer.number == 1
        assert probe_pb2.CountReply.FromString(answer.body).number == 1


def test_the_readme_shows_this_very_client():
    client = (ROOT / "tests" / "rpc" / "plain_client.py").read_text()
    assert client in (ROOT / "README.md").read_text()
    assert len(client.splitlines()) < 40
