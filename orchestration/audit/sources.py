"""Values that come from one landed row: columns of the newest row, nominations and applications, each found again in the landing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from orchestration.audit.landed import ApplicationStep, EntityRow, Landing, NominationRow, as_dict
from orchestration.audit.readings import Evidence, Reading, as_text
from orchestration.ingest.contracts import load_contracts
from orchestration.periods import first_day, last_day, period_index
from orchestration.policy.model import Attribute, Program, Version, text_of
from orchestration.policy.subjects import SUBJECT_TYPES

# Columns of a customer that are those of the newest row; the rest of a customer's metrics is worked out from service and bills.
_OF_NEWEST_ROW = frozenset({"brand", "plan", "region", "segment", "is_real_name", "credit_class"})
# Days of joining and leaving are those that the newest row of all says, whenever it holds from; of who came back see rows_of_spell, and of
# who leaves later _that_left.
_OF_ALL_ROWS = frozenset({"joined_date", "left_date"})


@dataclass(frozen=True)
class ColumnTrace:
    """One column attribute with the landed row that gave it (None: there is no such row). ``again`` is what that row gives."""

    attribute: Attribute
    entity: str
    value: Any
    again: Any
    row: EntityRow | None

    @property
    def agrees(self) -> bool:
        """Whether the row gives the value of the decision."""
        return bool(self.value == self.again)

    def as_json(self) -> dict[str, Any]:
        """Shape of an item of ``columns``."""
        return {
            "attribute": self.attribute.attribute_id,
            "name_en": self.attribute.row["name_en"],
            "name_zh": self.attribute.row["name_zh"],
            "entity": self.entity,
            "column": self.attribute.column_name,
            "value": as_text(self.value),
            "row": None if self.row is None else as_dict(self.row),
        }


@dataclass(frozen=True)
class Departure:
    """A landed row that says until when a subject was there: ``column`` of ``entity``, a last day before the period."""

    entity: str
    column: str
    day: date
    row: EntityRow

    def as_json(self) -> dict[str, Any]:
        """Shape of an item of ``departures``."""
        return {"entity": self.entity, "column": self.column, "day": self.day.isoformat(), "row": as_dict(self.row)}


def departures(landing: Landing, program: Program, subject_id: str, period: str) -> list[Departure]:
    """The last days before the period that rows of the subject state, of a customer those of the numbers too; the newest last."""
    subject = SUBJECT_TYPES[program.subject_type]
    asked = [(subject.entity, subject.to_column), *([("lines", "end_date")] if subject.name == "customer" else [])]
    found = [
        Departure(entity, column, row.values[column], row)
        for entity, column in asked
        if column is not None
        for row in landing.entity_rows(entity, subject.key, subject_id)
        if row.values[column] is not None and row.values[column] < first_day(period)
    ]
    return sorted(found, key=lambda d: (d.day, d.entity, d.row.file, d.row.row))


def readings(version: Version, evidence: Evidence) -> list[Reading]:
    """The readings of all attributes of a version and of what they are made of, each once, parts first."""
    return list({r.attribute.attribute_id: r for a in version.attributes for r in evidence.read(a).walk()}.values())


def trace_columns(landing: Landing, program: Program, subject_id: str, period: str, found: Iterable[Reading]) -> list[ColumnTrace]:
    """Every column that a landed row gives, with that row; without those that were not delivered."""
    subject = SUBJECT_TYPES[program.subject_type]
    rows: dict[str, list[EntityRow]] = {}
    traces = []
    for reading in found:
        a = reading.attribute
        if a.kind not in {"column", "months_since"} or reading.undelivered:
            continue
        entity = a.entity or subject.entity
        column = str(a.column_name)
        is_customers_own = subject.name == "customer" and entity == subject.entity
        if is_customers_own and column not in _OF_NEWEST_ROW | _OF_ALL_ROWS:
            continue
        if entity not in rows:
            rows[entity] = landing.entity_rows(entity, subject.key, subject_id)
        is_event = subject.at_column is not None and entity == subject.entity
        until = (
            None
            if is_customers_own and column in _OF_ALL_ROWS
            else _noted_until(entity, rows[entity], period)
            if is_event
            else last_day(period)
        )
        told = rows_of_spell(rows[entity], last_day(period)) if is_customers_own and column in _OF_ALL_ROWS else rows[entity]
        row = _newest(entity, told, until)
        if is_customers_own and column == "left_date":
            row = _that_left(row, rows[entity], last_day(period))
        again = None if row is None else _as_recorded(a, row.values[column], period)
        traces.append(ColumnTrace(a, entity, reading.value, again, row))
    return traces


def _noted_until(entity: str, rows: list[EntityRow], period: str) -> date:
    """The day up to which notices of an event count: the end of its month; if nobody had noted it by then, of the month of its first notice."""
    history = load_contracts()[entity].history
    assert history
    first = min((row.values[history] for row in rows), default=None)
    return last_day(period) if first is None else max(last_day(period), last_day(f"{first:%Y-%m}"))


def rows_of_spell(rows: list[EntityRow], until: date) -> list[EntityRow]:
    """A customer's rows of the newest relationship that had begun by a day, else of the first: who left may have joined again."""
    history = load_contracts()["customers"].history
    assert history
    spells: list[list[EntityRow]] = []
    # Rows come in the order of source and file, which stays the order of those of one day.
    for row in sorted(rows, key=lambda row: row.values[history]):
        left = spells[-1][-1].values["left_date"] if spells else None
        joined = row.values["joined_date"]
        if not spells or (left is not None and joined is not None and joined >= left):
            spells.append([])
        spells[-1].append(row)
    begun = [spell for spell in spells if spell[-1].values["joined_date"] is not None and spell[-1].values["joined_date"] <= until]
    return (begun or spells[:1] or [[]])[-1]


