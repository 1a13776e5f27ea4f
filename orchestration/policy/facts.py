"""What is known of a number before any row is seen: by its kind, by its contract, and by how the warehouse computes it.

The proofs of a table rest on these bounds, so they hold nothing that a row could break. What a seed declares as minimum and maximum
is what a rule may name, not what a subject may have: a month of credit notes is below zero whatever the seed says.
"""

from __future__ import annotations

from decimal import Decimal

from orchestration.ingest.contracts import load_contracts
from orchestration.policy.model import RANKED, Attribute, Measure, Metric
from orchestration.policy.subjects import SUBJECT_TYPES

Bounds = tuple[Decimal | None, Decimal | None]
ZERO, HUNDRED = Decimal(0), Decimal(100)
UNKNOWN: Bounds = (None, None)
# Columns of a customer's metrics row that the warehouse counts itself: the joining month is the first, and spend lies in the past.
_CUSTOMER: dict[str, Bounds] = {"tenure_months": (Decimal(1), None), "months_since_active": (ZERO, None)}


def bounds(attribute: Attribute) -> Bounds:
    """Lowest and highest value that a subject may have; None where there is no such bound."""
    kind = attribute.kind
    if kind in {*RANKED, "score"}:
        return ZERO, HUNDRED
    if kind == "column":
        return _of_column(attribute)
    if kind == "months_since":
        return _of_months_since(attribute)
    if kind == "first_known":
        parts = [bounds(part) for part in attribute.of]
        lows, highs = [low for low, _ in parts if low is not None], [high for _, high in parts if high is not None]
        return min(lows) if len(lows) == len(parts) else None, max(highs) if len(highs) == len(parts) else None
    if attribute.metric is None:
        return UNKNOWN
    if kind == "average" and attribute.months and _is_mean(attribute.metric, attribute.months):
        return _of_contract(attribute.metric.measure.entity, attribute.metric.measure.column_name)
    # The divisor of an average and of a ratio is above zero wherever there is a value.
    return _of_metric(attribute.metric) if kind == "metric" else _sign(_of_metric(attribute.metric))


def _of_column(attribute: Attribute) -> Bounds:
    subject = SUBJECT_TYPES[attribute.subject_type]
    if subject.name == "customer" and attribute.entity in (None, subject.entity):
        return _CUSTOMER.get(attribute.column_name or "", UNKNOWN)
    return _of_contract(attribute.entity or subject.entity, attribute.column_name)


def _of_months_since(attribute: Attribute) -> Bounds:
    """Zero where the date decides that the row is read, or that its subject is there: it lies in the period or before it, or, of the
    day of leaving, in the period or after it.

    All other dates may lie on either side: a leaving that is announced, and the joining of a customer who was billed before.
    """
    subject = SUBJECT_TYPES[attribute.subject_type]
    entity = attribute.entity or subject.entity
    own, column = entity == subject.entity, attribute.column_name
    # A reception may be noted after the month in which it is judged.
    read_from = None if own and subject.at_column else load_contracts()[entity].history
    # A customer is there who is billed, whatever the dates say.
    there_from, there_to = (subject.from_column, subject.to_column) if own and subject.name != "customer" else (None, None)
    if column in {read_from, there_from}:
        return ZERO, None
    return (None, ZERO) if column == there_to else UNKNOWN


def _of_metric(metric: Metric) -> Bounds:
    if metric.aggregation == "months":
        months = metric.span.length
        return ZERO, None if months is None else Decimal(months)
    if metric.measure.aggregation == "count":
        return ZERO, None
    if metric.measure.aggregation == "sum":
        # Where there are no rows the sum is zero.
        return _sign(_of_contract(metric.measure.entity, metric.measure.column_name))
    return UNKNOWN


def _is_mean(total: Metric, count: Metric) -> bool:
    """Whether a sum is divided by the number of its own rows, each of which has a value."""
    summed, counted = total.measure, count.measure
    if summed.aggregation != "sum" or counted.aggregation != "count" or total.window != count.window:
        return False
    return _rows(summed) == _rows(counted) and load_contracts()[summed.entity].columns[summed.column_name or ""].required


def _rows(measure: Measure) -> tuple[str, str | None, tuple[str, ...]]:
    return measure.entity, measure.filter_column, measure.filter_values


def _of_contract(entity: str, column: str | None) -> Bounds:
    """The bounds outside of which ingest puts a row in quarantine."""
    found = load_contracts()[entity].columns.get(column or "")
    return (found.minimum, found.maximum) if found else UNKNOWN


def _sign(of: Bounds) -> Bounds:
    low, high = of
    return ZERO if low is not None and low >= 0 else None, ZERO if high is not None and high <= 0 else None
