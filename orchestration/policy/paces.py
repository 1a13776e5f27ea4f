"""What customers add to a measure a month at present, and what their sums stand at, as SQL: what upgrade paths reckon with."""

from __future__ import annotations

from orchestration.policy import sql
from orchestration.policy.model import Attribute, Measure, Metric, Policies
from orchestration.policy.operands import AMOUNT, all_attributes

PACE_MONTHS = 3


def paced_measures(policies: Policies) -> list[Measure]:
    """Measures of bills that rules ask sums or averages of."""
    return list(
        {attribute.metric.measure.measure_id: attribute.metric.measure for attribute in _sums(policies) if attribute.metric}.values()
    )


def recent_column(measure: Measure) -> str:
    """Name of the sum of a measure over the last PACE_MONTHS months, in windows and metrics of customers."""
    return f"{sql.identifier(measure.measure_id)}__recent"


def recent_sum(measure: Measure) -> str:
    """``… as spend_amount__recent`` over month rows m and the target period t."""
    return sql.window_metric(Metric(recent_column(measure), measure, f"{PACE_MONTHS}m", "sum", "customer", measure.row))


def present_paces(policies: Policies) -> str:
    """``recent_amount, window_amount, divided_months`` of the sum that the row ``sums`` names, over the row ``served`` of customer metrics."""
    attributes = _sums(policies)
    metrics = [a.metric for a in attributes if a.metric]
    months = [a.months for a in attributes if a.months]
    return ",\n".join(
        [
            _of_the_named("measure_id", {m.measure.measure_id: recent_column(m.measure) for m in metrics}, AMOUNT, "recent_amount"),
            _of_the_named("metric_id", {m.metric_id: sql.identifier(m.metric_id) for m in metrics}, AMOUNT, "window_amount"),
            _of_the_named("months_metric_id", {m.metric_id: sql.identifier(m.metric_id) for m in months}, "bigint", "divided_months"),
        ]
    )


def _sums(policies: Policies) -> list[Attribute]:
    """Sums and averages of bills that rules of customers ask for."""
    versions = (version for program in policies.enabled() if program.subject_type == "customer" for version in program.versions)
    used = {a.attribute_id: a for version in versions for a in all_attributes(version.attributes) if a.kind in {"metric", "average"}}
    return [a for a in used.values() if a.metric and a.metric.aggregation == "sum" and _is_paced(a.metric.measure)]


def _is_paced(measure: Measure) -> bool:
    return measure.entity == "bill_lines" and measure.aggregation in {"sum", "count"}


def _of_the_named(name: str, columns: dict[str, str], sql_type: str, alias: str) -> str:
    """The column of ``served`` that the row of ``sums`` names."""
    cases = "".join(f" when {sql.literal(of)} then cast(served.{column} as {sql_type})" for of, column in columns.items())
    return f"{f'case sums.{name}{cases} end' if cases else f'cast(null as {sql_type})'} as {alias}"