def _that_left(newest: EntityRow | None, rows: list[EntityRow], until: date) -> EntityRow | None:
    """The row with the leaving day of a customer: the newest one if that has passed by ``until``, else the one that holds then and announces it."""
    if newest is not None and (left := newest.values["left_date"]) is not None and left <= until:
        return newest
    holding = _newest("customers", rows, until)
    left = None if holding is None else holding.values["left_date"]
    return holding if left is not None and left > until else None


def _newest(entity: str, rows: list[EntityRow], until: date | None) -> EntityRow | None:
    """The row that holds on ``until``. Of rows from one day the warehouse takes the last, in the order of source and file."""
    history = load_contracts()[entity].history
    assert history
    there = [row for row in rows if until is None or row.values[history] <= until]
    if not there:
        return None
    newest = max(row.values[history] for row in there)
    return [row for row in there if row.values[history] == newest][-1]


def _as_recorded(a: Attribute, value: Any, period: str) -> Any:
    """A landed value as the evidence writes and reads it."""
    if value is None:
        return None
    if a.kind == "months_since":
        return Decimal(period_index(period) - (value.year * 12 + value.month - 1))
    if a.type == "date":
        return value.date() if isinstance(value, datetime) else value
    if isinstance(value, bool):
        # Read as a category it is a word.
        return value if a.type == "boolean" else text_of(value)
    if a.type in {"decimal", "integer"}:
        number = Decimal(value)
        return number.quantize(Decimal("0.0001"), ROUND_HALF_UP) if a.type == "decimal" else number.quantize(Decimal(1), ROUND_HALF_UP)
    return str(value)


def highest_nominated(rows: list[NominationRow], program: Program, period: str) -> str | None:
    """The highest level nominated and approved, in force in the period."""
    ranks = {level.level_id: level.rank for level in program.levels}
    counting = [n.level_id for n in rows if n.kind == "nominate" and n.level_id in ranks and n.standing(period) == "counts"]
    return max(counting, key=lambda level: ranks[level], default=None)


def application_state(steps: list[ApplicationStep], period: str) -> tuple[str | None, str | None]:
    """(id, state) of the application that counts, as known at the end of the period: the one begun last, or while that one is in hand an
    earlier one that was approved and not refused since."""
    known: dict[str, list[ApplicationStep]] = {}
    for step in steps:
        if step.step_date <= last_day(period):
            known.setdefault(step.application_id, []).append(step)
    if not known:
        return None, None
    states: list[tuple[str, str]] = []
    for name, taken in sorted(known.items(), key=lambda item: (min(s.step_date for s in item[1]), item[0])):
        outcome = max((s.outcome for s in taken if s.step == "decision" and s.outcome), default=None)
        since = taken
        if outcome == "returned":
            # Handed in again under the same id, it begins anew.
            returned = max(s.step_date for s in taken if s.step == "decision")
            if any(s.step == "application" and s.step_date > returned for s in taken):
                outcome, since = None, [s for s in taken if s.step_date > returned]
        in_hand = "reviewed" if any(s.step in ("review", "decision") for s in since) else "applied"
        states.append((name, outcome or in_hand))
    decided = [found for found in states if found[1] in ("approved", "refused")]
    return decided[-1] if decided and decided[-1][1] == "approved" else states[-1]
