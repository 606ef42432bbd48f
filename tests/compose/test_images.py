"""The images, and how the containers are hardened."""

import json
import re
import shutil
import subprocess
import time

import pytest

from support.composed import TAG, Composed, docker
from support.deployed import NAMES, REDIS, ROOT, SERVICES

MIB = 2**20
BEYOND_BASE_MIB = 60
TOOLS = ("gcc", "cc", "clang", "make", "cmake", "ninja", "git", "python3", "gdb")


def image(name, tag=TAG):
    return json.loads(docker("image", "inspect", f"quorate/{name}:{tag}"))[0]


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_holds_only_what_its_service_runs_on(images, name):
    base = json.loads(docker("image", "inspect", "debian:bookworm-slim"))[0]["Size"]
    assert image(name)["Size"] - base < BEYOND_BASE_MIB * MIB
    found = docker("run", "--rm", "--entrypoint", "sh", f"quorate/{name}:{TAG}", "-c",
                   f"command -v {' '.join(TOOLS)}; ls /usr/libexec/quorate", check=False)
    assert found.split() == [name]


@pytest.mark.parametrize("name", SERVICES)
def test_the_entry_point_is_the_program_itself(images, name):
    config = image(name)["Config"]
    assert config["Entrypoint"] == [f"/usr/libexec/quorate/{name}"] and not config["Cmd"]
    assert config["User"] not in ("", "0", "root", "0:0")
    start = docker("run", "--rm", "--entrypoint", "head", f"quorate/{name}:{TAG}", "-c", "4", f"/usr/libexec/quorate/{name}")
    assert start == "\x7fELF"


@pytest.mark.parametrize("name", SERVICES)
def test_label_and_program_agree_on_the_version(images, name):
    version = image(name)["Config"]["Labels"]["org.opencontainers.image.version"]
    assert docker("run", "--rm", f"quorate/{name}:{TAG}", "--version").strip() == f"{name} {version}"
    assert f"project(quorate VERSION {version} " in (ROOT / "CMakeLists.txt").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_container_has_no_more_than_it_needs(system, name):
    found = system.inspect(name)
    host, config = found["HostConfig"], found["Config"]
    assert host["ReadonlyRootfs"] and not host["Privileged"]
    assert host["CapDrop"] == ["ALL"] and not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert config["User"].partition(":")[0] not in ("", "0", "root")
    assert host["Memory"] > 0 and host["NanoCpus"] > 0 and host["PidsLimit"] > 0
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"]["Type"] == "json-file" and set(host["LogConfig"]["Config"]) == {"max-size", "max-file"}
    for bindings in host["PortBindings"].values():
        assert [binding["HostIp"] for binding in bindings] == ["127.0.0.1"]
    status = system.exec(name, "cat", "/proc/1/status")
    assert re.search(r"^CapEff:\s+0{16}$", status, re.MULTILINE) and re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert not re.search(r"^Uid:\s+0\b", status, re.MULTILINE)


@pytest.mark.parametrize("name", REDIS)
def test_a_node_drops_no_key_and_syncs_every_write(system, name):
    for setting, value in (("maxmemory-policy", "noeviction"), ("appendonly", "yes"), ("appendfsync", "always")):
        assert system.exec(name, "redis-cli", "CONFIG", "GET", setting).split() == [setting, value]
    mounts = {mount["Destination"]: mount["Name"] for mount in system.inspect(name)["Mounts"]}
    assert mounts == {"/data": f"{system.project}_{name}"}


def test_secrets_are_drawn_and_shown_nowhere(system):
    secrets = {system.exec("postgres", "cat", "/run/secrets/database-password").strip(),
               system.exec("edge", "cat", "/run/secrets/jwt-secret-key").strip(),
               system.exec("edge", "cat", "/run/secrets/admin-password").strip()}
    assert len(secrets) == 3 and all(re.fullmatch("[0-9a-f]{64}", secret) for secret in secrets)
    told = [json.dumps(system.inspect(name)) + system.log(name) for name in (*NAMES, "secrets")]
    told += [docker("history", "--no-trunc", f"quorate/{name}:{TAG}") + json.dumps(image(name)) for name in SERVICES]
    assert not [secret for secret in secrets for text in told if secret in text]
    system.local("exec", "-T", "edge", "ls", "/run/secrets/database-password", fails=True)
    system.local("exec", "-T", "lockd", "ls", "/run/secrets", fails=True)


def test_secrets_outlive_a_restart(system):
    before = system.exec("edge", "cat", "/run/secrets/jwt-secret-key")
    system.local("up", "-d", "--force-recreate", "secrets", "edge")
    assert system.exec("edge", "cat", "/run/secrets/jwt-secret-key") == before


def test_the_edge_reaches_no_node_and_no_postgres(system):
    for name in ("redis", "postgres"):
        system.local("exec", "-T", "edge", "getent", "hosts", name, fails=True)
    assert system.exec("edge", "getent", "hosts", "inventory")


def test_every_setting_can_stand_in_env(system):
    """What a program's --help lists, its container is given; so none needs a change of compose.yaml."""
    for name in SERVICES:
        text = docker("run", "--rm", f"quorate/{name}:{TAG}", "--help")
        settings = set(re.findall(r"^  ([A-Z0-9_]+)=", text, re.MULTILINE))
        given = {"JWT_SECRET_KEY", "ADMIN_PASSWORD", "DATABASE_PASSWORD"}  # as files
        assert settings - given <= settings_of(name), settings - given - settings_of(name)


def settings_of(name):
    """Names under x-NAME-settings in compose.yaml."""
    text = (ROOT / "compose" / "compose.yaml").read_text()
    block = re.search(rf"^x-{name}-settings: .*\n((?:  .*\n)+)", text, re.MULTILINE).group(1)
    return set(re.findall(r"^  ([A-Z0-9_]+):", block, re.MULTILINE))


def test_a_change_in_one_service_rebuilds_that_service_only(images, tmp_path):
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, files):
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    builder = Composed(QUORATE_TAG="changed-in-a-test")
    try:
        builder.local("build", *SERVICES, cwd=tmp_path)
        before = {name: image(name, "changed-in-a-test")["Id"] for name in SERVICES}
        source = tmp_path / "services" / "edge" / "system.c"
        source.write_text(source.read_text().replace('span_of("alive")', 'span_of("living")'))
        began = time.monotonic()
        builder.local("build", *SERVICES, cwd=tmp_path)
        print(f"rebuilt after a change of one line in {time.monotonic() - began:.1f} s")
        after = {name: image(name, "changed-in-a-test")["Id"] for name in SERVICES}
    finally:
        for name in SERVICES:
            docker("image", "rm", "--no-prune", f"quorate/{name}:changed-in-a-test", check=False)
        builder.release()
    assert {name for name in SERVICES if before[name] != after[name]} == {"edge"}
