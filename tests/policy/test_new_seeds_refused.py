"""Bands, scores, scope rules, caps, plans and declarations that do not fit are refused with file, row, column and a remedy."""

from __future__ import annotations

import pytest

from orchestration.errors import BadInput
from orchestration.policy.load import refuse_mistaken
from orchestration.policy.reader import load_schema

OWN = {"program_id": "own"}
SEEDS = [
    "bands", "score_dimensions", "score_bands", "scope_rules", "caps", "restatements", "contact_plans", "target_lists", "checklists",
    "behaviour_features",
]  # fmt: skip


def refused(seeds, *parts: str) -> BadInput:
    with pytest.raises(BadInput) as caught:
        refuse_mistaken(seeds.load())
    for part in parts:
        assert part in str(caught.value), str(caught.value)
    assert caught.value.remedy
    return caught.value


def row(seeds, seed: str, **cells: str) -> int:
    return int(seeds.row_of(seed, **cells))


@pytest.mark.parametrize(
    ("seed", "cells", "column", "value", "message"),
    [
        # Bands
        ("bands", {"band_id": "small"}, "below", "500", "column below: 300 is not above the bound before it, 500"),
        ("bands", {"band_id": "small"}, "below", "300", "column below: 300 is not above the bound before it, 300"),
        ("bands", {"band_id": "small"}, "below", "", "only the last band is open"),
        ("bands", {"band_id": "big"}, "below", "1000", "numbers from 1000 up have no band"),
        ("bands", {"band_id": "small"}, "band_order", "2", "column band_order: 2 is the place of row"),
        ("bands", {"band_id": "rest"}, "below", "99", "ends at 99, and per cents end at 100"),
        ("bands", {"band_id": "rest"}, "below", "", "is open, and per cents end at 100"),
        ("bands", {"band_id": "rest"}, "below", "101", "ends at 101"),
        ("bands", {"band_id": "small"}, "attribute_id", "t_spend", "is a metric, not a band"),
        ("bands", {"band_id": "small"}, "attribute_id", "t_spend_bnd", "did you mean 't_spend_band'"),
        ("bands", {"band_id": "small"}, "version", "v2", "has no version 'v2'"),
        ("bands", {"band_id": "middle"}, "band_id", "small", "stands already in row"),
        ("bands", {"band_id": "small"}, "below", "1,000", "decimal comma"),
        ("bands", {"band_id": "small"}, "below", "43815-01", "not a number"),
        ("bands", {"band_id": "small"}, "below", "2026-06-01", "looks like a date"),
        ("bands", {"band_id": "small"}, "below", "80%", "percent"),
        ("decision_conditions", {"attribute": "t_spend_band", "value": "big"}, "value", "bg", "did you mean 'big'"),
        ("decision_conditions", {"attribute": "t_spend_band", "value": "big"}, "operator", ">=", "has none"),
        # Scores
        ("score_dimensions", {"dimension_id": "amount"}, "weight", "41", "weights of 't_score' in own v1 add up to 101"),
        ("score_dimensions", {"dimension_id": "amount"}, "weight", "0", "add up to 60"),
        ("score_dimensions", {"dimension_id": "amount"}, "weight", "40.005", "add up to 100.005"),
        ("score_dimensions", {"dimension_id": "months"}, "low", "12", "column low: 12 is not below high, 12"),
        ("score_dimensions", {"dimension_id": "amount"}, "low", "1", "percentile_rank has no bounds"),
        ("score_dimensions", {"dimension_id": "amount"}, "of_attribute", "brand", "cannot be scaled"),
        ("score_dimensions", {"dimension_id": "amount"}, "of_attribute", "t_position", "cannot be scaled"),
        ("score_dimensions", {"dimension_id": "amount"}, "of_attribute", "t_score", "cannot be scaled"),
        ("score_dimensions", {"dimension_id": "amount"}, "scaling", "rank", "is not one of"),
        ("score_dimensions", {"dimension_id": "amount"}, "scaling", "bands", "'amount' has no bands"),
        ("score_dimensions", {"dimension_id": "tenure"}, "scaling", "percentile_rank", "yet has score_bands"),
        ("score_dimensions", {"dimension_id": "amount"}, "missing", "skip", "is not one of"),
        ("score_dimensions", {"dimension_id": "months"}, "dimension_id", "amount", "stands already in row"),
        ("score_bands", {"band_order": "1"}, "score", "101", "101 is above 100"),
        ("score_bands", {"band_order": "1"}, "score", "-1", "-1 is below 0"),
        ("score_bands", {"band_order": "3"}, "below", "99", "numbers from 99 up have no score"),
        ("score_bands", {"band_order": "1"}, "below", "36", "36 is not above the bound before it"),
        ("score_bands", {"band_order": "1"}, "dimension_id", "tenur", "did you mean 'tenure'"),
        # Scope rules and caps
        ("scope_rules", OWN, "attribute", "segmnt", "did you mean 'segment'"),
        ("scope_rules", OWN, "value", "internl", "did you mean 'internal'"),
        ("scope_rules", OWN, "value", "internal||test", "empty value"),
        ("scope_rules", OWN, "operator", "=>", "needs an order"),
        ("caps", OWN, "level_id", "silber", "did you mean 'silver'"),
        ("caps", OWN, "value", "three", "not a number"),
        ("caps", OWN, "version", "v2", "has no version"),
        # Plans, lists, features
        ("contact_plans", OWN, "level_id", "bronce", "did you mean 'bronze'"),
        ("contact_plans", OWN, "contacts_min", "3", "3 is above contacts_max, 2"),
        ("contact_plans", OWN, "contacts_min", "1.5", "not a whole number"),
        ("contact_plans", OWN, "contacts_min", "-1", "below 0"),
        ("contact_plans", OWN, "is_priority", "maybe", "true nor false"),
        ("contact_plans", OWN, "version", "v2", "has no version"),
        ("contact_plans", {"level_id": "silver"}, "level_id", "bronze", "stands already in row"),
        ("checklists", OWN, "level_id", "vvip", "is not a level of own"),
        ("checklists", OWN, "lead_minutes", "1 day", "unit or currency"),
        ("checklists", OWN, "version", "v2", "has no version"),
        ("target_lists", OWN, "level_id", "glod", "did you mean 'gold'"),
        ("target_lists", OWN, "order_attribute", "t_spnd", "did you mean 't_spend'"),
        ("target_lists", OWN, "per_owner", "0", "below 1"),
        ("behaviour_features", OWN, "top_level_id", "top", "is not a level of own"),
        ("behaviour_features", OWN, "attribute", "t_actve", "did you mean 't_active'"),
        ("behaviour_features", OWN, "attribute", "t_spend_band", "is a band of a customer, which is no feature of own"),
        ("behaviour_features", OWN, "attribute", "t_score", "which is no feature of own"),
        ("behaviour_features", OWN, "attribute", "segment", "which is no feature of own"),
        # Declarations, life cycle
        ("restatements", OWN, "declared_on", "45658", "day number"),
        ("restatements", OWN, "policy_hash", "abc", "is no hash"),
        ("restatements", OWN, "approver", "", "is empty"),
        ("policy_versions", OWN, "validity_months", "", "there is no validity"),
        ("policy_versions", OWN, "validity_months", "121", "above 120"),
        ("policy_versions", OWN, "fall", "two_levels", "is not one of"),
        # Attributes
        ("attributes", {"attribute_id": "t_known"}, "of_attributes", "tenure_months|t_known", "made of itself: t_known of t_known"),
        ("attributes", {"attribute_id": "t_score_band"}, "of_attributes", "t_score_band", "made of itself"),
        ("attributes", {"attribute_id": "t_known"}, "of_attributes", "t_active", "nothing to fall back to"),
        ("attributes", {"attribute_id": "t_position"}, "of_attributes", "brand", "is no number"),
        ("attributes", {"attribute_id": "t_position"}, "of_attributes", "t_score", "which a position cannot be made of"),
        ("attributes", {"attribute_id": "t_position"}, "of_attributes", "t_spend|t_active", "is of one attribute"),
        ("attributes", {"attribute_id": "t_position"}, "of_attributes", "", "is empty"),
        ("attributes", {"attribute_id": "t_position"}, "may_be_null", "false", "write true"),
        ("attributes", {"attribute_id": "t_spend_band"}, "may_be_null", "false", "write true"),
        ("attributes", {"attribute_id": "brand"}, "may_be_null", "false", "no contract requires a value in this column"),
        ("attributes", {"attribute_id": "t_since"}, "may_be_null", "false", "no contract requires a value in this column"),
        ("attributes", {"attribute_id": "group_trade"}, "may_be_null", "false", "no contract requires a value in this column"),
        ("attributes", {"attribute_id": "t_ratio"}, "divisor_metric_id", "", "is empty"),
        ("attributes", {"attribute_id": "t_ratio"}, "divisor_metric_id", "active_12m_months", "a ratio is of two sums"),
        ("attributes", {"attribute_id": "t_score"}, "type", "integer", "gives decimal"),
        ("attributes", {"attribute_id": "t_score"}, "metric_id", "spend_12m_amount", "does not use it"),
        ("attributes", {"attribute_id": "t_spend"}, "minimum", "0", ""),
    ],
)  # fmt: skip
def test_a_cell_that_does_not_fit_is_refused(own, seed, cells, column, value, message):
    number = row(own, seed, **cells)
    own.set(seed, number, column, value)
    if not message:
        own.load()
        return
    error = refused(own, message)
    assert ".csv, row" in error.where and "column" in error.where


