"""Policies as typed values: what rules, attributes, metrics and programs are, whatever file they came from."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

from orchestration.policy.cells import SPEND_WORD
from orchestration.policy.reader import Row, Seed
from orchestration.policy.subjects import SPEND_COLUMNS
from orchestration.policy.window import Window

Value = str | int | Decimal | bool | date
NUMERIC = frozenset({"decimal", "integer"})
ORDERED = NUMERIC | {"date", "level"}
# Kinds whose value depends on all subjects of the program and period, not on the subject alone.
RANKED = frozenset({"position", "share", "portion"})
# Kinds whose value is a quotient, which is compared as a product.
QUOTIENTS = RANKED | {"average", "ratio"}
# The operators that compare with one value.
COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
APPLICATION_STATES = ("applied", "reviewed", "approved", "refused", "returned")


@dataclass(frozen=True)
class Measure:
    """Something added up per subject and month. ``filter_values`` are resolved: no ``(spend)`` is left."""

    measure_id: str
    entity: str
    aggregation: str
    column_name: str | None
    filter_column: str | None
    filter_values: tuple[str, ...]
    type: str
    row: Row

    @property
    def counts_spend(self) -> bool:
        """Whether what it adds up hangs on which charge types count as spend."""
        return self.filter_column == "charge_type" and (self.aggregation == "flag" or SPEND_WORD in self.row["filter_values"])


@dataclass(frozen=True)
class Metric:
    """A measure over a window, of one type of subject."""

    metric_id: str
    measure: Measure
    window: str
    aggregation: str
    subject_type: str
    row: Row

    @property
    def span(self) -> Window:
        """The months that its window holds."""
        return Window.of(self.window)

    @property
    def type(self) -> str:
        """``integer`` or ``decimal``."""
        return "integer" if self.aggregation == "months" else self.measure.type

    @property
    def is_service(self) -> bool:
        """Whether it counts months in service, which the warehouse keeps apart from bills."""
        return self.measure.measure_id == "is_in_service"

    @property
    def needs(self) -> frozenset[str]:
        """Entities and columns without which it cannot be computed; ``bill_lines.cost_amount`` for a margin."""
        found = {self.measure.entity} if self.measure.aggregation != "flag" else set()
        if self.measure.aggregation == "margin":
            found.add("bill_lines.cost_amount")
        if self.subject_type == "group":
            found.add("group_members")
        return frozenset(found)


@dataclass(frozen=True)
class Band:
    """Numbers below ``below`` (None: all that are left) and not in a band before it."""

    band_id: str
    below: Decimal | None
    row: Row


@dataclass(frozen=True)
class Dimension:
    """One weighted part of a score. ``bands``: (below, score) where the scaling is by bands."""

    dimension_id: str
    group: str
    attribute: Attribute
    scaling: str
    weight: Decimal
    low: Decimal | None
    high: Decimal | None
    missing: str
    bands: tuple[tuple[Decimal | None, Decimal], ...]
    row: Row

    @property
    def is_relative(self) -> bool:
        """Whether its scaling depends on the population."""
        return self.scaling == "percentile_rank" or (self.scaling == "min_max" and None in (self.low, self.high))

    @property
    def is_rising(self) -> bool:
        """Whether more of the number never scores less."""
        scores = [score for _, score in self.bands]
        return scores == sorted(scores)


@dataclass(frozen=True)
class Attribute:
    """What a condition compares. The other fields as the kind asks for; see seeds/schema.yaml.

    ``minimum`` and ``maximum`` bound what a rule may name; what a subject may have is in ``facts``.
    ``of``: what it is made of. ``bands`` and ``dimensions`` belong to a policy version: they are there in the attributes of a
    version's conditions, and empty in :attr:`Policies.attributes`. ``undelivered``: entities and columns that the deployment does
    not deliver, as :meth:`without` was told them.
    """

    attribute_id: str
    subject_type: str
    kind: str
    type: str
    unit: str
    metric: Metric | None
    months: Metric | None
    column_name: str | None
    entity: str | None
    allowed_values: tuple[str, ...]
    minimum: Decimal | None
    maximum: Decimal | None
    may_be_null: bool
    row: Row
    divisor: Metric | None = None
    of: tuple[Attribute, ...] = ()
    bands: tuple[Band, ...] = ()
    dimensions: tuple[Dimension, ...] = ()
    undelivered: frozenset[str] = frozenset()

    @property
    def parts(self) -> tuple[Attribute, ...]:
        """The attributes that it is made of, one step down."""
        return (*self.of, *(d.attribute for d in self.dimensions))

    @property
    def is_ranked(self) -> bool:
        """Whether its value depends on all subjects of the program."""
        return self.kind in RANKED or any(d.is_relative for d in self.dimensions) or any(part.is_ranked for part in self.parts)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The window metrics that it rests on, those of its parts included; without those that are not delivered."""
        own = [metric for metric in self._own_metrics if not metric.needs & self.undelivered]
        return tuple({m.metric_id: m for m in [*own, *(metric for part in self.parts for metric in part.metrics)]}.values())

    @property
    def _own_metrics(self) -> tuple[Metric, ...]:
        return tuple(metric for metric in (self.metric, self.months, self.divisor) if metric)

    @property
    def is_spend_column(self) -> bool:
        """Whether it is a column of a customer's month that is worked out from bills."""
        of_customer = self.subject_type == "customer" and self.entity in (None, "customers")
        return self.kind in {"column", "months_since"} and of_customer and self.column_name in SPEND_COLUMNS

    @property
    def counts_spend(self) -> bool:
        """Whether its value hangs on which charge types count as spend."""
        return (
            self.is_spend_column or any(m.measure.counts_spend for m in self._own_metrics) or any(part.counts_spend for part in self.parts)
        )

    def lacking(self, missing: frozenset[str]) -> frozenset[str]:
        """What of the entities and columns ``missing`` keeps it from being evaluated.

        Of a first_known one part is enough. A dimension of a score that may be missing (`zero`, `middle`, `leave_out`) is missing
        for everyone then; the score needs those that refuse, and enough of the others to have a value where it must.
        """
        own = frozenset({self.entity} if self.entity else ()).union(*(metric.needs for metric in self._own_metrics)) & missing
        if self.kind == "first_known":
            each = [part.lacking(missing) for part in self.of]
            return own if not all(each) else own.union(*each)
        if self.dimensions:
            return own | self._lacking_of_score(missing)
        return own.union(*(part.lacking(missing) for part in self.parts))

    def _lacking_of_score(self, missing: frozenset[str]) -> frozenset[str]:
        each = [(d, d.attribute.lacking(missing)) for d in self.dimensions]
        refused = frozenset[str]().union(*(lacks for d, lacks in each if d.missing == "refuse"))
        left = [d for d, lacks in each if not lacks]
        always = any(d.missing != "leave_out" or not d.attribute.may_be_null for d in left)
        return refused if left and (always or self.may_be_null) else frozenset[str]().union(*(lacks for _, lacks in each))

    def without(self, missing: frozenset[str]) -> Attribute:
        """The same attribute where ``missing`` is not delivered: a first_known loses the parts that need it, all else that is read
        from it is null (see :attr:`Operand.is_delivered`)."""
        of = self.of
        if self.kind == "first_known":
            # One that has lost every part keeps them: it is not evaluated, and says what it needs.
            of = tuple(part for part in of if not part.lacking(missing)) or of
        of = tuple(part.without(missing) for part in of)
        dimensions = tuple(replace(d, attribute=d.attribute.without(missing)) for d in self.dimensions)
        return replace(self, of=of, dimensions=dimensions, undelivered=missing)


