"""One process that outlives the command which started it, known by a note in its directory.

A pid alone is no name: after an exit the kernel gives it to someone else. The note therefore holds the start time
too, and every signal goes through a pidfd that was opened before the start time was compared: what is hit is the
process that was noted, or nothing.
"""

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import time
from pathlib import Path

from .settings import Fault, read_json, write_json


def boot_id():
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def stat_of(pid):
    """(state, parent, start time in ticks since boot) of a process, or None."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0].decode(), int(fields[1]), int(fields[19])


def descendants(root):
    """All processes below `root`, in no order."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and (stat := stat_of(int(entry))):
            children.setdefault(stat[1], []).append(int(entry))
    found, queue = [], [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


class Process:
    def __init__(self, directory):
        self.dir = directory
        self.log = directory / "log"
        self._note = directory / "process.json"
        self._child = None  # set in the command that started it

    @contextlib.contextmanager
    def lock(self):
        """Two commands never start or stop the same process at once."""
        self.dir.mkdir(parents=True, exist_ok=True)
        with open(self.dir / "lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def note(self):
        return read_json(self._note)

    def start(self, argv, environment, what, cwd, account=None):
        """`what` is kept in the note: the caller's description of what runs."""
        as_account = {"user": account, "group": account, "extra_groups": []} if account else {}
        with open(self.log, "ab") as log:
            self._child = subprocess.Popen(argv, env=environment, cwd=cwd, stdin=subprocess.DEVNULL, stdout=log,
                                           stderr=log, start_new_session=True, **as_account)
        pid = self._child.pid
        write_json(self._note, {"pid": pid, "started": stat_of(pid)[2], "boot": boot_id(), "ended": None, "what": what,
                                "time": time.time()})

    def _open(self):
        """(pid, pidfd) of the process if it lives, else None."""
        note = self.note()
        if note is None or note["boot"] != boot_id():
            return None
        try:
            fd = os.pidfd_open(note["pid"])
        except ProcessLookupError:
            return None
        stat = stat_of(note["pid"])
        if stat is None or stat[0] in "ZX" or stat[2] != note["started"]:
            os.close(fd)
            return None
        return note["pid"], fd

    def state(self):
        """absent (never started), running, paused, stopped, killed or died."""
        note = self.note()
        if note is None:
            return "absent"
        handle = self._open()
        if handle is None:
            return note["ended"] or "died"
        os.close(handle[1])
        stat = stat_of(note["pid"])
        return "paused" if stat and stat[0] in "Tt" else "running"

    def alive(self):
        return self.state() in ("running", "paused")

    def exit_code(self):
        """Only known to the command that started it."""
        return self._child.poll() if self._child else None

    def _ended(self, how):
        note = self.note()
        if note:
            write_json(self._note, {**note, "ended": how})

    def stop(self, number, timeout_s):
        """Asks it to end and waits; kills it when it does not. True if it ended by itself."""
        handle = self._open()
        if handle is None:
            self._ended("stopped")
            return True
        pid, fd = handle
        try:
            for below in descendants(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(below, signal.SIGCONT)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, number)
                signal.pidfd_send_signal(fd, signal.SIGCONT)
            if self._gone(fd, timeout_s):
                self._ended("stopped")
                return True
        finally:
            os.close(fd)
        self.kill()
        return False

    def kill(self):
        """SIGKILL to it and all below it, as a container's end does."""
        handle = self._open()
        if handle is None:
            return False
        pid, fd = handle
        try:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGSTOP)  # so that it makes no more children
                self._await_stopped(pid)
                below = [(child, os.pidfd_open(child)) for child in descendants(pid)]
                signal.pidfd_send_signal(fd, signal.SIGKILL)
                for _, child_fd in below:
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(child_fd, signal.SIGKILL)
                for child, child_fd in below:
                    if not self._gone(child_fd, 10):
                        raise Fault(f"process {child} does not end even by SIGKILL")
                    os.close(child_fd)
            if not self._gone(fd, 10):
                raise Fault(f"process {pid} does not end even by SIGKILL")
        finally:
            os.close(fd)
        self._ended("killed")
        return True

    def pause(self):
        handle = self._open()
        if handle is None:
            return False
        pid, fd = handle
        signal.pidfd_send_signal(fd, signal.SIGSTOP)
        os.close(fd)
        self._await_stopped(pid)
        for below in descendants(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(below, signal.SIGSTOP)
        return True

    def unpause(self):
        handle = self._open()
        if handle is None:
            return False
        pid, fd = handle
        for below in descendants(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(below, signal.SIGCONT)
        signal.pidfd_send_signal(fd, signal.SIGCONT)
        os.close(fd)
        return True

    @staticmethod
    def _await_stopped(pid):
        """A stopped process still runs until its next return from the kernel: wait for that."""
        ends = time.monotonic() + 5
        while time.monotonic() < ends:
            stat = stat_of(pid)
            if stat is None or stat[0] in "TtZX":
                return
            time.sleep(0.001)

    def _gone(self, fd, timeout_s):
        """True once the process behind the pidfd has ended; our own child is reaped too."""
        if not select.select([fd], [], [], timeout_s)[0]:
            return False
        if self._child:
            self._child.poll()
        return True
