"""Files beside the releases whose SHA-256 the ledger holds: what landed and what was delivered, against what lies there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestration.deployment import Deployment
from orchestration.errors import Mismatch
from orchestration.ingest.files import sha256_file
from orchestration.ledger.store import Ledger

_NAMED_IN_TEXT = 3


def check_recorded(deployment: Deployment, ledger: Ledger) -> None:
    """Mismatch if a landing file, on which every decision rests, is gone or another than landed, or if a delivered file was changed.

    A delivered file may have been taken away: the channel has it. Reads every one of these files.
    """
    for kind, word, may_be_gone in (("drop_landed", "it landed", False), ("delivery", "it was delivered", True)):
        # Of a path that was written twice the newest record counts.
        recorded = dict(pair for entry in ledger.entries(kind) for pair in _files(entry.payload))
        changed = [path for path, sha256 in recorded.items() if _is_changed(deployment, path, sha256, may_be_gone)]
        if changed:
            more = f" and {len(changed) - _NAMED_IN_TEXT:,} more" if len(changed) > _NAMED_IN_TEXT else ""
            raise Mismatch(
                f"gone or changed after {word}: {', '.join(sorted(changed)[:_NAMED_IN_TEXT])}{more}",
                str(deployment.data),
                "restore the files from a backup",
            )


def _files(value: Any) -> Iterator[tuple[str, str]]:
    """Path and SHA-256 of every file that a payload names with both, however deep."""
    if isinstance(value, dict):
        if isinstance(value.get("path"), str) and isinstance(value.get("sha256"), str):
            yield value["path"], value["sha256"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _files(item)


def _is_changed(deployment: Deployment, path: str, sha256: str, may_be_gone: bool) -> bool:
    file = deployment.data / path
    return sha256_file(file) != sha256 if file.is_file() else not may_be_gone
