"""Why a subject has a level: the released decision, its policy, and the landed rows behind it, as data.

Everything is read from what was released: the release folder (decision, policies, manifest), the landing up to the release's
cut-off, and the ledger. Never from the warehouse, which may already hold something newer. Words are in ``render``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from orchestration.audit.landed import BillRow, Landing, NominationRow, PointsRow, as_dict
from orchestration.audit.rules import RuleVerdict, judge_rule, matching
from orchestration.deployment import Deployment
from orchestration.errors import BadInput, Failed, Mismatch
from orchestration.ledger import Ledger
from orchestration.periods import add_months, periods_between
from orchestration.policy.load import load_policy_files
from orchestration.policy.model import Level, Metric, Program, Version
from orchestration.policy.reader import Row
from orchestration.release import current_catalog


@dataclass(frozen=True)
class Window:
    """One metric over its window. ``by_period`` has an item for every period of the window, empty ones included.

    ``value`` is what the decision recorded; ``traced`` what the landed rows add up to; None where it does not come from such rows.
    """

    metric: Metric
    periods: list[str]
    value: Decimal | None
    traced: Decimal | None
    by_period: list[tuple[str, Decimal, int]]

    @property
    def agrees(self) -> bool:
        """Whether the landed rows give the value of the decision."""
        return self.traced is None or self.traced == (self.value or 0)

    def as_json(self) -> dict[str, Any]:
        """Shape of an item of ``windows``; amounts as text."""
        return {
            "metric": self.metric.metric_id,
            "name_en": self.metric.row["name_en"],
            "name_zh": self.metric.row["name_zh"],
            "unit": self.metric.row["unit"],
            "window": self.metric.window,
            "first_period": self.periods[0] if self.periods else None,
            "last_period": self.periods[-1] if self.periods else None,
            "value": None if self.value is None else f"{self.value:f}",
            "traced": None if self.traced is None else f"{self.traced:f}",
            "agrees": self.agrees,
            "by_period": [{"period": p, "value": f"{amount:f}", "rows": rows} for p, amount, rows in self.by_period],
        }


@dataclass(frozen=True)
class Explanation:
    """All that is known about one decision. ``decision`` is the released row, by column."""

    customer_id: str
    period: str
    decision: dict[str, Any]
    release: dict[str, Any]
    program: Program
    version: Version | None
    charge_types: dict[str, Row]
    rules: list[RuleVerdict]
    windows: list[Window]
    bills: list[BillRow]
    points: list[PointsRow]
    nominations: list[NominationRow]
    deliveries: list[dict[str, Any]]
    unit: str
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def matched(self) -> RuleVerdict | None:
        """The rule that gave the qualified level."""
        return next((v for v in self.rules if v.rule.rule_id == self.decision["matched_rule_id"]), None)

    @property
    def above(self) -> list[RuleVerdict]:
        """The rules of the next higher level than the qualified one; none of them holds."""
        rank = self.decision["qualified_level_rank"]
        higher = [level for level in self.program.levels if rank is not None and level.rank > rank]
        if not higher:
            return []
        above = min(higher, key=lambda level: level.rank)
        return [v for v in self.rules if v.rule.level_id == above.level_id]

    def counts(self, bill: BillRow) -> bool:
        """Whether a bill line counts as spend."""
        known = self.charge_types.get(bill.charge_type)
        return bool(known and known["counts_as_spend"])

    def as_json(self) -> dict[str, Any]:
        """The explanation for machines. Amounts are text, so that no digit is lost."""
        program, version = self.program, self.version
        above = self.above
        return {
            "customer_id": self.customer_id,
            "program": {
                "program_id": program.program_id,
                "name_en": program.row["name_en"],
                "name_zh": program.row["name_zh"],
                "hit_policy": program.hit_policy,
            },
            "period": self.period,
            "level": _level(program, self.decision["level_id"]),
            "decision": {k: _plain(v) for k, v in self.decision.items() if k not in ("evidence", "steps")},
            "evidence": {k: _plain(v) for k, v in read_evidence(self.decision).items()},
            "steps": self.steps,
            "policy": _version(version),
            "matched_rule": self.matched.as_json() if self.matched else None,
            "level_above": _level(program, above[0].rule.level_id) if above else None,
            "rules_of_level_above": [v.as_json() for v in above],
            "rules": [v.as_json() for v in self.rules],
            "windows": [w.as_json() for w in self.windows],
            "bills": [{**as_dict(b), "counts_as_spend": self.counts(b)} for b in self.bills],
            "points": [as_dict(p) for p in self.points],
            "nominations": [{**as_dict(n), "standing": n.standing(self.period)} for n in self.nominations],
            "release": self.release,
            "deliveries": self.deliveries,
        }


def explain(
    deployment: Deployment, ledger: Ledger, customer_id: str, program_id: str, period: str, release: str | None = None
) -> Explanation:
    """Explain one decision of the catalog in force, or of the named ``release``.

    Raises BadInput if the period is not released or the customer or program is not in it, and Mismatch if the landed rows
    or the rules give another result than the decision.
    """
    found = _release(deployment, ledger, period, release)
    folder = deployment.releases / found["release"]
    policies = load_policy_files(folder / "policy")
    program = policies.programs.get(program_id)
    if program is None:
        raise BadInput(f"there is no program {program_id!r}", "--program", f"known: {', '.join(policies.programs)}")
    version = program.version_for(period)
    decision = _decision(deployment, folder, customer_id, program_id, period)
    evidence = read_evidence(decision)
    rules = [judge_rule(rule, program, evidence) for rule in version.rules] if version and decision["status"] == "decided" else []
    _same_rule(program, rules, decision, found["release"])
    recorded = _recorded_metrics(version, evidence)
    metrics = [metric for metric, _ in recorded]
    grades_nominees = version is not None and any(attribute.kind == "nomination" for attribute in version.attributes)
    with Landing(deployment, ledger, found["cutoff_seq"]) as landing:
        spans = {m.metric_id: window_periods(m.window, period, landing.first_period()) for m in metrics}
        bills = landing.bills(customer_id, _union(spans[m.metric_id] for m in metrics if m.measure.entity == "bill_lines"))
        points = landing.points(customer_id, _union(spans[m.metric_id] for m in metrics if m.measure.entity == "points"))
        nominations = landing.nominations(customer_id, program_id) if grades_nominees else []
    windows = [_window(m, spans[m.metric_id], value, bills, points, policies.spend_charge_types) for m, value in recorded]
    for window in windows:
        if not window.agrees:
            raise Mismatch(
                f"the landed rows give {window.metric.metric_id} = {window.traced}, the decision holds {window.value}",
                f"{found['release']}, customer {customer_id}",
                "the landing or the release was changed, or there is a defect: run `tierhouse ledger verify` and report it",
            )
    return Explanation(
        customer_id=customer_id,
        period=period,
        decision=decision,
        release=found,
        program=program,
        version=version,
        charge_types={row["charge_type"]: row for row in policies.seeds["charge_types"]},
        rules=rules,
        windows=windows,
        bills=bills,
        points=points,
        nominations=nominations,
        deliveries=_deliveries(ledger, found["release"]),
        unit=deployment.config.currency,
        steps=json.loads(decision["steps"] or "[]"),
    )


def window_periods(window: str, period: str, first: str | None) -> list[str]:
    """The periods of a window that ends with ``period``; ``first`` is the earliest that may have rows (for ``total``)."""
    year = int(period[:4])
    if window == "ytd":
        return periods_between(f"{year}-01", period)
    if window == "last_year":
        return periods_between(f"{year - 1}-01", f"{year - 1}-12")
    if window == "total":
        return periods_between(first, period) if first and first <= period else []
    months = int(window.removeprefix("previous_").removesuffix("m"))
    last = add_months(period, -months) if window.startswith("previous_") else period
    return periods_between(add_months(last, 1 - months), last)


def _union(spans: Iterable[list[str]]) -> list[str]:
    return sorted({period for span in spans for period in span})


def _release(deployment: Deployment, ledger: Ledger, period: str, release: str | None) -> dict[str, Any]:
    """Which release to explain, and where it stands: id, catalog, times, cut-off, hashes."""
    catalog = current_catalog(deployment)
    known = {entry.payload["release"]: entry for entry in ledger.entries("release")}
    if release is None:
        if catalog is None:
            raise BadInput("nothing is released yet", "--period", f"run `tierhouse run --periods {period}` first")
        release = catalog["periods"].get(period)
        if release is None:
            raise BadInput(
                f"{period} is not released; released are {', '.join(sorted(catalog['periods'])) or 'none'}",
                "--period",
                f"choose one of these, or run `tierhouse run --periods {period}`",
            )
    if release not in known:
        raise BadInput(f"there is no release {release!r}", "--release", "see `tierhouse releases`")
    entry = known[release]
    if entry.payload["period"] != period:
        raise BadInput(f"release {release} is of {entry.payload['period']}", "--release", f"write --period {entry.payload['period']}")
    manifest_file = deployment.releases / release / "manifest.json"
    try:
        manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise Failed(f"the manifest cannot be read: {err}", str(manifest_file), "restore the release folder from a backup") from err
    return {
        "release": release,
        "catalog": catalog["catalog"] if catalog else None,
        "is_visible": bool(catalog and catalog["periods"].get(period) == release),
        "released_at": entry.at,
        "ledger_seq": entry.seq,
        "cutoff_seq": manifest["cutoff_seq"],
        "manifest_hash": entry.payload.get("manifest_hash"),
        "policy_hash": manifest["policy_hash"],
        "code_version": manifest["code_version"],
        "run_id": manifest["run_id"],
    }


def _decision(deployment: Deployment, folder: Path, customer_id: str, program_id: str, period: str) -> dict[str, Any]:
    """The released row, by column."""
    file = folder / "fct_decisions.parquet"
    if not file.exists():
        raise Failed("the released decisions are gone", str(file), "restore the release folder from a backup")
    con = duckdb.connect()
    try:
        rows = con.execute(
            "select * from read_parquet(?) where subject_id = ? and program_id = ? and period = ?",
            [str(file), customer_id, program_id, period],
        )
        names = [column[0] for column in rows.description or []]
        found = rows.fetchone()
        if found:
            return dict(zip(names, found, strict=True))
        others = _periods_with(con, deployment, customer_id, program_id)
    except duckdb.Error as err:
        raise Failed(
            f"the released decisions cannot be read: {str(err).splitlines()[0]}", str(folder), "restore the release folder from a backup"
        ) from err
    finally:
        con.close()
    if others:
        raise BadInput(
            f"customer {customer_id!r} has no decision in {program_id} for {period}; there is one for {', '.join(others)}",
            "CUSTOMER",
            "choose one of these periods; a customer is graded in months with a day of service",
        )
    raise BadInput(
        f"there is no customer {customer_id!r} in any release", "CUSTOMER", f"check the id: it is customer_id in {file.name} of the release"
    )


def _periods_with(con: duckdb.DuckDBPyConnection, deployment: Deployment, customer_id: str, program_id: str) -> list[str]:
    catalog = current_catalog(deployment) or {"periods": {}}
    files = [str(deployment.releases / release / "fct_decisions.parquet") for release in catalog["periods"].values()]
    rows = con.execute(
        "select distinct period from read_parquet(?) where subject_id = ? and program_id = ? order by 1", [files, customer_id, program_id]
    ).fetchall()
    return [row[0] for row in rows]


def read_evidence(decision: dict[str, Any]) -> dict[str, Any]:
    """The values that the decision rests on; every number a Decimal."""
    return dict(json.loads(decision["evidence"] or "{}", parse_float=Decimal, parse_int=Decimal))


def _recorded_metrics(version: Version | None, evidence: dict[str, Any]) -> list[tuple[Metric, Decimal | None]]:
    """The metrics that the program's conditions rest on, with the values that the decision recorded."""
    found: dict[str, tuple[Metric, Decimal | None]] = {}
    for attribute in version.attributes if version else ():
        if attribute.kind == "metric":
            pairs = [(attribute.metric, attribute.attribute_id)]
        else:
            pairs = [(metric, metric.metric_id) for metric in (attribute.metric, attribute.months) if metric]
        for metric, key in pairs:
            if metric and key in evidence:
                found[metric.metric_id] = (metric, None if evidence[key] is None else Decimal(evidence[key]))
    return list(found.values())


