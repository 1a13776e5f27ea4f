"""Whether a condition holds for the values that a decision recorded, and by how much it fails.

Plain Python and Decimal on the decision's evidence, not the compiled SQL. What it finds is compared with the rule that the
warehouse matched: an explanation that would tell another story than the decision is an error, not a text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from orchestration.errors import Failed
from orchestration.policy.model import Attribute, Condition, Program, Rule, Value, text_of


@dataclass(frozen=True)
class Verdict:
    """A condition with what was found. For an average ``found`` is the sum, ``months`` its divisor, ``bar`` the bar times the months."""

    condition: Condition
    holds: bool
    found: Value | None
    months: int | None = None
    bar: Decimal | None = None
    missing: Decimal | None = None

    def as_json(self) -> dict[str, Any]:
        """Numbers as text, so that no digit is lost."""
        attribute = self.condition.attribute
        return {
            "attribute": attribute.attribute_id,
            "name_en": attribute.row["name_en"],
            "name_zh": attribute.row["name_zh"],
            "unit": attribute.unit,
            "condition": self.condition.shown,
            "holds": self.holds,
            "found": None if self.found is None else text_of(self.found),
            **(
                {"months_in_service": self.months, "compared_with": None if self.bar is None else text_of(self.bar)}
                if attribute.months
                else {}
            ),
            "missing": None if self.missing is None else text_of(self.missing),
        }


@dataclass(frozen=True)
class RuleVerdict:
    """A rule with the verdict on each condition; it holds when all do."""

    rule: Rule
    conditions: tuple[Verdict, ...]

    @property
    def holds(self) -> bool:
        """Whether every condition holds; a rule without conditions always does."""
        return all(verdict.holds for verdict in self.conditions)

    def as_json(self) -> dict[str, Any]:
        """Shape of an item of ``rules``."""
        return {
            "rule_id": self.rule.rule_id,
            "order": self.rule.order,
            "level_id": self.rule.level_id,
            "description_en": self.rule.row["description_en"],
            "description_zh": self.rule.row["description_zh"],
            "holds": self.holds,
            "conditions": [verdict.as_json() for verdict in self.conditions],
        }


def judge_rule(rule: Rule, program: Program, evidence: Mapping[str, Any]) -> RuleVerdict:
    """Judge every condition of a rule, also those after the first that fails."""
    return RuleVerdict(rule, tuple(judge(condition, program, evidence) for condition in rule.conditions))


def judge(condition: Condition, program: Program, evidence: Mapping[str, Any]) -> Verdict:
    """Judge one condition. A comparison with null is false; an average compares its sum with bar × months in service."""
    attribute = condition.attribute
    if attribute.kind != "average":
        found = _recorded(evidence, attribute, attribute.attribute_id)
        holds = compare(condition, found, condition.values, program)
        return Verdict(condition, holds, found, missing=None if holds else _missing(condition, found, condition.values))
    if attribute.metric is None or attribute.months is None:
        raise Failed(
            f"{attribute.attribute_id} is an average without a metric", remedy="report it: the policy should not have been accepted"
        )
    total = _recorded(evidence, attribute, attribute.metric.metric_id)
    months = int(_recorded(evidence, attribute, attribute.months.metric_id) or 0)  # type: ignore[arg-type]
    average_of = total if months else None
    bars = [value * months for value in condition.values if isinstance(value, Decimal)]
    holds = compare(condition, average_of, bars, program)
    return Verdict(
        condition, holds, average_of, months, bars[0] if len(bars) == 1 else None, None if holds else _missing(condition, average_of, bars)
    )


def _recorded(evidence: Mapping[str, Any], attribute: Attribute, key: str) -> Value | None:
    """The value that the decision recorded, typed as the attribute is."""
    if key not in evidence:
        raise Failed(
            f"the decision's evidence lacks {key}",
            attribute.attribute_id,
            "report it: a released decision must carry every value it rests on",
        )
    value: Any = evidence[key]
    if value is None:
        return None
    if attribute.type in ("decimal", "integer"):
        return Decimal(value)
    if attribute.type == "date":
        return date.fromisoformat(value)
    return bool(value) if attribute.type == "boolean" else str(value)


def compare(condition: Condition, found: Value | None, values: Sequence[Value], program: Program) -> bool:
    """Whether the comparison is true for ``found``. Null is equal to nothing; only ``is null`` and a list with null admit it."""
    operator = condition.operator
    if operator == "is null":
        return found is None
    if found is None:
        return operator == "in" and condition.with_null
    if operator == "is not null":
        return True
    if operator == "in":
        return found in values
    if operator == "not in":
        return found not in values
    if operator in ("=", "!="):
        return (found == values[0]) == (operator == "=")

    def place(value: Any) -> Any:
        return program.level(value).rank if condition.attribute.type == "level" else value

    at, bars = place(found), [place(value) for value in values]
    if operator == "in range":
        return bool(bars[0] <= at < bars[1])
    return bool({"<": at < bars[0], "<=": at <= bars[0], ">": at > bars[0], ">=": at >= bars[0]}[operator])


def _missing(condition: Condition, found: Value | None, values: Sequence[Value]) -> Decimal | None:
    """How much more is needed for ``found`` to reach the bar; None where more would not help."""
    if condition.operator not in (">=", ">", "in range") or not isinstance(found, Decimal) or not isinstance(values[0], int | Decimal):
        return None
    return values[0] - found if found <= values[0] else None


def matching(verdicts: Sequence[RuleVerdict], program: Program) -> RuleVerdict | None:
    """The rule that decides: the first that holds, or under *priority* the one with the highest level; None where none or too many hold."""
    holding = [verdict for verdict in verdicts if verdict.holds]
    if not holding or (program.hit_policy == "unique" and len(holding) > 1):
        return None
    if program.hit_policy == "priority":
        return max(holding, key=lambda v: (program.level(v.rule.level_id).rank, -v.rule.order))
    return min(holding, key=lambda v: v.rule.order)
