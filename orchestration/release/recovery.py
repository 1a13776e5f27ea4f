"""What a crash left: folders that no entry names are removed, and what is recorded is made visible.

Called under the lock at the start of every run and of every release. It writes nothing when nothing was left.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

from orchestration.deployment import Deployment
from orchestration.errors import Failed
from orchestration.ingest.files import storage_errors
from orchestration.ledger.store import Ledger
from orchestration.release.catalog import move_pointer, publish_catalog, read_pointer, recorded_catalog
from orchestration.release.record import release_entries

Say = Callable[[str], None]


def recover(deployment: Deployment, ledger: Ledger, say: Say) -> None:
    """Put releases, catalog and pointer into the state that the ledger records."""
    with storage_errors(deployment.data):
        _remove_leftovers(deployment, ledger, say)
    last = ledger.last("catalog")
    standing = recorded_catalog(last)
    unpublished = {e.payload["period"]: e.payload["release"] for e in ledger.entries("release", after=last.seq if last else 0)}
    if unpublished:
        catalog = publish_catalog(deployment, ledger, {**standing.periods, **unpublished}, {"kind": "recovery"})
        say(f"recovered: catalog {catalog.catalog} publishes {', '.join(sorted(unpublished.values()))}, recorded by a run that was stopped")
        return
    try:
        pointer = read_pointer(deployment)
    except Failed:
        pointer = None
    if pointer != standing:
        move_pointer(deployment, standing)
        say(f"recovered: the pointer names catalog {standing.catalog} again")


def _remove_leftovers(deployment: Deployment, ledger: Ledger, say: Say) -> None:
    """Folders of releases that were never recorded, and half-written ones in scratch."""
    if deployment.releases.is_dir():
        recorded = {payload["release"] for payload in release_entries(ledger)}
        for folder in sorted(deployment.releases.iterdir()):
            if folder.is_dir() and folder.name not in recorded:
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
