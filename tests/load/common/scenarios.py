"""The load scenarios: who buys what, how, and what must hold."""

import functools
import os
import shlex
import subprocess
from pathlib import Path
from typing import NamedTuple, Optional


class Scenario(NamedTuple):
    name: str
    title: str
    product: str
    admin: str
    stock: int
    users: int
    spawn_rate: int
    seconds: int
    wait_s: tuple
    path: str
    once: bool  # every buyer tries once to buy and goes on browsing; REPEAT=1 makes buyers buy again and again
    requests_per_s: int  # asked for, as are the following
    p99_ms: int
    p50_ms: Optional[int] = None
    node_p99_ms: Optional[int] = None
    nodes: int = 5

    @property
    def repeats(self):
        return not self.once or os.environ.get("REPEAT", "0") not in ("0", "")


_V1 = {"path": "/api/purchases", "once": False, "stock": 100, "spawn_rate": 10, "seconds": 60, "nodes": 1,
       "requests_per_s": 100}
_V3 = {"stock": 100, "users": 300, "spawn_rate": 10, "seconds": 60, "wait_s": (0.1, 0.5), "once": True, "node_p99_ms": 50}

SCENARIOS = {scenario.name: scenario for scenario in (
    Scenario(name="v1_basic", title="V1 Basic", product="V1 Basic Test Product", admin="admin_v1_basic",
             users=100, wait_s=(1, 3), p50_ms=100, p99_ms=500, **_V1),
    Scenario(name="v1_stress", title="V1 Stress", product="V1 Stress Test Product", admin="admin_v1_stress",
             users=300, wait_s=(0.1, 0.5), p99_ms=1000, **_V1),
    Scenario(name="v3_redlock_aioredlock", title="V3 Redlock Aioredlock", product="V3 Redlock Aioredlock Test Product",
             admin="admin_v3_aioredlock", path="/api/purchases/redlock-aioredlock", requests_per_s=100, p50_ms=200,
             p99_ms=1000, **_V3),
    Scenario(name="v3_redlock_manual", title="V3 Redlock Manual", product="V3 Redlock Manual Test Product",
             admin="admin_v3_manual", path="/api/purchases/redlock-manual", requests_per_s=80, p50_ms=200, p99_ms=1500,
             **_V3),
)}


def address(name):
    """EDGE_URL, LOCKD_URL, DATABASE_URL, REDIS_NODES: from the environment, else those of the system that compose/local
    runs in LOCAL_DIR; without one these are the published ports, which docker compose uses too."""
    return os.environ.get(name) or _published()[name]


@functools.cache
def _published():
    root = Path(__file__).resolve().parents[3]
    lines = subprocess.run([root / "compose" / "local", "env"], check=True, capture_output=True, text=True).stdout
    return dict(word.split("=", 1) for word in shlex.split(lines) if word != "export")
