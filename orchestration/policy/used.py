"""Which months the metrics of a run reach: what nothing reads is not read.

Not here: what a metric is, and which are used (``model``), or how it becomes SQL (``sql``, ``compile``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from orchestration.policy.model import Metric


def months_reached(metrics: Iterable[Metric], entity: str, target: int, months: Collection[int]) -> set[int]:
    """Of the month indexes ``months``, those whose rows of ``entity`` some metric reads when it is asked for month ``target``."""
    found: set[int] = set()
    for metric in metrics:
        if metric.measure.entity != entity or metric.is_service:
            continue
        first, last = (min(months, default=target), target) if metric.window == "total" else metric.span.months(target)
        found |= {month for month in months if first <= month <= last}
    return found


def months_of_charge_types(metrics: Iterable[Metric], target: int, months: Collection[int]) -> set[int]:
    """Of the month indexes ``months``, those in which it matters for month ``target`` whether a charge type counts."""
    asking = [metric for metric in metrics if metric.measure.filter_column == "charge_type"]
    return months_reached(asking, "bill_lines", target, months)
