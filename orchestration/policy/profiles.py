"""Profiles of subjects as z3 sees them: variables for attributes, formulas for conditions, examples from models.

Exact, not sampled: amounts are dense reals, counts are integers, categories are the values that rules or contracts name plus
"another one", and null is a value of its own wherever an attribute may be null. A comparison with null is false. Attributes
are taken as independent of each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import z3

from orchestration.policy.attributes import closed_values
from orchestration.policy.model import NUMERIC, Attribute, Condition, Level, Rule, Value, text_of

OTHER = "(another value)"
CENT = Decimal("0.01")
Profile = dict[str, Value | None]


@dataclass
class Variable:
    """An attribute as variables. ``codes``: for categories, booleans and levels the value of each code."""

    attribute: Attribute
    value: Any
    is_null: Any
    codes: tuple[Value, ...]
    cuts: tuple[Fraction, ...]

    def domain(self) -> Any:
        """What values it can take."""
        parts = [] if self.attribute.may_be_null else [z3.Not(self.is_null)]
        if self.codes:
            parts.append(z3.And(self.value >= 0, self.value < len(self.codes)))
        if self.attribute.minimum is not None:
            parts.append(self.value >= _number(self.attribute.minimum))
        if self.attribute.maximum is not None:
            parts.append(self.value <= _number(self.attribute.maximum))
        return z3.And(parts)


def _number(value: Value) -> Any:
    if isinstance(value, date):
        return z3.IntVal(value.toordinal())
    if isinstance(value, int):
        return z3.IntVal(value)
    return z3.RealVal(str(value))


def _fraction(value: Value) -> Fraction:
    return Fraction(value.toordinal()) if isinstance(value, date) else Fraction(value)


class Space:
    """All profiles that the rules of one version can tell apart."""

    def __init__(self, rules: Sequence[Rule], levels: Sequence[Level], extra: Iterable[Attribute] = ()) -> None:
        conditions = [c for rule in rules for c in rule.conditions]
        attributes = {a.attribute_id: a for a in [*(c.attribute for c in conditions), *extra]}
        self.ranks: dict[Value, int] = {level.level_id: level.rank for level in levels}
        self.variables = {name: self._variable(a, [c for c in conditions if c.attribute is a], levels) for name, a in attributes.items()}
        self.domain = z3.And([v.domain() for v in self.variables.values()])
        self.holds = {rule.rule_id: z3.And([self.formula(c) for c in rule.conditions]) for rule in rules}

    def _variable(self, attribute: Attribute, conditions: Sequence[Condition], levels: Sequence[Level]) -> Variable:
        name = attribute.attribute_id
        named = [value for c in conditions for value in c.values]
        is_null = z3.Bool(f"{name} is null")
        if attribute.type in NUMERIC or attribute.type == "date":
            sort = z3.Real if attribute.type == "decimal" else z3.Int
            return Variable(attribute, sort(name), is_null, (), tuple(sorted({_fraction(v) for v in named})))
        codes: tuple[Value, ...]
        if attribute.type == "boolean":
            codes = (False, True)
        elif attribute.type == "level":
            codes = tuple(level.level_id for level in levels)
        else:
            closed = closed_values(attribute)
            codes = tuple(dict.fromkeys([*(closed or attribute.allowed_values), *(str(v) for v in named)])) + (() if closed else (OTHER,))
        return Variable(attribute, z3.Int(name), is_null, codes, ())

    def formula(self, item: Condition) -> Any:
        """Whether a condition holds; false where it compares with null."""
        variable = self.variables[item.attribute.attribute_id]
        if item.operator == "is null":
            return variable.is_null
        known = z3.Not(variable.is_null)
        if item.operator == "is not null":
            return known
        if item.attribute.type == "level" and item.operator in {"<", "<=", ">", ">="}:
            bar = self.ranks[item.values[0]]
            codes = [n for n, code in enumerate(variable.codes) if _compare(self.ranks[code], item.operator, bar)]
            return z3.And(known, z3.Or([variable.value == n for n in codes]))
        values = [z3.IntVal(variable.codes.index(v)) if variable.codes else _number(v) for v in item.values]
        if item.operator == "in range":
            return z3.And(known, variable.value >= values[0], variable.value < values[1])
        if item.operator == "in":
            inside = z3.And(known, z3.Or([variable.value == v for v in values]))
            return z3.Or(inside, variable.is_null) if item.with_null else inside
        if item.operator == "not in":
            return z3.And(known, *[variable.value != v for v in values])
        return z3.And(known, _compare(variable.value, item.operator, values[0]))

    def example(self, model: Any) -> Profile:
        """The profile of a model, with numbers that a person would write."""
        return {name: self.value_of(variable, model) for name, variable in self.variables.items()}

    def value_of(self, variable: Variable, model: Any) -> Value | None:
        """The value of one variable in a model."""
        if z3.is_true(model.eval(variable.is_null, model_completion=True)):
            return None
        found = model.eval(variable.value, model_completion=True)
        if variable.codes:
            code: Value = variable.codes[found.as_long()]
            return code
        if variable.attribute.type == "date":
            return date.fromordinal(max(found.as_long(), 1))
        if variable.attribute.type == "integer":
            return int(found.as_long())
        return _plain(Fraction(found.numerator_as_long(), found.denominator_as_long()), variable)


def _compare(left: Any, operator: str, right: Any) -> Any:
    match operator:
        case "=":
            return left == right
        case "!=":
            return left != right
        case "<":
            return left < right
        case "<=":
            return left <= right
        case ">":
            return left > right
        case _:
            return left >= right


def _plain(value: Fraction, variable: Variable) -> Decimal:
    """A number with few decimals on the same side of every bar as ``value``."""
    if value in variable.cuts:
        return _decimal(value)
    below = [cut for cut in variable.cuts if cut < value]
    above = [cut for cut in variable.cuts if cut > value]
    attribute = variable.attribute
    low = below[-1] if below else (Fraction(attribute.minimum) if attribute.minimum is not None else None)
    high = above[0] if above else (Fraction(attribute.maximum) if attribute.maximum is not None else None)
    wishes = [Fraction(0)]
    if high is not None:
        wishes += [high - Fraction(CENT)]
    if low is not None:
        wishes += [low + Fraction(CENT)]
    if low is not None and high is not None:
        wishes += [(low + high) / 2]
    for wish in wishes:
        if (low is None or low < wish) and (high is None or wish < high):
            return _decimal(wish)
    return _decimal(value)


def _decimal(value: Fraction) -> Decimal:
    return (Decimal(value.numerator) / Decimal(value.denominator)).normalize() + 0


def condition_holds(item: Condition, value: Value | None, ranks: Mapping[Value, int]) -> bool:
    """Whether a condition holds for one value, in plain Python."""
    if item.operator == "is null":
        return value is None
    if item.operator == "is not null":
        return value is not None
    if value is None:
        return item.operator == "in" and item.with_null
    if item.operator == "in":
        return value in item.values
    if item.operator == "not in":
        return value not in item.values
    ordered = item.attribute.type == "level" and item.operator not in {"=", "!="}
    left: Any = ranks[value] if ordered else value
    right: Any = ranks[item.values[0]] if ordered else item.values[0]
    if item.operator == "in range":
        return bool(left >= item.values[0] and left < item.values[1])
    return bool(_compare(left, item.operator, right))


def first_rule(rules: Iterable[Rule], profile: Mapping[str, Value | None], ranks: Mapping[Value, int]) -> Rule | None:
    """The first of ``rules`` that holds for a profile."""
    for rule in rules:
        if all(condition_holds(c, profile[c.attribute.attribute_id], ranks) for c in rule.conditions):
            return rule
    return None


def shown(profile: Mapping[str, Value | None]) -> dict[str, str | None]:
    """A profile as text, null as None."""
    return {name: None if value is None else text_of(value) for name, value in profile.items()}
