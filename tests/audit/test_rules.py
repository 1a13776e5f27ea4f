"""Conditions of every kind are judged on recorded values as the policy means them: on the bar, a step beside it, and null."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestration.audit.readings import DimensionReading, Evidence, Reading
from orchestration.audit.rules import judge, judge_rule, lowest_cap, matching
from orchestration.audit.sections.conditions import found_text
from orchestration.audit.sections.scores import scores
from orchestration.deployment import load_deployment
from orchestration.errors import Failed, Mismatch
from orchestration.policy import load_policies
from orchestration.policy.conditions import parse_condition
from orchestration.policy.model import Attribute, Condition, Program
from orchestration.policy.reader import Row

POLICIES = load_policies(load_deployment())
SIX_STAR = POLICIES.programs["six_star"]


def _attribute(program: str, name: str) -> Attribute:
    """An attribute as the version of a program resolves it, with its bands and dimensions."""
    version = POLICIES.programs[program].version_for("2026-06")
    assert version is not None
    return next((a for a in version.attributes if a.attribute_id == name), POLICIES.attributes[name])


def _condition(attribute: Attribute, operator: str, value: str | None, program: Program = SIX_STAR) -> Condition:
    row = Row("decision_conditions.csv", 2, {"attribute": attribute.attribute_id, "operator": operator, "value": value})
    return parse_condition(row, attribute, {level.level_id: level for level in program.levels})


def _holds(attribute: Attribute, operator: str, value: str | None, evidence: dict[str, Any]) -> bool:
    return judge(_condition(attribute, operator, value), SIX_STAR, Evidence(evidence, "here")).holds


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
        ("spend_6m", "is null", None, None, True),
        ("spend_6m", "not in", "1|2", "3.0000", True),
        ("nominated_level", ">=", "star_5", "star_6", True),
        ("nominated_level", ">=", "star_5", "star_4", False),
        ("nominated_level", "=", "star_6", None, False),
    ],
)
def test_comparison(attribute: str, operator: str, value: str | None, found: Any, holds: bool) -> None:
    assert _holds(POLICIES.attributes[attribute], operator, value, {attribute: found}) is holds


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
    evidence = Evidence({"spend_6m_amount": total, "service_6m_months": months}, "here")
    verdict = judge(_condition(POLICIES.attributes["spend_avg_6m"], ">=", "80"), SIX_STAR, evidence)
    assert (verdict.holds, verdict.missing) == (holds, missing)


@pytest.mark.parametrize(("total", "shown"), [("479.9999", "(79.999983 a month)"), ("480.0001", "(80.000017 a month)"), ("480.0000", "(80.00 a month)"), ("400.0000", "(66.67 a month)")])  # fmt: skip
def test_a_quotient_is_not_rounded_to_a_bar_that_it_does_not_meet(total: str, shown: str) -> None:
    """``80.00 a month`` beside a bar of 80 that is not met would read as a contradiction."""
    evidence = Evidence({"spend_6m_amount": total, "service_6m_months": 6}, "here")
    reading = judge(_condition(POLICIES.attributes["spend_avg_6m"], ">=", "80"), SIX_STAR, evidence).reading
    assert shown in found_text(cast(Any, None), reading, "en", [Decimal(80)])


@pytest.mark.parametrize(
    ("top", "bottom", "holds", "missing"),
    [
        ("120.0000", "100.0000", True, None),
        ("119.9999", "100.0000", False, Decimal("0.0001")),
        # A third of a hundred thousandth short: rounded up, so that it is enough.
        ("0.0003", "0.0003", False, Decimal("0.0001")),
        ("5.0000", "0.0000", False, None),
        ("5.0000", "-1.0000", False, None),
    ],
)
def test_a_ratio_compares_products_and_is_unknown_without_a_positive_denominator(
    top: str, bottom: str, holds: bool, missing: Decimal | None
) -> None:
    evidence = Evidence({"spend_3m_amount": top, "spend_previous_3m_amount": bottom}, "here")
    verdict = judge(_condition(POLICIES.attributes["spend_growth"], ">=", "120"), SIX_STAR, evidence)
    assert (verdict.holds, verdict.missing) == (holds, missing)


@pytest.mark.parametrize(("top", "bottom", "shown"), [("1.1999999", "1", "119.99999"), ("1.2", "1", "120.00"), ("2", "3", "66.67")])
def test_a_number_beside_the_score_of_its_band_is_on_its_side_of_the_bounds(top: str, bottom: str, shown: str) -> None:
    points = _attribute("vip_score", "vip_points")
    growth = next(d for d in points.dimensions if d.dimension_id == "growth")
    evidence = Evidence({"spend_3m_amount": top, "spend_previous_3m_amount": bottom}, "here")
    read = DimensionReading(growth, evidence.read(growth.attribute), None, None, growth.weight, None)
    explanation = SimpleNamespace(readings=[Reading(points, None, None, {}, (), (read,))], unit="yuan")
    line = next(line for line in scores(cast(Any, explanation), "en") if "Growth" in line)
    assert f" {shown} " in line


def _ranked(above: int, population: int) -> dict[str, Any]:
    return {
        "margin_12m": None,
        "contribution_12m": None,
        "spend_12m": "5.0000",
        "contribution_position__above": above,
        "contribution_position__population": population,
    }


@pytest.mark.parametrize(("above", "band"), [(0, "vip"), (9, "vip"), (10, "major"), (199, "major"), (200, "ordinary"), (1000, "small")])
def test_a_position_falls_into_the_band_whose_lower_bound_it_meets(above: int, band: str) -> None:
    layer = _attribute("customer_pyramid", "pyramid_layer")
    evidence = _ranked(above, 1000) | {"pyramid_layer": band}
    assert [b.band_id for b in layer.bands if _holds(layer, "=", b.band_id, evidence)] == [band]
    assert _holds(layer, "!=", band, evidence) is False
    assert _holds(layer, "is null", None, evidence) is False


def test_a_recorded_band_that_the_position_does_not_give_is_a_mismatch() -> None:
    layer = _attribute("customer_pyramid", "pyramid_layer")
    with pytest.raises(Mismatch, match="pyramid_layer = vip, the decision holds major"):
        Evidence(_ranked(9, 1000) | {"pyramid_layer": "major"}, "here").read(layer)


def test_a_share_without_any_positive_amount_is_unknown() -> None:
    share = POLICIES.attributes["spend_share_above"]
    operands = {"spend_12m": "0.0000", "spend_share_above__above": 3, "spend_share_above__population": 3}
    nothing = operands | {"spend_share_above__above_amount": "0.0000", "spend_share_above__total_amount": "0.0000"}
    some = operands | {"spend_share_above__above_amount": "49.9999", "spend_share_above__total_amount": "100.0000"}
    assert _holds(share, "is null", None, nothing)
    assert _holds(share, "<", "50", some)
    assert not _holds(share, "<", "50", some | {"spend_share_above__above_amount": "50.0000"})


@pytest.mark.parametrize(("own", "holds"), [("1.0000", True), ("0.9999", False), ("-5.0000", False)])
def test_a_portion_is_the_own_positive_amount_of_the_sum(own: str, holds: bool) -> None:
    portion = _attribute("group_value", "group_spend_portion")
    evidence = {portion.of[0].attribute_id: own, f"{portion.attribute_id}__total_amount": "100.0000"}
    assert _holds(portion, ">=", "1", evidence) is holds


def test_first_known_takes_the_first_part_that_is_known_and_passes_over_one_that_is_not_delivered() -> None:
    contribution = POLICIES.attributes["contribution_12m"]
    both = {"margin_12m": None, "spend_12m": "7.0000"}
    assert Evidence(both, "here").read(contribution).chosen == "spend_12m"
    assert Evidence(both | {"margin_12m": "-2.0000"}, "here").read(contribution).value == Decimal(-2)
    assert Evidence({"spend_12m": "7.0000"}, "here").read(contribution).value == Decimal(7)
    with pytest.raises(Failed, match="lacks margin_12m"):
        Evidence({"brand": "gotone"}, "here").read(contribution)


STAFF = {
    "staff_tenure_months": 35,
    "staff_points__tenure": "50.000000",
    "staff_problem_solving_3m_sum": "200.0000",
    "staff_problem_solving_3m_count": 3,
    "staff_points__problem_solving": "66.666666",
    "staff_service_quality_3m_sum": "0.0000",
    "staff_service_quality_3m_count": 0,
    "staff_points__service_quality": None,
    "staff_initiative_3m_sum": "300.0000",
    "staff_initiative_3m_count": 3,
    "staff_points__initiative": "100.000000",
    "staff_satisfaction_3m_sum": "240.0000",
    "staff_satisfaction_3m_count": 3,
    "staff_points__satisfaction": "80.000000",
    # (50 × 15 + 66.666666 × 25 + 100 × 15 + 80 × 25) / 80, cut off
    "staff_points": "73.958333",
}


def test_a_score_is_made_again_from_its_dimensions_and_the_others_share_the_weight_of_one_that_is_missing() -> None:
    score = _attribute("staff_grade", "staff_points")
    reading = Evidence(STAFF, "here").read(score)
    assert reading.value == Decimal("73.958333")
    weights = {d.dimension.dimension_id: d.weight for d in reading.dimensions}
    assert weights["service_quality"] == 0
    assert weights["tenure"] == Decimal("18.75")
    assert _holds(score, ">", "73.9583", STAFF)
    assert not _holds(score, ">=", "73.9584", STAFF)


@pytest.mark.parametrize(
    ("operator", "bar", "missing"),
    [
        # 73.958333: 6.041667 short of 80, which an amount of four decimals says as the next one up.
        (">=", "80", Decimal("6.0417")),
        (">=", "73.9584", Decimal("0.0001")),
        (">", "80", Decimal("6.0418")),
        (">=", "73.9583", None),
    ],
)
def test_what_is_missing_of_a_score_is_an_amount_that_is_enough(operator: str, bar: str, missing: Decimal | None) -> None:
    score = _attribute("staff_grade", "staff_points")
    assert judge(_condition(score, operator, bar), SIX_STAR, Evidence(STAFF, "here")).missing == missing


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("staff_points", "73.958334"),
        ("staff_points__tenure", "80.000000"),
        ("staff_points__problem_solving", "66.666667"),
        ("staff_points__service_quality", "0.000000"),
        ("staff_satisfaction_3m_sum", "240.0001"),
    ],
)
def test_a_score_or_dimension_that_its_numbers_do_not_give_is_a_mismatch(name: str, value: str) -> None:
    with pytest.raises(Mismatch, match="the evidence gives"):
        Evidence(STAFF | {name: value}, "here").read(_attribute("staff_grade", "staff_points"))


def test_a_score_without_a_dimension_that_refuses_is_unknown() -> None:
    without = STAFF | {"staff_satisfaction_3m_count": 0, "staff_points__satisfaction": None, "staff_points": None}
    assert _holds(_attribute("staff_grade", "staff_points"), "is null", None, without)


def test_an_application_is_compared_by_its_state() -> None:
    row = Row("attributes.csv", 2, POLICIES.attributes["brand"].row.values | {"attribute_id": "state"})
    state = replace(
        POLICIES.attributes["brand"], attribute_id="state", kind="application", allowed_values=(), entity="applications", row=row
    )
    assert _holds(state, "=", "approved", {"state": "approved"})
    assert not _holds(state, "=", "approved", {"state": "returned"})
    assert _holds(state, "is null", None, {"state": None})


def test_the_first_rule_that_holds_decides() -> None:
    version = SIX_STAR.version_for("2026-06")
    assert version is not None
    evidence = Evidence(
        {"brand": "gotone", "points_last_year": 0, "nominated_level": None, "spend_6m_amount": "0", "service_6m_months": 6}, "here"
    )
    verdicts = [judge_rule(rule, SIX_STAR, evidence) for rule in version.rules]
    match = matching(verdicts, SIX_STAR)
    assert match is not None
    assert match.item_id == "star_4_gotone"
    several = matching(verdicts, replace(SIX_STAR, hit_policy="unique"))
    assert several is None
    highest = matching(verdicts, replace(SIX_STAR, hit_policy="priority"))
    assert highest is not None
    assert highest.item_id == "star_4_gotone"


@pytest.mark.parametrize(("suspensions", "cap"), [(2, None), (3, "arrears_cap")])
def test_a_cap_is_in_force_from_its_bar_on(suspensions: int, cap: str | None) -> None:
    version = SIX_STAR.version_for("2026-06")
    assert version is not None
    evidence = Evidence({"arrears_suspensions": suspensions}, "here")
    found = lowest_cap([judge_rule(c, SIX_STAR, evidence) for c in version.caps], SIX_STAR)
    assert (found.item_id if found else None) == cap
