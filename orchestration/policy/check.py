"""``policy check``: proof that the decision tables are sound, before anything runs.

Every finding says what is wrong, where, for which profile, and what would mend it. Exact reasoning over all profiles (z3), not
sampling. What a single cell can show (unknown attribute, a value that does not parse) is refused by ``load`` already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import z3

from orchestration.errors import BadInput
from orchestration.periods import add_months
from orchestration.policy.compile import evaluation_order
from orchestration.policy.model import Policies, Program, Rule, Value, Version
from orchestration.policy.profiles import Space, Variable, first_rule, shown
from orchestration.policy.reader import Row


@dataclass(frozen=True)
class Finding:
    """One thing that is not sound. ``severity`` error stops a run; warning does not."""

    severity: str
    kind: str
    program_id: str
    version: str
    file: str
    row: int
    rule_id: str | None
    what: str
    remedy: str
    example: dict[str, str | None] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """``decision_rules.csv, row 4, rule star_5_spend``"""
        return f"{self.file}, row {self.row}" + (f", rule {self.rule_id}" if self.rule_id else "")

    def as_json(self) -> dict[str, Any]:
        """All fields, and ``where``."""
        return {
            "severity": self.severity,
            "kind": self.kind,
            "program_id": self.program_id,
            "version": self.version,
            "where": self.where,
            "file": self.file,
            "row": self.row,
            "rule_id": self.rule_id,
            "what": self.what,
            "remedy": self.remedy,
            "example": self.example,
        }

    def __str__(self) -> str:
        lines = [f"{self.severity}: {self.where}: {self.what}"]
        if self.example:
            lines.append(
                "  Example: " + ", ".join(f"{name} {'(null)' if value is None else value}" for name, value in self.example.items())
            )
        return "\n".join([*lines, f"  To do: {self.remedy}"])


def check_policies(policies: Policies) -> list[Finding]:
    """Findings on every program that is enabled, errors first, in the order of the seeds."""
    found = [finding for program in policies.enabled() for finding in check_program(program)]
    return sorted(found, key=lambda f: f.severity != "error")


def require_sound(policies: Policies) -> list[Finding]:
    """BadInput if there is a finding of severity error; else the warnings."""
    found = check_policies(policies)
    errors = [finding for finding in found if finding.severity == "error"]
    if errors:
        first = errors[0]
        more = f" (and {len(errors) - 1} more findings)" if len(errors) > 1 else ""
        raise BadInput(first.what + more, first.where, first.remedy, {"findings": [finding.as_json() for finding in errors]})
    return found


def check_program(program: Program) -> Iterator[Finding]:
    """Findings on one program: approval and validity of its versions, then each table."""
    yield from _validity(program)
    for version in program.versions:
        yield from _approval(program, version)
        yield from _Table(program, version).findings()


def _at(row: Row, program: Program, version: Version, severity: str, kind: str, what: str, remedy: str) -> Finding:
    return Finding(severity, kind, program.program_id, version.version, row.file, row.line, None, what, remedy)


def _approval(program: Program, version: Version) -> Iterator[Finding]:
    row = version.row
    name = f"version {version.version!r} of {program.program_id}"
    if not row["approver"]:
        yield _at(
            row,
            program,
            version,
            "error",
            "no_approver",
            f"{name} has no approver",
            "have someone other than the author approve it and write who (approver)",
        )
    elif _person(row["approver"]) == _person(row["author"]):
        yield _at(
            row,
            program,
            version,
            "error",
            "self_approved",
            f"{name} is approved by its author, {row['author']}",
            "have someone else approve it",
        )
    if row["approver"] and not row["approved_on"]:
        yield _at(
            row, program, version, "error", "no_approval_day", f"{name} does not say when it was approved", "write the day (approved_on)"
        )


def _person(name: str) -> str:
    return "".join(name.lower().split())


def _validity(program: Program) -> Iterator[Finding]:
    for before, after in zip(program.versions, program.versions[1:], strict=False):
        if before.valid_to is None or before.valid_to >= after.valid_from:
            until = before.valid_to or "always"
            yield _at(
                after.row, program, after, "error", "validity_overlap",
                f"version {after.version!r} of {program.program_id} begins {after.valid_from}, while version {before.version!r} holds until {until}",
                f"end version {before.version!r} with {add_months(after.valid_from, -1)}",
            )  # fmt: skip
        elif add_months(before.valid_to, 1) != after.valid_from:
            yield _at(
                after.row, program, after, "error", "validity_gap",
                f"no version of {program.program_id} holds from {add_months(before.valid_to, 1)} to {add_months(after.valid_from, -1)}",
                f"begin version {after.version!r} with {add_months(before.valid_to, 1)}, or extend version {before.version!r}",
            )  # fmt: skip


class _Table:
    """The rules of one version, and what can be proven of them."""

    def __init__(self, program: Program, version: Version) -> None:
        self.program = program
        self.version = version
        self.rules: Sequence[Rule] = evaluation_order(program, version)
        monotone = [program.monotone_in] if program.monotone_in else []
        self.space = Space(self.rules, program.levels, monotone)
        self.solver = z3.Solver()
        self.solver.set("random_seed", 0)
        self.solver.add(self.space.domain)
        self.holds = [self.space.holds[rule.rule_id] for rule in self.rules]
        # before[i]: some rule above i holds; rank_from[i]: rank that rules i, i+1, … give, 0 if none holds. Shared, so that all
        # checks together stay linear in the number of rules.
        self.before = [z3.BoolVal(False)]
        for formula in self.holds:
            self.before.append(z3.Or(self.before[-1], formula))
        self.rank_from = [z3.IntVal(0)]
        for rule, formula in zip(reversed(self.rules), reversed(self.holds), strict=True):
            self.rank_from.append(z3.If(formula, z3.IntVal(program.level(rule.level_id).rank), self.rank_from[-1]))
        self.rank_from.reverse()

    def findings(self) -> Iterator[Finding]:
        """All findings on the table."""
        dead = set()
        for number, rule in enumerate(self.rules):
            if self._model(self.holds[number]) is None:
                dead.add(rule.rule_id)
                yield self._finding(
                    "error", "unreachable", rule, "can never hold: its conditions contradict each other", "correct or remove the rule"
                )
        yield from self._gaps()
        if self.program.hit_policy == "unique":
            yield from self._overlaps(dead)
        else:
            yield from self._masked(dead)
        yield from self._not_monotone()
        yield from self._unused_levels()

    def _model(self, *formulas: Any) -> Any | None:
        """A model of ``formulas`` among possible profiles, or None if there is none."""
        self.solver.push()
        try:
            self.solver.add(*formulas)
            outcome = self.solver.check()
            if outcome == z3.unknown:
                raise RuntimeError(f"z3 cannot decide: {self.solver.reason_unknown()}")
            return self.solver.model() if outcome == z3.sat else None
        finally:
            self.solver.pop()

    def _finding(self, severity: str, kind: str, rule: Rule | None, what: str, remedy: str, model: Any | None = None) -> Finding:
        row = rule.row if rule else self.version.row
        name = f"rule {rule.rule_id!r} " if rule else ""
        example = shown(self.space.example(model)) if model is not None else {}
        return Finding(
            severity, kind, self.program.program_id, self.version.version, row.file, row.line, rule.rule_id if rule else None, name + what, remedy, example
        )  # fmt: skip

    def _gaps(self) -> Iterator[Finding]:
        """A profile for which no rule holds; one finding for known values, one for each attribute whose null is not decided."""
        nothing = z3.Not(self.before[-1])
        title = f"{self.program.program_id} {self.version.version}"
        variables = self.space.variables
        known = [z3.Not(v.is_null) for v in variables.values()]
        remedy = "add a rule for this profile, or a last rule without conditions"
        found = known_gap = False
        if (model := self._model(nothing, *known)) is not None:
            found = known_gap = True
            yield self._finding("error", "gap", None, f"no rule of {title} holds for some subjects", remedy, model)
        for name, variable in variables.items():
            others = [z3.Not(v.is_null) for other, v in variables.items() if other != name]
            if not variable.attribute.may_be_null:
                continue
            hole = [nothing, variable.is_null, *others]
            if (model := self._model(*hole)) is not None and (not known_gap or self._matters(variable, hole)):
                found = True
                yield self._finding(
                    "error", "null_gap", None, f"no rule of {title} holds for some subjects whose {name} is null",
                    f"decide it: a rule with `{name} is null`, (null) in a list, or a last rule without conditions", model,
                )  # fmt: skip
        if not found and (model := self._model(nothing)) is not None:
            yield self._finding(
                "error", "null_gap", None, f"no rule of {title} holds for some subjects that lack several attributes", remedy, model
            )

    def _matters(self, variable: Variable, hole: Sequence[Any]) -> bool:
        """Whether some profile of ``hole`` would be decided by a value that it lacks: else the rule that closes the gap of known
        values closes this one."""
        given = z3.Const(f"given {variable.attribute.attribute_id}", variable.value.sort())
        decided = z3.And(variable.domain(), self.before[-1])
        return self._model(*hole, z3.substitute(decided, (variable.value, given), (variable.is_null, z3.BoolVal(False)))) is not None

    def _overlaps(self, dead: set[str]) -> Iterator[Finding]:
        """Pairs of rules that hold together. A rule that meets none of the later ones costs one query, not one for each."""
        alive = [n for n, rule in enumerate(self.rules) if rule.rule_id not in dead]
        some_later = [z3.BoolVal(False)]
        for n in reversed(alive):
            some_later.append(z3.Or(some_later[-1], self.holds[n]))
        for place, i in enumerate(alive):
            if self._model(self.holds[i], some_later[len(alive) - place - 1]) is None:
                continue
            for j in alive[place + 1 :]:
                if (model := self._model(self.holds[i], self.holds[j])) is not None:
                    one, other = self.rules[i], self.rules[j]
                    yield self._finding(
                        "error", "overlap", other, f"holds together with rule {one.rule_id!r} (row {one.row.line}), and unique allows one",
                        "narrow one of the two, or take hit policy first or priority", model,
                    )  # fmt: skip

    def _masked(self, dead: set[str]) -> Iterator[Finding]:
        for i, rule in enumerate(self.rules):
            if rule.rule_id in dead:
                continue
            first = z3.And(self.holds[i], z3.Not(self.before[i]))
            if self._model(first) is None:
                above = self._covering(i)
                rows = ", ".join(f"{r.rule_id} (row {r.row.line})" for r in above)
                yield self._finding(
                    "error", "masked", rule, f"never decides: wherever it holds, a rule asked before it holds already: {rows}",
                    "move it above them, narrow them, or remove it",
                    self._model(self.holds[i]),
                )  # fmt: skip
                continue
            rank = self.program.level(rule.level_id).rank
            if self._model(first, self.rank_from[i + 1] != rank) is None:
                yield self._finding(
                    "warning", "redundant", rule, f"changes nothing: without it, later rules give {rule.level_id} to the same subjects",
                    "remove it, unless its name is wanted in explanations", self._model(first),
                )  # fmt: skip

    def _covering(self, number: int) -> list[Rule]:
        """Rules above that together leave nothing to rule ``number``, none of them dispensable."""
        self.solver.push()
        try:
            self.solver.add(self.holds[number])
            marks = [z3.Bool(f"without {n}") for n in range(number)]
            for n, mark in enumerate(marks):
                self.solver.add(z3.Implies(mark, z3.Not(self.holds[n])))
            self.solver.check(*marks)
            names = {str(mark) for mark in self.solver.unsat_core()}
            needed = [n for n in range(number) if str(marks[n]) in names]
            for candidate in list(needed):
                rest = [n for n in needed if n != candidate]
                if self.solver.check(*(marks[n] for n in rest)) == z3.unsat:
                    needed = rest
        finally:
            self.solver.pop()
        return [self.rules[n] for n in needed]

    def _not_monotone(self) -> Iterator[Finding]:
        attribute = self.program.monotone_in
        if attribute is None:
            return
        variable = self.space.variables[attribute.attribute_id]
        more = z3.Const(f"more {attribute.attribute_id}", variable.value.sort())
        lower = self.rank_from[0]
        higher = z3.substitute(lower, (variable.value, more))
        in_domain = z3.substitute(variable.domain(), (variable.value, more))
        model = self._model(z3.Not(variable.is_null), in_domain, variable.value < more, lower > higher, higher > 0)
        if model is None:
            return
        example = self.space.example(model)
        after = self.space.value_of(replace(variable, value=more), model)
        before_rule, after_rule = self._first(example), self._first({**example, attribute.attribute_id: after})
        named = f"{attribute.attribute_id} from {example[attribute.attribute_id]} to {after}"
        levels = f"{before_rule.level_id if before_rule else '?'} to {after_rule.level_id if after_rule else '?'}"
        yield Finding(
            "error", "not_monotone", self.program.program_id, self.version.version, (after_rule or self.rules[0]).row.file,
            (after_rule or self.rules[0]).row.line, after_rule.rule_id if after_rule else None,
            f"a rise of {named} lowers the level from {levels}", "order the rules by level, or leave monotone_in of the program empty", shown(example),
        )  # fmt: skip

    def _first(self, profile: dict[str, Value | None]) -> Rule | None:
        return first_rule(self.rules, profile, self.space.ranks)

    def _unused_levels(self) -> Iterator[Finding]:
        given = {rule.level_id for rule in self.rules}
        for level in self.program.levels:
            if level.level_id not in given:
                yield _at(
                    level.row, self.program, self.version, "warning", "unused_level",
                    f"no rule of {self.program.program_id} {self.version.version} gives level {level.level_id!r}", "add a rule, or remove the level",
                )  # fmt: skip
