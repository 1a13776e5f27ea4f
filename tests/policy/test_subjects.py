"""Compiled relations of subjects: who is there in a period, what is known and what is added up of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.deployment import PROJECT_ROOT, load_deployment
from orchestration.policy import Policies, compile_policies, load_policies
from tests.policy.conftest import SeedFolder
from tests.policy.whole_warehouse import build_relations

LINEAGE = ", _source varchar default 's', _file_id varchar default 'f', _row bigint default 1"
TABLES = {
    "groups": "group_id varchar, valid_from_date date, name varchar, trade varchar, region varchar, manager_id varchar, is_nominated_strategic boolean",
    "group_members": "group_id varchar, customer_id varchar, role varchar, start_date date, end_date date",
    "staff": "staff_id varchar, valid_from_date date, role varchar, team varchar, joined_date date, left_date date",
    "staff_measures": "staff_id varchar, period varchar, measure varchar, score decimal(18,6)",
}


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("create schema staging; create schema ctl")
        for name, columns in TABLES.items():
            connection.execute(f"create table staging.stg_landing__{name} ({columns}{LINEAGE})")
        connection.execute("create table months (customer_id varchar, period_index integer, spend_amount decimal(18,4))")
        connection.execute("create table ctl.target_periods (period varchar, period_index integer, first_day date, last_day date)")
        connection.execute(
            "insert into ctl.target_periods values ('2026-05', 24316, '2026-05-01', '2026-05-31'), ('2026-06', 24317, '2026-06-01', '2026-06-30')"
        )
        yield connection


def insert(con: duckdb.DuckDBPyConnection, table: str, *rows: tuple[Any, ...]) -> None:
    columns = [part.split()[0] for part in TABLES[table].split(", ")]
    for row in rows:
        con.execute(f"insert into staging.stg_landing__{table} ({', '.join(columns)}) values ({', '.join('?' * len(columns))})", list(row))


def relation(con: duckdb.DuckDBPyConnection, tmp_path: Path, program: str, kind: str) -> dict[tuple[str, str], dict[str, Any]]:
    folder = SeedFolder(tmp_path / "seeds", program)
    for seed in ("channels", "channel_audience", "channel_columns"):
        folder.write(seed, folder.rows(seed)[:1])
    text = compile_policies(folder.load())[f"{kind}_subjects"].replace("__MONTHS__", "months")
    result = con.execute(text)
    names = [column[0] for column in result.description]
    return {(row["subject_id"], row["period"]): row for row in (dict(zip(names, values, strict=True)) for values in result.fetchall())}


def group(con: duckdb.DuckDBPyConnection, group_id: str, from_date: str, strategic: bool = False) -> None:
    insert(con, "groups", (group_id, date.fromisoformat(from_date), "n", "retail", "north", "m", strategic))


def test_a_group_is_the_sum_of_its_members_each_in_the_months_of_membership(con, tmp_path):
    group(con, "G", "2020-01-01")
    insert(
        con, "group_members",
        ("G", "always", "member", date(2020, 1, 1), None),
        ("G", "left", "member", date(2020, 1, 1), date(2026, 5, 1)),
        ("G", "joined", "leader", date(2026, 6, 30), None),
        ("OTHER", "stranger", "member", date(2020, 1, 1), None),
    )  # fmt: skip
    for customer in ("always", "left", "joined", "stranger"):
        con.executemany("insert into months values (?, ?, ?)", [[customer, 24316, Decimal(10)], [customer, 24317, Decimal(1)]])
    con.execute("insert into months values ('always', 24305, 1000), ('always', 24306, 100)")
    found = relation(con, tmp_path, "group_value", "group")
    # Twelve months that end with May reach back to June 2025 (24305), those that end with June do not.
    assert found["G", "2026-05"]["group_spend_12m_amount"] == 1000 + 100 + 10 + 10
    assert found["G", "2026-06"]["group_spend_12m_amount"] == 100 + 10 + 10 + 1 + 1


def test_a_member_who_is_in_a_group_twice_at_a_time_counts_once(con, tmp_path):
    group(con, "G", "2020-01-01")
    insert(con, "group_members", ("G", "c", "member", date(2020, 1, 1), None), ("G", "c", "leader", date(2021, 1, 1), None))
    con.execute("insert into months values ('c', 24317, 7)")
    assert relation(con, tmp_path, "group_value", "group")["G", "2026-06"]["group_spend_12m_amount"] == 7


def test_a_group_without_members_has_no_spend_and_its_newest_row_holds(con, tmp_path):
    group(con, "G", "2020-01-01")
    group(con, "G", "2026-06-15", strategic=True)
    group(con, "LATER", "2026-07-01")
    found = relation(con, tmp_path, "group_value", "group")
    assert [(found["G", p]["is_nominated_strategic"], found["G", p]["group_spend_12m_amount"]) for p in ("2026-05", "2026-06")] == [
        (False, 0),
        (True, 0),
    ]
    assert not any(subject == "LATER" for subject, _ in found)


def extras(policies: Policies, columns: str, **rows: str) -> list[tuple[Any, ...]]:
    """What customers have elsewhere in May and June 2026; ``rows``: by entity SQL of its rows."""
    with duckdb.connect() as con:
        build_relations(con, policies)
        con.execute("insert into ctl.target_periods values ('2026-05', 24316, date '2026-05-01', date '2026-05-31')")
        con.execute("insert into ctl.run values ('Asia/Shanghai')")
        for entity, values in rows.items():
            con.execute(f"insert into staging.stg_landing__{entity} by name {values}")
        return con.execute(f"select {columns} from ({compile_policies(policies)['customer_extras']}) order by all").fetchall()


def test_of_what_a_customer_has_elsewhere_the_newest_row_of_each_month_holds():
    """Of two rows from one day that of the source that is named last."""
    grades = """select * from (values ('C', date '2026-01-01', 'B', 's'), ('C', date '2026-06-30', 'A', 's'), ('C', date '2026-06-30', 'D', 't'),
        ('C', date '2026-07-01', 'AAA', 's'), ('LATE', date '2026-06-01', 'C', 's')) as t (customer_id, as_of_date, grade, _source)"""
    policies = load_policies(load_deployment(PROJECT_ROOT / "examples" / "bank"))
    found = extras(policies, "customer_id, period, credit_grades__grade", credit_grades=grades)
    assert found == [("C", "2026-05", "B"), ("C", "2026-06", "D"), ("LATE", "2026-06", "C")]


def test_rows_that_a_customer_has_elsewhere_are_added_up_by_the_local_months_of_each_window(tmp_path):
    """Twelve months. The answer of May 31, 17:00 UTC is one of June in Shanghai."""
    days = {"arrears": ["2025-05-31", "2025-06-30", "2025-07-01", "2026-06-30", "2026-07-01"], "request": ["2026-05-10"]}
    suspensions = " union all ".join(
        f"select 'C' as customer_id, date '{day}' as start_date, '{reason}' as reason" for reason, some in days.items() for day in some
    )
    answers = "select 'C' as customer_id, timestamp '2026-05-31 17:00:00' as answered_at, 4 as score"
    policies = SeedFolder(tmp_path / "seeds", "six_star", "vip_score").load()
    columns = "period, arrears_suspensions_12m, survey_score_12m, survey_answers_12m"
    found = extras(policies, columns, suspensions=suspensions, surveys=answers)
    assert found == [("2026-05", 2, 0, 0), ("2026-06", 2, 4, 1)]


def test_staff_are_there_from_the_month_they_join_to_the_month_they_leave(con, tmp_path):
    insert(
        con, "staff",
        ("stays", date(2020, 1, 1), "hotline", "t", date(2020, 1, 1), None),
        ("comes", date(2026, 6, 30), "hotline", "t", date(2026, 6, 30), None),
        ("goes", date(2020, 1, 1), "hotline", "t", date(2020, 1, 1), date(2026, 5, 2)),
    )  # fmt: skip
    insert(con, "staff_measures", ("stays", "2026-06", "satisfaction", Decimal(90)), ("stays", "2026-03", "satisfaction", Decimal(10)))
    found = relation(con, tmp_path, "staff_grade", "staff")
    assert set(found) == {("stays", "2026-05"), ("stays", "2026-06"), ("comes", "2026-06"), ("goes", "2026-05")}
    stays = found["stays", "2026-06"]
    assert (stays["staff_satisfaction_3m_sum"], stays["staff_satisfaction_3m_count"]) == (90, 1)
    assert (found["stays", "2026-05"]["staff_satisfaction_3m_sum"], found["comes", "2026-06"]["staff_satisfaction_3m_count"]) == (10, 0)


def test_a_rule_may_ask_which_group_it_is(con, tmp_path):
    folder = SeedFolder(tmp_path / "seeds", "group_value")
    for seed in ("channels", "channel_audience", "channel_columns"):
        folder.write(seed, folder.rows(seed)[:1])
    which = {"attribute_id": "which", "subject_type": "group", "kind": "column", "type": "category", "column_name": "group_id"}
    folder.add("attributes", which | {"may_be_null": "false"})
    row = folder.row_of("decision_conditions", attribute="is_nominated_strategic")
    for column, value in {"attribute": "which", "value": "G1"}.items():
        folder.set("decision_conditions", row, column, value)
    compiled = compile_policies(folder.load())
    for name in ("G1", "G2"):
        group(con, name, "2026-05-01")
    subjects = compiled["group_subjects"].replace("__MONTHS__", "months")
    text = compiled["decisions"].replace("__GROUP_SUBJECTS__", f"({subjects})")
    found = con.execute(f"select subject_id, qualified_level_id from ({text}) where period = '2026-06'").fetchall()
    assert dict(found) == {"G1": "strategic", "G2": "potential"}
