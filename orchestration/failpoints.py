"""Named places where a test may kill the process, to prove that a crash there loses nothing.

``TIERHOUSE_FAILPOINT=release.files_written`` kills the process with SIGKILL the first time that point is reached;
``TIERHOUSE_FAILPOINT=release.files_written:3`` the third time. Without the variable a failpoint costs one look-up.
"""

from __future__ import annotations

import os
import signal

# Every durable step, in the order in which a run takes them. A test proves that each of them is killed at.
FAILPOINTS = (
    "ingest.copy_recorded",
    "ingest.again_recorded",
    "ingest.vault_written",
    "ingest.landing_written",
    "ingest.quarantine_written",
    "ingest.file_recorded",
    "ingest.replaced_written",
    "ingest.replaced_recorded",
    "ingest.set_aside_written",
    "ingest.set_aside_recorded",
    "ingest.readmission_written",
    "ingest.readmission_recorded",
    "ingest.notes_written",
    "ingest.notes_moved",
    "ingest.totals_recorded",
    "warehouse.inputs_prepared",
    "warehouse.started",
    "warehouse.built",
    "warehouse.applied",
    "gate.results_written",
    "gate.recorded",
    "release.files_written",
    "release.manifest_written",
    "release.moved",
    "release.recorded",
    "catalog.recorded",
    "catalog.pointer_moved",
    "channels.file_written",
    "channels.recorded",
)

_hits: dict[str, int] = {}


def failpoint(name: str) -> None:
    """Die here if the environment says so. ``name`` must be in :data:`FAILPOINTS`."""
    wanted = os.environ.get("TIERHOUSE_FAILPOINT")
    if not wanted:
        return
    if name not in FAILPOINTS:
        raise ValueError(f"unknown failpoint {name}")
    target, _, nth = wanted.partition(":")
    if target != name:
        return
    _hits[name] = _hits.get(name, 0) + 1
    if _hits[name] >= int(nth or 1):
        os.kill(os.getpid(), signal.SIGKILL)
