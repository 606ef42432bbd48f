"""See README.md."""

from load.common import buyer
from load.common.report import Report
from load.common.scenarios import SCENARIOS


class Browser(buyer.Browser):
    scenario = SCENARIOS["v3_redlock_manual"]


Report(Browser.scenario, Browser)
