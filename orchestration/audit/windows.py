"""Metrics traced to the landed rows that they add up, month by month, for customers, groups and every other subject.

The sums are made here again, in Decimal, from the landing alone; whether they equal the evidence is for the caller to ask.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from orchestration.audit.landed import BillRow, EntityRow, Landing, PointsRow, as_dict
from orchestration.audit.numbers import total
from orchestration.audit.readings import Evidence, as_text
from orchestration.ingest.contracts import load_contracts
from orchestration.periods import add_months, periods_between
from orchestration.policy.load import clock_of
from orchestration.policy.model import Measure, Metric, Version
from orchestration.policy.operands import all_attributes
from orchestration.policy.subjects import MONTH_TABLES, SUBJECT_TYPES

_STEP = Decimal("0.0001")
_ALWAYS = "9999-12"


@dataclass(frozen=True)
class Month:
    """One month of a window: what its rows add up to (None: a line lacks its cost), and how many they are."""

    period: str
    value: Decimal | None
    rows: int


@dataclass(frozen=True)
class Member:
    """A member of a group with the months of membership in the window, and what they add up to."""

    customer_id: str
    roles: str
    periods: list[str]
    value: Decimal
    rows: int


@dataclass(frozen=True)
class Window:
    """One metric over its window. ``months`` has an item for every period of the window, empty ones included.

    ``value`` is what the decision recorded, ``traced`` what the landed rows add up to. Months in service do not come from rows with
    amounts: ``is_traced`` is false. ``rows`` are those of other entities than bills and points.
    """

    metric: Metric
    periods: list[str]
    value: Decimal | None
    is_traced: bool = False
    traced: Decimal | None = None
    months: list[Month] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    rows: list[EntityRow] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether the landed rows give the value of the decision."""
        return not self.is_traced or self.traced == self.value

    def as_json(self) -> dict[str, Any]:
        """Shape of an item of ``windows``; amounts as text."""
        return {
            "metric": self.metric.metric_id,
            "name_en": self.metric.row["name_en"],
            "name_zh": self.metric.row["name_zh"],
            "unit": self.metric.row["unit"],
            "window": self.metric.window,
            "first_period": self.periods[0] if self.periods else None,
            "last_period": self.periods[-1] if self.periods else None,
            "value": as_text(self.value),
            "is_traced": self.is_traced,
            "traced": as_text(self.traced),
            "agrees": self.agrees,
            "by_period": [{"period": m.period, "value": as_text(m.value), "rows": m.rows} for m in self.months],
            "members": [
                {"customer_id": m.customer_id, "roles": m.roles, "periods": m.periods, "value": as_text(m.value), "rows": m.rows}
                for m in self.members
            ],
            "rows": [as_dict(row) for row in self.rows],
        }


@dataclass(frozen=True)
class Traced:
    """All windows of a decision, and the bills and points behind them."""

    windows: list[Window]
    bills: list[BillRow]
    points: list[PointsRow]


def window_periods(window: str, period: str, first: str | None) -> list[str]:
    """The periods of a window that ends with ``period``; ``first`` is the earliest that may have rows (for ``total``)."""
    year = int(period[:4])
    if window == "ytd":
        return periods_between(f"{year}-01", period)
    if window == "last_year":
        return periods_between(f"{year - 1}-01", f"{year - 1}-12")
    if window == "total":
        return periods_between(first, period) if first and first <= period else []
    months = int(window.removeprefix("previous_").removesuffix("m"))
    last = add_months(period, -months) if window.startswith("previous_") else period
    return periods_between(add_months(last, 1 - months), last)