@dataclass(frozen=True)
class Condition:
    """One comparison. ``values``: one for a comparison, several for a list, two for a range (low included, high not).

    ``inside``: where levels are compared by their order, those for which it holds, from the lowest rank up.
    """

    attribute: Attribute
    operator: str
    values: tuple[Value, ...]
    with_null: bool
    row: Row
    inside: tuple[str, ...] = ()

    @property
    def is_by_rank(self) -> bool:
        """Whether it compares levels by their order."""
        return self.attribute.type == "level" and self.operator in {"<", "<=", ">", ">="}

    @property
    def shown(self) -> str:
        """``spend_avg_6m >= 300``"""
        texts = [text_of(v) for v in self.values] + (["(null)"] if self.with_null else [])
        joined = (".." if self.operator == "in range" else "|").join(texts)
        return f"{self.attribute.attribute_id} {self.operator} {joined}".strip()


@dataclass(frozen=True)
class Rule:
    """Conditions joined by AND, and the level they give."""

    rule_id: str
    order: int
    level_id: str
    conditions: tuple[Condition, ...]
    row: Row


@dataclass(frozen=True)
class ScopeRule:
    """Conditions joined by AND under which a subject is not graded."""

    rule_id: str
    conditions: tuple[Condition, ...]
    row: Row


@dataclass(frozen=True)
class Cap:
    """Conditions joined by AND under which a level above ``level_id`` is not shown."""

    cap_id: str
    level_id: str
    conditions: tuple[Condition, ...]
    row: Row


AnyRule = Rule | ScopeRule | Cap


def attributes_of(tables: Iterable[AnyRule]) -> tuple[Attribute, ...]:
    """The attributes that the conditions of tables use, each once, in order of first use."""
    return tuple({c.attribute.attribute_id: c.attribute for r in tables for c in r.conditions}.values())


@dataclass(frozen=True)
class Level:
    """A level of a program; a higher rank is better."""

    level_id: str
    rank: int
    row: Row


