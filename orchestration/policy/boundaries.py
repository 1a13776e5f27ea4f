"""Boundary cases of the decision tables as a reviewable file: each bar, a step either side, null, with the level each gets.

For each comparison of each rule: a profile that the rule decides, with only the compared attribute moved.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import z3

from orchestration.policy.compile import evaluation_order
from orchestration.policy.model import Attribute, Condition, Policies, Program, Value, Version, text_of
from orchestration.policy.profiles import CENT, OTHER, Profile, Space, Variable, condition_holds, first_rule, table_holds, wished

COLUMNS = (
    "program_id", "version", "rule_id", "attribute", "case", "value", "level_id", "matched_rule_id", "capped_to", "other_attributes",
)  # fmt: skip
NULL = "(null)"
OUT_OF_SCOPE = "(out of scope)"
NO_LEVEL = "(none)"


def boundary_cases(program: Program, version: Version) -> list[dict[str, str]]:
    """Rows of :data:`COLUMNS`: of the rules in the order in which they are asked, then of scope rules and caps.

    ``rule_id`` is the rule, scope rule or cap whose bar it is; ``level_id`` the level before caps, ``capped_to`` that after them
    where it is a lower one.
    """
    cases = _Cases(program, version)
    space, above = cases.space, z3.BoolVal(False)
    for rule in cases.rules:
        holds = space.all_hold(rule)
        cases.add(rule.rule_id, rule.conditions, z3.And(cases.in_scope, holds, z3.Not(above)))
        above = z3.Or(above, holds)
    for scope in version.scope_rules:
        cases.add(scope.rule_id, scope.conditions, space.all_hold(scope))
    for cap in version.caps:
        rank = program.level(cap.level_id).rank
        lowered = z3.Or([space.all_hold(rule) for rule in cases.rules if program.level(rule.level_id).rank > rank])
        held = z3.And(cases.in_scope, space.all_hold(cap))
        if not cases.add(cap.cap_id, cap.conditions, z3.And(held, lowered)):
            cases.add(cap.cap_id, cap.conditions, held)
    return list(cases.rows.values())


class _Cases:
    """The cases of one version as they are found; each stands once."""

    def __init__(self, program: Program, version: Version) -> None:
        self.program, self.version = program, version
        self.rules = evaluation_order(program, version)
        self.space = Space([*self.rules, *version.scope_rules, *version.caps], program.levels)
        self.in_scope = z3.Not(z3.Or([self.space.all_hold(scope) for scope in version.scope_rules]))
        self.rows: dict[tuple[str, ...], dict[str, str]] = {}

    def add(self, rule_id: str, conditions: Iterable[Condition], formula: Any) -> bool:
        """Cases around a profile of ``formula``; False if there is none."""
        base = _profile(self.space, formula)
        if base is None:
            return False
        for condition in conditions:
            number = condition.attribute.of[0] if condition.attribute.kind == "band" else condition.attribute
            made_of = self.space.made_of(number)
            for case, value in self._values(condition, [self.space.variables[name] for name in made_of]):
                # Of a first known attribute the first part decides; it is null where all parts are.
                given = dict.fromkeys(made_of) if value is None else {made_of[0]: value}
                variables = self.space.nearest({name: base[name] for name in self.space.variables}, given)
                if variables is not None:
                    self._row(rule_id, number, case, value, made_of, self.space.complete(variables))
        return True

    def _values(self, condition: Condition, variables: list[Variable]) -> Iterator[tuple[str, Value | None]]:
        """Cases of one condition; of a band at the bounds where the condition begins or ceases to hold."""
        first = variables[0]
        if condition.attribute.kind == "band":
            held = [condition_holds(condition, band.band_id) for band in condition.attribute.bands]
            for band, (now, then) in zip(condition.attribute.bands, pairwise(held), strict=False):
                if now != then and band.below is not None:
                    yield from _around(first, band.below)
        elif first.codes:
            yield from ((("named" if code in condition.values else "other"), code) for code in first.codes)
        else:
            for bar in condition.values:
                yield from _around(first, bar)
        if all(v.may_be_null for v in variables):
            yield "null", None

    def _row(self, rule_id: str, number: Attribute, case: str, value: Value | None, made_of: Sequence[str], profile: Profile) -> None:
        excluded = next((scope for scope in self.version.scope_rules if table_holds(scope, profile)), None)
        decided = None if excluded else first_rule(self.rules, profile)
        caps = [self.program.level(cap.level_id) for cap in self.version.caps if decided and table_holds(cap, profile)]
        lowest = min(caps, key=lambda level: level.rank, default=None)
        moved = {
            number.attribute_id,
            *made_of,
            *(a.attribute_id for a in self.space.named.values() if set(self.space.made_of(a)) <= set(made_of)),
        }
        row = {
            "program_id": self.program.program_id,
            "version": self.version.version,
            "rule_id": rule_id,
            "attribute": number.attribute_id,
            "case": case,
            "value": _text(value),
            "level_id": OUT_OF_SCOPE if excluded else decided.level_id if decided else NO_LEVEL,
            "matched_rule_id": excluded.rule_id if excluded else decided.rule_id if decided else NO_LEVEL,
            "capped_to": lowest.level_id if lowest and decided and lowest.rank < self.program.level(decided.level_id).rank else "",
            "other_attributes": "; ".join(f"{name} = {_text(other)}" for name, other in profile.items() if name not in moved),
        }
        self.rows.setdefault(tuple(row[c] for c in ("rule_id", "attribute", "value")), row)


def write_boundary_cases(policies: Policies, folder: Path) -> list[Path]:
    """One file per enabled program and version: ``<program>_<version>.csv``."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for program in policies.enabled():
        for version in program.versions:
            out = io.StringIO()
            writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(boundary_cases(program, version))
            path = folder / f"{program.program_id}_{version.version}.csv"
            path.write_text(out.getvalue(), encoding="utf-8")
            written.append(path)
    return written


