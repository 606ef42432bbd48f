"""See tests/check/run."""

import os
import sys

from check import invariants


def main():
    all_nodes = "--all-nodes" in sys.argv[1:]
    found = invariants.broken(os.environ["DATABASE_URL"], os.environ["REDIS_NODES"], all_nodes=all_nodes)
    for line in found:
        print(line)
    print(f"{len(invariants.BREAKS) + 2} promises checked: {'all hold' if not found else f'{len(found)} findings'}")
    return 1 if found else 0


sys.exit(main())
