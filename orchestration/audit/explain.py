"""Why a subject has a level: the released decision, its policy, and the landed rows behind it, as data.

Everything is read from what was released: the release folder (decision, policies, manifest), the landing up to the release's
cut-off, and the ledger. Never from the warehouse, which may already hold something newer. Words are in ``render``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Any

from orchestration.audit.landed import ApplicationStep, BillRow, Landing, NominationRow, PointsRow, as_dict
from orchestration.audit.life import Outlook, check_steps, outlook
from orchestration.audit.mismatch import mismatch
from orchestration.audit.population import Population
from orchestration.audit.readings import Evidence, Reading
from orchestration.audit.released import DECISIONS, deliveries, find_decision, find_program, find_release, read_steps
from orchestration.audit.rules import TableVerdict, judge_rule, lowest_cap, matching, refused_by
from orchestration.audit.sources import ColumnTrace, Departure, application_state, departures, highest_nominated, readings, trace_columns
from orchestration.audit.windows import Traced, Window, recorded_metrics, trace
from orchestration.deployment import Deployment
from orchestration.ledger import Ledger
from orchestration.policy.load import load_policy_files
from orchestration.policy.model import Level, Program, Version
from orchestration.policy.reader import Row

SEVERAL_HOLD = "several rules hold: unique allows one"
NOT_IN_SERVICE = "not_in_service"
NONE_HOLDS = "no rule holds"


@dataclass(frozen=True)
class Explanation:
    """All that is known about one decision. ``decision`` is the released row, by column; ``is_amount_enough``: whether its missing amount
    gives the next level all by itself (null where none is missing)."""

    subject_id: str
    period: str
    decision: dict[str, Any]
    release: dict[str, Any]
    program: Program
    version: Version | None
    charge_types: dict[str, Row]
    tables: Tables
    readings: list[Reading]
    traced: Traced
    columns: list[ColumnTrace]
    nominations: list[NominationRow]
    applications: list[ApplicationStep]
    deliveries: list[dict[str, Any]]
    unit: str
    is_amount_enough: bool | None = None
    next_review: Outlook | None = None
    departures: list[Departure] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def windows(self) -> list[Window]:
        """The metrics that the decision rests on."""
        return self.traced.windows

    @property
    def bills(self) -> list[BillRow]:
        """The bill lines of all windows."""
        return self.traced.bills

    @property
    def points(self) -> list[PointsRow]:
        """The points of all windows."""
        return self.traced.points

    @property
    def rules(self) -> list[TableVerdict]:
        """Every rule of the version, in order."""
        return self.tables.rules

    @property
    def matched(self) -> TableVerdict | None:
        """The rule that gave the qualified level."""
        return next((v for v in self.rules if v.item_id == self.decision["matched_rule_id"]), None)

    @property
    def above(self) -> list[TableVerdict]:
        """The rules of the next higher level than the qualified one; none of them holds, or none of them decides."""
        above = self.level_above
        return [v for v in self.rules if above and v.level_id == above.level_id]

    @property
    def level_above(self) -> Level | None:
        """The next higher level than the qualified one that the rules of the version give."""
        if self.version is None or self.decision["qualified_level_id"] is None:
            return None
        return _next_above(self.program, self.version, str(self.decision["qualified_level_id"]))

    @property
    def cap(self) -> TableVerdict | None:
        """The lowest cap in force."""
        return lowest_cap(self.tables.caps, self.program) if self.decision["status"] == "decided" else None

    def counts(self, bill: BillRow) -> bool:
        """Whether a bill line counts as spend."""
        known = self.charge_types.get(bill.charge_type)
        return bool(known and known["counts_as_spend"])

    def as_json(self) -> dict[str, Any]:
        """The explanation for machines. Amounts are text, so that no digit is lost."""
        program = self.program
        above = self.above
        return {
            "subject_type": program.subject_type,
            "subject_id": self.subject_id,
            "program": {
                "program_id": program.program_id,
                "name_en": program.row["name_en"],
                "name_zh": program.row["name_zh"],
                "method": program.method,
                "hit_policy": program.hit_policy,
            },
            "period": self.period,
            "level": _level(program, self.decision["level_id"]),
            "currency": self.unit,
            "decision": {k: _plain(v) for k, v in self.decision.items() if k not in ("evidence", "steps")},
            "evidence": json.loads(self.decision["evidence"] or "{}"),
            "steps": self.steps,
            "next_review": self.next_review.as_json() if self.next_review else None,
            "policy": _version(self.version, self.decision),
            "matched_rule": self.matched.as_json() if self.matched else None,
            "level_above": _level(program, above[0].level_id) if above else None,
            "rules_of_level_above": [v.as_json() for v in above],
            "is_amount_enough": self.is_amount_enough,
            "rules": [v.as_json() for v in self.rules],
            "scope_rules": [v.as_json() for v in self.tables.scope],
            "caps": [v.as_json() for v in self.tables.caps],
            "attributes": [reading.as_json() for reading in self.readings],
            "windows": [w.as_json() for w in self.windows],
            "columns": [c.as_json() for c in self.columns],
            "departures": [d.as_json() for d in self.departures],
            "bills": [_without_values(as_dict(b)) | {"counts_as_spend": self.counts(b)} for b in self.bills],
            "points": [as_dict(p) for p in self.points],
            "nominations": [{**as_dict(n), "standing": n.standing(self.period)} for n in self.nominations],
            "applications": [as_dict(step) for step in self.applications],
            "release": self.release,
            "deliveries": self.deliveries,
        }


@dataclass(frozen=True)
class Tables:
    """Verdicts on the three tables of a policy version."""

    rules: list[TableVerdict]
    scope: list[TableVerdict]
    caps: list[TableVerdict]


def explain(
    deployment: Deployment, ledger: Ledger, subject_id: str, program_id: str | None, period: str, release: str | None = None
) -> Explanation:
    """Explain one decision of the catalog in force, or of the named ``release``; without ``program_id`` of its first program.

    Raises BadInput if the period is not released or the subject or program is not in it, and Mismatch if the evidence, the landed
    rows, the other subjects of the release or the rules give another result than the decision.
    """
    found = find_release(deployment, ledger, period, release)
    folder = deployment.releases / found["release"]
    policies = load_policy_files(folder / "policy")
    program = find_program(policies, program_id)
    # A source may have been taken out since its files landed, or since the release was made: neither changes what the decision rests on.
    version = program.version_for(period)
    version = version and version.without(frozenset(found["undelivered"]))
    decision = find_decision(deployment, found["release"], program, subject_id, period)
    steps = read_steps(decision)
    where = f"{found['release']}, {program.subject_type} {subject_id}"
    evidence = Evidence(json.loads(decision["evidence"] or "{}", parse_float=Decimal, parse_int=Decimal), where)
    judged = _judged(version, evidence, decision)
    tables = _judge(judged, program, evidence)
    read = readings(judged, evidence) if judged else []
    _same_outcome(program, judged, tables, evidence, decision, where)
    if decision["status"] != "out_of_scope":
        Population(folder / DECISIONS, program.program_id, period).check(read, where)
    kinds = {reading.attribute.kind for reading in read}
    with Landing(deployment, ledger, found["cutoff_seq"]) as landing:
        metrics = recorded_metrics(judged, evidence) if judged else []
        traced = trace(landing, program.subject_type, subject_id, period, metrics, policies.spend_charge_types)
        columns = trace_columns(landing, program, subject_id, period, read)
        nominations = landing.nominations(subject_id, program.program_id)
        applications = landing.applications(subject_id, program.program_id) if "application" in kinds else []
        gone = departures(landing, program, subject_id, period) if decision["status_reason"] == "left" else []
    _same_values(traced, columns, read, nominations, applications, program, period, where)
    check_steps(
        decision,
        steps,
        program,
        next((v for v in tables.rules if v.item_id == decision["matched_rule_id"]), None),
        tables.caps,
        nominations,
        where,
    )
    return Explanation(
        subject_id=subject_id,
        period=period,
        decision=decision,
        release=found,
        program=program,
        version=version,
        charge_types={row["charge_type"]: row for row in policies.seeds["charge_types"]},
        tables=tables,
        readings=read,
        traced=traced,
        columns=columns,
        nominations=nominations,
        applications=applications,
        deliveries=deliveries(deployment, ledger, found["release"], policies, program.program_id, subject_id),
        unit=deployment.config.currency,
        is_amount_enough=_is_amount_enough(program, judged, evidence, read, decision),
        departures=gone,
        next_review=outlook(decision, program),
        steps=steps,
    )


def _judged(version: Version | None, evidence: Evidence, decision: dict[str, Any]) -> Version | None:
    """What the evidence lets judge of a version: all of it, of a program that lacks an input the scope rules that were asked all the
    same, and nothing (None) where a row rests on no values, such as a leaver's."""
    if version is None or not evidence:
        return None
    lacks_input = decision["status"] == "out_of_scope" or (decision["status_reason"] or "").startswith("needs ")
    if not lacks_input or all(map(evidence.covers, version.attributes)):
        return version
    asked = (rule for rule in version.scope_rules if all(evidence.covers(c.attribute) for c in rule.conditions))
    return replace(version, rules=(), caps=(), scope_rules=tuple(asked))


