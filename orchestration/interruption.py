"""Ctrl-C and SIGTERM. Those that meet a query of DuckDB are swallowed: what Python's handler raised is dropped, and a plain error comes instead.

Whoever takes a query's error for its own must ask here first: a run that was told to stop has not failed.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import duckdb

_told = False


def listen() -> None:
    """End this process on Ctrl-C, where it is not ignored, and on SIGTERM, as a service manager stops a run, with KeyboardInterrupt."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    global _told
    _told = True
    raise KeyboardInterrupt


def stop_if_told() -> None:
    """Raise KeyboardInterrupt once more for a signal: what was raised in a library that was just loading another one may be lost."""
    global _told
    if _told:
        _told = False
        raise KeyboardInterrupt


def is_interruption(err: BaseException | None) -> bool:
    """Whether ``err``, or an error that it was raised from, is DuckDB's word for a query that a signal stopped."""
    seen: set[int] = set()
    while err is not None and id(err) not in seen:
        # Of version 2.0 a RuntimeError without a cause. The text is all that tells it from others.
        if isinstance(err, RuntimeError | duckdb.InterruptException) and "Query interrupted" in str(err):
            return True
        # An error may be its own cause, where it was raised from itself.
        seen.add(id(err))
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
