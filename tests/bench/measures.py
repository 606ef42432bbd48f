"""The measurements, in the order in which they run. Each adds rows to the table and its raw figures to `detail`."""

import json
import os
import statistics
import subprocess
import time

from bench import perf
from bench.ground import Ground
from bench.pgbench import Pgbench
from support.composed import Composed
from support.deployed import ROOT, SERVICES

NAMES = ("purchases", "everysec", "strict", "many", "stock", "rpc", "sweep", "memory")
ON_DEMAND = ("compose", "profile")  # only when named

MEMORY_MIB_MAX = 64
GROWTH_MIB_MAX = 4  # over the second half of the soak; less is the allocator's breathing


def count(number):
    return f"{number:,.0f}"


def milliseconds(result):
    return f"P50 {result['p50_us'] / 1000:.1f} ms, P99 {result['p99_us'] / 1000:.1f} ms"


class Run:
    def __init__(self, ground, options):
        self.ground = ground
        self.options = options
        self.rows = []
        self.detail = {}
        self._pgbench = None

    def row(self, name, measured, **more):
        self.rows.append({"name": name, "measured": measured, **more})
        good = {True: "ok", False: "MISSED", None: ""}[more.get("good")]
        print(f"   {name}: {measured} {more.get('against', '')} {more.get('ratio', '')} {good}".rstrip(), flush=True)

    def buy(self, connections=None, seconds=None, products=None, warm_up=1):
        return self.ground.load("buy", products or self.ground.products["hot"], connections or self.options.connections,
                                seconds or self.options.seconds, warm_up)

    @property
    def pgbench(self):
        if self._pgbench is None:
            self._pgbench = Pgbench(self.ground)
        return self._pgbench

    def median(self, results):
        """The run whose throughput is the median."""
        return sorted(results, key=lambda result: result["good_per_second"])[len(results) // 2]

    def _all_good(self, name, results):
        bad = sum(result["bad"] for result in results)
        self.row(f"{name}: not 2xx, or without an answer", count(bad), aim="0", good=bad == 0)

    def _cost(self, name, result):
        parts = ", ".join(f"{part} {us:.1f}" for part, us in sorted(result["cpu_us_per_answer"].items(), key=lambda item: -item[1]))
        self.row(f"{name}: processor time of each, us", parts)

    def purchases(self):
        """HTTP and pgbench in turn, so that both see the same minutes of a noisy machine."""
        self.ground.up()
        trials = [self.pgbench.run(clients, 2, script) for script in self.pgbench.scripts for clients in (1, 8, 32)]
        best = max(trials, key=lambda trial: trial["per_second"])
        self.buy(seconds=2)
        sold, compared = [], []
        for _ in range(self.options.rounds):
            compared.append(self.pgbench.run(best["clients"], self.options.seconds, best["script"]))
            sold.append(self.buy())
        result, pgbench = self.median(sold), statistics.median(trial["per_second"] for trial in compared)
        ratio = result["good_per_second"] / pgbench
        self.detail["purchases"] = {"http": sold, "pgbench": compared, "pgbench_trials": trials}
        self.row("purchases/s, one hot product, HTTP, appendfsync always", count(result["good_per_second"]),
                 against=f"pgbench {count(pgbench)} ({best['clients']} clients, {best['script']})", ratio=f"{ratio:.1f}x",
                 aim="20,000 and 6x", good=result["good_per_second"] >= 20000 and ratio >= 6)
        self.row("purchases, latency", milliseconds(result))
        self._cost("purchases", result)
        self._all_good("purchases", sold)

    def everysec(self):
        """On a system of its own: nodes whose setting is changed would first sit out their quarantine."""
        self.ground.up()
        other = Ground(self.ground.directory / "everysec")
        try:
            other.up(REDIS_APPENDFSYNC="everysec")
            other.load("buy", other.products["hot"], self.options.connections, 2)
            always, everysec = [], []
            for _ in range(self.options.rounds):
                always.append(self.buy())
                everysec.append(other.load("buy", other.products["hot"], self.options.connections, self.options.seconds))
            broken = other.check()
        finally:
            other.down()
        self.detail["everysec"] = {"always": always, "everysec": everysec}
        with_always, with_everysec = self.median(always), self.median(everysec)
        self.row("purchases/s, appendfsync everysec", count(with_everysec["good_per_second"]),
                 against=f"always {count(with_always['good_per_second'])}",
                 ratio=f"{with_everysec['good_per_second'] / with_always['good_per_second']:.2f}x")
        self._cost("everysec", with_everysec)
        self._all_good("everysec", everysec)
        self.row("everysec: invariants", "all hold" if not broken else "; ".join(broken), good=not broken)

    def _await_sales(self, timeout_s=30):
        """A service that was started anew needs a moment until it sells."""
        ends = time.monotonic() + timeout_s
        while self.ground.edge.buy(self.ground.products["hot"]).status_code != 201:
            if time.monotonic() > ends:
                raise RuntimeError("no sale")
            time.sleep(0.2)

    def strict(self):
        self.ground.up(PURCHASE_BATCH_MAX="1")
        self._await_sales()
        result = self.buy()
        self.ground.system.environment.pop("PURCHASE_BATCH_MAX")
        self.ground.up()
        self._await_sales()
        self.detail["strict"] = result
        self.row("purchases/s, PURCHASE_BATCH_MAX=1 (a lock and a commit each)", count(result["good_per_second"]), aim="500",
                 good=result["good_per_second"] >= 500)
        self._cost("strict", result)

    def many(self):
        self.ground.up()
        products = self.ground.many_products(1000)
        result = self.buy(products=products)
        self.ground.up(DATABASE_CONNECTIONS="6")
        self._await_sales()
        fewer = self.buy(products=products)
        self.ground.system.environment.pop("DATABASE_CONNECTIONS")
        self.ground.up()
        self._await_sales()
        self.detail["many"] = {"default": result, "6 connections": fewer}
        self.row("purchases/s, 1,000 products at random", count(result["good_per_second"]), aim="3,000",
                 good=result["good_per_second"] >= 3000)
        self.row("1,000 products, latency", milliseconds(result))
        self._cost("1,000 products", result)
        self.row("1,000 products, with 6 connections to Postgres", count(fewer["good_per_second"]),
                 against=f"by default {count(result['good_per_second'])}",
                 ratio=f"{fewer['good_per_second'] / result['good_per_second']:.2f}x")
        self._all_good("1,000 products", [result, fewer])

    def stock(self):
        self.ground.up()
        floor = self.ground.load("live", 1, self.options.connections, self.options.seconds)
        hot = self.ground.load("stock", self.ground.products["hot"], self.options.connections, self.options.seconds)
        many = self.ground.load("stock", self.ground.many_products(1000), self.options.connections, self.options.seconds)
        self.detail["stock"] = {"live": floor, "hot": hot, "many": many}
        against = f"/health/live {count(floor['good_per_second'])}"
        self.row("stock reads/s, one product", count(hot["good_per_second"]), against=against,
                 ratio=f"{hot['good_per_second'] / floor['good_per_second']:.2f}x", aim="30,000",
                 good=hot["good_per_second"] >= 30000)
        self.row("stock reads, latency", milliseconds(hot))
        self._cost("stock reads", hot)
        self.row("stock reads/s, 1,000 products at random", count(many["good_per_second"]), against=against,
                 ratio=f"{many['good_per_second'] / floor['good_per_second']:.2f}x")
        self._all_good("stock reads", [hot, many])

    def rpc(self):
        """Two processes of our RPC alone, beside bare raw req0/rep0."""
        program = ROOT / os.environ["BUILD_DIR"] / "tests" / "bench" / "rpc_bench"
        done = subprocess.run([program, "--json"], capture_output=True, text=True, check=True)
        self.detail["rpc"] = result = json.loads(done.stdout)
        self.row("RPC calls/s, 256 in flight", count(result["many_per_second"]), aim="150,000",
                 good=result["many_per_second"] >= 150000)
        ratio = result["one_ratio"]
        self.row("RPC one at a time, us", f"{result['one_us']:.0f}", against=f"bare req0/rep0 {result['bare_one_us']:.0f}",
                 ratio=f"{ratio:.2f}x", aim="at most 1.3x", good=ratio <= 1.3)

    def sweep(self):
        """Purchases/s and P99 over connections, and over the size of batches."""
        seconds = max(2, self.options.seconds // 3)
        coarse = self.options.quick
        self.ground.up()
        connections = [(number, self.buy(connections=number, seconds=seconds))
                       for number in ((1, 16, 256) if coarse else (1, 4, 16, 64, 128, 256, 512, 1024))]
        batches = []
        for size in (1, 16, 256) if coarse else (1, 2, 4, 8, 16, 32, 64, 128, 256, 512):
            self.ground.up(PURCHASE_BATCH_MAX=str(size))
            self._await_sales()
            batches.append((size, self.buy(seconds=seconds)))
        self.ground.system.environment.pop("PURCHASE_BATCH_MAX")
        self.ground.up()
        self._await_sales()
        self.detail["sweep"] = {
            over: [{"at": at, "per_second": result["good_per_second"], "p50_ms": result["p50_us"] / 1000,
                    "p99_ms": result["p99_us"] / 1000} for at, result in points]
            for over, points in (("connections", connections), ("batch", batches))}
        self.detail["sweep"]["fixed_connections"] = self.options.connections
        for at, result in connections:
            self.row(f"purchases/s, {at} connections", count(result["good_per_second"]), against=milliseconds(result))
        for at, result in batches:
            self.row(f"purchases/s, batches of at most {at}", count(result["good_per_second"]), against=milliseconds(result))

    def memory(self):
        self.ground.up()
        self.ground.system.restart(*SERVICES)
        self._await_sales()
        before = {name: self._resident_mib(name) for name in SERVICES}
        result = self.buy(seconds=self.options.soak, warm_up=2)
        time.sleep(2)
        after = {name: self._resident_mib(name) for name in SERVICES}
        self.detail["memory"] = {"before": before, "after": after, "load": result}
        for name in SERVICES:
            samples = result["memory"][name]
            half = len(samples) // 2
            growth = max(samples[half:]) - max(samples[:half])
            self.row(f"{name}: MiB before, at most, after {self.options.soak} s of load",
                     f"{before[name]:.1f}, {max(samples):.1f}, {after[name]:.1f}", aim=f"{MEMORY_MIB_MAX}",
                     good=max(samples) < MEMORY_MIB_MAX)
            self.row(f"{name}: MiB grown in the second half", f"{growth:.1f}", aim=f"{GROWTH_MIB_MAX}",
                     good=growth <= GROWTH_MIB_MAX)
        seconds = result["each_second"]
        self.row("soak: purchases/s, mean, slowest second", f"{count(statistics.mean(seconds))}, {count(min(seconds))}")
        self._all_good("soak", [result])

    def compose(self):
        """Containers through their published port, beside local processes, in turn."""
        self.ground.up()
        composed = Composed()
        composed.local("build", *SERVICES)
        other = Ground(self.ground.directory / "compose", composed)
        try:
            other.up()
            other.load("buy", other.products["hot"], self.options.connections, 2)
            local, contained = [], []
            for _ in range(self.options.rounds):
                local.append(self.buy())
                contained.append(other.load("buy", other.products["hot"], self.options.connections, self.options.seconds))
            if perf.available():
                with perf.Record(other.processes(), self.ground.directory / "profile-compose.txt") as record:
                    other.load("buy", other.products["hot"], self.options.connections, self.options.seconds)
                self.row("compose: profile", str(record.report))
            broken = other.check()
        finally:
            other.down()
        self.detail["compose"] = {"local": local, "contained": contained}
        alone, published = self.median(local), self.median(contained)
        ratio = published["good_per_second"] / alone["good_per_second"]
        self.row("purchases/s, docker compose, published port", count(published["good_per_second"]),
                 against=f"local processes {count(alone['good_per_second'])}", ratio=f"{ratio:.2f}x", aim="0.5x", good=ratio >= 0.5)
        self.row("compose, latency", milliseconds(published))
        self._cost("compose", published)
        self._cost("local processes", alone)
        self._all_good("compose", contained)
        self.row("compose: invariants", "all hold" if not broken else "; ".join(broken), good=not broken)

    def profile(self):
        """Where the processor time goes, by program and function: perf beside each kind of load."""
        self.ground.up()
        jobs = {"purchases": ("buy", self.ground.products["hot"]), "many": ("buy", self.ground.many_products(1000)),
                "stock": ("stock", self.ground.products["hot"])}
        for name, (job, products) in jobs.items():
            record = perf.Record(self.ground.processes(), self.ground.directory / f"profile-{name}.txt")
            with record:
                result = self.ground.load(job, products, self.options.connections, self.options.seconds)
            self.row(f"profile of {name}", f"{count(result['good_per_second'])}/s", against=str(record.report))
            self._cost(f"profile of {name}", result)

    def _resident_mib(self, name):
        pid = self.ground.system.pid(name)
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
