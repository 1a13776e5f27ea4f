"""One writer at a time: the deployment's lock, and who holds it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from orchestration.deployment import Deployment
from orchestration.errors import Busy, Failed

PATIENCE_SECONDS = 0.2
"""Long enough for :func:`who_holds` of another process, which takes the lock to see whether it is free."""


@contextmanager
def exclusive(deployment: Deployment, doing: str) -> Iterator[None]:
    """Hold the deployment's lock while the block runs; raise Busy naming the holder if another process has it.

    The lock is the operating system's (flock), so a killed holder frees it. Re-entrant within one process, so that
    a run may call commands that lock for themselves.
    """
    try:
        deployment.data.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise Failed(
            f"the data folder cannot be made: {err.strerror}",
            str(deployment.data),
            "make it writable, or name another under `data:` in tierhouse.yaml",
        ) from err
    lock = FileLock(deployment.lock, is_singleton=True)
    note = _note(deployment)
    try:
        lock.acquire(timeout=PATIENCE_SECONDS, poll_interval=PATIENCE_SECONDS / 10)
    except Timeout as err:
        raise Busy(f"{_holder(note)} holds the lock", str(deployment.lock), "wait until it is done, or stop it") from err
    except OSError as err:
        raise Failed(f"the lock cannot be taken: {err.strerror}", str(deployment.lock), "make the data folder writable") from err
    try:
        if lock.lock_counter == 1:
            note.write_text(
                json.dumps(
                    {
                        "pid": os.getpid(),
                        "host": socket.gethostname(),
                        "doing": doing,
                        "since": datetime.now(UTC).isoformat(timespec="seconds"),
                    }
                )
            )
        yield
    finally:
        lock.release()


def who_holds(deployment: Deployment) -> str | None:
    """Who holds the deployment's lock in another process, for a message; None if it is free. Nothing is made."""
    if not deployment.lock.exists():
        return None
    lock = FileLock(deployment.lock, is_singleton=True)
    try:
        with lock.acquire(timeout=0):
            return None
    except Timeout:
        return _holder(_note(deployment))
    except OSError:
        # Whoever is to take it says what is wrong.
        return None


def _note(deployment: Deployment) -> Path:
    return deployment.lock.with_suffix(".json")


def _holder(note: Path) -> str:
    try:
        holder = json.loads(note.read_text())
        return f"process {holder['pid']} on {holder['host']} ({holder['doing']}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
