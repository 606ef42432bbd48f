"""See tests/bench/run."""

import argparse
import json
import os
import platform
import sys
import time
import traceback

from support.deployed import ROOT

from bench import measures, picture
from bench.ground import Ground


def options():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description="Measures Quorate on this machine.")
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement (default 8)")
    parser.add_argument("--rounds", type=int, default=3, help="how often what is compared is measured; medians count (default 3)")
    parser.add_argument("--connections", type=int, default=256, help="of the load generator (default 256)")
    parser.add_argument("--only", nargs="+", choices=measures.NAMES + measures.ON_DEMAND,
                        help="some of the measurements; profile (with perf) and compose (with a Docker engine) run only when "
                             "named here")
    parser.add_argument("--without", nargs="+", choices=measures.NAMES, default=[], help="all but these")
    parser.add_argument("--soak", type=int, default=300, metavar="SECONDS", help="how long `memory` loads (default 300)")
    parser.add_argument("--quick", action="store_true", help="two seconds each, one round, a short soak, a coarse picture")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.seconds, chosen.rounds, chosen.soak = 2, 1, 20
    return chosen


def machine():
    model = next((line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return {"cpus": os.cpu_count(), "model": model, "kernel": platform.release(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)}


def table(rows):
    """Measured, what it is compared to, what was asked for."""
    head = ("", "measured", "compared to", "ratio", "asked for", "")
    lines = [head] + [(row["name"], row["measured"], row.get("against", ""), row.get("ratio", ""), row.get("aim", ""),
                       {True: "ok", False: "MISSED", None: ""}[row.get("good")]) for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
    return "\n".join([text[0], "-" * (sum(widths) + 2 * len(widths)), *text[1:]])


def main():
    chosen = options()
    directory = ROOT / "build" / "bench"
    ground = Ground(directory)
    run = measures.Run(ground, chosen)
    started = time.time()
    try:
        for name in chosen.only or [name for name in measures.NAMES if name not in chosen.without]:
            print(f"== {name}", flush=True)
            try:
                getattr(run, name)()
            except Exception as error:  # the other measurements are worth having all the same
                traceback.print_exc()
                run.row(name, f"failed: {type(error).__name__}", good=False)
            broken = ground.check()
            run.row(f"invariants after {name}", "all hold" if not broken else f"{len(broken)} broken", good=not broken)
            for line in broken[:20]:
                print(f"   BROKEN {line}")
    finally:
        ground.down()
    results = {"machine": machine(), "options": vars(chosen), "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
               "took_s": round(time.time() - started), "rows": run.rows, "detail": run.detail}
    (directory / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    if "sweep" in run.detail:
        picture.draw(run.detail["sweep"], directory / "purchases.svg")
        print(f"picture: {directory / 'purchases.svg'}")
    text = table(run.rows)
    (directory / "results.txt").write_text(text + "\n")
    print(f"\n{text}\n\nresults: {directory / 'results.json'}")
    missed = [row["name"] for row in run.rows if row.get("good") is False]
    print("bench: " + ("all that was asked for" if not missed else f"missed: {', '.join(missed)}"))
    return 1 if missed else 0


sys.exit(main())
