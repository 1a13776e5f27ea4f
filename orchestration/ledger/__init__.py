"""The ledger: what happened, in order, chained by hash. See :mod:`orchestration.ledger.store`."""

from orchestration.ledger.store import Entry, Ledger

__all__ = ["Entry", "Ledger"]
