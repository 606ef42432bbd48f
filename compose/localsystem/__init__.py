"""The parts of compose/local: the whole system as local processes. Python's standard library only."""
