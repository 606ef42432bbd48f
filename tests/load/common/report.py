"""Joins a scenario to Locust: defaults of its options, a line of progress, the verdict and the exit code."""

import logging
import time

import gevent
import psycopg
from locust import events
from locust.exception import StopTest

from load.common import verdict
from load.common.facts import facts, lock_facts, newest_product
from load.common.scenarios import address
from load.common.tally import Tally

PROGRESS_S = 5


class Report:
    def __init__(self, scenario, buyer):
        self.scenario = scenario
        self.buyer = buyer
        self.text = None
        self.lock_before = None
        self.product = None  # as it was when the run began
        self.started = None
        events.init_command_line_parser.add_listener(self.on_parser)
        events.test_start.add_listener(self.on_start)
        events.test_stop.add_listener(self.on_stop)
        events.quit.add_listener(self.on_quit)

    def on_parser(self, parser):
        parser.set_defaults(host=address("EDGE_URL"), num_users=self.scenario.users, spawn_rate=self.scenario.spawn_rate,
                            stop_timeout=5)

    def on_start(self, environment, **_):
        self.text = None
        try:
            product = newest_product(self.scenario)
            why = "" if product else "it has no product yet: run its setup.py first"
        except psycopg.OperationalError as error:
            why = f"the database does not answer (DATABASE_URL): {error}"
        if why:
            environment.process_exit_code = 2
            logging.error("%s can't start: %s", self.scenario.name, why)
            raise StopTest(why)
        self.product = product
        self.buyer.product = product.id
        self.buyer.tally = Tally()
        self.lock_before = ask_lockd()
        self.started = time.monotonic()
        print(f"product {product.id}, {product.name}: {product.stock} in stock", flush=True)
        gevent.spawn(self.progress, environment, self.buyer.tally)

    def progress(self, environment, tally):
        print(f"{'time':>6} {'users':>6} {'requests/s':>11} {'failed':>7} {'sold':>6} {'refused':>8} "
              f"{'P50':>5} {'P99 ms':>7}", flush=True)
        while tally is self.buyer.tally and self.text is None:
            gevent.sleep(PROGRESS_S)
            if environment.runner.state not in ("spawning", "running"):
                return
            total, purchases = environment.stats.total, self.purchases(environment)
            print(f"{time.monotonic() - self.started:5.0f}s {environment.runner.user_count:6} "
                  f"{total.current_rps or 0:11.0f} {total.num_failures:7} {len(tally.sold):6} {tally.refused:8} "
                  f"{purchases.get_response_time_percentile(0.5) or 0:5.0f} "
                  f"{purchases.get_response_time_percentile(0.99) or 0:7.0f}", flush=True)

    def purchases(self, environment):
        return environment.stats.get(self.scenario.path, "POST")

    def on_stop(self, environment, **_):
        if self.started is None:
            return
        purchases, total = self.purchases(environment), environment.stats.total
        logins_refused = sum(entry.num_failures for (path, _), entry in environment.stats.entries.items()
                             if path.startswith("/api/auth/"))
        run = verdict.Run(
            scenario=self.scenario,
            users=environment.runner.target_user_count,
            seconds=time.monotonic() - self.started,
            tally=self.buyer.tally,
            requests=total.num_requests,
            failures=total.num_failures - logins_refused,
            logins_refused=logins_refused,
            purchase_ms={percent: purchases.get_response_time_percentile(percent / 100) or 0 for percent in (50, 95, 99)},
            facts=facts(self.product),
            lock_before=self.lock_before,
            lock_after=ask_lockd(),
        )
        self.text, good = verdict.text(run)
        environment.process_exit_code = 0 if good else 1
        if environment.web_ui:
            print(self.text, flush=True)

    def on_quit(self, **_):
        """After Locust's own tables, so that the verdict is the last line."""
        if self.text:
            print(self.text, flush=True)


def ask_lockd():
    try:
        return lock_facts()
    except Exception as error:  # whatever it is: the verdict says that lockd gave no figures
        logging.error("lockd's Nodes: %s", error)
        return None
