"""Memory of the services under load: bounded, and no more at the end than near the beginning.

On the release build: a build with sanitizers has other figures. The five minutes of this are in tests/bench.
"""

import json
import os
import subprocess
import threading
import time
from pathlib import Path

from support.deployed import ROOT, SERVICES

BUILD = "build/release"
SETTINGS = {"BUILD_DIR": BUILD}
LOAD_S = 60
SAMPLE_S = 0.5
MIB = 1 << 20
RESIDENT_MIB_MAX = 64
GROWTH_MIB_MAX = 1.0  # from the first third to the last, medians


def resident_mib(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


class Samples:
    def __init__(self, pids):
        self.pids = pids
        self.mib = {name: [] for name in pids}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample_on, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._thread.join()

    def _sample_on(self):
        while not self._stopped.wait(SAMPLE_S):
            for name, pid in self.pids.items():
                self.mib[name].append(resident_mib(pid))


def median(values):
    return sorted(values)[len(values) // 2]


def test_memory_is_bounded_and_does_not_grow(system, buyers, product_of, tmp_path):
    product = product_of(10 ** 12)
    tokens = tmp_path / "tokens"
    tokens.write_text("".join(f"{buyer.token}\n" for buyer in buyers))
    pids = {name: row["pid"] for name, row in system.ps().items() if name in SERVICES}
    began = time.monotonic()
    with Samples(pids) as samples:
        done = subprocess.run([ROOT / BUILD / "tests" / "bench" / "load", "--port", str(system.port("edge")),
                               "--tokens", tokens, "--do", "buy", "--products", str(product), "--connections", "256",
                               "--seconds", str(LOAD_S), "--warm-up", "5"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began >= LOAD_S
    said = json.loads(done.stdout)
    # A disk that stalls for longer than a node may be silent costs the quorum for a moment: then 503, nothing sold.
    assert said["broken"] == 0 and set(said["statuses"]) <= {"201", "503"}, said
    assert said["statuses"].get("503", 0) <= said["answers"] // 100, said
    assert said["answers"] > 10_000, "there was load"
    for name, mib in samples.mib.items():
        assert max(mib) < RESIDENT_MIB_MAX, f"{name}: {max(mib):.1f} MiB"
        third = len(mib) // 3
        grown = median(mib[-third:]) - median(mib[:third])
        assert grown < GROWTH_MIB_MAX, f"{name} grew by {grown:.2f} MiB: {mib[::10]}"
    assert {name: row["pid"] for name, row in system.ps().items() if name in SERVICES} == pids