@pytest.mark.parametrize("attribute", ["t_position", "t_share", "t_portion", "t_position_band", "t_score", "t_score_band"])
def test_a_scope_rule_on_what_depends_on_who_is_in_scope_is_refused(own, attribute):
    number = row(own, "scope_rules", **OWN)
    for column, value in (("attribute", attribute), ("operator", "is null"), ("value", "")):
        own.set("scope_rules", number, column, value)
    refused(own, f"scope_rules.csv, row {number}, column attribute", "depends on who is in scope")


def test_a_scope_rule_on_a_score_is_refused_though_it_does_not_depend_on_others(own):
    amount = row(own, "score_dimensions", dimension_id="amount")
    for column, value in (("scaling", "min_max"), ("low", "0"), ("high", "100")):
        own.set("score_dimensions", amount, column, value)
    number = row(own, "scope_rules", **OWN)
    for column, value in (("attribute", "t_score"), ("operator", "<"), ("value", "50")):
        own.set("scope_rules", number, column, value)
    refused(own, f"scope_rules.csv, row {number}, column attribute", "is a score, which is given to those in scope")


def test_an_attribute_of_the_name_of_another_metric_is_refused(own):
    """An average of that metric was divided from the attribute's number instead."""
    named = {"attribute_id": "spend_6m_amount", "subject_type": "customer", "kind": "metric", "type": "decimal", "may_be_null": "false"}
    own.add("attributes", named | {"metric_id": "spend_6m_amount"})
    own.load()
    line = len(own.rows("attributes"))
    own.set("attributes", line, "metric_id", "spend_12m_amount")
    refused(own, f"attributes.csv, row {line}, column attribute_id", "'spend_6m_amount' is the name of a metric")


