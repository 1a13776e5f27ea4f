"""What `policy check` finds: one thing that is not sound, where, for whom, and what would mend it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from orchestration.policy.reader import Row


@dataclass(frozen=True)
class Finding:
    """One thing that is not sound. ``severity`` error stops a run; warning does not."""

    severity: str
    kind: str
    program_id: str
    version: str
    file: str
    row: int
    rule_id: str | None
    what: str
    remedy: str
    example: dict[str, str | None] = field(default_factory=dict)
    column: str | None = None

    @property
    def where(self) -> str:
        """``decision_rules.csv, row 4, rule star_5_spend``"""
        parts = [
            f"{self.file}, row {self.row}",
            f"column {self.column}" if self.column else "",
            f"rule {self.rule_id}" if self.rule_id else "",
        ]
        return ", ".join(part for part in parts if part)

    def as_json(self) -> dict[str, Any]:
        """All fields, and ``where``."""
        return {**asdict(self), "where": self.where}

    def __str__(self) -> str:
        lines = [f"{self.severity} ({self.kind}): {self.where}: {self.what}"]
        if self.example:
            lines.append(
                "  Example: " + ", ".join(f"{name} {'(null)' if value is None else value}" for name, value in self.example.items())
            )
        return "\n".join([*lines, f"  To do: {self.remedy}"])


def finding_at(row: Row, version: str, severity: str, kind: str, what: str, remedy: str, column: str | None = None) -> Finding:
    """A finding on one row of a seed, or on one cell of it."""
    return Finding(severity, kind, row["program_id"], version, row.file, row.line, None, what, remedy, column=column)
