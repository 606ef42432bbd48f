"""The nine parts of the system: what each one is started with, stopped by and asked for its health."""

import contextlib
import functools
import hashlib
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path

from . import health
from .process import Process
from .settings import REDIS_NAMES, Fault

# What every process gets beside its settings, whoever starts it: the same from every shell.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
SANITIZERS = ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS")


# Postgres' data when its account can't reach LOCAL_DIR.
ELSEWHERE = Path("/var/lib/quorate-local")


def program(name, package):
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin")
    if path is None:
        raise Fault(f"{name} is not installed (Debian: apt-get install {package}; tests/install does it)")
    return path


class Part:
    needs = ()  # started before it
    stop_signal = signal.SIGTERM
    stop_timeout_s = 10
    account = None

    def __init__(self, name, settings):
        self.name = name
        self.settings = settings
        self.host = settings.bind if settings.bind != "0.0.0.0" else "127.0.0.1"
        self.port = settings.ports[name]
        self.process = Process(settings.dir / name)

    @property
    def cwd(self):
        return self.process.dir

    def environment(self):
        return {**ENVIRONMENT, **{name: os.environ[name] for name in SANITIZERS if name in os.environ}}

    def what(self):
        """All that makes this process what it is: if it changes, `up` starts it anew."""
        argv = self.argv()
        binary = os.stat(argv[0])
        return {"argv": argv, "environment": self.environment(), "binary": [binary.st_size, binary.st_mtime_ns]}

    def prepare(self):
        """Before the first start."""

    def launch(self, what):
        self.process.start(what["argv"], what["environment"], what, self.cwd, self.account)

    def remove(self):
        shutil.rmtree(self.process.dir, ignore_errors=True)

    def exec_argv(self, argv):
        return argv


class Redis(Part):
    def argv(self):
        return [program(self.settings["REDIS_SERVER"], "redis-server"), "--port", str(self.port),
                "--bind", self.settings.bind, "--dir", str(self.process.dir), "--save", "", "--appendonly", "yes",
                "--appendfsync", self.settings["REDIS_APPENDFSYNC"], "--maxmemory-policy", "noeviction"]

    def health(self):
        return health.redis(self.host, self.port)

    def exec_argv(self, argv):
        if os.path.basename(argv[0]) in ("redis-cli", "redis-benchmark"):
            return [argv[0], "-h", self.host, "-p", str(self.port), *argv[1:]]
        return argv