@pytest.mark.parametrize("name", ["total_spend_amount", "spend_amount__recent", "period_date", "spend_amount"])
def test_a_metric_of_the_name_of_another_column_is_refused(own, name):
    """What was carried since joining became the number of the metric."""
    own.add("metrics", {"metric_id": name, "measure_id": "spend_amount", "window": "12m", "aggregation": "sum", "unit": "currency"})
    own.load()
    refused(own, "metrics.csv", f"'{name}' is a column that the warehouse has already")


def test_months_in_service_since_joining_are_refused_and_what_was_released_with_them_is_read(own):
    own.add(
        "metrics", {"metric_id": "all_months", "measure_id": "is_in_service", "window": "total", "aggregation": "months", "unit": "months"}
    )
    assert own.load().metrics["all_months"].is_service
    refused(own, "metrics.csv", "column window", "known of the last 60 months")


def test_a_metric_of_the_name_of_a_column_of_its_subject_is_refused(own):
    own.add(
        "metrics",
        {
            "metric_id": "team",
            "measure_id": "staff_initiative",
            "subject_type": "staff",
            "window": "3m",
            "aggregation": "sum",
            "unit": "points",
        },
    )
    refused(own, "metrics.csv", "'team' is a column that the warehouse has already")


@pytest.mark.parametrize(("seed", "column"), [("attributes", "attribute_id"), ("metrics", "metric_id"), ("measures", "measure_id")])
@pytest.mark.parametrize("word", ["order", "group", "check"])
def test_a_word_of_sql_names_no_column(own, seed, column, word):
    head, *rows = own.rows(seed)
    own.write(seed, [head, *rows, [word if name == column else cell for name, cell in zip(head, rows[-1], strict=True)]])
    own.load()  # What was released with it is read.
    refused(own, f"{seed}.csv, row {len(rows) + 2}, column {column}", f"'{word}' is a word of SQL")


@pytest.mark.parametrize("name", ["step", "was", "becomes", "placed", "before_index", "period_index", "place", "is_top"])
def test_an_attribute_of_a_name_that_the_sql_uses_itself_is_refused(own, name):
    own.add(
        "attributes",
        {
            "attribute_id": name,
            "subject_type": "customer",
            "kind": "column",
            "type": "category",
            "column_name": "region",
            "may_be_null": "true",
        },
    )
    own.load()
    refused(own, "column attribute_id", "the compiled SQL uses itself")


