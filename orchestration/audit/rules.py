"""Whether a condition holds for the values that a decision recorded, and by how much it fails.

What is found here is compared with what the warehouse decided: an explanation that would tell another story than the decision is
an error, not a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from orchestration.audit.numbers import Number
from orchestration.audit.readings import Evidence, Reading, as_text
from orchestration.policy.model import COMPARE, RANKED, AnyRule, Cap, Condition, Program, ScopeRule, Value, Version, text_of
from orchestration.policy.reader import Row

# No amount of one's own mends a rank: others move too.
_NOT_RAISED = RANKED | {"band"}


@dataclass(frozen=True)
class Verdict:
    """A condition with what was found. ``bars``: what the number's left side is compared with, bar × denominator; ``missing``: how much
    more of the number (of a quotient: of its numerator) the lower bound asks for, where that would help."""

    condition: Condition
    holds: bool
    reading: Reading
    bars: tuple[Decimal, ...] = ()
    missing: Decimal | None = None

    def as_json(self) -> dict[str, Any]:
        """Numbers as text, so that no digit is lost."""
        number = self.reading.number
        return {
            "attribute": self.condition.attribute.attribute_id,
            "condition": self.condition.shown,
            "holds": self.holds,
            "found": self.reading.as_json(),
            "left_side": None if number is None or not self.bars else text_of(number.left),
            "compared_with": [text_of(bar) for bar in self.bars],
            "missing": as_text(self.missing),
        }


@dataclass(frozen=True)
class TableVerdict:
    """A rule, scope rule or cap with the verdict on each condition; it holds when all do. ``level_id``: that it gives or caps at."""

    item_id: str
    level_id: str | None
    row: Row
    conditions: tuple[Verdict, ...]
    order: int = 0

    @property
    def holds(self) -> bool:
        """Whether every condition holds; a rule without conditions always does."""
        return all(verdict.holds for verdict in self.conditions)

    def as_json(self) -> dict[str, Any]:
        """Shape of an item of ``rules``, ``scope_rules`` and ``caps``."""
        return {
            "id": self.item_id,
            "level_id": self.level_id,
            "description_en": self.row["description_en"],
            "description_zh": self.row["description_zh"],
            "holds": self.holds,
            "conditions": [verdict.as_json() for verdict in self.conditions],
        }


def judge_rule(rule: AnyRule, program: Program, evidence: Evidence) -> TableVerdict:
    """Judge every condition, also those after the first that fails."""
    verdicts = tuple(judge(condition, program, evidence) for condition in rule.conditions)
    if isinstance(rule, Cap):
        return TableVerdict(rule.cap_id, rule.level_id, rule.row, verdicts)
    if isinstance(rule, ScopeRule):
        return TableVerdict(rule.rule_id, None, rule.row, verdicts)
    return TableVerdict(rule.rule_id, rule.level_id, rule.row, verdicts, rule.order)


def judge(condition: Condition, program: Program, evidence: Evidence) -> Verdict:
    """Judge one condition. A comparison with null is false; quotients are compared as products."""
    reading = evidence.read(condition.attribute)
    if condition.attribute.kind == "band" or reading.number is None:
        return Verdict(condition, compare(condition, reading.value, program), reading)
    number = reading.number
    values = [Decimal(value) for value in condition.values if isinstance(value, int | Decimal)]
    holds = _compare_number(condition.operator, number, values)
    missing = None
    if not holds and condition.attribute.kind not in _NOT_RAISED:
        missing = _missing(condition, number, values)
    return Verdict(condition, holds, reading, tuple(number.bar(value) for value in values), missing)


def _compare_number(operator: str, number: Number, values: Sequence[Decimal]) -> bool:
    if operator in ("is null", "is not null"):
        return operator == "is not null"
    places = [number.compare(value) for value in values]
    if operator in ("in", "not in"):
        return (0 in places) == (operator == "in")
    if operator == "in range":
        return places[0] >= 0 and places[1] < 0
    return bool(COMPARE[operator](places[0], 0))


def compare(condition: Condition, found: Value | None, program: Program) -> bool:
    """Whether a condition holds for a value that is no number. Null is equal to nothing; only ``is null`` and a list with null admit it."""
    operator, values = condition.operator, condition.values
    if operator == "is null":
        return found is None
    if found is None:
        return operator == "in" and condition.with_null
    if operator == "is not null":
        return True
    if operator in ("in", "not in"):
        return (found in values) == (operator == "in")

    def place(value: Any) -> Any:
        return program.level(value).rank if condition.is_by_rank else value

    at, bars = place(found), [place(value) for value in values]
    if operator == "in range":
        return bool(bars[0] <= at < bars[1])
    return bool(COMPARE[operator](at, bars[0]))


def _missing(condition: Condition, number: Number, values: Sequence[Decimal]) -> Decimal | None:
    """How much more is needed to reach the lower bound; None where more would not help."""
    if condition.operator not in (">=", ">", "in range") or number.compare(values[0]) > 0:
        return None
    short = number.short_of(values[0])
    if condition.operator == ">":
        return short + (1 if condition.attribute.type == "integer" else Decimal("0.0001"))
    return short if short > 0 else None


def matching(verdicts: Sequence[TableVerdict], program: Program) -> TableVerdict | None:
    """The rule that decides: the first that holds, or under *priority* the one with the highest level; None where none or too many hold."""
    holding = [verdict for verdict in verdicts if verdict.holds]
    if not holding or (program.hit_policy == "unique" and len(holding) > 1):
        return None
    if program.hit_policy == "priority":
        return max(holding, key=lambda v: (program.level(str(v.level_id)).rank, -v.order))
    return min(holding, key=lambda v: v.order)


def lowest_cap(verdicts: Sequence[TableVerdict], program: Program) -> TableVerdict | None:
    """The cap in force with the lowest level."""
    holding = [verdict for verdict in verdicts if verdict.holds]
    return min(holding, key=lambda v: program.level(str(v.level_id)).rank, default=None)


def refused_by(version: Version, evidence: Evidence) -> str | None:
    """The number without which the subject is not evaluated, of the first dimension that refuses and lacks it."""
    for reading in (r for a in version.attributes for r in evidence.read(a).walk()):
        for part in reading.dimensions:
            if part.dimension.missing == "refuse" and part.scaled is None:
                return part.dimension.attribute.attribute_id
    return None
