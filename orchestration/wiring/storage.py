"""Dagster's SQLite storage, made quick for runs in this process: a run records some 500 events, one transaction or three each.

As it comes, every event makes SQLAlchemy engines of its own, which compile each statement anew, and waits for the disk:
half of the fixed cost of a run. The events say how a run went; what was released is in the ledger, which waits for the disk.
"""

from __future__ import annotations

import functools
import importlib
import sqlite3
from typing import Any

import sqlalchemy
from sqlalchemy import event

_EVENT_LOG = "dagster._core.storage.event_log.sqlite.sqlite_event_log"


@functools.cache
def quicken() -> None:
    """For the rest of this process: no wait for the disk at a commit, one engine per file instead of one per statement."""
    event.listen(sqlalchemy.Engine, "connect", _do_not_wait_for_the_disk)
    # The module is private to Dagster: should it change, runs get slower, not wrong.
    module = importlib.import_module(_EVENT_LOG)
    make: Any = getattr(module, "create_engine", None)
    if make is not None:
        engines: dict[str, Any] = {}

        def one_engine_per_file(address: str, **options: Any) -> Any:
            if address not in engines:
                engines[address] = make(address, **options)
            return engines[address]

        setattr(module, "create_engine", one_engine_per_file)  # noqa: B010 - not an attribute that mypy knows


def _do_not_wait_for_the_disk(connection: Any, _record: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        # With the write-ahead log that Dagster sets, a killed process loses nothing and a power cut the last events only.
        connection.execute("pragma synchronous = normal")