def recorded_metrics(version: Version, evidence: Evidence) -> list[tuple[Metric, Decimal | None]]:
    """The metrics that the version's conditions rest on, with the values that the decision recorded.

    Without those that are not delivered: they are null for everyone, and have no rows. A margin may be null because of its rows.
    """
    found: dict[str, tuple[Metric, Decimal | None]] = {}
    for attribute in all_attributes(version.attributes):
        for metric in (attribute.metric, attribute.months, attribute.divisor):
            key = attribute.attribute_id if attribute.kind == "metric" else metric.metric_id if metric else ""
            if metric is None or not evidence.has(key) or metric.needs & attribute.undelivered:
                continue
            if evidence.operand(key) is not None or metric.measure.aggregation == "margin":
                found[metric.metric_id] = (metric, evidence.amount(key))
    return list(found.values())


def trace(
    landing: Landing, subject_type: str, subject_id: str, period: str, metrics: list[tuple[Metric, Decimal | None]], spend: tuple[str, ...]
) -> Traced:
    """Every metric with the rows behind it."""
    first = landing.first_period()
    spans = {metric.metric_id: window_periods(metric.window, period, first) for metric, _ in metrics}

    def reach(entity: str) -> list[str]:
        return sorted({p for m, _ in metrics if m.measure.entity == entity and not m.is_service for p in spans[m.metric_id]})

    memberships = _memberships(landing, subject_id) if subject_type == "group" and metrics else []
    customers = sorted({m.customer_id for m in memberships}) if subject_type == "group" else [subject_id]
    by_customer = subject_type in ("customer", "group")
    measures = [m.measure for m, _ in metrics if m.measure.entity == "bill_lines"]
    columns = {c for m in measures for c in (m.filter_column, m.column_name) if c}
    bills = landing.bills(customers, reach("bill_lines"), columns) if by_customer else []
    points = landing.points(customers, reach("points")) if by_customer else []
    rows: dict[str, list[EntityRow]] = {}
    windows = []
    for metric, value in metrics:
        span, measure = spans[metric.metric_id], metric.measure
        if metric.is_service:
            windows.append(Window(metric, span, value))
            continue
        if measure.entity in MONTH_TABLES or measure.aggregation == "flag":
            items = _of_bills(measure, bills, spend) if measure.entity == "bill_lines" else _of_points(measure, points)
            windows.append(
                _of_group(metric, span, value, items, memberships) if subject_type == "group" else _window(metric, span, value, items)
            )
            continue
        if measure.entity not in rows:
            rows[measure.entity] = landing.entity_rows(measure.entity, SUBJECT_TYPES[subject_type].key, subject_id)
        windows.append(_of_rows(landing, metric, span, value, rows[measure.entity]))
    shown = _Months(memberships) if subject_type == "group" else None
    return Traced(
        windows,
        [b for b in bills if shown is None or shown.holds(b.customer_id, b.period)],
        [p for p in points if shown is None or shown.holds(p.customer_id, p.period)],
    )


@dataclass(frozen=True)
class _Item:
    period: str
    amount: Decimal | None
    customer_id: str = ""


def _of_bills(measure: Measure, bills: list[BillRow], spend: tuple[str, ...]) -> list[_Item]:
    # A month is active when its spend is above zero.
    if measure.aggregation == "flag":
        return [_Item(b.period, b.amount, b.customer_id) for b in bills if b.charge_type in spend]
    column = measure.filter_column
    return [
        _Item(b.period, _amount_of(measure, b), b.customer_id) for b in bills if not column or b.values[column] in measure.filter_values
    ]


def _amount_of(measure: Measure, bill: BillRow) -> Decimal | None:
    if measure.aggregation == "count":
        return Decimal(1)
    if measure.aggregation == "margin":
        return None if bill.cost is None else bill.amount - bill.cost
    value = bill.values[measure.column_name or ""]
    return None if value is None else Decimal(value)


def _of_points(measure: Measure, points: list[PointsRow]) -> list[_Item]:
    wanted = measure.filter_values
    return [
        _Item(p.period, Decimal(1) if measure.aggregation == "count" else Decimal(p.points), p.customer_id)
        for p in points
        if not wanted or p.points_type in wanted
    ]


