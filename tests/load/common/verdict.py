"""Holds what a scenario asks for against what was measured."""

from typing import NamedTuple, Optional


class Row(NamedTuple):
    what: str
    asked: str  # empty: only told
    measured: str
    good: Optional[bool] = None


class Run(NamedTuple):
    """Everything a verdict is made from."""
    scenario: object
    users: int  # how many were asked for
    seconds: float
    tally: object
    requests: int
    failures: int  # of those, without the logins
    logins_refused: int  # registrations and logins that the password queue had no room for; they were tried again
    purchase_ms: dict  # percentile: milliseconds, as Locust saw them
    facts: object
    lock_before: object
    lock_after: object


def rows(run):
    return [*sale(run), *pace(run), *locks(run), *stocks(run)]


def sale(run):
    scenario, tally, facts = run.scenario, run.tally, run.facts
    # No more than the buyers who tried can have bought, so a run with few buyers sells fewer.
    want = facts.initial if scenario.repeats else min(facts.initial, tally.buyers)
    oversold = max(0, facts.sold - facts.initial) + max(0, -facts.stock)
    missing = len(tally.sold - facts.ids)
    tries = facts.sold + tally.refused
    if scenario.repeats and facts.sold < facts.initial and not tally.refused:
        found = [Row("sold", f"at most {want}", f"{facts.sold}", 0 < facts.sold)]
    else:
        found = [Row("sold", f"exactly {want}", f"{facts.sold}", facts.sold == want)]
    if scenario.repeats:
        found.append(Row("refused, stock exhausted", "", f"{tally.refused}"))
        found.append(Row("success rate", "", percent(facts.sold, tries)))
    else:
        refused = max(0, tally.buyers - facts.initial)
        found.append(Row("buyers who tried", f"{run.users}", f"{tally.buyers}", tally.buyers == run.users))
        found.append(Row("refused, stock exhausted", f"{refused}", f"{tally.refused}", tally.refused == refused))
        found.append(Row("success rate", percent(want, tally.buyers), percent(facts.sold, tries),
                         percent(want, tally.buyers) == percent(facts.sold, tries)))
    return found + [
        Row("oversold", "0", f"{oversold}", oversold == 0),
        Row("answered 201, not recorded", "0", f"{missing}", missing == 0),
        Row("purchases failed", "0", failed_purchases(tally), not failed_count(tally)),
    ]


def failed_count(tally):
    return tally.busy + tally.unavailable + tally.unknown + sum(tally.strange.values())


def failed_purchases(tally):
    parts = [f"{count} {what}" for count, what in ((tally.busy, "lock busy"), (tally.unavailable, "503"),
                                                    (tally.unknown, "504")) if count]
    parts += [f"{count} x {answer}" for answer, count in tally.strange.items()]
    return ", ".join(parts) or "0"


def pace(run):
    scenario, rate = run.scenario, run.requests / run.seconds if run.seconds else 0
    found = [
        Row("requests", "", f"{run.requests} in {run.seconds:.0f} s"),
        Row("requests failed", "0", f"{run.failures}", run.failures == 0),
        Row("logins refused, tried again", "", f"{run.logins_refused}"),
        Row("requests/s", f">= {scenario.requests_per_s}", f"{rate:.0f}", rate >= scenario.requests_per_s),
    ]
    for percentile, limit in ((50, scenario.p50_ms), (95, None), (99, scenario.p99_ms)):
        took = run.purchase_ms[percentile]
        found.append(Row(f"purchases P{percentile}", f"< {limit} ms" if limit else "", f"{took:.0f} ms",
                         took < limit if limit else None))
    return found


def locks(run):
    before, after, limit = run.lock_before, run.lock_after, run.scenario.node_p99_ms
    if before is None or after is None:
        return [Row("lockd", "answers", "does not answer", False)]
    same = before.instance == after.instance
    won = after.rounds_won - (before.rounds_won if same else 0)
    short = after.rounds_short - (before.rounds_short if same else 0)
    found = [Row("quorum success", "100.00 %", f"{percent(won, won + short)} of {won + short} rounds", won > 0 and short == 0)]
    for node in after.nodes:
        p50, p99 = node.grant_p50_us / 1000, node.grant_p99_us / 1000
        found.append(Row(f"lock on {node.name}", f"P99 < {limit} ms" if limit else "",
                         f"P50 {p50:.1f} ms, P99 {p99:.1f} ms" if node.grants else "no grant",
                         node.grants > 0 and p99 < limit if limit else None))
    return found


def stocks(run):
    facts, tally = run.facts, run.tally
    left = max(0, facts.initial - facts.sold)
    found = [Row("stock in Postgres", f"{left}", f"{facts.stock}", facts.stock == left)]
    for node in facts.nodes:
        found.append(Row(f"stock on {node.name}", f"{facts.stock}", "none" if node.stock is None else f"{node.stock}",
                         (node.stock, node.version) == (facts.stock, facts.version)))
    apart = sum((node.stock, node.version) != (facts.stock, facts.version) for node in facts.nodes)
    found.append(Row("mismatches, Postgres and nodes", "0", f"{apart} now, {len(tally.mismatches)} in {tally.stock_reads} reads",
                     apart == 0 and not tally.mismatches))
    found.append(Row("promises about the data", "all hold", "all hold" if not facts.broken else facts.broken[0],
                     not facts.broken))
    return found


def percent(part, whole):
    return f"{100 * part / whole:.2f} %" if whole else "-"


def text(run):
    """The block that people know, the table, and the verdict as the last line. Second: whether all is good."""
    made = rows(run)
    bad = [row.what for row in made if row.good is False]
    oversold = next(row for row in made if row.what == "oversold")
    lines = ["=" * 78, f"{run.scenario.title}: results", "=" * 78,
             f"Successful Purchases: {run.facts.sold}",
             f"Failed Purchases (Stock Exhausted): {run.tally.refused}",
             f"OVERSOLD Detected: {oversold.measured}",
             f"Success Rate: {percent(run.facts.sold, run.facts.sold + run.tally.refused)}",
             "", f"{'':6} {'':31} {'asked for':18} measured"]
    for row in made:
        mark = {True: "PASS", False: "FAIL", None: ""}[row.good]
        lines.append(f"{mark:6} {row.what:31} {row.asked:18} {row.measured}")
    lines += ["", "verdict: PASS" if not bad else f"verdict: FAIL ({', '.join(bad)})"]
    return "\n".join(lines), not bad