def _judge(version: Version | None, program: Program, evidence: Evidence) -> Tables:
    if version is None:
        return Tables([], [], [])

    def all_of(items: Sequence[Any]) -> list[TableVerdict]:
        return [judge_rule(item, program, evidence) for item in items]

    return Tables(all_of(version.rules), all_of(version.scope_rules), all_of(version.caps))


def _same_outcome(
    program: Program, version: Version | None, tables: Tables, evidence: Evidence, decision: dict[str, Any], where: str
) -> None:
    """Scope, matched rule, cap and what is missing, each as the policy gives them from the evidence."""
    if version is None:
        if decision["status"] == "decided":
            raise mismatch("the decision rests on no values", where)
        return
    outside = next((v.item_id for v in tables.scope if v.holds), None)
    recorded = decision["status_reason"] if decision["status"] == "out_of_scope" else None
    own = {v.item_id for v in tables.scope}
    # Of who was only billed the warehouse says so before any scope rule is asked.
    if outside != recorded and recorded != NOT_IN_SERVICE and (outside is not None or recorded in own):
        raise mismatch(f"the policy gives scope rule {outside or 'none'}, the decision holds {recorded or 'none'}", where)
    if decision["status"] == "out_of_scope" or not version.rules:
        return
    refused = refused_by(version, evidence)
    match = None if refused else matching(tables.rules, program)
    if (match.item_id if match else None) != decision["matched_rule_id"]:
        raise mismatch(
            f"the policy gives rule {match.item_id if match else 'none'}, the decision holds {decision['matched_rule_id']}", where
        )
    if match is None:
        holding = [v.item_id for v in tables.rules if v.holds]
        reason = f"needs {refused}" if refused else SEVERAL_HOLD if holding else NONE_HOLDS
        if decision["status_reason"] != reason:
            raise mismatch(f"the policy gives no level ({reason}), the decision says {decision['status_reason']}", where)
        return
    _same_score(version, evidence, decision, where)
    cap = lowest_cap(tables.caps, program)
    rank = program.level(str(cap.level_id)).rank if cap else None
    if "cap_level_rank" in decision and decision["cap_level_rank"] != rank:
        raise mismatch(f"the policy gives a cap of rank {rank}, the decision holds {decision['cap_level_rank']}", where)
    _same_gap(program, version, tables, match, decision, where)


