"""The ledger: what happened, in order, chained by hash. See :mod:`orchestration.ledger.store`."""

from orchestration.ledger.readers import visible_payloads, visible_releases
from orchestration.ledger.store import Entry, Ledger

__all__ = ["Entry", "Ledger", "visible_payloads", "visible_releases"]
