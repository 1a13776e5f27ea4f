"""What an ingest did, for people and programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from orchestration.errors import BadInput
from orchestration.ingest.mapping import Feed


@dataclass(frozen=True)
class FileReport:
    """One newly landed drop. rows_in = landed + quarantined + not_for_entity; ``superseded`` are rows it replaced: older ones,
    and its own that take a key back."""

    source: str
    entity: str
    file: str
    rows_in: int
    landed: int
    quarantined: int
    superseded: int
    unattributed: int
    not_for_entity: int
    reasons: dict[str, int]
    periods: list[str]

    @classmethod
    def of(cls, drop: dict[str, Any]) -> FileReport:
        """From the payload of a ``drop_landed`` entry."""
        flat = {**drop, "superseded": drop["supersedes"]["rows"]}
        return cls(**{item.name: flat[item.name] for item in fields(cls)})


@dataclass
class IngestReport:
    """What one ingest found.

    ``copies``: files that have the bytes of a landed drop, recorded now, and that drop. ``refused`` are drops that could not be read at
    all; ``held_periods`` the open ones; ``readmitted`` rows by file that were admitted from quarantine, and ``set_aside`` those that
    were moved there, because what they refer to is known now, or no more; ``replaced`` files of which
    no row counts any more, because another takes their place; ``control_totals`` those that were taken now, by the file that they speak of, and
    whether it agrees; ``older_mapping`` files by feed that stand as another mapping than
    today's read them; ``without_files`` feeds of which no file has landed or lies there, with their pattern.
    """

    files: list[FileReport] = field(default_factory=list)
    known_files: int = 0
    copies: dict[str, str] = field(default_factory=dict)
    readmitted: dict[str, int] = field(default_factory=dict)
    set_aside: dict[str, int] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    control_totals: dict[str, bool] = field(default_factory=dict)
    older_mapping: dict[str, list[str]] = field(default_factory=dict)
    refused: list[dict[str, str]] = field(default_factory=list)
    without_files: list[str] = field(default_factory=list)
    bad_share: list[str] = field(default_factory=list)
    held_periods: dict[str, list[str]] = field(default_factory=dict)

    def refuse(self, feed: Feed, file: str, message: str) -> None:
        """Tell that a drop did not land as it lies there."""
        self.refused.append({"source": feed.source, "entity": feed.entity, "file": file, "message": message})

    def add_moved(self, payloads: Iterable[dict[str, Any]]) -> None:
        """Count the rows that entries admit from quarantine and those that they put there: of a file that has some to put there all wait, and
        the others are admitted again."""
        moved: Counter[str] = Counter()
        for payload in payloads:
            moved[payload["file"]] += payload["landed"]
        self.readmitted = {file: rows for file, rows in moved.items() if rows > 0}
        self.set_aside = {file: -rows for file, rows in moved.items() if rows < 0}

    @property
    def new_files(self) -> int:
        """Number of drops landed now."""
        return len(self.files)

    @property
    def rows_in(self) -> int:
        """Rows read now."""
        return sum(file.rows_in for file in self.files)

    @property
    def landed(self) -> int:
        """Rows landed now."""
        return sum(file.landed for file in self.files)

    @property
    def quarantined(self) -> int:
        """Rows quarantined now."""
        return sum(file.quarantined for file in self.files)

    @property
    def reasons(self) -> dict[str, int]:
        """Quarantined rows per reason; a row counts under each of its reasons."""
        total: dict[str, int] = {}
        for file in self.files:
            for reason, rows in file.reasons.items():
                total[reason] = total.get(reason, 0) + rows
        return dict(sorted(total.items()))

    @property
    def bad_share_exceeded(self) -> bool:
        """Whether a drop holds more bad rows than the deployment allows (and no later one replaces it)."""
        return bool(self.bad_share)

    def error(self) -> BadInput | None:
        """The error that a command ends with if a drop was refused."""
        if not self.refused:
            return None
        first = self.refused[0]
        more = f" ({len(self.refused) - 1} more: {', '.join(r['file'] for r in self.refused[1:])})" if len(self.refused) > 1 else ""
        return BadInput(
            f"the drop was refused: {first['message']}{more}",
            first["file"],
            "have the source send it again, correct the mapping where that reads it wrongly, or take it out of the drops folder",
        )

    def as_json(self) -> dict[str, Any]:
        """Shape under ``--json``."""
        return {
            "new_files": self.new_files,
            "known_files": self.known_files,
            "copies": self.copies,
            "rows_in": self.rows_in,
            "landed": self.landed,
            "quarantined": self.quarantined,
            "reasons": self.reasons,
            "readmitted": self.readmitted,
            "set_aside": self.set_aside,
            "replaced": self.replaced,
            "control_totals": self.control_totals,
            "older_mapping": self.older_mapping,
            "without_files": self.without_files,
            "refused": self.refused,
            "bad_share_exceeded": self.bad_share,
            "held_periods": self.held_periods,
            "files": [asdict(file) for file in self.files],
        }
