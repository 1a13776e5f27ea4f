"""What a run is about, as a value: the periods it decides, the months it reads, and the versions of the code and the policies that it does it with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

from orchestration.deployment import PROJECT_ROOT, Deployment
from orchestration.ledger.store import digest
from orchestration.periods import period_index

# Last calendar year reaches at most from December to the January of the year before. Longer windows: `reach_months` of the policies.
USUAL_REACH_MONTHS = 24


# The model of which a month reads what the month before holds.
CARRIED = "int_held_decisions"


# The compiled text that int_customer_windows is made of.
WINDOW_FRAGMENTS = (
    "points_measures",
    "points_rows",
    "window_metrics",
    "carried_totals",
    "points_window_metrics",
    "points_carried_totals",
    "window_columns",
)


# What chooses the months that a run reads.
PLANNING = ("orchestration/warehouse/plan.py", "orchestration/warehouse/planning.py")


# What makes the views over the landing.
VIEWS = ("orchestration/warehouse/inputs.py", "orchestration/warehouse/landed.py")


@dataclass(frozen=True)
class RunPlan:
    """One run. Hashes are SHA-256 in hex; ``period_digests`` holds what each input period will have been made from. ``undelivered``:
    entities and columns that no source of the deployment delivers, whatever of them had landed before.

    ``charge_periods``: period → the landed months whose charge types matter for it. Other than what the windows hold in a run, it hangs on
    the landing and the policies alone, and not on what earlier runs have carried.
    """

    run_id: str
    periods: list[str]
    input_periods: list[str]
    cutoff_seq: int
    policy_hash: str
    inputs_hash: str
    code_version: str
    nothing_new: bool
    reasons: list[str] = field(default_factory=list)
    totals_base: str | None = None
    extra_window_periods: list[str] = field(default_factory=list)
    first_landed_period: str | None = None
    reach_months: int = USUAL_REACH_MONTHS
    points_periods: list[str] = field(default_factory=list)
    charge_periods: dict[str, list[str]] = field(default_factory=dict)
    period_digests: dict[str, str] = field(default_factory=dict)
    months_version: str = ""
    windows_version: str = ""
    undelivered: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> RunPlan:
        return cls(**content)


def window_months(plan: RunPlan) -> list[tuple[str, int, int]]:
    """(period, its index, month index) for each month that the windows and totals of a period reach; -1 for what is carried."""
    rows: list[tuple[str, int, int]] = []
    for period in sorted({*plan.periods, *plan.extra_window_periods}):
        target = period_index(period)
        first = period_index(plan.first_landed_period or period)
        if plan.totals_base is not None:
            first = max(first, min(target - plan.reach_months + 1, period_index(plan.totals_base) + 1))
        rows.append((period, target, -1))
        rows.extend((period, target, month) for month in range(first, target + 1))
    return rows


def files_hash(files: Iterable[Path], root: Path) -> str:
    """Hash of the names below ``root`` and the bytes of files, in the order given."""
    found = hashlib.sha256()
    for path in files:
        found.update(path.relative_to(root).as_posix().encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def _hash_of(*places: str) -> str:
    """Hash of files of the project, and of all SQL and Python below folders of it."""
    roots = (PROJECT_ROOT / place for place in places)
    found = ([root] if root.is_file() else sorted(p for p in root.rglob("*") if p.suffix in (".sql", ".py")) for root in roots)
    return files_hash(chain.from_iterable(found), PROJECT_ROOT)


def code_version() -> str:
    """Version of what turns landed rows into decisions: ``0.1.0+<12 hex>``, the hex over models, macros, compiler, the views over landing, what
    chooses the months that a run reads, and the settings of the dbt project, whose ``vars`` say who is flapping or likely to rise."""
    made_by = _hash_of("models", "dbt_project/macros", "dbt_project/dbt_project.yml", "orchestration/policy", *VIEWS, *PLANNING)
    return f"{version('tierhouse')}+{made_by[:12]}"


def months_code() -> str:
    """Hash of what makes customer-months of landed rows; another hash means that every month is read again."""
    return _hash_of("models/staging", "models/intermediate/periods", "dbt_project/macros", *VIEWS)


def windows_code() -> str:
    """Hash of the SQL that makes windows and carried totals."""
    return _hash_of("models/intermediate/customers")


def months_version(deployment: Deployment, compiled: dict[str, str]) -> str:
    """What every customer-month depends on besides its rows."""
    return digest([months_code(), deployment.config.timezone, compiled.get("bill_line_measures")])


def windows_version(months: str, compiled: dict[str, str]) -> str:
    """What carried totals and the columns of the windows depend on besides the months."""
    return digest([months, windows_code(), *(compiled.get(name) for name in WINDOW_FRAGMENTS)])
