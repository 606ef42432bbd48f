"""Purchases/s and P99 over connections and over the size of batches, as a picture."""

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

RATE, LATE = "#1b6ca8", "#c4501b"


def panel(axes, points, title, label):
    at = [point["at"] for point in points]
    axes.plot(at, [point["per_second"] for point in points], "o-", color=RATE)
    axes.set_xscale("log", base=2)
    axes.set_xticks(at, [str(number) for number in at])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel(label)
    axes.set_ylabel("purchases/s", color=RATE)
    axes.set_title(title)
    axes.grid(alpha=0.3)
    late = axes.twinx()
    late.plot(at, [point["p99_ms"] for point in points], "s--", color=LATE)
    late.set_yscale("log")
    for axis_ticks in ("set_major_formatter", "set_minor_formatter"):
        getattr(late.yaxis, axis_ticks)("{x:g}")
    late.set_ylabel("P99, ms", color=LATE)


def draw(sweep, path):
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5))
    panel(left, sweep["connections"], "One hot product, batches on", "connections")
    panel(right, sweep["batch"], f"One hot product, {sweep['fixed_connections']} connections", "most orders in a batch")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