def test_a_column_that_is_always_there_may_be_declared_so(own):
    own.add(
        "attributes",
        {
            "attribute_id": "t_month",
            "subject_type": "customer",
            "kind": "column",
            "type": "decimal",
            "column_name": "spend_amount",
            "may_be_null": "false",
        },
        {
            "attribute_id": "t_name",
            "subject_type": "group",
            "kind": "column",
            "type": "category",
            "column_name": "group_id",
            "may_be_null": "false",
        },
    )
    own.load()


def without(seeds, seed: str, **cells: str) -> None:
    head, *rows = seeds.rows(seed)
    seeds.write(seed, [head, *(r for r in rows if any(r[head.index(c)] != v for c, v in cells.items()))])


def test_parts_that_a_version_lacks_are_refused_where_they_are_used(own):
    without(own, "bands", attribute_id="t_spend_band")
    assert "decision_conditions.csv, row" in refused(own, "own v1 has no bands for 't_spend_band'").where
    own.add("bands", {"program_id": "own", "version": "v1", "attribute_id": "t_spend_band", "band_id": "big", "band_order": "1"})
    without(own, "decision_conditions", attribute="t_spend_band", value="small")
    own.load()
    without(own, "score_dimensions", attribute_id="t_score")
    without(own, "score_bands", attribute_id="t_score")
    refused(own, "own v1 has no dimensions for 't_score'", "add them to score_dimensions")


def test_a_score_of_nothing_but_dimensions_that_may_be_left_out_may_be_null(own):
    own.set("attributes", row(own, "attributes", attribute_id="tenure_months"), "may_be_null", "true")
    for name in ("amount", "months"):
        without(own, "score_dimensions", dimension_id=name)
    own.set("score_dimensions", row(own, "score_dimensions", dimension_id="tenure"), "weight", "100")
    error = refused(own, "may_be_null", "left out")
    assert "attributes.csv" in error.where


def test_two_programs_of_one_name_and_levels_without_a_rank_or_of_one_rank_are_refused(own):
    number = row(own, "programs", **OWN)
    own.set("programs", number, "name_zh", "六星级客户分级")
    refused(own, f"programs.csv, row {number}, column name_zh", "is the name of program 'six_star' already")
    own.set("programs", number, "name_zh", "自有")
    own.set("levels", row(own, "levels", level_id="gold"), "rank", "")
    refused(own, "column rank: is empty")
    own.set("levels", row(own, "levels", level_id="gold"), "rank", "2")
    refused(own, "rank 2 is that of level 'silver' already")


def test_a_promise_in_a_number_of_another_subject_is_refused(seeds):
    """No rule of the program could ask for it, so that the promise would be proven of nothing."""
    seeds.set("programs", 2, "monotone_in", "group_spend_12m")
    refused(seeds, "programs.csv, row 2, column monotone_in", "belongs to a group", "name a number of a customer")
    seeds.set("programs", 2, "enabled", "false")
    refuse_mistaken(seeds.load())


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"clock": "event"}, "the clock is an event"),
        ({"clock": "event", "event_entity": "receptions"}, "a customer has no event in receptions"),
        ({"clock": "event", "event_entity": "applications", "subject_type": "reception"}, "a reception has no event in applications"),
        ({"event_entity": "applications"}, "a program on the clock of months has no event"),
        ({"subject_type": "reception"}, "a reception is there in one period only"),
        # The program holds its levels for a year.
        ({"clock": "event", "event_entity": "applications"}, "column validity_months: a program on the clock of events has no review"),
    ],
)
def test_a_clock_that_does_not_fit_the_subject_its_event_or_the_review_is_refused(own, cells, message):
    for column, value in cells.items():
        own.set("programs", row(own, "programs", **OWN), column, value)
    refused(own, message)


def test_a_cap_that_names_two_levels_and_a_plan_without_its_program_are_refused(own):
    own.add(
        "caps",
        {
            "program_id": "own",
            "version": "v1",
            "cap_id": "new",
            "level_id": "bronze",
            "attribute": "t_active",
            "operator": "=",
            "value": "0",
        },
    )
    refused(own, "cap 'new' has level 'silver' in row", "give one cap one level")
    own.set("caps", len(own.rows("caps")), "level_id", "silver")
    own.load()
    own.add(
        "contact_plans",
        {"program_id": "onw", "version": "v1", "level_id": "gold", "contacts_min": "1", "contacts_max": "2", "is_priority": "true"},
    )
    refused(own, "'onw' is not in", "did you mean 'own'")


