"""A load scenario in one command, for where the system is somewhere else, as in a container beside it:

    SCENARIO=v3_redlock_aioredlock python -m load [LOCUST OPTIONS]

Waits until the edge can sell, creates the scenario's product, then is Locust: with its web page on port 8089, or with
`--headless -t 60s` to its verdict. Addresses: EDGE_URL, LOCKD_URL, DATABASE_URL (with DATABASE_PASSWORD_FILE), REDIS_NODES.
"""

import os
import sys
import time
from pathlib import Path

import requests

from load.common.create import create
from load.common.scenarios import SCENARIOS, address

WAIT_S = 60


def wait_until_it_sells(url):
    ends = time.monotonic() + WAIT_S
    while True:
        try:
            answer = requests.get(f"{url}/health", timeout=5)
            if answer.status_code == 200:
                return
            why = answer.text
        except requests.RequestException as error:
            why = str(error)
        if time.monotonic() > ends:
            sys.exit(f"load: {url} does not sell: {why}")
        time.sleep(0.5)


def main():
    name = os.environ.get("SCENARIO", "v3_redlock_aioredlock")
    if name not in SCENARIOS:
        sys.exit(f"load: SCENARIO={name} is none of {', '.join(SCENARIOS)}")
    scenario = SCENARIOS[name]
    if password := os.environ.get("DATABASE_PASSWORD_FILE"):
        os.environ["PGPASSWORD"] = Path(password).read_text().strip()  # libpq's own name
    wait_until_it_sells(address("EDGE_URL"))
    create(scenario, address("EDGE_URL"), int(os.environ.get("STOCK", scenario.stock)))
    locustfile = Path(__file__).parent / name / "locustfile.py"
    sys.stdout.flush()
    os.execvp("locust", ["locust", "-f", str(locustfile), *sys.argv[1:]])


main()
