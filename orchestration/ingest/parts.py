"""What is landed, as the ledger tells it: parts and superseded rows up to a cut-off."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.deployment import Deployment
from orchestration.ledger.store import Ledger


@dataclass(frozen=True)
class Part:
    """One Parquet file of landing. ``period`` is None where the entity is not kept by period."""

    path: Path
    entity: str
    source: str
    file_id: str
    period: str | None
    rows: int
    seq: int
    sha256: str
    min_key: str | None = None
    max_key: str | None = None
    min_document: str | None = None
    max_document: str | None = None


def landed(ledger: Ledger, upto_seq: int | None = None) -> list[tuple[int, dict[str, Any]]]:
    """Every landed drop in landing order: sequence number and payload."""
    return [(entry.seq, entry.payload) for entry in ledger.entries("drop_landed", upto=upto_seq)]


def landed_parts(deployment: Deployment, ledger: Ledger, entity: str | None = None, upto_seq: int | None = None) -> list[Part]:
    """Parts known at the cut-off (all by default), in landing order; with ``entity`` its parts only."""
    return [
        Part(
            path=deployment.data / part["path"],
            entity=drop["entity"],
            source=drop["source"],
            file_id=drop["file_id"],
            period=part["period"],
            rows=part["rows"],
            seq=seq,
            sha256=part["sha256"],
            min_key=part["min_key"],
            max_key=part["max_key"],
            min_document=part.get("min_document"),
            max_document=part.get("max_document"),
        )
        for seq, drop in landed(ledger, upto_seq)
        if entity is None or drop["entity"] == entity
        for part in drop["parts"]
    ]


def superseded_files(deployment: Deployment, ledger: Ledger, entity: str, upto_seq: int | None = None) -> list[Path]:
    """Files (columns file_id, row, key, period; file_id and key together are unique) that list the rows of ``entity`` that newer rows replaced."""
    return [
        deployment.data / drop["supersedes"]["path"]
        for _, drop in landed(ledger, upto_seq)
        if drop["entity"] == entity and drop["supersedes"]["path"]
    ]
