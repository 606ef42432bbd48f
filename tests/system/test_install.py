"""`cmake --install` puts everything where a packager expects it, and it works from there."""

import os
import shutil
import subprocess

import pytest

from support.deployed import ROOT, SERVICES

PROGRAM = """
#include <base/loop.h>
#include <proto/rpc.pb-c.h>

int main(void)
{
    struct loop *loop = loop_new();
    Quorate__Rpc__V1__Call call = QUORATE__RPC__V1__CALL__INIT;
    call.call_id = 1;
    int packed = (int)quorate__rpc__v1__call__get_packed_size(&call);
    loop_free(loop);
    return packed == 2 ? 0 : 1;
}
"""


def run(*argv, **options):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def build():
    return ROOT / os.environ.get("BUILD_DIR", "build/dev")


@pytest.fixture(scope="module")
def installed(build, tmp_path_factory):
    prefix = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", build, "--prefix", prefix)
    return prefix


def test_the_contract_is_installed(installed):
    names = {path.name for path in (installed / "share/quorate/proto").iterdir()}
    assert names == {path.name for path in (ROOT / "proto").glob("*.proto")}


def test_a_program_builds_against_the_library(build, installed, tmp_path):
    pkgconfig = next(installed.glob("lib/**/quorate.pc")).parent
    flags = run("pkg-config", "--cflags", "--libs", "quorate", env={**os.environ, "PKG_CONFIG_PATH": str(pkgconfig)}).split()
    sanitize = [line.partition("=")[2].strip() for line in (build / "CMakeCache.txt").read_text().splitlines()
                if line.startswith("QUORATE_SANITIZE:")][0]
    (tmp_path / "program.c").write_text(PROGRAM)
    run("cc", "-Wall", "-Wextra", "-Werror", *([f"-fsanitize={sanitize}"] if sanitize else []), tmp_path / "program.c",
        *flags, "-o", tmp_path / "program")
    run(tmp_path / "program")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_runs_from_where_it_is_installed(installed, service):
    program = installed / "libexec/quorate" / service
    assert run(program, "--help").startswith(f"{service} ")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("service", SERVICES)
def test_systemd_takes_the_unit(installed, service, tmp_path):
    unit = installed / f"lib/systemd/system/quorate-{service}.service"
    text = unit.read_text()
    start = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    moved = tmp_path / unit.name  # it names the prefix that was configured, not the one of this installation
    moved.write_text(text.replace(start, f"ExecStart={installed}/libexec/quorate/{service}"))
    assert run("systemd-analyze", "verify", "--man=no", moved) == ""
