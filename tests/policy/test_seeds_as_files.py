"""What spreadsheets do to a seed is read where one reading is possible, and refused with row and column where not."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestration.deployment import PROJECT_ROOT, load_deployment
from orchestration.errors import BadInput
from orchestration.policy import cells, check_policies, compile_policies, load_policies, load_policy_files
from orchestration.policy.cells import CellProblem
from orchestration.policy.load import refuse_mistaken
from orchestration.policy.reader import load_schema
from tests.support import draws, write_policy_files


def refused(seeds, *parts: str) -> BadInput:
    with pytest.raises(BadInput) as caught:
        seeds.load()
    for part in parts:
        assert part in str(caught.value), str(caught.value)
    assert caught.value.remedy
    return caught.value


def test_default_seeds_load_for_the_sample_company():
    policies = load_policies(load_deployment())
    assert [level.level_id for level in policies.programs["six_star"].levels] == [f"star_{n}" for n in range(1, 7)]
    assert len(policies.hash) == 64


def test_every_seed_of_the_schema_stands_in_the_folder_and_no_other(seeds):
    assert {path.stem for path in seeds.folder.glob("*.csv")} == set(load_schema())


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text + ",,,,,\n,,,,,\n\n",
        lambda text: "\n".join(line + ",," for line in text.splitlines()) + "\n",
        lambda text: text.replace(",", ";"),
        lambda text: "sep=;\n" + text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace(",300", ',"300.00"'),
        lambda text: text.replace(",300", ",３００"),
        lambda text: text.replace(",300", ", 300 "),
        lambda text: text.replace(",15000", ',"15,000.00"'),
        lambda text: text.replace(",15000", ",15 000"),
        lambda text: text.replace(",>=,", ",≥,"),
        lambda text: text.replace(",gotone", ",\u200egotone\u202c"),
    ],
    ids=[
        "bom",
        "crlf",
        "empty_rows",
        "empty_columns",
        "semicolons",
        "sep_line",
        "tabs",
        "no_last_newline",
        "decimals",
        "full_width",
        "blanks",
        "grouped",
        "grouped_by_blanks",
        "sign",
        "direction_marks",
    ],
)
def test_harmless_damage_gives_the_same_policy(seeds, damage):
    sound = seeds.load().programs["six_star"].versions[0].policy_hash
    seeds.text("decision_conditions", damage)
    assert seeds.load().programs["six_star"].versions[0].policy_hash == sound


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1,000", "decimal comma"),
        ("300,5", "decimal comma"),
        ("1.5E+04", "scientific"),
        ("2026/1/3", "date"),
        ("03-Jan", "date"),
        ("300元", "unit or currency"),
        ("¥300", "unit or currency"),
        ("30%", "percent"),
        ("#REF!", "spreadsheet's error"),
        ("####", "spreadsheet's error"),
        ("300.00001", "decimal places"),
        ("=300", "not a number"),
        ("", "is empty"),
        ("1e999999999", "scientific"),
        ("9" * 30, "too large"),
        ("nan", "not a number"),
        ("-1000001", "below what a rule may name of spend_avg_6m"),
        ("12 0", "blank"),
        ("1 0000", "blank"),
        ("300 .5", "blank"),
        ("36²", "unit or currency"),
        ("3⑥", "unit or currency"),
        ("٣٠٠", "not a number"),
    ],
)
def test_ambiguous_numbers_are_refused_with_file_row_and_column(seeds, value, message):
    seeds.set("decision_conditions", 5, "value", value)
    refused(seeds, "decision_conditions.csv, row 5, column value", message)


@pytest.mark.parametrize(
    ("value", "hint"), [("46174", "2026-06"), ("2026/6/1", "2026-06"), ("2026-6", "2026-06"), ("Jun-26", "YYYY-MM"), ("2026-13", "YYYY-MM")]
)
def test_a_period_that_a_spreadsheet_made_a_date_is_refused_with_the_month_it_probably_was(seeds, value, hint):
    seeds.set("policy_versions", 2, "valid_from_period", value)
    refused(seeds, "policy_versions.csv, row 2, column valid_from_period", hint)


@pytest.mark.parametrize("value", ["12/16/2019", "43815", "2019-02-30", "16.12.2019"])
def test_a_day_in_another_order_is_refused(seeds, value):
    seeds.set("policy_versions", 2, "approved_on", value)
    refused(seeds, "policy_versions.csv, row 2, column approved_on", "YYYY-MM-DD")


@pytest.mark.parametrize(
    ("seed", "row", "column", "value", "parts"),
    [
        ("decision_conditions", 5, "attribute", "spend_avg_6", ["decision_conditions.csv, row 5, column attribute", "did you mean 'spend_avg_6m'"]),
        ("decision_conditions", 2, "value", "gotoone", ["row 2, column value", "did you mean 'gotone'"]),
        ("decision_conditions", 2, "operator", ">=", ["row 2, column operator", "has none"]),
        ("decision_conditions", 2, "operator", "~", ["row 2, column operator", "no operator"]),
        ("decision_conditions", 4, "value", "star_7", ["row 4, column value", "did you mean 'star_"]),
        ("decision_conditions", 4, "rule_id", "star_6_nominatd", ["row 4, column rule_id", "did you mean 'star_6_nominated'"]),
        ("decision_conditions", 4, "version", "v2", ["row 4, column version", "did you mean 'v1'"]),
        ("decision_rules", 3, "level_id", "star_66", ["decision_rules.csv, row 3, column level_id", "did you mean 'star_6'"]),
        ("decision_rules", 3, "rule_order", "10", ["row 3, column rule_order", "already"]),
        ("decision_rules", 3, "rule_id", "star_6_points", ["row 3", "stands already in row 2"]),
        ("levels", 3, "rank", "", ["levels.csv, row 3, column rank", "is empty", "fill it in: higher is better"]),
        ("levels", 3, "rank", "6", ["levels.csv, row 3, column rank", "already"]),
        ("levels", 3, "rank", "5.5", ["row 3, column rank", "whole number"]),
        ("levels", 3, "program_id", "six_stars", ["row 3, column program_id", "did you mean 'six_star'"]),
        ("programs", 2, "hit_policy", "frist", ["programs.csv, row 2, column hit_policy", "did you mean 'first'"]),
        ("programs", 2, "enabled", "maybe", ["row 2, column enabled", "true or false"]),
        ("programs", 2, "monotone_in", "brand", ["row 2, column monotone_in", "no number"]),
        ("programs", 2, "program_id", "Six Star", ["row 2, column program_id", "for example six_star"]),
        ("metrics", 2, "window", "0m", ["metrics.csv, row 2, column window", "0 months"]),
        ("metrics", 2, "window", "61m", ["row 2, column window", "too long"]),
        ("metrics", 2, "measure_id", "spend", ["row 2, column measure_id", "did you mean 'spend_amount'"]),
        ("metrics", 2, "aggregation", "months", ["row 2, column aggregation", "flag"]),
        ("measures", 2, "column_name", "net_amout", ["measures.csv, row 2, column column_name", "did you mean 'net_amount'"]),
        ("measures", 2, "filter_values", "(spend)|vioce", ["row 2, column filter_values", "did you mean 'voice'"]),
        ("measures", 2, "filter_column", "customer", ["row 2, column filter_column", "did you mean"]),
        ("measures", 4, "entity", "zzz_unknown", ["measures.csv, row 4, column entity", "write lines"]),
        ("measures", 5, "entity", "lines", ["row 5, column entity", "write bill_lines"]),
        ("measures", 5, "filter_column", "zzz_unknown", ["row 5, column filter_column", "leave it empty"]),
        ("measures", 5, "filter_values", "voice", ["row 5, column filter_values", "leave it empty"]),
        ("measures", 4, "column_name", "line_id", ["row 4, column column_name", "leave it empty"]),
        ("measures", 4, "type", "integer", ["row 4, column type", "write boolean"]),
        ("measures", 7, "column_name", "reason", ["row 7, column column_name", "leave it empty"]),
        ("levels", 3, "rank", "3000000000", ["levels.csv, row 3, column rank", "write a number from 1 to 1000"]),
        ("attributes", 2, "column_name", "brnd", ["attributes.csv, row 2, column column_name", "did you mean 'brand'"]),
        ("attributes", 10, "months_metric_id", "service_3m_months", ["row 10, column months_metric_id", "one window"]),
        ("attributes", 9, "type", "integer", ["row 9, column type", "decimal"]),
        ("charge_types", 2, "counts_as_spend", "perhaps", ["charge_types.csv, row 2, column counts_as_spend"]),
        ("tags", 2, "subscription_kind", "", ["tags.csv, row 2, column subscription_kind"]),
        ("tags", 5, "window_months", "0", ["row 5, column window_months", "below"]),
        ("tags", 2, "category_id", "campain", ["row 2, column category_id", "did you mean 'campaign'"]),
        ("policy_versions", 2, "valid_to_period", "2019-12", ["policy_versions.csv, row 2, column valid_to_period", "before"]),
    ],
)  # fmt: skip
def test_a_bad_cell_is_refused_with_its_place_and_a_remedy(seeds, seed, row, column, value, parts):
    seeds.set(seed, row, column, value)
    refused(seeds, *parts)


def test_two_programs_of_one_name_are_refused(seeds):
    rows = seeds.rows("programs")
    seeds.write("programs", [*rows, rows[1]])
    refused(seeds, "programs.csv, row 3", "six_star stands already in row 2")
    other = ["six_star_b", *rows[1][1:]]
    seeds.write("programs", [*rows, other])
    refused(seeds, "name of program 'six_star' already")


def test_an_unknown_column_is_refused_with_the_one_that_was_meant(seeds):
    seeds.text("levels", lambda text: text.replace("rank", "rnk", 1))
    refused(seeds, "levels.csv, row 1", "unknown column 'rnk'", "did you mean 'rank'")


def test_a_missing_column_a_missing_file_and_an_empty_file_are_refused(seeds):
    rows = seeds.rows("levels")
    seeds.write("levels", [[row[0], row[1], *row[3:]] for row in rows])
    refused(seeds, "column 'rank' is missing")
    seeds.path("levels").write_text("\n\n")
    refused(seeds, "levels.csv", "is empty")
    seeds.path("levels").unlink()
    refused(seeds, "levels.csv", "not there")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n".encode("utf-16"), "UTF-16"),
        ("program_id,六星\n".encode("gb18030"), "not UTF-8"),
        (b"program_id\x00\n", "zero byte"),
        (b'program_id,level_id,rank,name_en,name_zh\nsix_star,"star_1,1,a,b\n', "no CSV"),
        (b"program_id,level_id,rank,name_en,name_zh\nsix_star,star_1,1\n", "has 3 cells"),
        (b"program_id,level_id,rank,name_en,name_zh\nsix_star,star_1,1,a,b,c\n", "has 6 cells"),
        (b'program_id,level_id,rank,name_en,name_zh\nsix_star,star_1,1,"a\nb",c\n', "line break"),
    ],
)
def test_a_file_that_is_no_seed_is_refused_with_its_line(seeds, content, message):
    seeds.path("levels").write_bytes(content)
    refused(seeds, "levels.csv", message)


def test_row_numbers_are_those_of_an_editor_even_after_empty_rows(seeds):
    seeds.text("levels", lambda text: text.replace("\nsix_star,star_4,4,", "\n\n\nsix_star,star_4,x,"))
    refused(seeds, "levels.csv, row 6, column rank")


def told(caught: BadInput) -> list[str]:
    return [error.where.split("/")[-1] for error in (caught, *caught.also)]


def test_all_cells_that_cannot_be_read_are_told_together(seeds):
    """What a file alone shows, of all files; then what cells refer to, and then the values of conditions, of all programs."""
    sound = seeds.rows("levels")
    seeds.set("levels", 3, "rank", "2,5")
    seeds.set("levels", 4, "rank", "x")
    seeds.set("levels", 4, "level_id", "Star 3")
    seeds.set("policy_versions", 2, "approved_on", "01.02.2026")
    seeds.set("decision_conditions", SPEND_BAR, "value", "300,5")
    found = refused(seeds, "levels.csv, row 3, column rank", "write 2.5", "column level_id", "approved_on: '01.02.2026' is not a date")
    cells_of_files = ["levels.csv, row 3, column rank", "levels.csv, row 4, column level_id", "levels.csv, row 4, column rank"]
    assert told(found) == [*cells_of_files, "policy_versions.csv, row 2, column approved_on"]
    assert [error["where"].split("/")[-1] for error in found.as_json()["also"]] == told(found)[1:]
    seeds.write("levels", sound)
    seeds.set("policy_versions", 2, "approved_on", "2026-02-01")
    seeds.set("decision_conditions", POINTS_BAR, "attribute", "brandt")
    seeds.set("decision_conditions", SPEND_BAR, "attribute", "spent")
    assert told(refused(seeds)) == [f"decision_conditions.csv, row {row}, column attribute" for row in (POINTS_BAR, SPEND_BAR)]
    seeds.set("decision_conditions", POINTS_BAR, "attribute", "points_last_year")
    seeds.set("decision_conditions", POINTS_BAR, "value", "15,5")
    seeds.set("decision_conditions", SPEND_BAR, "attribute", "spend_avg_6m")
    seeds.set("scope_rules", 2, "value", "test||iot")
    values = [f"decision_conditions.csv, row {row}, column value" for row in (POINTS_BAR, SPEND_BAR)]
    assert told(refused(seeds)) == [*values, "scope_rules.csv, row 2, column value"]


def test_all_measures_metrics_and_attributes_that_do_not_fit_are_told_together(seeds):
    """What is made of a bad one is not told besides it."""
    seeds.set("measures", seeds.row_of("measures", measure_id="survey_score"), "type", "decimal")
    seeds.set("measures", seeds.row_of("measures", measure_id="base_points"), "filter_values", "basis")
    seeds.set("metrics", seeds.row_of("metrics", metric_id="survey_answers_12m"), "window", "total")
    seeds.set("attributes", seeds.row_of("attributes", attribute_id="spend_growth"), "type", "integer")
    seeds.set("attributes", seeds.row_of("attributes", attribute_id="spend_share_above"), "of_attributes", "brand")
    found = told(refused(seeds))
    assert [where.partition(",")[0] for where in found] == [
        "measures.csv",
        "measures.csv",
        "metrics.csv",
        "attributes.csv",
        "attributes.csv",
    ]
    assert [where.rpartition(" ")[2] for where in found] == ["filter_values", "type", "window", "of_attributes", "type"]


def test_all_names_that_sql_could_not_hold_are_told_together(seeds):
    deployment = load_deployment()
    deployment.policies = seeds.folder
    for seed, old, new in (
        ("measures", "responses", "total_responses"),
        ("metrics", "responses_12m", "order"),
        ("attributes", "plan", "was"),
    ):
        seeds.text(seed, lambda text, old=old, new=new: text.replace(f"\n{old},", f"\n{new},"))
    seeds.text("metrics", lambda text: text.replace(",responses,", ",total_responses,"))
    seeds.text("attributes", lambda text: text.replace(",responses_12m,", ",order,"))
    with pytest.raises(BadInput) as caught:
        load_policies(deployment)
    assert [where.partition(",")[0] for where in told(caught.value)] == ["measures.csv", "metrics.csv", "attributes.csv"]


def test_of_very_many_bad_cells_the_first_are_shown(seeds):
    head, *rows = seeds.rows("levels")
    seeds.write("levels", [head, *([rows[0][0], f"star_{n}", "x", *rows[0][3:]] for n in range(60))])
    found = refused(seeds, "row 2,", "row 52,", "and 9 more: --json lists all")
    assert len(found.also) == 59 and "row 53," not in str(found)


def test_a_deployment_replaces_seeds_by_its_own_and_a_misspelt_one_is_refused(tmp_path: Path):
    deployment = load_deployment()
    deployment.policies = tmp_path / "policies"
    deployment.policies.mkdir()
    own = deployment.policies / "decision_conditions.csv"
    default = (deployment.seeds / own.name).read_text(encoding="utf-8")
    own.write_text(default.replace("star_5_spend,spend_avg_6m,>=,300\n", "star_5_spend,spend_avg_6m,>=,301\n"), encoding="utf-8")
    assert load_policies(deployment).programs["six_star"].versions[0].rules[2].conditions[0].values == (Decimal(301),)
    own.rename(own.with_name("decision_condition.csv"))
    with pytest.raises(BadInput, match="did you mean 'decision_conditions'"):
        load_policies(deployment)


def test_a_deployment_with_programs_of_its_own_needs_no_files_of_those_that_it_does_not_have(tmp_path: Path):
    folder = tmp_path / "d"
    shutil.copytree(PROJECT_ROOT / "examples" / "telecom", folder, ignore=shutil.ignore_patterns("policies"))
    (folder / "policies").mkdir()
    own = {
        "programs": ["program_id,name_en,name_zh,subject_type,method,hit_policy,clock,enabled", "mine,Mine,本,customer,decision_table,first,month,true"],
        "levels": ["program_id,level_id,rank,name_en,name_zh", "mine,all,1,All,全部"],
        "policy_versions": ["program_id,version,valid_from_period,author,approver,approved_on", "mine,v1,2026-01,a,b,2025-12-01"],
        "decision_rules": ["program_id,version,rule_id,rule_order,level_id,description_en,description_zh", "mine,v1,all,1,all,All,全部"],
        "decision_conditions": ["program_id,version,rule_id,attribute,operator,value"],
    }  # fmt: skip
    for name, lines in own.items():
        (folder / "policies" / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    policies = load_policies(load_deployment(folder))
    assert list(policies.programs) == ["mine"]
    assert [list(policies.seeds[name]) for name in ("channels", "channel_audience", "channel_columns", "caps")] == [[], [], [], []]
    # A file with the rows of its own alone takes away what the default one lists.
    default = (PROJECT_ROOT / "seeds" / "attributes.csv").read_text(encoding="utf-8")
    header, *rows = default.splitlines(keepends=True)
    kept = [line for line in rows if not line.startswith("spend_3m,")]
    conditions = [*own["decision_conditions"], "mine,v1,all,spend_3m,>=,1", "mine,v1,all,spend_30m,>=,1"]
    (folder / "policies" / "decision_conditions.csv").write_text("\n".join(conditions) + "\n", encoding="utf-8")
    (folder / "policies" / "attributes.csv").write_text("".join([header, *kept]), encoding="utf-8")
    with pytest.raises(BadInput, match=r"'spend_3m' is not in .*policies/attributes\.csv") as caught:
        load_policies(load_deployment(folder))
    assert "seeds/attributes.csv has it" in str(caught.value) and "begin yours with a copy of it" in str(caught.value)
    assert "'spend_30m' is not in" in str(caught.value) and str(caught.value).count("has it") == 1


def test_policies_written_beside_a_release_read_back_the_same(seeds, tmp_path: Path):
    policies = seeds.load()
    write_policy_files(policies, tmp_path / "release")
    assert load_policy_files(tmp_path / "release").hash == policies.hash


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("79.995", "79.995"), ("1,000.00", "1000"), ("１２．５", "12.5"), ("1,234,567", "1234567"), ("−5", "-5"), ("0.0", "0"),
        ("１，０００．００", "1000"), ("＋５", "5"), ("1 234 567.5", "1234567.5"), ("12\u202f000", "12000"), ("１　０００", "1000"),
    ],
)  # fmt: skip
def test_numbers_are_exact(text, value):
    assert cells.parse_decimal(text) == Decimal(value)


POINTS_BAR, SPEND_BAR = 3, 5


def separated(seeds, separator: str) -> None:
    """Save the conditions as a spreadsheet does whose cells are parted by ``separator``; no cell of them needs quotation marks."""
    seeds.text("decision_conditions", lambda text: text.replace(",", separator))


@pytest.mark.parametrize("separator", [",", ";", "\t"], ids=["commas", "semicolons", "tabs"])
@pytest.mark.parametrize(
    ("value", "whole", "decimals"), [("15.000", "15000", "15"), ("-15.250", "-15250", "-15.2500"), ("７９．９９５", "79995", "79.9950")]
)
def test_a_point_before_three_digits_is_refused_where_it_may_part_thousands(seeds, value, whole, decimals, separator):
    """A whole number has no decimals, so that the point of one parts thousands; and who parts cells by semicolons writes a decimal
    comma. Between commas an amount with three decimals is one."""
    amount = Decimal(decimals)
    seeds.set("decision_conditions", SPEND_BAR, "value", value)
    separated(seeds, separator)
    if separator == ",":
        assert seeds.load().programs["six_star"].versions[0].rules[2].conditions[0].values == (amount,)
    else:
        refused(seeds, "decision_conditions.csv, row 5, column value", repr(value), f"write {whole} or {decimals}")
        for unambiguous in (decimals, whole):
            seeds.text("decision_conditions", lambda text, now=value, to=unambiguous: text.replace(now, to))
            assert seeds.load().programs["six_star"].versions[0].rules[2].conditions[0].values == (Decimal(unambiguous),)
            seeds.text("decision_conditions", lambda text, now=unambiguous, to=value: text.replace(now, to))


@pytest.mark.parametrize("separator", [",", ";"], ids=["commas", "semicolons"])
def test_of_whole_numbers_a_point_before_three_digits_is_refused_everywhere(seeds, separator):
    sound = seeds.rows("decision_conditions")
    seeds.set("decision_conditions", POINTS_BAR, "value", "15.000")
    separated(seeds, separator)
    refused(seeds, "decision_conditions.csv, row 3, column value", "'15.000' may have a point between thousands", "write 15000 or 15")
    seeds.write("decision_conditions", sound)
    seeds.set("levels", 2, "rank", "1.000")
    seeds.text("levels", lambda text: text.replace(",", separator))
    refused(seeds, "levels.csv, row 2, column rank", "write 1000 or 1")


def test_what_a_message_says_to_write_is_read(seeds):
    seeds.set("decision_conditions", POINTS_BAR, "value", "15,000")
    refused(seeds, "row 3, column value", "decimal comma or a thousands separator", "write 15000 or 15")
    for value in (15000, 15):
        seeds.set("decision_conditions", POINTS_BAR, "value", str(value))
        assert seeds.load().programs["six_star"].versions[0].rules[0].conditions[1].values == (value,)


@pytest.mark.parametrize("value", ["0.125", "-0.500", "1234.000", "15.0000", "1.5"])
def test_a_point_that_parts_no_thousands_is_read_in_every_file(seeds, value):
    seeds.set("decision_conditions", SPEND_BAR, "value", value)
    separated(seeds, ";")
    assert seeds.load().programs["six_star"].versions[0].rules[2].conditions[0].values == (Decimal(value),)


def test_in_a_column_of_amounts_the_same_holds(own):
    number = own.row_of("score_bands", program_id="own", band_order="1")
    own.set("score_bands", number, "below", "1.500")
    own.load()
    own.text("score_bands", lambda text: text.replace(",", ";"))
    refused(own, f"score_bands.csv, row {number}, column below", "write 1500 or 1.5000")


# Amounts of money: as many digits as the warehouse keeps.
AMOUNTS = {
    ("attributes", "minimum"), ("attributes", "maximum"), ("bands", "below"), ("score_dimensions", "low"), ("score_dimensions", "high"),
    ("score_bands", "below"),
}  # fmt: skip
NUMBERS = [
    (seed, name) for seed, body in load_schema().items() for name, column in body.columns.items() if column.type in {"integer", "decimal"}
]
LARGEST_AMOUNT = 10**14


@pytest.mark.parametrize(("seed", "column"), NUMBERS, ids=[".".join(number) for number in NUMBERS])
def test_every_number_of_a_seed_has_bounds_that_the_warehouse_holds(own, seed, column):
    """A number that a relation cannot hold would end a run, and one that no day can be counted with a delivery."""
    body = load_schema()[seed].columns[column]
    if (seed, column) in AMOUNTS:
        assert (body.type, body.minimum, body.maximum) == ("decimal", None, None)
        beyond = {f"-{LARGEST_AMOUNT}": "too large", f"{LARGEST_AMOUNT}": "too large"}
    else:
        assert body.minimum is not None and body.maximum is not None
        assert body.minimum in {0, 1} and body.maximum <= 1_000_000
        assert not column.endswith("_pct") or (body.minimum, body.maximum) == (0, 100)
        bounds = f"write a number from {body.minimum} to {body.maximum}"
        beyond = {f"{body.minimum - 1}": bounds, f"{body.maximum + 1}": bounds, "99999999999": bounds}
    if len(own.rows(seed)) == 1:
        own.add(seed, {"program_id": "own", "version": "v1"})
    for value, message in beyond.items():
        own.set(seed, 2, column, value)
        refused(own, f"{seed}.csv, row 2, column {column}", message)


def test_days_can_be_counted_with_the_largest_numbers():
    """The limits of the types that they land in: a rank is an INTEGER, a due date and the end of a feed are moments."""
    schema = load_schema()
    con = duckdb.connect()
    for seed, column in (
        ("levels", "rank"),
        ("checklists", "lead_minutes"),
        ("checklists", "item_order"),
        ("contact_plans", "contacts_max"),
    ):
        con.execute("select cast(? as integer)", [schema[seed].columns[column].maximum])
    con.execute("select timestamp '2026-06-30' - to_minutes(?)", [schema["checklists"].columns["lead_minutes"].maximum])
    for column in ("share_target_pct", "reach_target_pct"):
        con.execute("select cast(? as decimal(7, 4))", [schema["contact_plans"].columns[column].maximum])
    assert datetime(2026, 6, 30) + timedelta(hours=schema["channels"].columns["staleness_hours"].maximum)


@pytest.mark.parametrize("text", ["6", "m", "0m", "previous_0m", "six months", "2026", "61m"])
def test_windows_that_are_none_are_refused(text):
    with pytest.raises(CellProblem):
        cells.parse_window(text)


noise = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40).map(lambda s: s.encode("utf-8", "surrogatepass")),
    st.sampled_from([b'"', b",", b";", b"\r", b"\n", b"\xef\xbb\xbf", b"\x00", b"\t\t", "１，０００".encode(), b"9" * 400, b"x" * 140_000]),
)


def is_read_or_refused_with_a_remedy(own):
    """Read: then it also compiles, and can be checked."""
    try:
        policies = own.load()
        compile_policies(policies)
        check_policies(policies)
    except BadInput as err:
        assert err.where and err.remedy


@settings(max_examples=draws(150, 300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(load_schema())), cut=st.floats(0, 1), drop=st.integers(0, 60), noise=noise)
@example(name="decision_conditions", cut=0, drop=3000, noise=b"")
def test_whatever_is_in_a_file_it_is_read_or_refused_with_a_remedy(own, name, cut, drop, noise):
    sound = own.path(name).read_bytes()
    place = int(cut * len(sound))
    own.path(name).write_bytes(sound[:place] + noise + sound[place + drop :])
    try:
        is_read_or_refused_with_a_remedy(own)
    finally:
        own.path(name).write_bytes(sound)


odd_cells = st.sampled_from(
    ["", "0", "-1", "1e9", "NaN", "inf", "9" * 14, "0.0001", "(null)", "(spend)", "..", "1..0", "a|b", "|", "true", "v1", "own", "six_star", "t_score",
     "t_position", "t_spend_band", "t_known", "brand", "band", "score", "customer", "group", "100", "100.0001", "2026-06", "2026-06-30", "in", "is null", "六"]
)  # fmt: skip


@settings(max_examples=draws(300, 600), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    where=st.sampled_from([(n, c) for n, s in load_schema().items() for c in s.columns]),
    at=st.floats(0, 1, exclude_max=True),
    value=odd_cells,
)
def test_whatever_is_in_a_cell_it_is_read_or_refused_with_a_remedy(own, where, at, value):
    name, column = where
    sound = own.path(name).read_bytes()
    own.set(name, 2 + int(at * (len(own.rows(name)) - 1)), column, value)
    try:
        is_read_or_refused_with_a_remedy(own)
    finally:
        own.path(name).write_bytes(sound)


def test_a_separator_that_is_a_tab_is_named_in_the_first_line_too(seeds):
    sound = seeds.load().hash
    seeds.text("decision_conditions", lambda text: "sep=\t\n" + text.replace(",", "\t"))
    assert seeds.load().hash == sound


@pytest.mark.parametrize("separator", [",", ";", "\t"], ids=["commas", "semicolons", "tabs"])
def test_empty_rows_before_the_header_are_passed_over(seeds, separator):
    sound = seeds.load().hash
    seeds.text("decision_conditions", lambda text: f"{separator * 5}\r\n" + text.replace(",", separator))
    assert seeds.load().hash == sound
    seeds.text("decision_conditions", lambda text: text.replace("gotone", "gotoone", 1))
    refused(seeds, "decision_conditions.csv, row 3, column value")


def test_a_seed_whose_ending_a_spreadsheet_wrote_in_capitals_takes_the_place_of_the_default(tmp_path: Path):
    deployment = load_deployment()
    deployment.policies = tmp_path / "policies"
    deployment.policies.mkdir()
    default = (deployment.seeds / "decision_conditions.csv").read_text(encoding="utf-8")
    own = deployment.policies / "decision_conditions.CSV"
    own.write_text(default.replace("star_5_spend,spend_avg_6m,>=,300\n", "star_5_spend,spend_avg_6m,>=,301\n"), encoding="utf-8")
    assert load_policies(deployment).programs["six_star"].versions[0].rules[2].conditions[0].values == (Decimal(301),)
    own.with_suffix(".csv").write_text(default, encoding="utf-8")
    with pytest.raises(BadInput, match=r"is there twice, as decision_conditions\.CSV too"):
        load_policies(deployment)


@pytest.mark.parametrize(
    ("operator", "value", "column", "parts"),
    [
        ("in", "East｜West", "value", ["full-width bar", "join values with |"]),
        ("in", "East|（null）", "value", ["no null", "write (null)"]),
        ("in", "East|(NULL)", "value", ["no null", "write (null)"]),
        ("=", "East|West", "operator", ["holds several", "write in"]),
        ("!=", "East|West", "operator", ["holds several", "write not in"]),
    ],
)
def test_several_values_and_null_are_not_read_as_one_text(seeds, operator, value, column, parts):
    """Of a category with any value (a region) nothing else tells: the rule would hold for nobody."""
    for name, cell in (("attribute", "region"), ("operator", operator), ("value", value)):
        seeds.set("decision_conditions", 2, name, cell)
    with pytest.raises(BadInput) as caught:
        refuse_mistaken(seeds.load())
    assert f"decision_conditions.csv, row 2, column {column}" in caught.value.where
    for part in parts:
        assert part in str(caught.value)


def test_a_full_width_bar_in_an_audience_is_refused(seeds):
    seeds.add("channel_audience", {"channel_id": "hotline", "version": "1", "attribute": "region", "operator": "in", "value": "East｜West"})
    with pytest.raises(BadInput, match="full-width bar"):
        refuse_mistaken(seeds.load())


def test_a_value_with_a_full_width_bar_that_its_attribute_lists_is_one_value(seeds):
    seeds.set("attributes", seeds.row_of("attributes", attribute_id="region"), "allowed_values", "East｜West|North")
    for operator, value in (("=", "East｜West"), ("in", "North|East｜West")):
        for name, cell in (("attribute", "region"), ("operator", operator), ("value", value)):
            seeds.set("decision_conditions", 2, name, cell)
        refuse_mistaken(seeds.load())
    seeds.add("channel_audience", {"channel_id": "hotline", "version": "1", "attribute": "region", "operator": "=", "value": "East｜West"})
    refuse_mistaken(seeds.load())
