"""See README.md."""

from load.common import buyer
from load.common.report import Report
from load.common.scenarios import SCENARIOS


class Visitor(buyer.Visitor):
    scenario = SCENARIOS["v1_basic"]


Report(Visitor.scenario, Visitor)
