"""Conditions are judged on recorded values as the policy means them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from orchestration.audit.rules import judge, judge_rule, matching
from orchestration.deployment import load_deployment
from orchestration.policy import load_policies
from orchestration.policy.load import parse_condition
from orchestration.policy.model import Condition
from orchestration.policy.reader import Row

POLICIES = load_policies(load_deployment())
PROGRAM = POLICIES.programs["six_star"]


def _condition(attribute: str, operator: str, value: str | None) -> Condition:
    row = Row("decision_conditions.csv", 2, {"attribute": attribute, "operator": operator, "value": value})
    return parse_condition(row, POLICIES.attributes[attribute], {level.level_id: level for level in PROGRAM.levels})


@pytest.mark.parametrize(
    ("attribute", "operator", "value", "found", "holds"),
    [
        ("brand", "=", "gotone", "gotone", True),
        ("brand", "=", "gotone", None, False),
        ("brand", "!=", "gotone", None, False),
        ("brand", "!=", "gotone", "mzone", True),
        ("brand", "in", "easyown|(null)", None, True),
        ("brand", "not in", "easyown|mzone", None, False),
        ("brand", "not in", "easyown|mzone", "gotone", True),
        ("brand", "is null", None, None, True),
        ("brand", "is not null", None, None, False),
        ("is_real_name", "=", "true", True, True),
        ("is_real_name", "=", "true", False, False),
        ("points_last_year", ">=", "15000", 15000, True),
        ("points_last_year", ">=", "15000", 14999, False),
        ("spend_6m", "in range", "120..300", "120.0000", True),
        ("spend_6m", "in range", "120..300", "300.0000", False),
        ("nominated_level", ">=", "star_5", "star_6", True),
        ("nominated_level", ">=", "star_5", "star_4", False),
        ("nominated_level", "=", "star_6", None, False),
    ],
)
def test_comparison(attribute: str, operator: str, value: str | None, found: Any, holds: bool) -> None:
    assert judge(_condition(attribute, operator, value), PROGRAM, {attribute: found}).holds is holds


@pytest.mark.parametrize(
    ("total", "months", "holds", "missing"),
    [
        ("480.0000", 6, True, None),
        ("479.9999", 6, False, Decimal("0.0001")),
        ("80.0000", 1, True, None),
        ("79.9950", 1, False, Decimal("0.0050")),
        ("0.0000", 0, False, None),
    ],
)
def test_an_average_compares_the_sum_with_the_bar_times_the_months_in_service(
    total: str, months: int, holds: bool, missing: Decimal | None
) -> None:
    verdict = judge(_condition("spend_avg_6m", ">=", "80"), PROGRAM, {"spend_6m_amount": total, "service_6m_months": months})
    assert (verdict.holds, verdict.missing) == (holds, missing)


def test_the_first_rule_that_holds_decides() -> None:
    version = PROGRAM.version_for("2026-06")
    assert version is not None
    evidence = {"brand": "gotone", "points_last_year": 0, "nominated_level": None, "spend_6m_amount": "0", "service_6m_months": 6}
    match = matching([judge_rule(rule, PROGRAM, evidence) for rule in version.rules], PROGRAM)
    assert match is not None
    assert match.rule.rule_id == "star_4_gotone"