def _window(metric: Metric, span: list[str], value: Decimal | None, items: list[_Item]) -> Window:
    by_period: dict[str, list[Decimal | None]] = {period: [] for period in span}
    for item in items:
        if item.period in by_period:
            by_period[item.period].append(item.amount)
    is_margin = metric.measure.aggregation == "margin"
    months = []
    for period, amounts in by_period.items():
        # A sum passes over what is not there; a margin is unknown with one line that lacks its cost.
        known = None if is_margin and None in amounts else total([a for a in amounts if a is not None])
        months.append(Month(period, known, len(amounts)))
    traced: Decimal | None
    if metric.aggregation == "months":
        traced = Decimal(sum(1 for month in months if month.value is not None and month.value > 0))
    elif any(month.value is None for month in months):
        traced = None
    else:
        traced = _rounded(total([month.value for month in months if month.value is not None]))
    return Window(metric, span, value, True, traced, months)


def _rounded(value: Decimal) -> Decimal:
    """As the warehouse keeps amounts: four places."""
    return value if value == value.quantize(_STEP) else value.quantize(_STEP, ROUND_HALF_UP)


def _of_rows(landing: Landing, metric: Metric, span: list[str], value: Decimal | None, rows: list[EntityRow]) -> Window:
    measure, wanted = metric.measure, set(span)
    dated = [(month_of(landing, measure.entity, row), row) for row in rows]
    inside = [
        (period, row)
        for period, row in dated
        if period in wanted and (not measure.filter_column or row.values[measure.filter_column] in measure.filter_values)
    ]
    items = [_Item(str(period), _value_of(measure, row)) for period, row in inside]
    found = _window(metric, span, value, items)
    return Window(metric, span, value, True, found.traced, found.months, rows=[row for _, row in sorted(inside, key=lambda i: str(i[0]))])


def _value_of(measure: Measure, row: EntityRow) -> Decimal | None:
    if measure.aggregation == "count":
        return Decimal(1)
    value = row.values[measure.column_name or ""]
    return None if value is None else Decimal(value)


def month_of(landing: Landing, entity: str, row: EntityRow) -> str | None:
    """The period in which a row counts."""
    clock = clock_of(entity)
    value = row.values[clock] if clock else None
    if value is None or (clock and load_contracts()[entity].columns[clock].type == "period"):
        return value
    day = landing.local_day(value)
    return f"{day:%Y-%m}"


@dataclass(frozen=True)
class _Membership:
    customer_id: str
    role: str
    first: str
    last: str


class _Months:
    """Which customers are members in which months."""

    def __init__(self, memberships: list[_Membership]) -> None:
        self._spans: dict[str, list[_Membership]] = {}
        for membership in memberships:
            self._spans.setdefault(membership.customer_id, []).append(membership)

    def holds(self, customer_id: str, period: str) -> bool:
        return any(m.first <= period <= m.last for m in self._spans.get(customer_id, []))


def _memberships(landing: Landing, group_id: str) -> list[_Membership]:
    def month(day: date | None) -> str:
        return f"{day:%Y-%m}" if day else _ALWAYS

    rows = landing.entity_rows("group_members", "group_id", group_id)
    return [
        _Membership(r.values["customer_id"], r.values["role"], month(r.values["start_date"]), month(r.values["end_date"])) for r in rows
    ]


def _of_group(metric: Metric, span: list[str], value: Decimal | None, items: list[_Item], memberships: list[_Membership]) -> Window:
    months = _Months(memberships)
    inside = [item for item in items if months.holds(item.customer_id, item.period)]
    whole = _window(metric, span, value, inside)
    members = []
    for customer_id in sorted({m.customer_id for m in memberships}):
        mine = [item for item in inside if item.customer_id == customer_id and item.period in set(span)]
        periods = [period for period in span if months.holds(customer_id, period)]
        if periods:
            roles = "|".join(dict.fromkeys(m.role for m in memberships if m.customer_id == customer_id))
            members.append(Member(customer_id, roles, periods, total([i.amount for i in mine if i.amount is not None]), len(mine)))
    return Window(metric, span, value, True, whole.traced, whole.months, members)
