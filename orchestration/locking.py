"""One writer at a time: the deployment's lock, and who holds it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from filelock import FileLock, Timeout

from orchestration.deployment import Deployment
from orchestration.errors import Busy, Failed


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
    note = deployment.lock.with_suffix(".json")
    try:
        lock.acquire(timeout=0)
    except Timeout as err:
        try:
            holder = json.loads(note.read_text())
            who = f"process {holder['pid']} on {holder['host']} ({holder['doing']}, since {holder['since']})"
        except (OSError, ValueError, KeyError):
            who = "another process"
        raise Busy(f"{who} holds the lock", str(deployment.lock), "wait until it is done, or stop it") from err
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
