"""Dagster's SQLite storage, made quick for a run in this process: a run records some 600 events, one transaction or three each.

As it comes, every transaction makes an SQLAlchemy engine of its own, which compiles each statement anew, opens the file, and waits for the
disk: half of the fixed cost of a run. The events say how a run went; what was released is in the ledger, which waits for the disk.
"""

from __future__ import annotations

import contextlib
import importlib
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy
from sqlalchemy.pool import QueuePool

_STORAGES = (
    "dagster._core.storage.event_log.sqlite.sqlite_event_log",
    "dagster._core.storage.runs.sqlite.sqlite_run_storage",
)
_MAKE = "create_engine"


@contextlib.contextmanager
def quick_storage() -> Iterator[None]:
    """While the block lasts: one engine and open connections kept, and no wait for the disk at a commit.

    The instance must be made, used and closed in the block.
    """
    engines: dict[str, tuple[Any, Callable[[], None]]] = {}
    # The modules are private to Dagster: should they change, runs get slower, not wrong.
    makers = [(module, getattr(module, _MAKE)) for module in map(importlib.import_module, _STORAGES) if hasattr(module, _MAKE)]

    def one_engine_per_file(address: str, **options: Any) -> Any:
        if address not in engines:
            # Not one connection a thread: a transaction within another would be of it, and take it back at its end.
            engine: Any = sqlalchemy.create_engine(address, **{**options, "poolclass": QueuePool})
            sqlalchemy.event.listen(engine, "connect", _do_not_wait_for_the_disk)
            engines[address] = engine, engine.dispose
            # Dagster disposes of an engine after every transaction.
            engine.dispose = _keep
        return engines[address][0]

    for module, _ in makers:
        setattr(module, _MAKE, one_engine_per_file)
    try:
        yield
    finally:
        for module, make in makers:
            setattr(module, _MAKE, make)
        for _, dispose in engines.values():
            dispose()


def _keep(close: bool = True) -> None:
    """In place of an engine's ``dispose``."""


def _do_not_wait_for_the_disk(connection: Any, _record: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        # With the write-ahead log that Dagster sets, a killed process loses nothing and a power cut the last events only.
        connection.execute("pragma synchronous = normal")