def _same_score(version: Version, evidence: Evidence, decision: dict[str, Any], where: str) -> None:
    scores = [r for a in version.attributes for r in evidence.read(a).walk() if r.attribute.kind == "score"]
    if scores and decision.get("score") is not None and Decimal(decision["score"]) != scores[0].value:
        raise mismatch(f"the evidence gives a score of {scores[0].value}, the decision holds {decision['score']}", where)


def _next_above(program: Program, version: Version, level_id: str) -> Level | None:
    """The next higher level than ``level_id`` that the rules of a version give."""
    rank = program.level(level_id).rank
    return next((level for level in program.ladder(version) if level.rank > rank), None)


def _same_gap(program: Program, version: Version, tables: Tables, match: TableVerdict, decision: dict[str, Any], where: str) -> None:
    """What is missing to the next level is what one of its rules asks for."""
    missing, attribute = decision["missing_amount"], decision["missing_attribute"]
    if missing is None:
        return
    above = _next_above(program, version, str(match.level_id))
    asked = [c.missing for v in tables.rules if above and v.level_id == above.level_id for c in v.conditions
             if c.condition.attribute.attribute_id == attribute and c.missing is not None]  # fmt: skip
    if Decimal(missing) not in asked:
        shown = " or ".join(f"{amount:f}" for amount in asked) or "nothing"
        raise mismatch(f"the policy asks for {shown} more of {attribute}, the decision says {missing}", where)


