"""What can be proven of the decision table, the scope rules and the caps of one policy version.

Exact reasoning over all profiles (z3), not sampling. A table has to decide the subjects that its scope rules leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import z3

from orchestration.policy.compile import evaluation_order
from orchestration.policy.finding import Finding
from orchestration.policy.model import AnyRule, Cap, Program, Rule, ScopeRule, Value, Version
from orchestration.policy.profiles import Space, Variable, first_rule, shown
from orchestration.policy.reader import Row

# A table that is this wrong is mended from the top; more examples would only make the report slow and long.
MOST_OVERLAPS = 50


class Table:
    """The rules of one version, and what can be proven of them."""

    def __init__(self, program: Program, version: Version) -> None:
        self.program = program
        self.version = version
        self.title = f"{program.program_id} {version.version}"
        self.rules: Sequence[Rule] = evaluation_order(program, version)
        monotone = [program.monotone_in] if program.monotone_in else []
        self.space = Space([*self.rules, *version.scope_rules, *version.caps], program.levels, monotone)
        self.excluded = [self.space.all_hold(scope) for scope in version.scope_rules]
        self.in_scope = z3.Not(z3.Or(self.excluded))
        self.everyone = _solver(self.space.domain)
        self.solver = _solver(self.space.domain, self.in_scope)
        self.holds = [self.space.all_hold(rule) for rule in self.rules]
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
        """All findings on the table, its scope rules and its caps."""
        yield from self._scope()
        if _model(self.solver) is None:
            return
        dead = set()
        for number, rule in enumerate(self.rules):
            if _model(self.solver, self.holds[number]) is None:
                dead.add(rule.rule_id)
                yield self._unreachable(rule, self.holds[number])
        yield from self._gaps()
        if self.program.hit_policy == "unique":
            yield from self._overlaps(dead)
        else:
            yield from self._masked(dead)
        yield from self._not_monotone()
        yield from self._caps()
        yield from self._unused_levels()

    def _finding(self, severity: str, kind: str, of: AnyRule, what: str, remedy: str, model: Any | None = None) -> Finding:
        """A finding on a rule, scope rule or cap, which the text begins with."""
        kind_of = "cap" if isinstance(of, Cap) else "scope rule" if isinstance(of, ScopeRule) else "rule"
        return self._at(of.row, severity, kind, f"{kind_of} {_id(of)!r} {what}", remedy, model, _id(of))

    def _at(
        self, row: Row, severity: str, kind: str, what: str, remedy: str, model: Any | None = None, rule_id: str | None = None
    ) -> Finding:
        example = shown(self.space.example(model)) if model is not None else {}
        return Finding(severity, kind, self.program.program_id, self.version.version, row.file, row.line, rule_id, what, remedy, example)

    def _unreachable(self, of: AnyRule, holds: Any) -> Finding:
        """``of`` holds for no subject in scope."""
        model = _model(self.everyone, holds)
        if model is None:
            what = "can never hold: its conditions contradict each other, or what their attributes can be"
            return self._finding("error", "unreachable", of, what, "correct or remove it")
        needed = _covering(self.everyone, holds, self.excluded)
        what = f"never holds for a subject in scope: whoever meets it is excluded by {_listed(self.version.scope_rules[n] for n in needed)}"
        return self._finding("error", "unreachable", of, what, "correct it, correct the scope rule, or remove one of them", model)

    def _scope(self) -> Iterator[Finding]:
        rules = self.version.scope_rules
        if rules and (model := _model(self.everyone)) is not None and _model(self.solver) is None:
            needed = [rules[n] for n in _covering(self.everyone, z3.BoolVal(True), self.excluded)]
            names = " and ".join(repr(rule.rule_id) for rule in needed)
            what = f"{names} exclude" if len(needed) > 1 else f"{names} excludes"
            told = f"scope rule {what} every subject of {self.title}"
            yield self._at(needed[-1].row, "error", "nobody_in_scope", told, "narrow it", model, needed[-1].rule_id)
        before: list[Any] = []
        for rule, formula in zip(rules, self.excluded, strict=True):
            model = _model(self.everyone, formula)
            if model is None:
                yield self._unreachable(rule, formula)
            elif before and _model(self.everyone, formula, z3.Not(z3.Or(before))) is None:
                above = _listed(rules[n] for n in _covering(self.everyone, formula, before))
                what = f"is never the reason: whoever meets it is excluded by {above} before"
                yield self._finding("warning", "masked_scope_rule", rule, what, "put its rows before theirs, or remove it", model)
            before.append(formula)

    def _caps(self) -> Iterator[Finding]:
        """Caps that cap nothing, or nothing that another does not."""
        holds = [self.space.all_hold(cap) for cap in self.version.caps]
        ranks = [self.program.level(cap.level_id).rank for cap in self.version.caps]
        top = self.program.levels[-1]
        for n, cap in enumerate(self.version.caps):
            model = _model(self.solver, holds[n])
            if model is None:
                yield self._unreachable(cap, holds[n])
                continue
            if ranks[n] == top.rank:
                yield self._finding(
                    "warning", "idle_cap", cap, f"caps at the highest level, {top.level_id!r}, and so nothing", "name a lower level, or remove it"
                )  # fmt: skip
                continue
            others = [m for m in range(len(holds)) if (ranks[m], m) < (ranks[n], n)]
            if others and _model(self.solver, holds[n], z3.Not(z3.Or([holds[m] for m in others]))) is None:
                by = _listed(self.version.caps[others[k]] for k in _covering(self.solver, holds[n], [holds[m] for m in others]))
                what = f"never counts: wherever it holds, the level is capped as low or lower by {by}"
                yield self._finding("warning", "masked_cap", cap, what, "lower its level, or remove it", model)
            elif not self.version.validity_months and _model(self.solver, holds[n], self.rank_from[0] > ranks[n]) is None:
                what = f"never lowers a level: no rule gives a level above {cap.level_id!r} where it holds"
                yield self._finding("warning", "idle_cap", cap, what, "lower its level, or remove it", model)

    def _gaps(self) -> Iterator[Finding]:
        """A profile for which no rule holds; one finding for known values, one for each attribute whose null is not decided."""
        nothing = z3.Not(self.before[-1])
        variables = self.space.variables
        known = [z3.Not(v.is_null) for v in variables.values()]
        remedy = f"add a rule for this profile{self._for_all_others()}"
        found = known_gap = False
        if (model := _model(self.solver, nothing, *known)) is not None:
            found = known_gap = True
            yield self._at(self.version.row, "error", "gap", f"no rule of {self.title} holds for some subjects", remedy, model)
        for name, variable in variables.items():
            others = [z3.Not(v.is_null) for other, v in variables.items() if other != name]
            if not variable.may_be_null:
                continue
            hole = [nothing, variable.is_null, *others]
            if (model := _model(self.solver, *hole)) is not None and (not known_gap or self._matters(variable, hole)):
                found = True
                yield self._at(
                    self.version.row, "error", "null_gap", f"no rule of {self.title} holds for some subjects whose {self.space.shown_as(name)} is null",
                    f"decide it: a rule with `{self.space.shown_as(name)} is null`, or one with (null) in a list{self._for_all_others()}", model,
                )  # fmt: skip
        if not found and (model := _model(self.solver, nothing)) is not None:
            what = f"no rule of {self.title} holds for some subjects that lack several attributes"
            yield self._at(self.version.row, "error", "null_gap", what, remedy, model)

    def _for_all_others(self) -> str:
        """What else closes a gap: under *unique* nothing, since a rule without conditions holds together with every other."""
        every = {"first": "a last rule without conditions", "priority": "a rule without conditions for the lowest level"}
        return f", or {every[self.program.hit_policy]}" if self.program.hit_policy in every else ""

    def _matters(self, variable: Variable, hole: Sequence[Any]) -> bool:
        """Whether some profile of ``hole`` would be decided by a value that it lacks: else the rule that closes the gap of known
        values closes this one."""
        given = variable.moved()
        decided = z3.substitute(
            z3.And(variable.domain(), self.before[-1]), (variable.value, given.value), (variable.is_null, z3.BoolVal(False))
        )
        return _model(self.solver, *hole, decided) is not None

    def _overlaps(self, dead: set[str]) -> Iterator[Finding]:
        """Pairs of rules that hold together. A rule that meets none of the later ones costs one query, not one for each."""
        alive = [n for n, rule in enumerate(self.rules) if rule.rule_id not in dead]
        some_later = [z3.BoolVal(False)]
        for n in reversed(alive):
            some_later.append(z3.Or(some_later[-1], self.holds[n]))
        found = 0
        for place, i in enumerate(alive):
            if _model(self.solver, self.holds[i], some_later[len(alive) - place - 1]) is None:
                continue
            if found >= MOST_OVERLAPS:
                one = self.rules[i]
                what = f"and perhaps later ones hold together with others, besides the {found} pairs above"
                yield self._finding("error", "overlap", one, what, "mend those first")
                return
            for j in alive[place + 1 :]:
                if (model := _model(self.solver, self.holds[i], self.holds[j])) is not None:
                    found += 1
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
            if _model(self.solver, first) is None:
                rows = _listed(self.rules[n] for n in _covering(self.solver, self.holds[i], self.holds[:i]))
                yield self._finding(
                    "error", "masked", rule, f"never decides: wherever it holds, a rule asked before it holds already: {rows}",
                    # Under priority the levels say which rule is asked first.
                    "narrow them, or remove it" if self.program.hit_policy == "priority" else "move it above them, narrow them, or remove it",
                    _model(self.solver, self.holds[i]),
                )  # fmt: skip
                continue
            rank = self.program.level(rule.level_id).rank
            if _model(self.solver, first, self.rank_from[i + 1] != rank) is None:
                yield self._finding(
                    "warning", "redundant", rule, f"changes nothing: without it, later rules give {rule.level_id} to the same subjects",
                    "remove it, unless its name is wanted in explanations", _model(self.solver, first),
                )  # fmt: skip

    def _not_monotone(self) -> Iterator[Finding]:
        attribute = self.program.monotone_in
        if attribute is None:
            return
        moved, rises = self.space.moves_with(attribute)
        changes = [
            pair
            for name, after in moved.items()
            for pair in ((self.space.variables[name].value, after.value), (self.space.variables[name].is_null, after.is_null))
        ]
        lower, higher = self.rank_from[0], z3.substitute(self.rank_from[0], *changes)
        also_after = z3.substitute(z3.And(self.space.domain, self.in_scope), *changes)
        model = _model(self.solver, *rises, also_after, lower > higher, higher > 0)
        if model is None:
            return
        example, later = self.space.example(model), self.space.example(model, moved)
        before_rule, after_rule = (first_rule(self.rules, profile) for profile in (example, later))
        named = f"{attribute.attribute_id} from {_shown(example, attribute)} to {_shown(later, attribute)}"
        levels = f"{before_rule.level_id if before_rule else '?'} to {after_rule.level_id if after_rule else '?'}"
        yield self._at(
            (after_rule or self.rules[0]).row, "error", "not_monotone", f"a rise of {named} lowers the level from {levels}",
            f"let the rule of the higher level go on holding as {attribute.attribute_id} rises, and ask it before those of lower levels; or leave monotone_in of the program empty",
            model, after_rule.rule_id if after_rule else None,
        )  # fmt: skip

    def _unused_levels(self) -> Iterator[Finding]:
        # A level that another version gives is none of this one: levels have no versions.
        given = {rule.level_id for version in self.program.versions for rule in version.rules}
        for level in self.program.levels:
            if level.level_id not in given:
                what = f"no rule of {self.title} gives level {level.level_id!r}"
                yield self._at(level.row, "warning", "unused_level", what, "add a rule, or remove the level")


def _id(of: AnyRule) -> str:
    return of.cap_id if isinstance(of, Cap) else of.rule_id


def _listed(tables: Iterable[AnyRule]) -> str:
    return ", ".join(f"{_id(of)} (row {of.row.line})" for of in tables)


def _shown(profile: dict[str, Value | None], attribute: Any) -> str | None:
    return shown(profile)[attribute.attribute_id]


def _solver(*formulas: Any) -> Any:
    solver = z3.Solver()
    solver.set("random_seed", 0)
    solver.add(*formulas)
    return solver


def _model(solver: Any, *formulas: Any) -> Any | None:
    """A model of ``formulas`` among the profiles of ``solver``, or None if there is none."""
    solver.push()
    try:
        solver.add(*formulas)
        outcome = solver.check()
        if outcome == z3.unknown:
            raise RuntimeError(f"z3 cannot decide: {solver.reason_unknown()}")
        return solver.model() if outcome == z3.sat else None
    finally:
        solver.pop()


def _covering(solver: Any, holds: Any, others: Sequence[Any]) -> list[int]:
    """Which of ``others`` together leave nothing to ``holds``, none of them dispensable."""
    solver.push()
    try:
        solver.add(holds)
        marks = [z3.Bool(f"without {n}") for n in range(len(others))]
        for mark, other in zip(marks, others, strict=True):
            solver.add(z3.Implies(mark, z3.Not(other)))
        solver.check(*marks)
        names = {str(mark) for mark in solver.unsat_core()}
        needed = [n for n in range(len(others)) if str(marks[n]) in names]
        for candidate in list(needed):
            rest = [n for n in needed if n != candidate]
            if solver.check(*(marks[n] for n in rest)) == z3.unsat:
                needed = rest
        return needed
    finally:
        solver.pop()
