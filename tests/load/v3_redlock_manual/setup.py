"""Creates the account and the product of this scenario: tests/venv python tests/load/v3_redlock_manual/setup.py"""

from load.common import create

create.main("v3_redlock_manual")
