"""Durable files: written in scratch, synced, and moved into place in one step."""

from __future__ import annotations

import errno
import hashlib
import os
import re
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
    except duckdb.Error as err:
        if failed := storage_failure(err, folder):
            raise failed from err
        raise


def storage_failure(err: duckdb.Error, folder: Path) -> Failed | None:
    """An error of DuckDB in words if it is one of disk or memory, whatever class it has; ``folder``: where, if it does not name the file."""
    if failed := disk_failure(str(err), folder):
        return failed
    if isinstance(err, duckdb.OutOfMemoryException):
        return Failed(
            "DuckDB needs more memory than it may take",
            str(folder),
            "give it more in the environment: TIERHOUSE_INGEST_MEMORY for ingest, TIERHOUSE_MEMORY_LIMIT for all else; nothing half-done was kept",
        )
    if isinstance(err, duckdb.IOException):
        text = str(err).splitlines()[0]
        return _failed(None, text.removeprefix("IO Error: "), file_in(text) or str(folder))
    return None


def disk_failure(text: str, folder: Path) -> Failed | None:
    """What a text of DuckDB says of the disk, in words; None if it says nothing of it."""
    line, code = next(((line, code) for line in text.splitlines() for said, code in _SAID.items() if said in line.lower()), ("", None))
    return None if code is None else _failed(code, line, file_in(line) or str(folder))


def file_in(text: str) -> str | None:
    """The path that a message of DuckDB names, if it names one."""
    found = re.search(r'"(/[^"\\]+)\\?"', text)
    return found[1] if found else None


# What DuckDB quotes of the system, and says itself of the disk.
_SAID = {
    "no space left": errno.ENOSPC,
    "out of disk": errno.ENOSPC,
    "max_temp_directory_size": errno.ENOSPC,
    "disk quota exceeded": errno.EDQUOT,
    "file too large": errno.EFBIG,
    "read-only file system": errno.EROFS,
}


def _failed(code: int | None, text: str, where: str) -> Failed:
    if code in (errno.ENOSPC, errno.EDQUOT):
        return Failed("the disk is full", where, "free space and run again; nothing half-done was kept")
    if code == errno.EFBIG:
        return Failed(
            "the file is as large as a file of this user may be",
            where,
            "raise the limit (`ulimit -f`) and run again; nothing half-done was kept",
        )
    if code in (errno.EROFS, errno.EACCES, errno.EPERM):
        return Failed("the folder cannot be written to", where, "make it writable, or name another under `data:` in tierhouse.yaml")
    return Failed(text, where, "correct that and run again; nothing half-done was kept")
