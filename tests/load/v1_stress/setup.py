"""Creates the account and the product of this scenario: tests/venv python tests/load/v1_stress/setup.py"""

from load.common import create

create.main("v1_stress")
