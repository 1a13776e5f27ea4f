"""How much customers add to a measure a month at present, as SQL: what upgrade paths reckon with."""

from __future__ import annotations

from orchestration.policy import sql
from orchestration.policy.model import Measure, Policies
from orchestration.policy.operands import all_attributes
from orchestration.policy.relations import TARGETS

PACE_MONTHS = 3
_COLUMNS = {"customer_id": "varchar", "period": "varchar", "measure_id": "varchar", "recent_amount": "decimal(18, 4)"}


def present_paces(policies: Policies) -> str:
    """customer_id, period, measure_id and recent_amount: the sum of a measure of bills over the last PACE_MONTHS months."""
    of_measures = (
        "\n".join(
            [
                f"select c.customer_id, t.period, {sql.literal(measure.measure_id)} as measure_id,",
                f"    cast(sum(c.{sql.identifier(measure.measure_id)}) as decimal(18, 4)) as recent_amount",
                f"from {sql.MONTHS_PLACEHOLDER} as c",
                f"inner join {TARGETS} as t on c.period_index between t.period_index - {PACE_MONTHS - 1} and t.period_index",
                "group by c.customer_id, t.period",
            ]
        )
        for measure in _measures(policies)
    )
    return "\nunion all\n".join(of_measures) or sql.no_rows(_COLUMNS)


def _measures(policies: Policies) -> list[Measure]:
    """Measures of bills that rules ask sums or averages of."""
    versions = (version for program in policies.enabled() if program.subject_type == "customer" for version in program.versions)
    used = (a for version in versions for a in all_attributes(version.attributes))
    metrics = [a.metric for a in used if a.kind in {"metric", "average"} and a.metric]
    found = {m.measure.measure_id: m.measure for m in metrics if m.measure.entity == "bill_lines" and m.aggregation == "sum"}
    return [m for m in found.values() if m.aggregation in {"sum", "count"}]
