"""Durable files: written in scratch, synced, and moved into place in one step."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from orchestration.errors import Failed


def place(source: Path, target: Path) -> None:
    """Sync ``source`` and move it to ``target``, over whatever a killed run left there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as file:
        os.fsync(file.fileno())
    source.replace(target)
    sync_folder(target.parent)


@contextmanager
def for_the_owner_alone() -> Iterator[None]:
    """Files and folders made meanwhile are for the user that runs Tierhouse and for nobody else."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def close_to_others(path: Path) -> None:
    """Take from everybody but the owner what they may do with ``path``, if it is there."""
    if path.exists():
        path.chmod(path.stat().st_mode & 0o700)


def place_privately(source: Path, target: Path) -> None:
    """:func:`place` for what holds personal data: the file, and the folders that it needs, are for the owner alone."""
    close_to_others(source)
    with for_the_owner_alone():
        place(source, target)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Say a full disk or a read-only folder as what it is; what was begun in scratch stays without effect."""
    try:
        yield
    except OSError as err:
        raise _failed(err.errno, err.strerror or str(err), str(err.filename or folder)) from err
    except (duckdb.IOException, duckdb.OutOfMemoryException) as err:
        text = str(err).splitlines()[0]
        code = errno.ENOSPC if "No space left" in text or "out of disk" in text.lower() else errno.EROFS if "Read-only" in text else None
        raise _failed(code, text, str(folder)) from err


def _failed(code: int | None, text: str, where: str) -> Failed:
    if code in (errno.ENOSPC, errno.EDQUOT):
        return Failed("the disk is full", where, "free space and run again; nothing half-done was kept")
    if code in (errno.EROFS, errno.EACCES, errno.EPERM):
        return Failed("the folder cannot be written to", where, "make it writable, or name another under `data:` in tierhouse.yaml")
    return Failed(text, where, "correct that and run again; nothing half-done was kept")
