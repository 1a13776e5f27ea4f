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


class Landed:
    """What is landed, read from the ledger once and then followed, so that a run of many drops does not read it all again."""

    def __init__(self, deployment: Deployment, ledger: Ledger) -> None:
        self._deployment, self._ledger = deployment, ledger
        self._seq = 0
        self._drops: list[tuple[int, dict[str, Any]]] = []
        self._parts: dict[str, list[Part]] = {}
        self._superseded: dict[str, list[Path]] = {}

    def _follow(self) -> None:
        for entry in self._ledger.entries("drop_landed", after=self._seq):
            self.add(entry.seq, entry.payload)

    def load(self) -> Landed:
        """Read the ledger from the start."""
        self._follow()
        return self

    def add(self, seq: int, drop: dict[str, Any]) -> None:
        """A drop that has just been recorded."""
        self._seq = seq
        self._drops.append((seq, drop))
        self._parts.setdefault(drop["entity"], []).extend(_parts_of(self._deployment, seq, drop))
        if drop["supersedes"]["path"]:
            self._superseded.setdefault(drop["entity"], []).append(self._deployment.data / drop["supersedes"]["path"])

    @property
    def drops(self) -> list[dict[str, Any]]:
        """Payloads in landing order."""
        return [drop for _, drop in self._drops]

    def parts(self, entity: str, source: str | None = None) -> list[Part]:
        """Parts of an entity, of one source or all."""
        return [part for part in self._parts.get(entity, []) if source is None or part.source == source]

    def superseded(self, entity: str) -> list[Path]:
        """Files that list superseded rows of an entity."""
        return list(self._superseded.get(entity, []))


def file_stat(path: Path) -> dict[str, int]:
    """Size and time of a drop, recorded so that a file that has not changed need not be read again to know it."""
    stat = path.stat()
    return {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def is_known_by_stat(path: Path, payload: dict[str, Any] | None) -> bool:
    """Whether the drop is the file that ``payload`` recorded under its name: same size and time (as git's index tells)."""
    if payload is None or path.is_dir():
        return False
    return all(payload.get(key) == value for key, value in file_stat(path).items())


def landed(ledger: Ledger, upto_seq: int | None = None) -> list[tuple[int, dict[str, Any]]]:
    """Every landed drop in landing order: sequence number and payload."""
    return [(entry.seq, entry.payload) for entry in ledger.entries("drop_landed", upto=upto_seq)]


def _parts_of(deployment: Deployment, seq: int, drop: dict[str, Any]) -> list[Part]:
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
        for part in drop["parts"]
    ]


def landed_parts(deployment: Deployment, ledger: Ledger, entity: str | None = None, upto_seq: int | None = None) -> list[Part]:
    """Parts known at the cut-off (all by default), in landing order; with ``entity`` its parts only."""
    drops = landed(ledger, upto_seq)
    return [part for seq, drop in drops if entity in (None, drop["entity"]) for part in _parts_of(deployment, seq, drop)]


def superseded_files(deployment: Deployment, ledger: Ledger, entity: str, upto_seq: int | None = None) -> list[Path]:
    """Files (columns file_id, row, key, period; file_id and key together are unique) that list the rows of ``entity`` that newer rows replaced."""
    return [
        deployment.data / drop["supersedes"]["path"]
        for _, drop in landed(ledger, upto_seq)
        if drop["entity"] == entity and drop["supersedes"]["path"]
    ]