def _is_amount_enough(
    program: Program, version: Version | None, evidence: Evidence, read: Sequence[Reading], decision: dict[str, Any]
) -> bool | None:
    """Whether the rules give the next level, or a higher one, once the missing amount is added and all else stays."""
    number = next((r for r in read if r.attribute.attribute_id == decision["missing_attribute"]), None)
    if version is None or decision["missing_amount"] is None or decision["next_level_id"] is None or number is None:
        return None
    raised = evidence.raised(number, Decimal(decision["missing_amount"]))
    match = matching([judge_rule(rule, program, raised) for rule in version.rules], program)
    return match is not None and program.level(str(match.level_id)).rank >= program.level(decision["next_level_id"]).rank


def _same_values(
    traced: Traced,
    columns: list[ColumnTrace],
    read: list[Reading],
    nominations: list[NominationRow],
    applications: list[ApplicationStep],
    program: Program,
    period: str,
    where: str,
) -> None:
    """Every value of the evidence that comes from landed rows, as these rows give it."""
    pairs: list[tuple[str, Any, Any]] = [(w.metric.metric_id, w.traced, w.value) for w in traced.windows if not w.agrees]
    pairs += [(c.attribute.attribute_id, c.again, c.value) for c in columns if not c.agrees]
    for reading in read:
        again = reading.value
        if reading.attribute.kind == "nomination":
            again = highest_nominated(nominations, program, period)
        elif reading.attribute.kind == "application":
            _, again = application_state(applications, period)
        if again != reading.value:
            pairs.append((reading.attribute.attribute_id, again, reading.value))
        pairs += [(name, None, reading.operands[name]) for name in reading.undelivered if reading.operands[name] is not None]
    for name, again, recorded in pairs:
        raise mismatch(f"the landed rows give {name} = {again}, the decision holds {recorded}", where, "the landing or the release")


def _level(program: Program, level_id: str | None) -> dict[str, Any] | None:
    if level_id is None:
        return None
    level: Level = program.level(level_id)
    return {"level_id": level.level_id, "rank": level.rank, "name_en": level.row["name_en"], "name_zh": level.row["name_zh"]}


def _version(version: Version | None, decision: dict[str, Any]) -> dict[str, str | None] | None:
    """Validity, author and approver of a policy version, and the hash that the decision was recorded with: an older release reckoned it otherwise."""
    if version is None:
        return None
    return {name: None if value is None else str(value) for name, value in version.row.values.items()} | {
        "policy_hash": decision.get("policy_hash") or version.policy_hash
    }


def _without_values(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "values"}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, date) else value