@dataclass(frozen=True)
class Version:
    """The rules of a program for a range of periods, in order."""

    program_id: str
    version: str
    valid_from: str
    valid_to: str | None
    rules: tuple[Rule, ...]
    scope_rules: tuple[ScopeRule, ...]
    caps: tuple[Cap, ...]
    policy_hash: str
    row: Row

    @property
    def validity_months(self) -> int:
        """Periods for which a level is held once it is reached; 0 where the level follows the rules."""
        return int(self.row["validity_months"] or 0)

    @property
    def grace_months(self) -> int:
        """Periods after the validity in which the level is still held."""
        return int(self.row["grace_months"] or 0)

    @property
    def fall(self) -> str:
        """``to_qualified`` or ``one_level``."""
        return str(self.row["fall"] or "to_qualified")

    @property
    def tables(self) -> tuple[AnyRule, ...]:
        """All that has conditions: rules, scope rules, caps."""
        return (*self.rules, *self.scope_rules, *self.caps)

    @property
    def given_levels(self) -> frozenset[str]:
        """The levels that its rules and caps name. Levels have no versions: others of the program are of other versions, or of overrides."""
        return frozenset(rule.level_id for rule in self.rules) | frozenset(cap.level_id for cap in self.caps)

    def covers(self, period: str) -> bool:
        """Whether it holds for ``period``."""
        return self.valid_from <= period and (self.valid_to is None or period <= self.valid_to)

    def without(self, missing: frozenset[str]) -> Version:
        """The same version where ``missing`` entities and columns are not delivered: see :meth:`Attribute.without`."""

        def conditions(items: tuple[Condition, ...]) -> tuple[Condition, ...]:
            return tuple(replace(c, attribute=c.attribute.without(missing)) for c in items)

        return replace(
            self,
            rules=tuple(replace(r, conditions=conditions(r.conditions)) for r in self.rules),
            scope_rules=tuple(replace(r, conditions=conditions(r.conditions)) for r in self.scope_rules),
            caps=tuple(replace(c, conditions=conditions(c.conditions)) for c in self.caps),
        )

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The attributes that its conditions use, in order of first use: rules, scope rules, caps."""
        return attributes_of(self.tables)


@dataclass(frozen=True)
class Program:
    """A grading scheme. ``levels`` from the lowest rank up; ``versions`` by their first period."""

    program_id: str
    subject_type: str
    method: str
    hit_policy: str
    monotone_in: Attribute | None
    enabled: bool
    levels: tuple[Level, ...]
    versions: tuple[Version, ...]
    row: Row

    def level(self, level_id: str) -> Level:
        """The level of that id."""
        return next(level for level in self.levels if level.level_id == level_id)

    def version_for(self, period: str) -> Version | None:
        """The version that holds for ``period``."""
        return next((v for v in self.versions if v.covers(period)), None)

    def ladder(self, version: Version) -> tuple[Level, ...]:
        """The levels that the rules of a version give, from the lowest rank up: on these a subject rises and falls.

        Levels have no versions: others of the program are of other versions, or of overrides alone.
        """
        given = {rule.level_id for rule in version.rules}
        return tuple(level for level in self.levels if level.level_id in given)


@dataclass(frozen=True)
class Policies:
    """All policies of a deployment, as read and checked. ``own_folder``: where its own seeds are or would be, as messages call it."""

    seeds: Mapping[str, Seed]
    measures: Mapping[str, Measure]
    metrics: Mapping[str, Metric]
    attributes: Mapping[str, Attribute]
    programs: Mapping[str, Program]
    spend_charge_types: tuple[str, ...]
    hash: str
    own_folder: str = ""

    @property
    def reach_months(self) -> int:
        """Months, the period included, that the longest window looks back; 24 for last calendar year."""
        return max((metric.span.reach for metric in self.metrics.values()), default=1)

    @property
    def used_metrics(self) -> tuple[Metric, ...]:
        """The metrics that the rules, scope rules, caps, lists and features of enabled programs rest on, in the order of the seed.

        All versions of a program count, whatever period is run: columns that came and went with the period would make every carried
        total anew.
        """
        used = {metric.metric_id for a in self.used_attributes for metric in a.metrics}
        return tuple(metric for metric in self.metrics.values() if metric.metric_id in used)

    @property
    def used_attributes(self) -> tuple[Attribute, ...]:
        """The attributes that enabled programs rest on, those of every version, of target lists and of features included."""
        found = [a for program in self.enabled() for version in program.versions for a in version.attributes]
        for name, column in (("target_lists", "order_attribute"), ("behaviour_features", "attribute")):
            found += [self.attributes[row[column]] for row in self.seeds[name] if self.programs[row["program_id"]].enabled]
        return tuple(found)

    def enabled(self) -> Iterator[Program]:
        """The programs that are run, in the order of the seed."""
        return (program for program in self.programs.values() if program.enabled)


def text_of(value: Any) -> str:
    """A value as the seeds write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    return value.isoformat() if isinstance(value, date) else str(value)


def canonical_hash(content: Any) -> str:
    """SHA-256 of one JSON text for one content; numbers are written without trailing zeros, sets must come sorted."""

    def plain(value: Any) -> Any:
        if isinstance(value, bool) or value is None or isinstance(value, int | str):
            return value
        if isinstance(value, Mapping):
            return {str(k): plain(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        return text_of(value.normalize() + 0 if isinstance(value, Decimal) else value)

    body = json.dumps(plain(content), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(body.encode()).hexdigest()
