"""Policies as the SQL that the models of ``models/intermediate`` take by name: measures, window metrics, decisions and what follows from them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from orchestration.policy import sql
from orchestration.policy.compile import decisions
from orchestration.policy.features import feature_values
from orchestration.policy.lists import order_values
from orchestration.policy.model import Metric, Policies
from orchestration.policy.movement import movement_causes
from orchestration.policy.paces import paced_measures, present_paces, recent_column, recent_sum
from orchestration.policy.relations import customer_extras, is_month_metric, subject_relation
from orchestration.policy.subjects import SUBJECT_TYPES


def compile_policies(
    policies: Policies,
    periods: Collection[str] | None = None,
    missing_entities: Collection[str] = frozenset(),
    metrics: Collection[Metric] | None = None,
) -> dict[str, str]:
    """Fragment name → SQL.

    ``periods``: leave out versions that decide none of them nor any month before. ``missing_entities``: entities that no source of the deployment
    delivers; a program that needs one is `not_evaluated` and says which. ``metrics``: those to compute (default: those used).

    BadInput if two versions of an enabled program hold for one period.
    """
    missing = frozenset(missing_entities)
    wanted = policies.used_metrics if metrics is None else metrics
    paced = paced_measures(policies)
    counted = {m.measure.measure_id for m in wanted} | {m.measure_id for m in paced} | {"spend_amount"}
    measures = [m for m in policies.measures.values() if m.aggregation != "flag" and m.measure_id in counted]
    metrics = [m for m in wanted if m.subject_type == "customer" and is_month_metric(m)]
    of_bills = [m for m in metrics if m.measure.entity == "bill_lines"]
    of_points = [m for m in metrics if m.measure.entity == "points"]
    of_lines = [m for m in measures if m.entity == "bill_lines"]
    bill_totals = [m for m in of_lines if m.aggregation != "margin"]
    # A total of points reaches back to the first of them: it is carried only where a metric asks for it.
    points_totals = [m for m in measures if any(p.measure is m and p.window == "total" for p in of_points)]
    points_measures = [m for m in measures if any(p.measure is m for p in wanted if p.measure.entity == "points")]
    return {
        "bill_line_measures": _list(sql.measure(m, "l") for m in of_lines),
        "points_measures": _list(sql.row_measure(m, "p") for m in points_measures),
        "points_rows": sql.any_row(points_measures, "p"),
        "carried_totals": _list(sql.carried_total(m, f"total_{m.measure_id}") for m in bill_totals),
        "points_carried_totals": _list(sql.carried_total(m, f"total_{m.measure_id}") for m in points_totals),
        "window_metrics": _list([*(sql.window_metric(m) for m in of_bills), *(recent_sum(m) for m in paced)]),
        "points_window_metrics": _list(sql.window_metric(m) for m in of_points),
        "window_columns": _list(
            [
                *(f"b.{sql.identifier(m.metric_id)}" for m in of_bills),
                *(f"b.{recent_column(m)}" for m in paced),
                *(f"b.{sql.identifier(f'total_{m.measure_id}')}" for m in bill_totals),
                *(sql.or_zero("p", m.metric_id, m) for m in of_points),
                *(sql.or_zero("p", f"total_{m.measure_id}", m) for m in points_totals),
            ]
        ),
        "metric_columns": _list(
            [*(f"s.{sql.identifier(m.metric_id)}" for m in [*of_bills, *of_points]), *(f"s.{recent_column(m)}" for m in paced)]
        ),
        "service_metrics": _list(sql.service_metric(m) for m in metrics if m.is_service),
        "customer_extras": customer_extras(policies, missing),
        **{f"{kind}_subjects": subject_relation(policies, kind, missing) for kind in SUBJECT_TYPES if kind != "customer"},
        "decisions": decisions(policies, periods, missing),
        "movement_causes": movement_causes(policies, periods, missing),
        "feature_values": feature_values(policies, missing),
        "present_paces": present_paces(policies),
        "order_values": order_values(policies, missing),
    }


def _list(columns: Iterable[str]) -> str:
    return ",\n".join(columns)