class Postgres(Part):
    stop_signal = signal.SIGINT  # ends sessions; SIGTERM would wait for them
    stop_timeout_s = 30

    def __init__(self, name, settings):
        super().__init__(name, settings)
        if os.geteuid() == 0:  # Postgres refuses to run as root
            self.account = settings["POSTGRES_ACCOUNT"]

    @functools.cached_property
    def data(self):
        if self.settings["POSTGRES_DIR"]:
            return Path(self.settings["POSTGRES_DIR"]).absolute() / "data"
        if self.account and not self._reaches(self.process.dir):
            mark = hashlib.sha256(str(self.process.dir).encode()).hexdigest()[:12]
            return ELSEWHERE / mark / "data"
        return self.process.dir / "data"

    @property
    def cwd(self):
        return self.data.parent

    def _reaches(self, path):
        """Whether the account may enter every directory above `path` (a clone in /root is not such a place)."""
        try:
            user = pwd.getpwnam(self.account)
        except KeyError:
            raise Fault(f"root can't run Postgres, and there is no account '{self.account}' (POSTGRES_ACCOUNT)") from None
        for directory in path.parents:
            if directory.exists():
                stat = directory.stat()
                bit = 0o100 if stat.st_uid == user.pw_uid else 0o010 if stat.st_gid == user.pw_gid else 0o001
                if not stat.st_mode & bit:
                    return False
        return True

    def _program(self, name):
        if self.settings["POSTGRES_BIN"]:
            return f"{self.settings['POSTGRES_BIN']}/{name}"
        found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
        return str(found[-1]) if found else program(name, "postgresql")

    def argv(self):
        return [self._program("postgres"), "-D", str(self.data), "-p", str(self.port),
                "-c", f"listen_addresses={self.settings.bind}", "-c", "unix_socket_directories=",
                "-c", "max_connections=200", "-c", "log_line_prefix=%m [%p] "]

    def prepare(self):
        """A cluster with role and database quorate, whole or not at all. No password: only who can reach the loopback
        address can connect."""
        if (self.data / "PG_VERSION").exists():
            return
        part = self.data.with_name("data.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        if self.account:
            shutil.chown(part, self.account, self.account)
        self._run([self._program("initdb"), "-D", str(part), "-U", "quorate", "-A", "trust", "-E", "UTF8",
                   "--locale=C.UTF-8", "--no-instructions"], "")
        self._run([self._program("postgres"), "--single", "-D", str(part), "postgres"], "CREATE DATABASE quorate\n")
        part.rename(self.data)

    def _run(self, argv, text):
        as_account = {"user": self.account, "group": self.account, "extra_groups": []} if self.account else {}
        done = subprocess.run(argv, input=text, capture_output=True, text=True, cwd=self.cwd, env=self.environment(),
                              **as_account)
        if done.returncode != 0 or "ERROR" in done.stderr:
            raise Fault(f"{' '.join(argv)} failed:\n{done.stdout}{done.stderr}")

    def launch(self, what):
        """Postgres refuses to start while the pid in postmaster.pid is taken, be it by a process that was killed and not
        reaped yet, or by a stranger that got the number since. Who works on this data can be known better: it stands in
        that directory."""
        ends = time.monotonic() + 10
        while inside := processes_in(self.data):  # the children of a killed postmaster notice, and end
            if time.monotonic() > ends:
                raise Fault(f"postgres: process {inside[0]} still works on {self.data}; end it first")
            time.sleep(0.02)
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        super().launch(what)

    def health(self):
        return health.postgres(self._program("pg_isready"), self.host, self.port)

    def remove(self):
        shutil.rmtree(self.data, ignore_errors=True)
        if ELSEWHERE in self.data.parents:  # a directory that a person named stays
            with contextlib.suppress(OSError):  # not there, or other systems' data beside it
                self.data.parent.rmdir()
                ELSEWHERE.rmdir()
        super().remove()

    def exec_argv(self, argv):
        os.environ.update(PGHOST=self.host, PGPORT=str(self.port), PGUSER="quorate", PGDATABASE="quorate")
        return argv


class Service(Part):
    """lockd, inventory, edge."""

    def argv(self):
        name = self.name
        binary = self.settings.build_dir / "services" / name / name
        if not os.access(binary, os.X_OK):
            preset = self.settings.build_dir.name
            raise Fault(f"{name} is not built: {binary} is missing\n"
                        f"  build it (cmake --preset {preset} && cmake --build --preset {preset}) or set BUILD_DIR")
        return [str(binary)]

    def _settings(self):
        """The names that the service itself says it reads, so that a new setting needs no line here."""
        done = subprocess.run([*self.argv(), "--help"], capture_output=True, text=True, env=super().environment())
        names = re.findall(r"^  ([A-Z][A-Z0-9_]*)=", done.stdout, re.MULTILINE)
        if done.returncode != 0 or not names:
            raise Fault(f"{self.argv()[0]} --help failed:\n{done.stdout}{done.stderr}")
        return names + [f"{name}_FILE" for name in names]

    def environment(self):
        values = {**self.settings.addresses_for_services(), **self.settings.environment}
        if "JWT_SECRET_KEY" in values:
            del values["JWT_SECRET_KEY_FILE"]
        chosen = {name: values[name] for name in self._settings() if name in values}
        if "REDIS_NODES" in chosen:
            chosen["REDIS_NODES"] = self.settings.redis_nodes(chosen["REDIS_NODES"])
        return {**super().environment(), **chosen}

    def prepare(self):
        """The secret that signs tokens, made at the first `up`."""
        path = self.settings.dir / "jwt-secret"
        if not path.exists():
            part = path.with_name(f"jwt-secret.{os.getpid()}")
            part.touch(mode=0o600)
            part.write_text(secrets.token_hex(32) + "\n")
            part.rename(path)

    def health(self):
        ask = health.edge if self.name == "edge" else health.rpc
        return ask(self.host, self.port)


class Lockd(Service):
    needs = REDIS_NAMES


class Inventory(Service):
    needs = (*REDIS_NAMES, "postgres", "lockd")


class Edge(Service):
    needs = ("lockd", "inventory")


KINDS = {**dict.fromkeys(REDIS_NAMES, Redis), "postgres": Postgres, "lockd": Lockd, "inventory": Inventory, "edge": Edge}


def all_parts(settings):
    return {name: kind(name, settings) for name, kind in KINDS.items()}


def processes_in(directory):
    """Pids of those whose working directory it is."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and os.readlink(entry / "cwd") == str(directory):
                found.append(int(entry.name))
    return found


def owner_of_port(port):
    """Who listens there, for a message: "redis-server (pid 12)"; empty if this account may not know."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        lines = path.read_text().splitlines()[1:] if path.exists() else []
        for fields in map(str.split, lines):
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if any(os.readlink(fd) in inodes for fd in (entry / "fd").iterdir()):
                    return f"{(entry / 'comm').read_text().strip()} (pid {entry.name})"
            except OSError:
                continue  # gone, or not ours to see
    return ""