DAMAGE = {
    "bom": lambda text: "\ufeff" + text,
    "crlf": lambda text: text.replace("\n", "\r\n"),
    "empty_rows": lambda text: text + ",,,,,\n,,,,,\n\n",
    "empty_columns": lambda text: "\n".join(line + ",," for line in text.splitlines()) + "\n",
    "semicolons": lambda text: text.replace(",", ";"),
    "sep_line": lambda text: "sep=;\n" + text.replace(",", ";"),
    "tabs": lambda text: text.replace(",", "\t"),
    "full_width": lambda text: text.translate({ord("0") + n: chr(ord("０") + n) for n in range(10)}),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_spreadsheet_does_to_a_seed_is_read(own, seed, damage):
    # Quoted cells would keep the commas that the damage replaces.
    head, *rows = own.rows(seed)
    own.write(seed, [head, *([cell.replace(",", ";") for cell in r] for r in rows)])
    if damage in {"semicolons", "sep_line"}:
        own.write(seed, [head, *([cell.replace(",", "") for cell in r] for r in rows)])
    text = own.path(seed).read_text(encoding="utf-8")
    if damage == "full_width":
        head, *rows = own.rows(seed)
        numbers = [n for n, name in enumerate(head) if load_schema()[seed].columns[name].type in {"integer", "decimal"}]
        damaged = "\n".join([",".join(head), *(",".join(DAMAGE[damage](c) if n in numbers else c for n, c in enumerate(r)) for r in rows)])
    else:
        damaged = DAMAGE[damage](text)
    before = own.load()
    own.path(seed).write_bytes(damaged.encode())
    assert own.load().hash == before.hash


def test_grouped_digits_are_read_where_they_are_unambiguous(own):
    number = row(own, "bands", band_id="middle")
    own.set("bands", number, "below", "1,000.00")
    band = own.load().programs["own"].versions[0].rules[0].conditions[1].attribute.bands[1]
    assert band.below == 1000
    own.set("bands", number, "below", "1,000")
    refused(own, f"bands.csv, row {number}, column below", "decimal comma")


ATTRIBUTE = {"attribute_id": "read", "subject_type": "customer", "kind": "column", "type": "category", "may_be_null": "true"}


@pytest.mark.parametrize(
    ("cells", "parts"),
    [
        # As a whole number 499,999.50 would be 500,000.
        (
            {"type": "integer", "column_name": "asset_amount", "entity": "financial_positions"},
            ("column type", "'asset_amount' is decimal", "write decimal; where months were released with it, declare"),
        ),
        ({"type": "decimal", "column_name": "grade", "entity": "credit_grades"}, ("column type", "'grade' is text")),
        ({"type": "boolean", "column_name": "brand"}, ("column type", "'brand' is text")),
        # 500000.0000 is no word that anybody writes.
        ({"column_name": "spend_amount"}, ("column type", "'spend_amount' is decimal")),
        (
            {"subject_type": "reception", "type": "date", "column_name": "arrives_at", "entity": "receptions"},
            ("column column_name", "'arrives_at' is timestamp, which no rule compares"),
        ),
        ({"kind": "months_since", "type": "integer", "column_name": "plan"}, ("column column_name", "months are counted from a date")),
        ({"subject_type": "staff", "column_name": "name"}, ("column column_name", "'name' is personal")),
    ],
    ids=lambda value: value.get("column_name") if isinstance(value, dict) else "",
)
def test_a_column_that_would_not_be_read_as_what_it_is_is_refused(seeds, cells, parts):
    seeds.add("attributes", ATTRIBUTE | cells)
    seeds.load()  # What was released with it is read.
    refused(seeds, f"attributes.csv, row {row(seeds, 'attributes', attribute_id='read')}", *parts)


@pytest.mark.parametrize(
    ("type_", "column"), [("decimal", "tenure_months"), ("category", "is_real_name"), ("category", "joined_date"), ("date", "joined_date")]
)
def test_a_column_may_be_read_as_what_it_can_be_written_as(seeds, type_, column):
    seeds.add("attributes", ATTRIBUTE | {"type": type_, "column_name": column})
    refuse_mistaken(seeds.load())


def test_bill_lines_are_not_chosen_by_what_is_gone_where_they_are_added_up(seeds):
    measure = {"measure_id": "of_number", "entity": "bill_lines", "aggregation": "count", "type": "integer", "unit": "lines"}
    seeds.add("measures", measure | {"filter_column": "line_id", "filter_values": "L1"})
    refused(seeds, "column filter_column", "bill lines are added up without their 'line_id'")
