"""What the clients of one run saw."""

class Tally:
    def __init__(self):
        self.buyers = 0  # who tried at least once
        self.sold = set()  # ids of purchases answered 201
        self.refused = 0  # told that the stock is exhausted
        self.busy = 0  # told that the lock was held by others
        self.unavailable = 0  # 503: nothing was changed
        self.unknown = 0  # 504, or no answer at all: tried again with the same key
        self.strange = {}  # anything else: answer and how often
        self.stock_reads = 0
        self.mismatches = []  # stock reads in which Postgres and Redis differed

    def count_strange(self, answer):
        self.strange[answer] = self.strange.get(answer, 0) + 1