def _same_rule(program: Program, rules: list[RuleVerdict], decision: dict[str, Any], release: str) -> None:
    if decision["status"] != "decided":
        return
    match = matching(rules, program)
    if (match.rule.rule_id if match else None) != decision["matched_rule_id"]:
        raise Mismatch(
            f"the policy gives rule {match.rule.rule_id if match else 'none'}, the decision holds {decision['matched_rule_id']}",
            f"{release}, customer {decision['subject_id']}",
            "the release was changed, or there is a defect: run `tierhouse ledger verify` and report it",
        )


def _window(
    metric: Metric, periods: list[str], value: Any, bills: list[BillRow], points: list[PointsRow], spend: tuple[str, ...]
) -> Window:
    """Add up the landed rows of a metric. Months in service come from customers and numbers, not from rows with amounts: not traced."""
    measure = metric.measure
    if metric.is_service:
        return Window(metric, periods, value, None, [])
    # A month is active when its spend is above zero.
    wanted = spend if measure.measure_id == "is_active" else measure.filter_values
    kinds: list[tuple[str, str, Decimal]] = (
        [(b.period, b.charge_type, b.amount) for b in bills]
        if measure.entity == "bill_lines"
        else [(p.period, p.points_type, Decimal(p.points)) for p in points]
    )
    amounts: dict[str, Decimal] = dict.fromkeys(periods, Decimal(0))
    rows: Counter[str] = Counter()
    for period, kind, found in kinds:
        if period in amounts and (not wanted or kind in wanted):
            amounts[period] += Decimal(1) if measure.aggregation == "count" else found
            rows[period] += 1
    months = Decimal(sum(1 for found in amounts.values() if found > 0))
    traced = months if metric.aggregation == "months" else sum(amounts.values(), Decimal(0))
    return Window(metric, periods, value, traced, [(period, found, rows[period]) for period, found in amounts.items()])


def _level(program: Program, level_id: str | None) -> dict[str, Any] | None:
    if level_id is None:
        return None
    level: Level = program.level(level_id)
    return {"level_id": level.level_id, "rank": level.rank, "name_en": level.row["name_en"], "name_zh": level.row["name_zh"]}


def _version(version: Version | None) -> dict[str, str | None] | None:
    """Validity, author and approver of a policy version."""
    if version is None:
        return None
    return {name: None if value is None else str(value) for name, value in version.row.values.items()} | {
        "policy_hash": version.policy_hash
    }


def _plain(value: Any) -> Any:
    return f"{value:f}" if isinstance(value, Decimal) else value


def _deliveries(ledger: Ledger, release: str) -> list[dict[str, Any]]:
    """Deliveries whose rows came from this release."""
    return [
        {key: entry.payload[key] for key in ("channel", "catalog", "as_of_period", "path", "sha256")} | {"at": entry.at}
        for entry in ledger.entries("delivery")
        if entry.payload["release"] == release
    ]
