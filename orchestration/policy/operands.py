"""What a condition is computed from: the columns of a program's inputs, and the SQL of an attribute's value over them.

The inputs of a program version have one row per subject and period and one column per operand. A decision is a function of that
row alone; where the population decides, its counts and sums are operands too. The decision's evidence is the operands by name,
so that a decision can be made again from its evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestration.policy.model import QUOTIENTS, Attribute, Dimension, Metric
from orchestration.policy.subjects import MONTH_TABLES

AMOUNT = "decimal(18, 4)"
TOTAL = "decimal(38, 4)"
SCORE = "decimal(18, 6)"
SQL_TYPES = {"decimal": AMOUNT, "integer": "bigint", "boolean": "boolean", "date": "date"}

# What is counted and added up over the subjects for a ranked attribute.
OVER_POPULATION = {
    "position": ("above", "population"),
    "share": ("above", "population", "above_amount", "total_amount"),
    "portion": ("total_amount",),
}

# Groups in which the inputs of a decision are substituted to find the cause of a movement.
ATTRIBUTES, BILLS, POINTS, POPULATION, NOMINATION = "attributes", "bills", "points", "population", "nomination"


@dataclass(frozen=True)
class Operand:
    """A column of the inputs. ``metric``: the window metric that it holds, if it is one. ``attribute``: whose it is.

    ``is_computed``: made from other operands or over the population, not read from a relation.
    """

    name: str
    sql_type: str
    group: str
    attribute: Attribute
    metric: Metric | None = None
    is_computed: bool = False

    @property
    def is_text_in_evidence(self) -> bool:
        """Amounts and days are text in JSON: a JSON number may be read as a float."""
        return self.sql_type.startswith(("decimal", "date"))

    @property
    def is_delivered(self) -> bool:
        """Whether the deployment delivers what it is read from; else it is null for everyone."""
        if self.metric:
            return not self.metric.needs & self.attribute.undelivered
        return self.attribute.entity not in self.attribute.undelivered


def operands_of(attribute: Attribute) -> Iterator[Operand]:
    """The operands of one attribute; of a score also those of its dimensions, of a band those of its number."""
    name = attribute.attribute_id
    if attribute.kind in {"column", "months_since"}:
        yield Operand(name, SQL_TYPES.get(attribute.type, "varchar"), BILLS if attribute.is_spend_column else ATTRIBUTES, attribute)
    elif attribute.kind in {"application", "nomination"}:
        yield Operand(name, "varchar", NOMINATION, attribute)
    elif attribute.kind == "metric":
        assert attribute.metric
        yield _metric(attribute, attribute.metric, name)
    elif attribute.kind in {"average", "ratio"}:
        for metric in (attribute.metric, attribute.months or attribute.divisor):
            assert metric
            yield _metric(attribute, metric, metric.metric_id)
    for part in attribute.parts:
        yield from operands_of(part)
    for column in OVER_POPULATION.get(attribute.kind, ()):
        kind = TOTAL if column.endswith("amount") else "bigint"
        yield Operand(f"{name}__{column}", kind, POPULATION, attribute, is_computed=True)
    for dimension in attribute.dimensions:
        group = POPULATION if dimension.is_relative else group_of(dimension.attribute)
        yield Operand(dimension_column(attribute, dimension), SCORE, group, attribute, is_computed=True)


def _metric(attribute: Attribute, metric: Metric, name: str) -> Operand:
    return Operand(name, SQL_TYPES[metric.type], _group(metric), attribute, metric)


def _group(metric: Metric) -> str:
    if metric.measure.entity == "points":
        return POINTS
    return BILLS if metric.measure.entity in MONTH_TABLES or metric.measure.aggregation == "flag" else ATTRIBUTES


def group_of(attribute: Attribute) -> str:
    """The group of the first operand of an attribute."""
    return next(operands_of(attribute)).group


def dimension_column(attribute: Attribute, dimension: Dimension) -> str:
    """The operand with the scaled value of a dimension, 0 to 100; null where the number is missing."""
    return f"{attribute.attribute_id}__{dimension.dimension_id}"


def operands(attributes: Iterable[Attribute]) -> list[Operand]:
    """The operands of several attributes, each once, in order of first use."""
    return list({o.name: o for attribute in attributes for o in operands_of(attribute)}.values())


def all_attributes(attributes: Iterable[Attribute]) -> list[Attribute]:
    """The attributes and what they are made of, parts first, each once."""
    found: dict[str, Attribute] = {}

    def collect(attribute: Attribute) -> None:
        for part in attribute.parts:
            collect(part)
        found.setdefault(attribute.attribute_id, attribute)

    for attribute in attributes:
        collect(attribute)
    return list(found.values())


def scores(attributes: Iterable[Attribute]) -> list[Attribute]:
    """The scores among the attributes and what they are made of."""
    return [attribute for attribute in all_attributes(attributes) if attribute.kind == "score"]


@dataclass(frozen=True)
class Quotient:
    """A number that is a numerator times ``scale`` over a denominator; it is null unless ``known`` holds.

    Compared without a division, which would round: ``numerator * scale >= bar * denominator``.
    """

    numerator: str
    denominator: str
    scale: int
    known: str

    @property
    def left(self) -> str:
        """The side of a comparison that does not hold the bar."""
        return self.numerator if self.scale == 1 else f"{self.numerator} * {self.scale}"


def quotient(attribute: Attribute, alias: str) -> Quotient | None:
    """The value of an attribute as a quotient over input columns; None for one that is a plain column."""
    name = f"{alias}.{attribute.attribute_id}"
    if attribute.kind == "average":
        assert attribute.metric and attribute.months
        months = f"{alias}.{attribute.months.metric_id}"
        return Quotient(f"{alias}.{attribute.metric.metric_id}", months, 1, f"{months} > 0")
    if attribute.kind == "ratio":
        assert attribute.metric and attribute.divisor
        top, bottom = f"{alias}.{attribute.metric.metric_id}", f"{alias}.{attribute.divisor.metric_id}"
        known = f"{bottom} > 0"
        if attribute.metric.measure.aggregation == "margin":
            known += f" and {top} is not null"
        return Quotient(f"cast({top} as {TOTAL})", f"cast({bottom} as {TOTAL})", 100, known)
    if attribute.kind == "position":
        return Quotient(f"{name}__above", f"{name}__population", 100, f"{name}__above is not null")
    if attribute.kind == "share":
        # Without any positive amount nobody has a share: all come last.
        return Quotient(
            f"{name}__above_amount", f"{name}__total_amount", 100, f"{name}__total_amount > 0 and {name}__above_amount is not null"
        )
    if attribute.kind == "portion":
        value = plain(attribute.of[0], alias)
        return Quotient(
            f"cast(greatest({value}, 0) as {TOTAL})", f"{name}__total_amount", 100, f"{name}__total_amount > 0 and {value} is not null"
        )
    return None


def plain(attribute: Attribute, alias: str) -> str:
    """The value of an attribute that is no quotient and no band."""
    if attribute.kind == "first_known":
        values = [plain(part, alias) for part in attribute.of]
        return values[0] if len(values) == 1 else f"coalesce({', '.join(values)})"
    if attribute.kind in QUOTIENTS or attribute.kind == "band":
        raise ValueError(f"{attribute.attribute_id} is a {attribute.kind}")
    return f"{alias}.{attribute.attribute_id}"
