"""Bills asked again over the windows of two months, as SQL: what the month before would have had with the bills known now, and both windows
in one.

Which inputs are replaced by these, and when, is for ``substitution``.
"""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import indent

from orchestration.policy import sql
from orchestration.policy.cells import MAX_WINDOW_MONTHS
from orchestration.policy.model import Metric
from orchestration.policy.operands import BILLS, Operand
from orchestration.policy.relations import member_months

WINDOWS = {"customer": "customer_windows", "group": "group_windows"}
# How far back the month before's last spend is looked up in the bills known now.
_IDLE_MONTHS = 12


def windowed_metrics(kind: str, found: Iterable[Operand]) -> list[Metric]:
    """Metrics of bills that can be taken over other months than this month's window."""
    return list({o.metric.metric_id: o.metric for o in found if o.metric and is_windowed(kind, o)}.values())


def is_looked_up(kind: str, operand: Operand) -> bool:
    """Whether the bills are asked again for the operand."""
    return is_windowed(kind, operand) or is_idle(operand)


def is_idle(operand: Operand) -> bool:
    """Whether the operand is the months since the last spend."""
    return operand.metric is None and operand.group == BILLS and operand.attribute.column_name == "months_since_active"


def is_windowed(kind: str, operand: Operand) -> bool:
    """Whether the operand is a metric of bills that can be taken over other months than this month's window."""
    metric = operand.metric
    if metric is None or operand.group != BILLS or not operand.is_delivered:
        return False
    # The months in service of a group's members are not one window, and of a customer's first months only so many are kept.
    if metric.is_service:
        return kind == "customer" and metric.window != "total"
    return kind in WINDOWS


def window_relation(kind: str, metrics: list[Metric], *, asks_idle: bool) -> str:
    """subject_id, before_index, period_index, and each metric over the window before (with the bills known now) and over both windows; of a
    total what came after.

    ``asks_idle``: also idle_before, the months from the last spend to the month before; null if it is not found within _IDLE_MONTHS.
    """
    of_months = [m for m in metrics if not m.is_service]
    service = [m for m in metrics if m.is_service]
    before, now = "t.before_index", "t.period_index"
    columns = ["t.subject_id", "t.before_index", "t.period_index"]
    for metric in of_months:
        if metric.window == "total":
            columns.append(sql.months_metric(metric, before, now, name=_added(metric)))
            continue
        columns.append(sql.window_metric(metric, before, name=_corrected(metric)))
        columns.append(sql.window_metric(metric, before, now, name=_extended(metric)))
    for metric in service:
        columns += [_served(metric, before, None, _corrected(metric)), _served(metric, before, now, _extended(metric))]
    if asks_idle:
        spent = "max(case when m.has_spend and m.period_index <= t.before_index then m.period_index end)"
        columns.append(f"cast(t.before_index - {spent} as integer) as idle_before")
    lines = [
        "select",
        sql.columns(columns),
        f"from (select distinct subject_id, before_index, period_index from pairs where subject_type = {sql.literal(kind)}) as t",
    ]
    if of_months or asks_idle:
        months, key = _months(kind, of_months)
        reach = max([m.span.reach for m in of_months] + [_IDLE_MONTHS] * asks_idle)
        lines += [
            "left join (",
            indent(months, "    "),
            f") as m on t.subject_id = m.{key} and m.period_index between t.before_index + 1 - {reach} and t.period_index",
        ]
    if service:
        lines.append(f"left join {sql.METRICS_PLACEHOLDER} as s on t.subject_id = s.customer_id and t.period_index = s.period_index")
    return "\n".join([*lines, "group by t.subject_id, t.before_index, t.period_index"])


def _months(kind: str, metrics: list[Metric]) -> tuple[str, str]:
    measures = list({m.measure.measure_id: None for m in metrics})
    if kind == "group":
        moved = "g.group_id in (select subject_id from pairs where subject_type = 'group')"
        return member_months(sql.MONTHS_PLACEHOLDER, [*measures, "bill_line_count"], moved), "subject_id"
    columns = ["c.customer_id", "c.period_index", "c.bill_line_count", "c.spend_amount > 0 as has_spend"]
    columns += ["c.spend_amount > 0 as is_active" if name == "is_active" else f"c.{sql.identifier(name)}" for name in measures]
    return f"select {', '.join(columns)} from {sql.MONTHS_PLACEHOLDER} as c", "customer_id"


def _served(metric: Metric, index: str, until: str | None, name: str) -> str:
    """Months in service between two months, from the bits of this month's mask (bit i: in service i months before)."""
    first, last = metric.span.sql_range(index, until)
    # A long window and months that were not evaluated behind it may be more than the mask has bits.
    shift, months = f"cast(t.period_index - ({last}) as integer)", f"cast(least(({last}) - ({first}) + 1, {MAX_WINDOW_MONTHS}) as integer)"
    bits = f"(coalesce(max(s.service_mask), 0) >> {shift}) & ((cast(1 as bigint) << {months}) - 1)"
    return f"cast(bit_count({bits}) as bigint) as {sql.identifier(name)}"


def _corrected(metric: Metric) -> str:
    return f"{metric.metric_id}__corrected"


def _extended(metric: Metric) -> str:
    return f"{metric.metric_id}__extended"


def _added(metric: Metric) -> str:
    return f"{metric.metric_id}__added"


def after_corrections(operand: Operand, metric: Metric, is_known: str) -> str:
    """The metric as the month before would have it with the bills known now. A total is carried: the new month is taken off.

    ``is_known``: whether this month's evidence has it. A total that other rules no longer ask for is that of the month before.
    """
    if metric.window == "total":
        name = sql.identifier(operand.name)
        return f"case when {is_known} then p.becomes.{name} - w.{_added(metric)} else p.was.{name} end"
    return f"w.{_corrected(metric)}"


def after_new_spend(operand: Operand, metric: Metric, is_known: str) -> str:
    """The metric over both windows; nothing rolls off a total. ``is_known``: as in :func:`after_corrections`."""
    if metric.window == "total":
        name = sql.identifier(operand.name)
        return f"case when {is_known} then p.becomes.{name} else p.was.{name} + w.{_added(metric)} end"
    return f"w.{_extended(metric)}"
