"""What a crash left: folders that no entry names are removed, and what is recorded is made visible.

A crash leaves a release only between its gate and its own entry, and a pointer never ahead of its entry. More than that is no crash
but a ledger that was lost or is older than the releases, and then nothing is removed.

Called under the lock at the start of every run and of every release. It writes nothing when nothing was left.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from orchestration.deployment import Deployment
from orchestration.errors import Failed
from orchestration.ingest.files import storage_errors
from orchestration.ledger.store import Ledger
from orchestration.release.catalog import (
    BEHIND_REMEDY,
    Catalog,
    ahead,
    move_pointer,
    pointer_if_whole,
    publish_catalog,
    recorded_catalog,
)
from orchestration.release.folder import gate_of
from orchestration.release.record import release_entries
from orchestration.wording import counted

Say = Callable[[str], None]
_RELEASE = re.compile(r"\d{4}-\d{2}\.r\d+")


def recover(deployment: Deployment, ledger: Ledger, say: Say) -> None:
    """Put releases, catalog and pointer into the state that the ledger records. Failed, and nothing is touched, if the ledger is not whole."""
    require_whole(deployment, ledger)
    with storage_errors(deployment.data):
        _remove_leftovers(deployment, ledger, say)
    last = ledger.last("catalog")
    standing = recorded_catalog(last)
    recorded = ledger.entries("release", "confirmation", after=last.seq if last else 0)
    unpublished = {e.payload["period"]: e.payload["release"] for e in recorded if e.kind == "release" or e.payload.get("is_released_again")}
    if unpublished:
        catalog = publish_catalog(deployment, ledger, {**standing.periods, **unpublished}, {"kind": "recovery"})
        say(f"recovered: catalog {catalog.catalog} publishes {', '.join(sorted(unpublished.values()))}, recorded by a run that was stopped")
        return
    if pointer_if_whole(deployment) != standing:
        move_pointer(deployment, standing)
        say(f"recovered: the pointer names catalog {standing.catalog} again")


def require_whole(deployment: Deployment, ledger: Ledger) -> None:
    """Failed if the ledger is :func:`behind`. Also before an ingest: what it lands without knowing what has landed is written over files
    that the entries of a backup name."""
    if problem := behind(deployment, ledger):
        raise Failed(problem, str(deployment.ledger), BEHIND_REMEDY)


def behind(deployment: Deployment, ledger: Ledger) -> str | None:
    """How releases and pointer show that entries at the end of the ledger are missing, or None.

    They are read before the ledger, so that a run that goes on meanwhile is no difference.
    """
    pointer = pointer_if_whole(deployment) or Catalog()
    folders = _folders(deployment)
    if folders and ledger.last() is None:
        more = f" and {len(folders) - 1} more" if len(folders) > 1 else ""
        return f"the ledger is empty, and {counted(len(folders), 'release is', 'releases are')} there: {folders[0].name}{more}"
    if problem := ahead(pointer, ledger.last("catalog")):
        return problem
    known = {payload["release"] for payload in release_entries(ledger)}
    unknown = {folder.name: gate_of(folder) for folder in folders if folder.name not in known}
    gates = {(entry.seq, entry.hash) for entry in ledger.entries("gate")} if unknown else set()
    for name, gate in unknown.items():
        if gate is not None and gate not in gates:
            return f"release {name} passed a gate, entry {gate[0]}, that the ledger does not record"
    return None


def _folders(deployment: Deployment) -> list[Path]:
    """The folders of releases, by name. What else somebody keeps beside them is theirs."""
    found = deployment.releases.iterdir() if deployment.releases.is_dir() else ()
    return sorted(folder for folder in found if folder.is_dir() and _RELEASE.fullmatch(folder.name))


def _remove_leftovers(deployment: Deployment, ledger: Ledger, say: Say) -> None:
    """Folders of releases that were never recorded, and half-written ones in scratch."""
    recorded = {payload["release"] for payload in release_entries(ledger)}
    for folder in _folders(deployment):
        if folder.name not in recorded:
            shutil.rmtree(folder)
            say(f"recovered: removed {folder.name}, which a stopped run moved but never recorded")
    if deployment.scratch.is_dir():
        for pattern in ("release-*", "gate-*", "channel-*"):
            for path in sorted(deployment.scratch.glob(pattern)):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
    if deployment.catalogs.is_dir():
        for path in deployment.catalogs.glob(".current.json.*"):
            path.unlink()
