"""perf beside a load: processor time by program, library and function."""

import shutil
import signal
import subprocess


def available():
    return shutil.which("perf") is not None


class Record:
    HERTZ = 999

    def __init__(self, pids, report):
        if not available():
            raise RuntimeError("perf is not installed (Debian: apt-get install linux-perf)")
        self.pids = pids
        self.report = report
        self.data = report.with_suffix(".data")

    def __enter__(self):
        self._perf = subprocess.Popen(
            ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(self.HERTZ), "-g", "-o", self.data, "-p",
             ",".join(map(str, self.pids))], stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self._perf.send_signal(signal.SIGINT)
        self._perf.wait()
        with self.report.open("w") as out:
            for title, arguments in (
                    ("BY PROGRAM", ["-g", "none", "--sort", "comm"]),
                    ("BY LIBRARY", ["-g", "none", "--sort", "comm,dso", "--percent-limit", "0.5"]),
                    ("BY FUNCTION", ["-g", "none", "--sort", "comm,dso,symbol", "--percent-limit", "0.2"]),
                    ("BY FUNCTION, WITH WHAT IT CALLS", ["--children", "-g", "none", "--sort", "comm,symbol",
                                                         "--percent-limit", "0.5"])):
                out.write(f"\n## {title}\n")
                out.flush()
                subprocess.run(["perf", "report", "-i", self.data, "--stdio", *arguments], stdout=out,
                               stderr=subprocess.DEVNULL)
        self.data.unlink()
