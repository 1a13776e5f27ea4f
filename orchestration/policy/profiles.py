"""Profiles of subjects as z3 sees them: variables for attributes, formulas for conditions, examples from models.

Exact, not sampled: amounts are dense reals, counts are integers, categories are the values that rules or contracts name plus
"another one", and null is a value of its own wherever an attribute may be null. A comparison with null is false.

A band is no variable but the bounds of the number that it is of, so that rules may name both, or two bands of one number. Where
rules compare attributes that hang together by definition (an average and its sum, a position and its amount, counts over nested
windows) the definition is a constraint; see :meth:`Space._ties`. All other attributes are taken as independent of each other:
sums over nested windows (a credit note may make the longer one smaller), a ratio and its parts, a score and its dimensions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import combinations
from typing import Any

import z3

from orchestration.policy.attributes import closed_values
from orchestration.policy.facts import bounds
from orchestration.policy.model import COMPARE, NUMERIC, RANKED, AnyRule, Attribute, Condition, Level, Metric, Rule, Value, text_of

OTHER = "(another value)"
CENT = Decimal("0.01")
Profile = dict[str, Value | None]
# An average is its sum divided by one of so many months at most, where both are compared; longer windows are left independent.
MOST_MONTHS = 24
# So many values are proven at once in any order.
FEW_VALUES = 64
# The days that there are, as numbers.
_DAYS = Decimal(date.min.toordinal()), Decimal(date.max.toordinal())


@dataclass(frozen=True)
class Variable:
    """An attribute as variables. ``codes``: for categories, booleans and levels the value of each code. ``is_tied``: another
    attribute hangs on it, so that its value may not be moved alone."""

    attribute: Attribute
    value: Any
    is_null: Any
    codes: tuple[Value, ...] = ()
    cuts: tuple[Fraction, ...] = ()
    low: Decimal | None = None
    high: Decimal | None = None
    is_tied: bool = False

    @property
    def may_be_null(self) -> bool:
        """Whether a subject that is evaluated may lack it."""
        return may_be_null(self.attribute)

    def domain(self) -> Any:
        """What values it can take."""
        parts = [] if self.may_be_null else [z3.Not(self.is_null)]
        if self.codes:
            parts.append(z3.And(self.value >= 0, self.value < len(self.codes)))
        if self.low is not None:
            parts.append(self.value >= _number(self.low))
        if self.high is not None:
            parts.append(self.value <= _number(self.high))
        return z3.And(parts)

    def moved(self) -> Variable:
        """The same attribute of another subject."""
        name = self.attribute.attribute_id
        return replace(self, value=z3.Const(f"{name} after", self.value.sort()), is_null=z3.Bool(f"{name} after is null"))


def _number(value: Value) -> Any:
    if isinstance(value, date):
        return z3.IntVal(value.toordinal())
    if isinstance(value, int):
        return z3.IntVal(value)
    return z3.RealVal(str(value))


def _fraction(value: Value) -> Fraction:
    return Fraction(value.toordinal()) if isinstance(value, date) else Fraction(value)


def may_be_null(attribute: Attribute) -> bool:
    """Whether a subject that is evaluated may lack the attribute. A score is null only where all of its dimensions are left out:
    a subject that lacks a dimension which must be there is not evaluated. A position is null only where its amount is, a first known
    number only where all of its parts are, and of the metrics only a margin: whatever the seed allows."""
    if attribute.kind == "score":
        return all(d.missing == "leave_out" and may_be_null(d.attribute) for d in attribute.dimensions)
    if attribute.kind in {"position", "band"}:
        return may_be_null(attribute.of[0])
    if attribute.kind == "first_known":
        return attribute.may_be_null and all(may_be_null(part) for part in attribute.of)
    if attribute.kind == "metric" and attribute.metric and attribute.metric.measure.aggregation != "margin":
        return False
    return attribute.may_be_null


def _counts(metric: Metric) -> frozenset[str]:
    """``count`` for what can never fall below zero, ``months`` too where the window bounds it."""
    if metric.aggregation == "months":
        return frozenset({"count", "months"})
    return frozenset({"count"} if metric.measure.aggregation == "count" else ())


def band_of(attribute: Attribute, value: Value | None) -> str | None:
    """The band that a number falls into."""
    if value is None:
        return None
    return next(band.band_id for band in attribute.bands if band.below is None or value < band.below)  # type: ignore[operator]


class Space:
    """All profiles that ``tables`` (rules, scope rules, caps of one version) can tell apart."""

    def __init__(self, tables: Sequence[AnyRule], levels: Sequence[Level], extra: Iterable[Attribute] = ()) -> None:
        conditions = [c for table in tables for c in table.conditions]
        compared = {c.attribute.attribute_id: c.attribute for c in conditions}
        self.named = compared | {a.attribute_id: a for a in extra if a.attribute_id not in compared}
        bases = _bases(self.named.values())
        cuts = _cuts(conditions, bases)
        by_attribute: dict[str, list[Condition]] = defaultdict(list)
        for condition in conditions:
            by_attribute[condition.attribute.attribute_id].append(condition)
        self.variables = {name: self._variable(a, by_attribute[name], cuts[name], levels) for name, a in bases.items()}
        self._places = {name: {code: n for n, code in enumerate(v.codes)} for name, v in self.variables.items()}
        ties, tied = self._ties(self.variables)
        self.variables = {name: replace(v, is_tied=name in tied) for name, v in self.variables.items()}
        self.ties = z3.And(ties)
        self.domain = z3.And([*(v.domain() for v in self.variables.values()), *self._derived_domains(), self.ties])

    def _variable(self, attribute: Attribute, conditions: Sequence[Condition], cuts: Collection[Fraction], levels: Sequence[Level]) -> Variable:  # fmt: skip
        name = attribute.attribute_id
        is_null = z3.Bool(f"{name} is null")
        low, high = _DAYS if attribute.type == "date" else bounds(attribute)
        if attribute.type in NUMERIC or attribute.type == "date":
            sort = z3.Real if attribute.type == "decimal" else z3.Int
            return Variable(attribute, sort(name), is_null, (), tuple(sorted(cuts)), low, high)
        codes: tuple[Value, ...]
        if attribute.type == "boolean":
            codes = (False, True)
        elif attribute.type == "level":
            codes = tuple(level.level_id for level in levels)
        else:
            named = [str(value) for c in conditions for value in c.values]
            closed = closed_values(attribute)
            codes = _alike_together(tuple(dict.fromkeys([*(closed or attribute.allowed_values), *named])), conditions)
            codes += () if closed else (OTHER,)
        return Variable(attribute, z3.Int(name), is_null, codes)

    def operand(self, attribute: Attribute, variables: Mapping[str, Variable] | None = None) -> tuple[Any, Any]:
        """A number as expressions: its value, and whether it is null."""
        known = self.variables if variables is None else variables
        if attribute.attribute_id in known:
            variable = known[attribute.attribute_id]
            return variable.value, variable.is_null
        value, is_null = self.operand(attribute.of[-1], known)
        for part in reversed(attribute.of[:-1]):
            own, lacking = self.operand(part, known)
            value, is_null = z3.If(lacking, value, own), z3.And(lacking, is_null)
        return value, is_null

    def _derived_domains(self) -> Iterator[Any]:
        """Bounds of the attributes that are made of variables."""
        for attribute in self.named.values():
            number = attribute.of[0] if attribute.kind == "band" else attribute
            value, is_null = self.operand(number)
            if not may_be_null(attribute):
                yield z3.Not(is_null)
            if number.attribute_id not in self.variables:
                low, high = bounds(number)
                yield z3.Or(is_null, z3.And([*([value >= _number(low)] if low is not None else []), *([value <= _number(high)] if high is not None else [])]))  # fmt: skip

    def _ties(self, variables: Mapping[str, Variable]) -> tuple[list[Any], set[str]]:
        """What attributes say of each other by their definitions, and the names of those that are tied."""
        ties: list[Any] = []
        tied: set[str] = set()

        def tie(names: Iterable[str], *formulas: Any) -> None:
            tied.update(name for name in names if name in variables)
            ties.extend(formulas)

        by_metric: dict[str, Variable] = {}
        for variable in variables.values():
            if variable.attribute.kind == "metric" and variable.attribute.metric:
                by_metric[variable.attribute.metric.metric_id] = variable
        for name, v in variables.items():
            attribute = v.attribute
            if attribute.kind in RANKED and _is_made(attribute.of[0], variables):
                amount, lacking = self.operand(attribute.of[0], variables)
                last = 0 if attribute.kind == "portion" else 100
                tie(
                    [name, *_made_of(attribute.of[0], variables)],
                    v.is_null == lacking if attribute.kind == "position" else z3.Implies(lacking, v.is_null),
                    # With an amount above zero the sum of positive amounts is, and everybody has a share of it.
                    z3.Implies(z3.And(z3.Not(lacking), amount > 0), z3.Not(v.is_null)),
                    z3.Or(v.is_null, (amount <= 0) == (v.value == last)),
                )
            if attribute.kind == "average" and attribute.metric and attribute.months:
                total, months = by_metric.get(attribute.metric.metric_id), by_metric.get(attribute.months.metric_id)
                if months:
                    tie([name, months.attribute.attribute_id], v.is_null == z3.Or(months.is_null, months.value == 0))
                window = attribute.months.span.length
                if total and window and window <= MOST_MONTHS and attribute.months.aggregation == "months":
                    # A constant of its own where no rule asks for the months: they stay as they are where the sum rises.
                    count = months.value if months else z3.Int(f"{attribute.months.metric_id} of a subject")
                    quotients = [z3.And(total.value == v.value * n, count == n) for n in range(1, window + 1)]
                    names = [name, total.attribute.attribute_id, *([months.attribute.attribute_id] if months else [])]
                    tie(names, z3.Or(v.is_null, total.is_null, *quotients))
        for (one, v), (other, w) in combinations(variables.items(), 2):
            ties_of_two = list(_ties_of_two(v, w)) or list(_ties_of_two(w, v))
            if ties_of_two:
                tie([one, other], *ties_of_two)
        return ties, tied

    def formula(self, item: Condition) -> Any:
        """Whether a condition holds; false where it compares with null."""
        attribute = item.attribute
        if attribute.kind == "band":
            return self._band_formula(item)
        value, is_null = self.operand(attribute)
        if item.operator == "is null":
            return is_null
        known = z3.Not(is_null)
        if item.operator == "is not null":
            return known
        codes = self.variables[attribute.attribute_id].codes if attribute.attribute_id in self.variables else ()
        if item.is_by_rank:
            return z3.And(known, z3.Or([value == n for n, code in enumerate(codes) if code in item.inside]))
        places = self._places.get(attribute.attribute_id, {})
        if item.operator in {"in", "not in"}:
            listed = _within(value, sorted(places[v] for v in item.values)) if codes else z3.Or([value == _number(v) for v in item.values])
            if item.operator == "not in":
                return z3.And(known, z3.Not(listed))
            return z3.Or(z3.And(known, listed), is_null) if item.with_null else z3.And(known, listed)
        values = [z3.IntVal(places[v]) if codes else _number(v) for v in item.values]
        if item.operator == "in range":
            return z3.And(known, value >= values[0], value < values[1])
        return z3.And(known, COMPARE[item.operator](value, values[0]))

    def _band_formula(self, item: Condition) -> Any:
        """A condition on a band as bounds of its number."""
        value, is_null = self.operand(item.attribute.of[0])
        parts = [is_null] if condition_holds(item, None) else []
        low: Decimal | None = None
        for band in item.attribute.bands:
            if condition_holds(item, band.band_id):
                inside = [z3.Not(is_null)]
                inside += [] if low is None else [value >= _number(low)]
                inside += [] if band.below is None else [value < _number(band.below)]
                parts.append(z3.And(inside))
            low = band.below
        return z3.Or(parts)

    def all_hold(self, table: AnyRule) -> Any:
        """Whether all conditions of a rule, scope rule or cap hold."""
        return z3.And([self.formula(c) for c in table.conditions])

    def moves_with(self, attribute: Attribute) -> tuple[dict[str, Variable], list[Any]]:
        """What changes where ``attribute`` rises and all else stays: the changed variables, and what holds of them.

        A position or share among the subjects falls or stays, a portion or a score with the attribute as dimension rises or stays, and so
        does every number of the same sum: an average has its months as they are. What is tied to it by definition follows. Where a
        portion rises its amount does, where a position or share does its amount falls, and the rest goes with that.
        """
        value, is_null = self.operand(attribute)
        names = self.made_of(attribute)
        amount, up, down = attribute, ">=", "<="
        if attribute.kind in RANKED:
            amount = attribute.of[0]
            if attribute.kind != "portion":
                up, down = down, up
        # Of the parts of a first known number any may rise; none falls, or is known where it was not.
        directions: dict[str, str] = {name: up for name in self.made_of(amount) if name != attribute.attribute_id}
        for name, v in self.variables.items():
            other = v.attribute
            if name in names or name in directions:
                continue
            if other.kind in RANKED and _rises_with(other.of[0], amount):
                directions[name] = up if other.kind == "portion" else down
            elif own := [d for d in other.dimensions if _rises_with(d.attribute, amount)]:
                directions[name] = up if all(d.is_rising for d in own) else ""
            elif _rises_with(other, amount):
                directions[name] = up
        moved = {name: self.variables[name].moved() for name in [*names, *directions]}
        after, after_null = self.operand(attribute, {**self.variables, **moved})
        formulas = [z3.Not(is_null), z3.Not(after_null), value < after]
        for name, direction in directions.items():
            before, later = self.variables[name], moved[name]
            formulas.append(_same_known(before, later, attribute))
            if direction:
                formulas.append(z3.Or(before.is_null, COMPARE[direction](later.value, before.value)))
        return moved, formulas

    def example(self, model: Any, moved: Mapping[str, Variable] | None = None) -> Profile:
        """The profile of a model, with numbers that a person would write."""
        return self.complete({name: self.value_of(v, model) for name, v in {**self.variables, **(moved or {})}.items()})

    def complete(self, values: Mapping[str, Value | None]) -> Profile:
        """A profile from the values of the variables: what is made of them added, in the order in which conditions name it."""

        def found(attribute: Attribute) -> Value | None:
            if attribute.attribute_id in values:
                return values[attribute.attribute_id]
            if attribute.kind == "band":
                return band_of(attribute, found(attribute.of[0]))
            return next((value for part in attribute.of if (value := found(part)) is not None), None)

        return {**{name: found(attribute) for name, attribute in self.named.items()}, **values}

    def made_of(self, attribute: Attribute) -> list[str]:
        """The variables that an attribute is made of, that which decides first."""
        return _made_of(attribute, self.variables)

    def nearest(self, values: Mapping[str, Value | None], given: Mapping[str, Value | None]) -> dict[str, Value | None] | None:
        """A profile like ``values`` with ``given`` in it, in which attributes tied to them follow; None if no subject can have it."""
        wanted = {**values, **given}
        if not any(self.variables[name].is_tied for name in given):
            return wanted
        follow = {name: v for name, v in self.variables.items() if v.is_tied and name not in given}
        kept = [self._is(name, wanted[name]) for name in self.variables if name not in follow]
        model = wished([self.domain, *kept], ((self._is(name, wanted[name]), z3.Not(v.is_null)) for name, v in follow.items()))
        return None if model is None else {**wanted, **{name: self.value_of(v, model) for name, v in follow.items()}}

    def _is(self, name: str, value: Value | None) -> Any:
        variable = self.variables[name]
        if value is None:
            return variable.is_null
        found = self._places[name][value] if variable.codes else _number(value)
        return z3.And(z3.Not(variable.is_null), variable.value == found)

    def shown_as(self, name: str) -> str:
        """The attribute by which rules speak of a variable: itself, or what is made of it."""
        if name in self.named:
            return name
        return next(other for other, attribute in self.named.items() if name in self.made_of(attribute))

    def value_of(self, variable: Variable, model: Any) -> Value | None:
        """The value of one variable in a model."""
        if z3.is_true(model.eval(variable.is_null, model_completion=True)):
            return None
        found = model.eval(variable.value, model_completion=True)
        if variable.codes:
            code: Value = variable.codes[found.as_long()]
            return code
        if variable.attribute.type == "date":
            return date.fromordinal(found.as_long())
        if variable.attribute.type == "integer":
            return int(found.as_long())
        value = Fraction(found.numerator_as_long(), found.denominator_as_long())
        return _decimal(value) if variable.is_tied else _plain(value, variable)


def _same_known(before: Variable, later: Variable, risen: Attribute) -> Any:
    """What is known stays known, and null stays null; but where nobody's amount was positive nobody had a share, and with the own one
    that is, all have: the own share is the whole then."""
    same = before.is_null == later.is_null
    shared, of_sum = before.attribute, {"share", "portion"}
    if shared.kind not in of_sum or (risen.kind in of_sum and shared.of[0].attribute_id == risen.of[0].attribute_id):
        return same
    less, more = (later, before) if risen.kind in {"position", "share"} else (before, later)
    return z3.Or(same, z3.And(less.is_null, z3.Not(more.is_null), more.value == (0 if shared.kind == "share" else 100)))


def _rises_with(other: Attribute, attribute: Attribute) -> bool:
    """Whether ``other`` rises or stays where ``attribute`` rises and all that is not made of it stays."""
    return other.attribute_id == attribute.attribute_id or bool(_sums(other) & _sums(attribute))


def _sums(attribute: Attribute) -> frozenset[str]:
    """The sums that a number is, or is an average or the first known of: with any of them it rises or stays."""
    if attribute.kind == "first_known":
        return frozenset[str]().union(*map(_sums, attribute.of))
    if attribute.kind in {"metric", "average"} and attribute.metric and attribute.metric.aggregation == "sum":
        return frozenset({attribute.metric.metric_id})
    return frozenset()


def wished(formulas: Iterable[Any], wishes: Iterable[Iterable[Any]]) -> Any | None:
    """A model of ``formulas`` in which of each of the ``wishes``, in their order, the first holds that can; None if there is none."""
    solver = z3.Solver()
    solver.add(*formulas)
    if solver.check() != z3.sat:
        return None
    for alternatives in wishes:
        for wish in alternatives:
            solver.push()
            solver.add(wish)
            if solver.check() == z3.sat:
                break
            solver.pop()
    solver.check()
    return solver.model()


def _made_of(attribute: Attribute, variables: Mapping[str, Variable]) -> list[str]:
    """The variables that an attribute is made of."""
    if attribute.attribute_id in variables:
        return [attribute.attribute_id]
    return [name for part in attribute.of for name in _made_of(part, variables)]


def _is_made(attribute: Attribute, variables: Mapping[str, Variable]) -> bool:
    """Whether an attribute is a variable or made of nothing but variables."""
    return attribute.attribute_id in variables or (
        attribute.kind == "first_known" and all(_is_made(part, variables) for part in attribute.of)
    )


def _bases(attributes: Iterable[Attribute]) -> dict[str, Attribute]:
    """The attributes that others are made of: numbers instead of their bands; the parts of a first known one where one of them is
    compared by itself, else the first known one as it is."""
    found: dict[str, Attribute] = {}
    for attribute in attributes:
        while attribute.kind == "band":
            attribute = attribute.of[0]
        found[attribute.attribute_id] = attribute
    while True:
        for name, attribute in found.items():
            parts = _parts(attribute)
            if parts.keys() & (found.keys() - {name}):
                del found[name]
                found |= {part.attribute_id: part for part in attribute.of}
                break
        else:
            return found


def _parts(attribute: Attribute) -> dict[str, Attribute]:
    """The parts of a first known attribute, theirs included."""
    if attribute.kind != "first_known":
        return {}
    return {name: a for part in attribute.of for name, a in {part.attribute_id: part, **_parts(part)}.items()}


def _cuts(conditions: Iterable[Condition], bases: Mapping[str, Attribute]) -> dict[str, set[Fraction]]:
    """Number by number the values at which something changes."""
    found: dict[str, set[Fraction]] = defaultdict(set)

    def add(attribute: Attribute, cuts: Iterable[Fraction]) -> None:
        if attribute.attribute_id in bases:
            found[attribute.attribute_id] |= set(cuts)
        else:
            for part in attribute.of:
                add(part, cuts)

    for condition in conditions:
        attribute = condition.attribute
        if attribute.kind == "band":
            add(attribute.of[0], [_fraction(band.below) for band in attribute.bands if band.below is not None])
        elif attribute.type in NUMERIC or attribute.type == "date":
            add(attribute, [_fraction(value) for value in condition.values])
    return found


def _ties_of_two(v: Variable, w: Variable) -> Iterator[Any]:
    """What ``v`` says of ``w``: counts over nested windows, a position and a share of one amount."""
    one, other = v.attribute, w.attribute
    either_null = z3.Or(v.is_null, w.is_null)
    if one.kind == "position" and other.kind == "share" and one.of[0].attribute_id == other.of[0].attribute_id:
        # Nobody has a share where nobody's amount is positive, and then all come last.
        yield z3.If(v.is_null, w.is_null, z3.Or(z3.Not(w.is_null), v.value == 100))
        # The highest k of n subjects hold at least k/n of the positive sum.
        yield z3.Or(either_null, z3.And(w.value >= v.value, (v.value == 0) == (w.value == 0), (v.value == 100) == (w.value == 100)))
    if not (
        one.kind == other.kind == "metric"
        and one.metric
        and other.metric
        and one.metric.measure.measure_id == other.metric.measure.measure_id
    ):
        return
    kinds = _counts(one.metric) & _counts(other.metric)
    short, long = one.metric.span, other.metric.span
    if one.metric.metric_id == other.metric.metric_id:
        yield z3.And(v.is_null == w.is_null, z3.Or(v.is_null, v.value == w.value))
    elif kinds and short.is_trailing and short.length and (long.is_trailing or long.first is None):
        months = long.length - short.length if long.length else None
        if months is None or months > 0:
            yield z3.Or(either_null, v.value <= w.value)
            if "months" in kinds and months is not None:
                yield z3.Or(either_null, w.value <= v.value + months)


def _within(value: Any, places: Sequence[int]) -> Any:
    """Whether ``value`` is one of ascending ``places``. Neighbours are one range, so that a set of thousands is a few comparisons."""
    runs: list[tuple[int, int]] = []
    for place in places:
        if runs and runs[-1][1] == place - 1:
            runs[-1] = (runs[-1][0], place)
        else:
            runs.append((place, place))
    return z3.Or([value == first if first == last else z3.And(value >= first, value <= last) for first, last in runs])


def _alike_together(values: Sequence[str], conditions: Iterable[Condition]) -> tuple[str, ...]:
    """Values that the same conditions name stand side by side, so that a list of them is few ranges: see :func:`_within`.

    Few values keep the order of the seeds, in which boundaries and examples show them.
    """
    if len(values) <= FEW_VALUES:
        return tuple(values)
    named = [frozenset(map(str, condition.values)) for condition in conditions]
    return tuple(sorted(values, key=lambda value: [value not in names for names in named]))


def _plain(value: Fraction, variable: Variable) -> Decimal:
    """A number with few decimals on the same side of every bar as ``value``."""
    if value in variable.cuts:
        return _decimal(value)
    below = [cut for cut in variable.cuts if cut < value]
    above = [cut for cut in variable.cuts if cut > value]
    # The nearer of the next bar and of what a subject may have.
    low = max([*below[-1:], *([Fraction(variable.low)] if variable.low is not None else [])], default=None)
    high = min([*above[:1], *([Fraction(variable.high)] if variable.high is not None else [])], default=None)
    wishes = [Fraction(0)]
    if high is not None:
        wishes += [high - Fraction(CENT)]
    if low is not None:
        wishes += [low + Fraction(CENT)]
    if low is not None and high is not None:
        wishes += [(low + high) / 2]
    for wish in wishes:
        # A bar is on one side only; what a number can be at least and at most is among its values.
        above_low = low is None or low < wish or (low == wish and low not in below)
        below_high = high is None or wish < high or (high == wish and high not in above)
        if above_low and below_high:
            return _decimal(wish)
    return _decimal(value)


def _decimal(value: Fraction) -> Decimal:
    return (Decimal(value.numerator) / Decimal(value.denominator)).normalize() + 0


def condition_holds(item: Condition, value: Value | None) -> bool:
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
    if item.is_by_rank:
        return value in item.inside
    if item.operator == "in range":
        return bool(item.values[0] <= value < item.values[1])  # type: ignore[operator]
    return bool(COMPARE[item.operator](value, item.values[0]))


def table_holds(table: AnyRule, profile: Mapping[str, Value | None]) -> bool:
    """Whether all conditions of a rule, scope rule or cap hold for a profile."""
    return all(condition_holds(c, profile[c.attribute.attribute_id]) for c in table.conditions)


def first_rule(rules: Iterable[Rule], profile: Mapping[str, Value | None]) -> Rule | None:
    """The first of ``rules`` that holds for a profile."""
    return next((rule for rule in rules if table_holds(rule, profile)), None)


def shown(profile: Mapping[str, Value | None]) -> dict[str, str | None]:
    """A profile as text, null as None."""
    return {name: None if value is None else text_of(value) for name, value in profile.items()}
