"""Percentiles, shares, scores, grids, caps and scope as compiled, against the same definitions written down in plain Python."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.deployment import PROJECT_ROOT, load_deployment
from orchestration.errors import BadInput
from orchestration.policy import compile_policies, load_policies
from orchestration.policy.sql import PLACEHOLDERS
from tests.policy.conftest import SeedFolder
from tests.support import draws

PERIOD = "2026-06"
METRICS = {
    "customer_id": "varchar", "period": "varchar", "is_in_scope": "boolean", "scope_reason": "varchar", "brand": "varchar", "segment": "varchar",
    "credit_class": "varchar", "is_real_name": "boolean", "tenure_months": "bigint", "months_since_active": "integer",
    "spend_3m_amount": "decimal(18,4)", "spend_previous_3m_amount": "decimal(18,4)", "spend_6m_amount": "decimal(18,4)",
    "spend_12m_amount": "decimal(18,4)", "spend_ytd_amount": "decimal(18,4)", "margin_12m_amount": "decimal(18,4)",
    "service_6m_months": "bigint", "active_6m_months": "bigint", "active_12m_months": "bigint", "base_points_last_year": "bigint",
}  # fmt: skip
EXTRAS = {
    "customer_id": "varchar", "period": "varchar", "survey_score_12m": "bigint", "survey_answers_12m": "bigint", "responses_12m": "bigint",
    "key_roles_60m": "bigint", "arrears_suspensions_12m": "bigint",
}  # fmt: skip
USUAL: dict[str, Any] = {
    "period": PERIOD, "is_in_scope": True, "segment": "consumer", "credit_class": "good", "is_real_name": True, "tenure_months": 40,
    "months_since_active": 0, "spend_3m_amount": 0, "spend_previous_3m_amount": 0, "spend_6m_amount": 0, "spend_12m_amount": 0, "spend_ytd_amount": 0,
    "service_6m_months": 6, "active_6m_months": 6, "active_12m_months": 12, "base_points_last_year": 0,
}  # fmt: skip
Decide = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def base() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        for name, columns in (("metrics", METRICS), ("extras", EXTRAS)):
            con.execute(f"create table {name} ({', '.join(f'{c} {t}' for c, t in columns.items())})")
        con.execute(
            "create table nominations (program_id varchar, subject_id varchar, period varchar, level_id varchar, level_rank integer)"
        )
        yield con


@pytest.fixture
def decide(base: duckdb.DuckDBPyConnection) -> Decide:
    """Decisions of one program by subject, on rows over USUAL."""

    def run(
        policies: Any, rows: Sequence[Mapping[str, Any]], extras: Sequence[Mapping[str, Any]] = (), **options: Any
    ) -> dict[str, dict[str, Any]]:
        for name, columns, given_rows in (
            ("metrics", METRICS, [USUAL | dict(row) for row in rows]),
            ("extras", EXTRAS, [{"period": PERIOD, **row} for row in extras]),
        ):
            base.execute(f"delete from {name}")
            if given_rows:
                base.executemany(
                    f"insert into {name} values ({', '.join('?' * len(columns))})", [[row.get(c) for c in columns] for row in given_rows]
                )
        text = compile_policies(policies, **options)["decisions"]
        for placeholder in PLACEHOLDERS:
            text = text.replace(placeholder, placeholder.strip("_").lower())
        # As the warehouse asks, for a period: the filter goes down into every population.
        result = base.execute(f"select * from ({text}) where period = '{PERIOD}'")
        names = [column[0] for column in result.description]
        return {row["subject_id"]: row for row in (dict(zip(names, values, strict=True)) for values in result.fetchall())}

    return run


def only(tmp_path: Any, program: str) -> SeedFolder:
    folder = SeedFolder(tmp_path / program, program)
    for seed in ("channels", "channel_audience", "channel_columns"):
        folder.write(seed, folder.rows(seed)[:1])
    return folder


amounts = st.lists(st.one_of(st.just(Decimal(0)), st.integers(-50, 400).map(lambda n: Decimal(n) / 4)), min_size=1, max_size=60)


def pyramid(values: Sequence[Decimal]) -> list[str]:
    found = []
    for value in values:
        above = sum(other > value for other in values) if value > 0 else len(values)
        place = Fraction(100 * above, len(values))
        found.append("vip" if place < 1 else "major" if place < 20 else "ordinary" if place < 50 else "low_profit")
    return found


@settings(max_examples=draws(40, 160), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=amounts, seed=st.integers(0, 1000))
def test_positions_are_the_share_strictly_above_under_any_order_of_rows(tmp_path_factory, decide, values, seed):
    policies = only(tmp_path_factory.mktemp("p"), "customer_pyramid").load()
    rows = [{"customer_id": f"c{n}", "spend_12m_amount": value} for n, value in enumerate(values)]
    expected = dict(zip((f"c{n}" for n in range(len(values))), pyramid(values), strict=True))
    shuffled = random.Random(seed).sample(rows, len(rows))
    found = decide(policies, shuffled)
    assert {subject: row["qualified_level_id"] for subject, row in found.items()} == expected
    for n, value in enumerate(values):
        row = found[f"c{n}"]
        assert row["population_size"] == len(values)
        assert row["rank_value"] == value
        assert row["population_rank"] == min(sum(other > value for other in values) + 1 if value > 0 else len(values), len(values))


def test_equal_amounts_get_equal_levels_and_zero_or_less_come_last_however_many_they_are(tmp_path, decide):
    policies = only(tmp_path, "customer_pyramid").load()
    rows = [{"customer_id": f"c{n}", "spend_12m_amount": Decimal(100)} for n in range(3)]
    rows += [{"customer_id": f"z{n}", "spend_12m_amount": Decimal(n - 40)} for n in range(41)]
    found = decide(policies, rows)
    assert {found[f"c{n}"]["qualified_level_id"] for n in range(3)} == {"vip"}
    # 3 of 44 stand above them, less than 20 per cent, and yet they are last.
    assert {found[f"z{n}"]["qualified_level_id"] for n in range(41)} == {"low_profit"}


def test_who_is_out_of_scope_is_not_in_the_population(tmp_path, decide):
    policies = only(tmp_path, "customer_pyramid").load()
    rows = [{"customer_id": f"t{n}", "spend_12m_amount": Decimal(1000 + n), "segment": "test"} for n in range(50)]
    rows += [{"customer_id": "best", "spend_12m_amount": Decimal(10)}, {"customer_id": "next", "spend_12m_amount": Decimal(5)}]
    found = decide(policies, rows)
    assert (found["best"]["qualified_level_id"], found["best"]["population_size"]) == ("vip", 2)
    assert found["next"]["qualified_level_id"] == "low_profit"
    assert (found["t1"]["status"], found["t1"]["status_reason"], found["t1"]["population_rank"]) == (
        "out_of_scope",
        "no_customer_line",
        None,
    )


def test_profit_counts_where_it_is_known_else_spend(tmp_path, decide):
    policies = only(tmp_path, "customer_pyramid").load()
    rows = [
        {"customer_id": "profit", "spend_12m_amount": Decimal(1000), "margin_12m_amount": Decimal(10)},
        {"customer_id": "spend", "spend_12m_amount": Decimal(100), "margin_12m_amount": None},
    ]
    assert decide(policies, rows)["profit"]["rank_value"] == 10
    assert decide(policies, rows)["spend"]["population_rank"] == 1
    without = decide(policies, rows, missing_entities={"bill_lines.cost_amount"})
    assert without["profit"]["rank_value"] == 1000


@settings(max_examples=draws(40, 160), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=amounts, seed=st.integers(0, 1000))
def test_shares_divide_by_the_sum_of_positive_amounts(tmp_path_factory, decide, values, seed):
    policies = only(tmp_path_factory.mktemp("s"), "contribution_layers").load()
    rows = [{"customer_id": f"c{n}", "spend_12m_amount": value} for n, value in enumerate(values)]
    found = decide(policies, random.Random(seed).sample(rows, len(rows)))
    total = sum((v for v in values if v > 0), Decimal(0))
    for n, value in enumerate(values):
        above = sum((v for v in values if v > value and v > 0), Decimal(0)) if value > 0 else total
        share = Fraction(100 * above) / Fraction(total) if total > 0 else None
        level = "ordinary" if share is None or share >= 80 else "core" if share >= 50 else "head"
        assert found[f"c{n}"]["qualified_level_id"] == level, (value, share)


def test_growth_is_compared_as_a_product_and_is_null_without_a_base(tmp_path, decide):
    policies = only(tmp_path, "contribution_layers").load()
    rows = [
        {"customer_id": "big", "spend_12m_amount": Decimal(100000)},
        {"customer_id": "at", "spend_12m_amount": Decimal(3), "spend_3m_amount": Decimal("1.2"), "spend_previous_3m_amount": Decimal(1)},
        {
            "customer_id": "below",
            "spend_12m_amount": Decimal(3),
            "spend_3m_amount": Decimal("1.1999"),
            "spend_previous_3m_amount": Decimal(1),
        },
        {"customer_id": "none", "spend_12m_amount": Decimal(3), "spend_3m_amount": Decimal(5), "spend_previous_3m_amount": Decimal(0)},
    ]
    found = decide(policies, rows)
    assert [found[c]["qualified_level_id"] for c in ("big", "at", "below", "none")] == ["head", "potential", "ordinary", "ordinary"]
    assert (found["below"]["next_level_id"], found["below"]["missing_attribute"], found["below"]["missing_amount"]) == (
        "potential",
        "spend_growth",
        Decimal("0.0001"),
    )


def micro(value: Decimal | Fraction) -> int:
    scaled = Fraction(value) * 10**6
    return int(scaled)  # cut off towards zero


def vip_points(row: Mapping[str, Any], extra: Mapping[str, Any], everyone: Sequence[Mapping[str, Any]]) -> int | None:
    """Score in millionths, as seeds/score_dimensions.csv and score_bands.csv read."""

    def percentile(column: str) -> int | None:
        if row[column] is None:
            return None
        known = [r[column] for r in everyone if r[column] is not None]
        return 100 * 10**6 if len(known) == 1 else sum(v < row[column] for v in known) * 100 * 10**6 // (len(known) - 1)

    def min_max(value: int | None, low: int, high: int) -> int | None:
        return None if value is None else max(0, min(100 * 10**6, (value - low * 10**6) * 100 * 10**6 // ((high - low) * 10**6)))

    def bands(value: int | None, *table: tuple[int | None, int]) -> int | None:
        if value is None:
            return None
        return next(score * 10**6 for below, score in table if below is None or value < below * 10**6)

    answers = extra.get("survey_answers_12m") or 0
    satisfaction = extra["survey_score_12m"] * 10**6 // answers if answers else None
    before = row["spend_previous_3m_amount"]
    growth = micro(Fraction(row["spend_3m_amount"]) * 100 / Fraction(before)) if before > 0 else None
    parts = [
        (2500, percentile("spend_12m_amount"), 0),
        (1000, min_max(row["active_12m_months"] * 10**6, 0, 12), 0),
        (1000, percentile("margin_12m_amount"), None),
        (1000, bands(row["tenure_months"] * 10**6, (12, 20), (36, 50), (72, 80), (None, 100)), 0),
        (500, min_max(row["active_6m_months"] * 10**6, 0, 6), 0),
        (500, bands((extra.get("responses_12m") or 0) * 10**6, (1, 0), (2, 60), (None, 100)), 0),
        (1000, bands(growth, (80, 0), (100, 40), (120, 70), (None, 100)), 50 * 10**6),
        (500, bands((extra.get("key_roles_60m") or 0) * 10**6, (1, 0), (None, 100)), 0),
        (2000, min_max(satisfaction, 0, 10), None),
    ]
    used = [(weight, instead if value is None else value) for weight, value, instead in parts if not (value is None and instead is None)]
    return sum(weight * value for weight, value in used) // sum(weight for weight, _ in used)


customers = st.lists(
    st.fixed_dictionaries(
        {
            "spend_12m_amount": st.integers(0, 20).map(Decimal),
            "margin_12m_amount": st.one_of(st.none(), st.integers(-5, 5).map(Decimal)),
            "active_12m_months": st.integers(0, 12),
            "active_6m_months": st.integers(0, 6),
            "tenure_months": st.integers(1, 90),
            "spend_3m_amount": st.integers(0, 9).map(Decimal),
            "spend_previous_3m_amount": st.integers(0, 9).map(Decimal),
            "survey_answers_12m": st.integers(0, 3),
            "survey_score_12m": st.integers(0, 30),
            "responses_12m": st.integers(0, 3),
            "key_roles_60m": st.integers(0, 1),
        }
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=draws(40, 160), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(people=customers, seed=st.integers(0, 1000))
def test_scores_are_exact_and_independent_of_the_order_of_rows(tmp_path_factory, decide, people, seed):
    policies = only(tmp_path_factory.mktemp("v"), "vip_score").load()
    for person in people:
        person["survey_score_12m"] = min(person["survey_score_12m"], 10 * person["survey_answers_12m"])
    rows = [{"customer_id": f"c{n}", **{k: v for k, v in p.items() if k in METRICS}} for n, p in enumerate(people)]
    extras = [{"customer_id": f"c{n}", **{k: v for k, v in p.items() if k in EXTRAS}} for n, p in enumerate(people)]
    found = decide(policies, random.Random(seed).sample(rows, len(rows)), extras)
    for n, (row, extra) in enumerate(zip(rows, extras, strict=True)):
        expected = vip_points(row, extra, rows)
        decision = found[f"c{n}"]
        assert decision["score"] == Decimal(expected) / 10**6
        assert decision["qualified_level_id"] == ("gold" if expected >= 70 * 10**6 else "silver" if expected >= 50 * 10**6 else "bronze")
        assert json.loads(decision["evidence"])["vip_points"] == f"{decision['score']:.6f}"


def test_a_customer_without_rows_elsewhere_has_metrics_of_zero(tmp_path, decide):
    policies = only(tmp_path, "vip_score").load()
    found = decide(policies, [{"customer_id": "c"}])
    evidence = json.loads(found["c"]["evidence"])
    assert (evidence["campaigns_accepted_12m"], evidence["vip_points__satisfaction"]) == (0, None)


@pytest.mark.parametrize(
    ("since", "active", "rule"),
    [(0, 6, "active_regular"), (1, 4, "active_regular"), (1, 3, "ordinary_irregular"), (2, 6, "ordinary_paused"), (5, 1, "ordinary_paused"),
     (6, 0, "dormant_long"), (None, 0, "dormant_never")],
)  # fmt: skip
def test_activity_layers_at_their_bars(tmp_path, decide, since, active, rule):
    policies = only(tmp_path, "activity_layers").load()
    found = decide(policies, [{"customer_id": "c", "months_since_active": since, "active_6m_months": active}])
    assert found["c"]["matched_rule_id"] == rule


@pytest.mark.parametrize(("suspensions", "cap"), [(2, None), (3, "arrears_cap"), (9, "arrears_cap")])
def test_a_cap_is_named_beside_the_qualified_level_and_does_not_change_it(tmp_path, decide, suspensions, cap):
    policies = SeedFolder(tmp_path / "seeds").load()
    found = decide(
        policies, [{"customer_id": "c", "spend_6m_amount": Decimal(6000)}], [{"customer_id": "c", "arrears_suspensions_12m": suspensions}]
    )["c"]
    assert (found["qualified_level_id"], found["cap_id"], found["cap_rank"]) == ("star_5", cap, 3 if cap else None)


@pytest.mark.parametrize(
    ("row", "reason"),
    [({"segment": "iot"}, "no_customer_line"), ({"is_real_name": False}, "not_real_name"), ({"is_real_name": None}, None)],
)
def test_scope_rules_name_the_reason(tmp_path, decide, row, reason):
    found = decide(SeedFolder(tmp_path / "seeds").load(), [{"customer_id": "c", **row}])["c"]
    assert found["status_reason"] == reason
    assert found["status"] == ("out_of_scope" if reason else "decided")


def test_a_dimension_that_may_not_be_missing_leaves_the_subject_undecided(tmp_path, decide):
    folder = only(tmp_path, "vip_score")
    rows = folder.rows("score_dimensions")
    place = rows[0].index("missing")
    for row in rows[1:]:
        row[place] = "refuse" if row[rows[0].index("dimension_id")] == "satisfaction" else row[place]
    folder.write("score_dimensions", rows)
    found = decide(
        folder.load(), [{"customer_id": "c"}, {"customer_id": "d"}], [{"customer_id": "d", "survey_answers_12m": 1, "survey_score_12m": 9}]
    )
    assert (found["c"]["status"], found["c"]["status_reason"]) == ("not_evaluated", "needs satisfaction_12m")
    assert found["c"]["qualified_level_id"] is None
    assert found["d"]["status"] == "decided"


def set_missing(folder: SeedFolder, **by_dimension: str) -> None:
    """Change how a dimension treats what is missing."""
    for dimension, missing in by_dimension.items():
        folder.set("score_dimensions", folder.row_of("score_dimensions", dimension_id=dimension), "missing", missing)


UNDELIVERED = {"surveys", "campaign_responses", "group_members", "bill_lines.cost_amount"}


def test_a_dimension_that_is_not_delivered_is_missing_for_everyone_and_its_rule_applies(tmp_path, decide):
    policies = only(tmp_path, "vip_score").load()
    rows = [{"customer_id": f"c{n}", "spend_12m_amount": Decimal(100 * n), "margin_12m_amount": Decimal(n)} for n in range(3)]
    extras = [{"customer_id": "c1", "survey_answers_12m": 2, "survey_score_12m": 20, "responses_12m": 3, "key_roles_60m": 1}]
    everyone = [USUAL | row | {"margin_12m_amount": None} for row in rows]
    found = decide(policies, rows, extras, missing_entities=UNDELIVERED)
    for number, row in enumerate(everyone):
        decision = found[f"c{number}"]
        evidence = json.loads(decision["evidence"])
        assert decision["status"] == "decided"
        # As nobody's survey, campaign, role or cost were known: left out or zero, as each dimension says.
        assert decision["score"] == Decimal(vip_points(row, {}, everyone)) / 10**6
        assert [evidence[name] for name in ("survey_answers_12m", "campaigns_accepted_12m", "leading_roles", "margin_12m")] == [None] * 4
        assert [evidence[f"vip_points__{d}"] for d in ("satisfaction", "participation", "influence", "profit")] == [None] * 4
        assert evidence["vip_points__amount"] is not None


def test_only_a_dimension_that_refuses_makes_a_score_need_its_entity(tmp_path, decide):
    folder = only(tmp_path, "vip_score")
    set_missing(folder, participation="refuse")
    found = decide(folder.load(), [{"customer_id": "c"}], missing_entities=UNDELIVERED)
    assert (found["c"]["status"], found["c"]["status_reason"]) == ("not_evaluated", "needs campaign_responses")


def test_a_score_of_which_nothing_is_delivered_needs_its_entities(tmp_path, decide):
    folder = only(tmp_path, "vip_score")
    rows = folder.rows("score_dimensions")
    place = rows[0].index("dimension_id")
    left = [row for row in rows[1:] if row[place] in {"satisfaction", "participation"}]
    folder.write("score_dimensions", [rows[0], *left])
    bands = folder.rows("score_bands")
    folder.write("score_bands", [bands[0], *(row for row in bands[1:] if "participation" in row)])
    for line in (2, 3):
        folder.set("score_dimensions", line, "weight", "50")
    set_missing(folder, participation="zero", satisfaction="zero")
    policies, row = folder.load(), {"customer_id": "c"}
    assert decide(policies, [row], missing_entities={"surveys"})["c"]["status"] == "decided"
    nothing = decide(policies, [row], missing_entities={"surveys", "campaign_responses"})["c"]
    assert (nothing["status"], nothing["status_reason"]) == ("not_evaluated", "needs campaign_responses, surveys")
    # Left out, what remains need not be known of everyone, and the score may not be null.
    set_missing(folder, participation="leave_out", satisfaction="leave_out")
    folder.set("attributes", folder.row_of("attributes", attribute_id="vip_points"), "may_be_null", "false")
    found = decide(folder.load(), [row], missing_entities={"campaign_responses"})["c"]
    assert (found["status"], found["status_reason"]) == ("not_evaluated", "needs campaign_responses")


def test_what_a_score_lacks_is_not_read_and_is_no_cause(tmp_path):
    policies = only(tmp_path, "vip_score").load()
    lacking, whole = compile_policies(policies, missing_entities=UNDELIVERED), compile_policies(policies)
    assert not [entity for entity in UNDELIVERED if f"stg_landing__{entity}" in lacking["customer_extras"]]
    assert "stg_landing__surveys" in whole["customer_extras"]
    # Its window of the month before would put an amount in the place of what is not known.
    assert "margin_12m_amount__corrected" in whole["movement_causes"]
    assert "margin_12m_amount__" not in lacking["movement_causes"]


def test_a_first_known_of_which_no_part_is_delivered_is_needed(tmp_path, decide):
    folder = only(tmp_path, "vip_threshold")
    attributes = folder.rows("attributes")
    row = {"attribute_id": "any_answer", "subject_type": "customer", "kind": "first_known", "type": "integer", "may_be_null": "false",
           "of_attributes": "campaigns_accepted_12m|leading_roles", "name_en": "n", "name_zh": "n"}  # fmt: skip
    folder.write("attributes", [*attributes, [row.get(c, "") for c in attributes[0]]])
    folder.add("caps", {"program_id": "vip_threshold", "version": "v1", "cap_id": "c", "level_id": folder.load().programs["vip_threshold"].levels[0].level_id,
                        "attribute": "any_answer", "operator": "<", "value": "1"})  # fmt: skip
    policies = folder.load()
    assert decide(policies, [{"customer_id": "c"}], missing_entities={"group_members"})["c"]["cap_id"] == "c"
    found = decide(policies, [{"customer_id": "c"}], missing_entities={"group_members", "campaign_responses"})["c"]
    assert (found["status"], found["status_reason"]) == ("not_evaluated", "needs campaign_responses, group_members")


@pytest.mark.parametrize(
    ("row", "status", "reason"),
    [
        ({"segment": "iot"}, "out_of_scope", "no_customer_line"),
        ({"is_real_name": False}, "out_of_scope", "not_real_name"),
        ({"is_real_name": None}, "not_evaluated", "needs nominations, points"),
        ({}, "not_evaluated", "needs nominations, points"),
        ({"segment": "iot", "is_in_scope": False, "scope_reason": "left"}, "out_of_scope", "left"),
    ],
)
def test_scope_rules_leave_out_whom_they_can_where_the_program_lacks_an_input(tmp_path, decide, row, status, reason):
    folder = SeedFolder(tmp_path / "seeds")
    found = decide(folder.load(), [{"customer_id": "c", **row}], missing_entities={"points", "nominations"})["c"]
    assert (found["status"], found["status_reason"]) == (status, reason)
    assert (found["qualified_level_id"], found["matched_rule_id"], found["cap_id"]) == (None, None, None)
    # What was asked is there to be asked again, and nothing else.
    assert json.loads(found["evidence"]) == {"segment": (USUAL | row)["segment"], "is_real_name": (USUAL | row)["is_real_name"]}


@pytest.mark.parametrize(
    ("missing", "period", "reason"),
    [({"credit_grades"}, PERIOD, "needs credit_grades"), ((), "2019-12", "no policy version holds for the period")],
)
def test_an_event_of_a_program_that_cannot_be_evaluated_has_its_row(base, missing, period, reason):
    policies = load_policies(load_deployment(PROJECT_ROOT / "examples" / "bank"))
    base.execute("delete from metrics")
    base.executemany(
        "insert into metrics (customer_id, period, is_in_scope) values (?, ?, true)", [["applied", period], ["did_not", period]]
    )
    base.execute(
        "create or replace table applications (program_id varchar, subject_id varchar, period varchar, state varchar, event_date date, is_event boolean)"
    )
    base.execute("insert into applications values ('quality_customer', 'applied', ?, 'approved', date '2026-06-10', true)", [period])
    text = compile_policies(policies, None, missing)["decisions"]
    for placeholder in PLACEHOLDERS:
        text = text.replace(placeholder, placeholder.strip("_").lower())
    # The other program of this deployment has the clock of months.
    part = next(
        p for p in text.split("\n\nunion all\n\n") if p.startswith("-- program quality_customer") and "not evaluated" in p.split("\n")[0]
    )
    result = base.execute(f"select subject_id, status, status_reason, cast(event_date as varchar) from ({part})").fetchall()
    assert result == [("applied", "not_evaluated", reason, "2026-06-10")]


def test_a_scope_rule_that_asks_for_what_is_lacking_is_not_asked(tmp_path, decide):
    folder = SeedFolder(tmp_path / "seeds")
    scope = {"program_id": "six_star", "version": "v1", "rule_id": "in_arrears", "description_en": "d", "description_zh": "d"}
    folder.add("scope_rules", {**scope, "attribute": "arrears_suspensions", "operator": ">=", "value": "1"})
    policies = folder.load()
    rows, extras = [{"customer_id": "c"}, {"customer_id": "d", "segment": "iot"}], [{"customer_id": "c", "arrears_suspensions_12m": 2}]
    asked = decide(policies, rows, extras, missing_entities={"points"})
    assert (asked["c"]["status"], asked["c"]["status_reason"]) == ("out_of_scope", "in_arrears")
    found = decide(policies, rows, extras, missing_entities={"suspensions"})
    assert (found["c"]["status"], found["c"]["status_reason"]) == ("not_evaluated", "needs suspensions")
    assert (found["d"]["status"], found["d"]["status_reason"]) == ("out_of_scope", "no_customer_line")


def test_a_grid_is_two_bands_and_nine_rules_in_seeds_alone(tmp_path, decide):
    """A twelfth program: spend by growth, three bands each, added by rows of seeds."""
    folder = only(tmp_path, "vip_threshold")
    cells = [(a, b) for a in "abc" for b in (1, 2, 3)]
    head = {
        name: folder.rows(name)[0]
        for name in ("programs", "levels", "policy_versions", "decision_rules", "decision_conditions", "bands", "attributes")
    }
    folder.write(
        "programs",
        [head["programs"], ["spend_grid", "Spend grid", "消费九宫格", "customer", "grid", "unique", "month", "", "", "true", ""]],
    )
    folder.write(
        "levels",
        [
            head["levels"],
            *(["spend_grid", f"{a}{b}", str(rank), f"{a}{b}", f"{a}{b}", "", ""] for rank, (a, b) in enumerate(reversed(cells), 1)),
        ],
    )
    version = dict.fromkeys(head["policy_versions"], "") | {
        "program_id": "spend_grid",
        "version": "v1",
        "valid_from_period": "2020-01",
        "author": "a",
        "approver": "b",
        "approved_on": "2020-01-01",
    }
    folder.write("policy_versions", [head["policy_versions"], list(version.values())])
    folder.write(
        "decision_rules",
        [
            head["decision_rules"],
            *(["spend_grid", "v1", f"cell_{a}{b}", str(n), f"{a}{b}", "c", "c"] for n, (a, b) in enumerate(cells, 1)),
            ["spend_grid", "v1", "unknown", "99", "c3", "u", "u"],
        ],
    )
    conditions = [
        ["spend_grid", "v1", f"cell_{a}{b}", name, "=", value]
        for a, b in cells
        for name, value in (("size_band", a), ("growth_band", f"g{b}"))
    ]
    folder.write(
        "decision_conditions", [head["decision_conditions"], *conditions, ["spend_grid", "v1", "unknown", "growth_band", "is null", ""]]
    )
    folder.write("bands", [head["bands"], *(["spend_grid", "v1", "size_band", band, str(n), below, band, band] for n, (band, below) in enumerate([("c", "100"), ("b", "1000"), ("a", "")], 1)),
                           *(["spend_grid", "v1", "growth_band", band, str(n), below, band, band] for n, (band, below) in enumerate([("g3", "90"), ("g2", "110"), ("g1", "")], 1))])  # fmt: skip
    attributes = folder.rows("attributes")
    for name, of, null in (("size_band", "spend_12m", "false"), ("growth_band", "spend_growth", "true")):
        row = dict.fromkeys(attributes[0], "") | {
            "attribute_id": name,
            "subject_type": "customer",
            "kind": "band",
            "type": "category",
            "of_attributes": of,
            "may_be_null": null,
            "name_en": name,
            "name_zh": name,
        }
        attributes.append(list(row.values()))
    folder.write("attributes", attributes)
    folder.write("scope_rules", folder.rows("scope_rules")[:1])
    policies = folder.load()
    rows = [
        {
            "customer_id": f"c{n}",
            "spend_12m_amount": Decimal(size),
            "spend_3m_amount": Decimal(now),
            "spend_previous_3m_amount": Decimal(before),
        }
        for n, (size, now, before) in enumerate(
            [("1000", 110, 100), ("999.9999", 110, 100), ("100", 90, 100), ("99.9999", "89.9999", 100), ("5000", 1, 0)]
        )
    ]
    found = decide(policies, rows)
    assert [found[f"c{n}"]["qualified_level_id"] for n in range(5)] == ["a1", "b1", "b2", "c3", "c3"]
    assert json.loads(found["c1"]["evidence"])["size_band"] == "b"


def test_a_method_must_rest_on_what_it_is_named_after(tmp_path):
    folder = only(tmp_path, "vip_threshold")
    folder.set("programs", 2, "method", "percentile")
    with pytest.raises(BadInput, match="percentile rests on 1 attribute of kind position or share"):
        folder.load()


def own(tmp_path: Any, method: str, attribute: dict[str, str], bar: str) -> SeedFolder:
    """A program ``own`` with the levels b and a, a from a bar of its one attribute on."""
    folder = only(tmp_path, "customer_pyramid")
    program, version = {"program_id": "own"}, {"program_id": "own", "version": "v1"}
    name = attribute["attribute_id"]
    folder.add("attributes", {"subject_type": "customer", "type": "decimal", "may_be_null": "true", **attribute})
    folder.add(
        "programs",
        program
        | {"subject_type": "customer", "method": method, "hit_policy": "first", "clock": "month", "enabled": "true", "name_en": "Own"},
    )
    folder.add("levels", *(program | {"level_id": level, "rank": str(rank)} for rank, level in enumerate("ba", 1)))
    folder.add("policy_versions", version | {"valid_from_period": "2020-01", "author": "a", "approver": "b", "approved_on": "2019-12-01"})
    folder.add(
        "decision_rules", *(version | {"rule_id": level, "rule_order": str(n), "level_id": level} for n, level in enumerate("ab", 1))
    )
    folder.add("decision_conditions", version | {"rule_id": "a", "attribute": name, "operator": ">=", "value": bar})
    return folder


def test_amounts_of_any_size_are_scored_and_compared(tmp_path, decide):
    seeds = only(tmp_path, "none")
    seeds.own_program(
        [("best", "gold", [("t_ratio", ">=", "100.5"), ("t_portion", ">=", "60.5"), ("t_score", ">=", "99.5")]), ("rest", "bronze", [])]
    )
    seeds.write("caps", seeds.rows("caps")[:1])
    dimensions = [("months", "t_spend", "min_max"), ("amount", "spend_avg_6m", "percentile_rank")]
    for dimension, attribute, scaling in dimensions:
        row = seeds.row_of("score_dimensions", dimension_id=dimension)
        seeds.set("score_dimensions", row, "of_attribute", attribute)
        assert seeds.rows("score_dimensions")[row - 1][6] == scaling
    row = seeds.row_of("score_dimensions", dimension_id="tenure")
    seeds.set("score_dimensions", row, "of_attribute", "t_spend")
    seeds.set("score_dimensions", seeds.row_of("score_dimensions", dimension_id="months"), "high", "")
    amount = Decimal("9999999999999.9998")
    rows = [
        {"customer_id": "large", "spend_12m_amount": amount / 2, "spend_6m_amount": amount},
        {"customer_id": "small", "spend_6m_amount": -amount, "spend_12m_amount": -amount},
    ]
    found = decide(seeds.load(), rows)
    assert {name: (row["qualified_level_id"], row["score"]) for name, row in found.items()} == {
        "large": ("gold", 100),
        "small": ("bronze", Decimal("4.9")),
    }


def test_a_list_is_ordered_by_amounts_of_any_size(tmp_path, base):
    seeds = only(tmp_path, "six_star")
    seeds.own_program()
    text = compile_policies(seeds.load())["order_values"]
    for name in ("metrics", "extras"):
        base.execute(f"delete from {name}")
    amounts = {"large": Decimal("99999999999999.9999"), "small": Decimal("-99999999999999.9999"), "third": Decimal("0.3333")}
    for name, amount in amounts.items():
        base.execute("insert into metrics (customer_id, period, spend_12m_amount) values (?, ?, ?)", [name, PERIOD, amount])
    found = base.execute(f"select subject_id, order_value from ({text.replace('__METRICS__', 'metrics').replace('__EXTRAS__', 'extras')})")
    assert dict(found.fetchall()) == amounts


def test_a_portion_of_customers_is_of_the_positive_amounts(tmp_path, decide):
    attribute = {"attribute_id": "spend_portion", "kind": "portion", "of_attributes": "spend_12m"}
    policies = own(tmp_path, "decision_table", attribute, "30").load()
    amounts = {
        "A": Decimal(60),
        "B": Decimal(30),
        "C": Decimal("29.9999"),
        "D": Decimal(-5),
        "E": Decimal("-0.0001"),
        "F": Decimal("0.0001"),
    }
    found = decide(policies, [{"customer_id": name, "spend_12m_amount": amount} for name, amount in amounts.items()])
    levels = {subject: row["qualified_level_id"] for subject, row in found.items() if row["program_id"] == "own"}
    assert levels == dict.fromkeys("CDEF", "b") | {"A": "a", "B": "b"}, "30 of 120"
    assert {json.loads(row["evidence"])["spend_portion__total_amount"] for row in found.values() if row["program_id"] == "own"} == {
        "120.0000"
    }


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        ("", "", {10: 0, 20: 25, 50: 100}),
        ("0", "", {10: 20, 20: 40, 50: 100}),
        ("", "60", {10: 0, 20: 20, 50: 80}),
        ("50", "", {10: 0, 20: 0, 50: 0}),
        ("5000", "", {10: 0, 20: 0, 50: 0}),
        ("", "10", {10: 100, 20: 100, 50: 100}),
        ("", "0", {10: 100, 20: 100, 50: 100}),
    ],
)
def test_an_open_bound_is_that_of_the_population_which_may_lie_beyond_the_other(tmp_path, decide, low, high, expected):
    folder = own(tmp_path, "weighted_score", {"attribute_id": "size", "kind": "score", "unit": "points"}, "50")
    dimension = {"program_id": "own", "version": "v1", "attribute_id": "size", "dimension_id": "spend", "dimension_group": "size"}
    given = {"of_attribute": "spend_12m", "scaling": "min_max", "weight": "100", "low": low, "high": high, "missing": "zero"}
    folder.add("score_dimensions", dimension | given)
    found = decide(folder.load(), [{"customer_id": f"c{n}", "spend_12m_amount": Decimal(n)} for n in (10, 20, 50)])
    assert {int(row["subject_id"][1:]): row["score"] for row in found.values() if row["program_id"] == "own"} == expected
