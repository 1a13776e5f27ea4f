"""What a run is about: the periods it decides, the months it reads again, and whether there is anything to do.

Planning reads the ledger, the landed parts and what the warehouse says it holds; it writes nothing. What a month of the
warehouse was made from is known by a digest of its parts, so that a run that was killed half way is planned again in full:
a month counts as applied only after dbt has succeeded.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

from orchestration.deployment import PROJECT_ROOT, Deployment
from orchestration.errors import BadInput
from orchestration.ledger.readers import (
    begins_anew,
    begun,
    behind_the_month_before,
    goes_on_from_unseen,
    held_periods,
    last_computed,
    payloads_in_catalog,
    what_is_new,
)
from orchestration.ledger.store import Ledger, digest
from orchestration.periods import add_months, period_index, periods_between

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


@dataclass(frozen=True)
class Held:
    """What the warehouse says it holds. Empty for a warehouse that is not there yet."""

    digests: dict[str, str] = field(default_factory=dict)
    months_version: str = ""
    windows_version: str = ""
    window_periods: list[str] = field(default_factory=list)


def new_run_id() -> str:
    return uuid.uuid4().hex[:12]


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
    """Version of what turns landed rows into decisions: ``0.1.0+<12 hex>``, the hex over models, macros, compiler, the views over landing and the
    settings of the dbt project, whose ``vars`` say who is flapping or likely to rise."""
    made_by = _hash_of(
        "models", "dbt_project/macros", "dbt_project/dbt_project.yml", "orchestration/policy", "orchestration/warehouse/inputs.py"
    )
    return f"{version('tierhouse')}+{made_by[:12]}"


def months_code() -> str:
    """Hash of what makes customer-months of landed rows; another hash means that every month is read again."""
    return _hash_of("models/staging", "models/intermediate/periods", "dbt_project/macros", "orchestration/warehouse/inputs.py")


def windows_code() -> str:
    """Hash of the SQL that makes windows and carried totals."""
    return _hash_of("models/intermediate/customers")


def check_periods(periods: list[str], first_allowed: str, landed: list[str], rows: str = "bill lines") -> None:
    """BadInput unless the periods follow one another and ``rows`` have landed for each month up to the last."""
    if not periods:
        raise BadInput("no period to run", "--periods", "name at least one, for example 2026-06")
    if periods != periods_between(periods[0], periods[-1]):
        raise BadInput(
            f"the periods {', '.join(periods)} do not follow one another", "--periods", "run them as ranges, one after the other"
        )
    if not landed:
        raise BadInput(
            f"no {rows} have landed, so there is nothing to decide", "--periods", "run `tierhouse ingest` on a deployment with drops"
        )
    first = max(first_allowed, landed[0])
    for period in (periods[0], periods[-1]):
        if not first <= period <= landed[-1]:
            raise BadInput(
                f"the period {period} is out of range: {rows} have landed for {landed[0]} to {landed[-1]}, first_period is {first_allowed}",
                "--periods",
                f"choose from {first} to {landed[-1]}",
            )


@dataclass(frozen=True)
class Carried:
    """The newest month before a run of which the warehouse holds decisions of a program, and whether anybody has a level in it."""

    period: str
    has_levels: bool


def check_levels_go_on(periods: list[str], first: str, released: Mapping[str, Sequence[str]], carried: Mapping[str, Carried]) -> None:
    """BadInput if levels would begin anew with the periods, because the month before them is not decided though an earlier one is released.

    A level is held from month to month, so that a month that is left out would end every validity without a word. ``first``: the
    first month that can be run, at which levels begin anew unless the month before it is released; ``released``: program → its released
    months, in order, of the programs that are run and carry levels; ``carried``: what the warehouse holds of them.
    """
    before = add_months(periods[0], -1)
    began = {program: earlier for program, months in released.items() if (earlier := [month for month in months if month < periods[0]])}
    since: dict[str, str] = {}
    for program, earlier in began.items():
        low = earlier[0] if add_months(first, -1) in earlier else first
        if before < low:
            continue
        held = carried.get(program)
        # A program whose last subject has left has nothing to carry on.
        is_over = held is not None and not held.has_levels and held.period > earlier[-1]
        if not is_over and (held is None or held.period != before):
            since[program] = max(low, add_months(held.period, 1) if held else earlier[0])
    if not since:
        return
    start = min(since.values())
    missing = start if start == before else f"{start} to {before}"
    whose = "all levels" if since.keys() == began.keys() else f"the levels of {', '.join(sorted(since))}"
    raise BadInput(
        f"{periods[0]} would begin {whose} anew: {missing} {'is' if start == before else 'are'} not decided in the warehouse, and earlier months are released",
        "--periods",
        f"run `tierhouse run --periods {start}..{periods[-1]}`: a level is held from month to month, and a month that is left out would end it"
        + ("" if start >= first else f"; first_period in tierhouse.yaml, now {first}, must be {start} or earlier for it"),
    )


def check_readers_see_what_is_read(periods: list[str], back: Mapping[str, tuple[str, str | None]], new: Collection[str]) -> None:
    """BadInput if a month was rolled back, stays so, and a month after it would go on from rows that readers do not see.

    ``back``: see :func:`orchestration.ledger.readers.rolled_back`; ``new``: those of the periods that something new is there for, which
    are released. The release asks again: a rollback may come between.
    """
    back = {period: releases for period, releases in back.items() if period not in new}
    after = next((p for p in periods if add_months(p, -1) in back and (p == periods[0] or p in new)), None)
    if after is not None:
        raise goes_on_from_unseen(after, periods[-1], back)


def check_no_run_was_broken_off(periods: list[str], ledger: Ledger, first: str = "") -> None:
    """BadInput if dbt wrote decisions of the month before the periods and nobody released them: the periods would go on from those.

    As after a run that was killed or failed between its computation and its release, after that model was built alone, or where a month
    before was held and released alone since. Nothing is refused where no month before was ever released, for then the periods begin anew,
    nor while a month before is held: the gate stops what comes after it. ``first``: the first period that may be run.
    """
    start = periods[0]
    if begins_anew(ledger, start) or any(period < start for period in held_periods(ledger, first)):
        return
    while _is_broken_off(ledger, before := add_months(start, -1)):
        start = before
    if start == periods[0]:
        return
    newest = add_months(periods[0], -1)
    raise BadInput(
        f"{periods[0]} would go on from rows that were never released: the last computation of {newest} ended before its release",
        "--periods",
        f"run `tierhouse run --periods {start}..{periods[-1]}`",
    )


def _is_broken_off(ledger: Ledger, period: str) -> bool:
    """Whether the newest run that had dbt decide the period neither released nor confirmed it since."""
    decided = [each for each in begun(ledger) if period in each.periods and each.writes(CARRIED)]
    if not decided:
        return False
    newest = decided[-1]
    return not any(
        (entry.payload["run_id"], entry.payload["period"]) == (newest.run_id, period)
        for entry in ledger.entries("release", "confirmation", after=newest.seq)
    )


def stale_periods(wanted: dict[str, str], held: dict[str, str]) -> list[str]:
    """Months whose digest is not the one that the warehouse holds, in order."""
    return sorted(period for period, made_from in wanted.items() if held.get(period) != made_from)


def choose_base(window_periods: list[str], changed_from: str) -> str | None:
    """The newest period with carried totals that no change of this run touches."""
    return max((period for period in window_periods if period < changed_from), default=None)


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


def released_programs(ledger: Ledger) -> dict[str, list[str]]:
    """Program → the months in which readers see decisions of it, in order."""
    found: dict[str, set[str]] = {}
    for payload in payloads_in_catalog(ledger):
        for name in payload.get("policies", {}):
            found.setdefault(name.partition("/")[0], set()).add(payload["period"])
    return {program: sorted(months) for program, months in found.items()}


def released_decisions(ledger: Ledger, periods: list[str]) -> list[str]:
    """Those of the periods in which readers see any decision."""
    seen = payloads_in_catalog(ledger)
    return sorted(payload["period"] for payload in seen if payload["period"] in periods and payload["rows"].get("fct_decisions"))


def news(ledger: Ledger, periods: list[str], made_from: Mapping[str, Any], cutoff: int) -> dict[str, str]:
    """Those of the periods that would be computed from something new, and from what; see :func:`orchestration.ledger.readers.what_is_new`."""
    computed = last_computed(ledger, cutoff)
    found = {period: what_is_new(computed.get(period), made_from) for period in periods}
    return {period: new for period, new in found.items() if new}


def unsettled(ledger: Ledger, periods: list[str]) -> dict[str, str]:
    """Those of the periods that are to be computed again though nothing is new, and why."""
    held, behind = held_periods(ledger), behind_the_month_before(ledger)
    found: dict[str, str] = {}
    for period in periods:
        if period in held:
            # As when a policy was changed, held and changed back: the months after it wait for a gate that it passes.
            found[period] = "it was held since its release"
        elif _is_broken_off(ledger, period):
            # What the warehouse holds of it is not what was released, and the month after it would go on from that.
            found[period] = "it was computed since its release, and its rows were never released"
        elif period in behind:
            found[period] = "the month before it has been released anew since"
    return found


def months_version(deployment: Deployment, compiled: dict[str, str]) -> str:
    """What every customer-month depends on besides its rows."""
    return digest([months_code(), deployment.config.timezone, compiled.get("bill_line_measures")])


def windows_version(months: str, compiled: dict[str, str]) -> str:
    """What carried totals and the columns of the windows depend on besides the months."""
    return digest([months, windows_code(), *(compiled.get(name) for name in WINDOW_FRAGMENTS)])


def extra_windows(periods: list[str], base: str | None) -> list[str]:
    """The month before the first target, where a correction has overtaken its totals: else each later run would reach further back."""
    before = add_months(periods[0], -1)
    return [before] if base is not None and base < before else []
