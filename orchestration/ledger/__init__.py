"""The ledger: what happened, in order, chained by hash. See :mod:`orchestration.ledger.store`."""

from orchestration.ledger.readers import is_of_some_models, last_computed, payloads_in_catalog, releases_in_catalog, rolled_back
from orchestration.ledger.store import Entry, Ledger

__all__ = ["Entry", "Ledger", "is_of_some_models", "last_computed", "payloads_in_catalog", "releases_in_catalog", "rolled_back"]
