"""What a gate found for one period."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class GateResult:
    """The verdict on one candidate.

    ``checks``: {suite, check, passed, severity, observed, expected, failing_rows, failing_keys_file (relative to the
    data folder, or null)}. ``path``: results.json. ``tables``: mart → {rows, hash}; ``candidate_hash`` combines those hashes (quick
    ones, see ``gate.candidate.fingerprint``).
    """

    run_id: str
    period: str
    passed: bool
    checks: list[dict[str, Any]]
    candidate_hash: str
    path: Path
    tables: dict[str, dict[str, Any]]

    @property
    def failed_checks(self) -> list[dict[str, Any]]:
        """Checks that hold the release (warnings do not)."""
        return [check for check in self.checks if not check["passed"] and check["severity"] != "warning"]

    def keys_file(self, check: Mapping[str, Any]) -> Path | None:
        """Where all failing keys of one of the checks are, as a path that opens; they lie beside the results."""
        name = check["failing_keys_file"]
        return self.path.parent / Path(name).name if name else None

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}