def _profile(space: Space, formula: Any) -> Profile | None:
    """A profile for which ``formula`` holds, with as many attributes at a plain value as possible, so that files stay stable."""
    model = wished([space.domain, formula], map(_wishes, space.variables.values()))
    return None if model is None else space.example(model)


def _wishes(variable: Variable) -> Iterator[object]:
    if variable.codes:
        yield from (
            z3.And(z3.Not(variable.is_null), variable.value == n)
            for n in reversed(range(len(variable.codes)))
            if variable.codes[n] != OTHER
        )
    else:
        for cut in sorted({Fraction(0), *variable.cuts}):
            yield z3.And(z3.Not(variable.is_null), variable.value == z3.Q(cut.numerator, cut.denominator))
    yield variable.is_null


def _around(variable: Variable, bar: Value) -> Iterator[tuple[str, Value]]:
    """The bar and a step either side, as far as the attribute goes."""
    if isinstance(bar, date):
        steps = (("below", -1), ("at the bar", 0), ("above", 1))
        # No day comes before the first one, or after the last.
        first, last = date.min.toordinal(), date.max.toordinal()
        yield from ((case, bar + timedelta(days=step)) for case, step in steps if first <= bar.toordinal() + step <= last)
        return
    assert isinstance(bar, int | Decimal)
    if variable.attribute.type == "integer":
        # Of a bar between two whole numbers there are only the sides.
        whole = int(bar.to_integral_value(ROUND_FLOOR)) if isinstance(bar, Decimal) else bar
        moved: list[tuple[str, Value]] = [("below", whole - 1 if whole == bar else whole), ("above", whole + 1)]
        if whole == bar:
            moved.insert(1, ("at the bar", whole))
    else:
        moved = [("below", Decimal(bar) - CENT), ("at the bar", Decimal(bar)), ("above", Decimal(bar) + CENT)]
    for case, value in moved:
        assert isinstance(value, int | Decimal)
        if (variable.low is None or value >= variable.low) and (variable.high is None or value <= variable.high):
            yield case, value


def _text(value: Value | None) -> str:
    return NULL if value is None else text_of(value)
