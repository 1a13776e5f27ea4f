"""Ctrl-C and SIGTERM that meet a query of DuckDB, which swallows them: what Python's handler raised is dropped, and a plain error comes instead.

Whoever takes a query's error for its own must ask here first: a run that was told to stop has not failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb


def is_interruption(err: BaseException | None) -> bool:
    """Whether ``err``, or an error that it was raised from, is DuckDB's word for a query that a signal stopped."""
    while err is not None:
        # Of version 2.0 a RuntimeError without a cause. The text is all that tells it from others.
        if isinstance(err, RuntimeError | duckdb.InterruptException) and "Query interrupted" in str(err):
            return True
        err = err.__cause__
    return False


@contextmanager
def as_keyboard_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt, as without DuckDB, where a query of the block was stopped by a signal. Other errors pass."""
    try:
        yield
    except Exception as err:
        if is_interruption(err):
            raise KeyboardInterrupt from err
        raise
