"""Boundary cases of the decision tables as a reviewable file: each bar, a step either side, null, with the level each gets.

For each comparison of each rule: a profile that the rule decides, with only the compared attribute moved.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import z3

from orchestration.policy.compile import evaluation_order
from orchestration.policy.model import NUMERIC, Attribute, Policies, Program, Value, Version, text_of
from orchestration.policy.profiles import CENT, OTHER, Profile, Space, Variable, first_rule

COLUMNS = ("program_id", "version", "rule_id", "attribute", "case", "value", "level_id", "matched_rule_id", "other_attributes")
NULL = "(null)"


def boundary_cases(program: Program, version: Version) -> list[dict[str, str]]:
    """Rows of :data:`COLUMNS`, in the order in which rules are asked."""
    rules = evaluation_order(program, version)
    space = Space(rules, program.levels)
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    above = z3.BoolVal(False)
    for rule in rules:
        base = _profile(space, z3.And(space.holds[rule.rule_id], z3.Not(above)))
        above = z3.Or(above, space.holds[rule.rule_id])
        if base is None:
            continue
        for condition in rule.conditions:
            attribute = condition.attribute
            others = "; ".join(f"{name} = {_text(value)}" for name, value in base.items() if name != attribute.attribute_id)
            for case, value in _values(space.variables[attribute.attribute_id], condition.values):
                decided = first_rule(rules, {**base, attribute.attribute_id: value}, space.ranks)
                row = {
                    "program_id": program.program_id,
                    "version": version.version,
                    "rule_id": rule.rule_id,
                    "attribute": attribute.attribute_id,
                    "case": case,
                    "value": _text(value),
                    "level_id": decided.level_id if decided else "(none)",
                    "matched_rule_id": decided.rule_id if decided else "(none)",
                    "other_attributes": others,
                }
                rows.setdefault(tuple(row[c] for c in ("rule_id", "attribute", "value")), row)
    return list(rows.values())


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


def _profile(space: Space, formula: object) -> Profile | None:
    """A profile for which ``formula`` holds, with as many attributes at a plain value as possible, so that files stay stable."""
    solver = z3.Solver()
    solver.add(space.domain, formula)
    if solver.check() != z3.sat:
        return None
    for variable in space.variables.values():
        for wish in _wishes(variable):
            solver.push()
            solver.add(wish)
            if solver.check() == z3.sat:
                break
            solver.pop()
    solver.check()
    return space.example(solver.model())


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


def _values(variable: Variable, values: tuple[Value, ...]) -> Iterator[tuple[str, Value | None]]:
    attribute = variable.attribute
    if variable.codes:
        yield from ((("named" if code in values else "other"), code) for code in variable.codes)
    else:
        for bar in values:
            yield from _around(attribute, bar)
    if attribute.may_be_null:
        yield "null", None


def _around(attribute: Attribute, bar: Value) -> Iterator[tuple[str, Value]]:
    if isinstance(bar, date):
        moved: list[tuple[str, Value]] = [("below", bar - timedelta(days=1)), ("at the bar", bar), ("above", bar + timedelta(days=1))]
    else:
        step = 1 if attribute.type == "integer" else CENT
        number = int(bar) if attribute.type == "integer" else Decimal(bar)
        moved = [("below", number - step), ("at the bar", number), ("above", number + step)]
    for case, value in moved:
        if attribute.type in NUMERIC and isinstance(value, int | Decimal):
            low, high = attribute.minimum, attribute.maximum
            if (low is not None and value < low) or (high is not None and value > high):
                continue
        yield case, value


def _text(value: Value | None) -> str:
    return NULL if value is None else text_of(value)
