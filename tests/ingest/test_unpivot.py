"""Months, or kinds, that stand in columns become rows, and no cell of a file is lost on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestration.ingest import balance


@pytest.fixture
def feed() -> dict[str, Any]:
    """Points with a column a month."""
    return {
        "entity": "points",
        "files": "points_*",
        "format": "csv",
        "unpivot": {"pattern": r"^M(\d{4}-\d{2})$", "name": "period", "value": "points"},
        "columns": {"customer_id": "cust", "period": "period", "points_type": "'base'", "points": "points"},
    }


def landed(company: Any) -> list[tuple[Any, ...]]:
    return company.in_force("points", "customer_id, period, points, _row", "1, 2")


def test_months_in_columns_become_rows_and_an_empty_cell_none(company: Any, feed: dict[str, Any]) -> None:
    company.map(feed)
    company.drop("points_1.csv", "cust,M2025-01,M2025-02\nc1,10,\nc2,x,30\nc3\n")
    report = company.ingest()
    assert landed(company) == [("c1", "2025-01", 10, 2), ("c2", "2025-02", 30, 3)]
    assert company.quarantine() == [(3, ["bad_integer"], "c2,x,30"), (4, ["missing_column"], "c3")]
    assert report.rows_in == report.landed + report.quarantined == 4
    assert {part.name for part in (company.deployment.landing / "points").rglob("period=*")} == {"period=2025-01", "period=2025-02"}


def test_rows_that_cannot_be_split_are_told_by_the_columns_of_the_file(company: Any, feed: dict[str, Any]) -> None:
    company.map(feed)
    rows = [b"cust,note,M2025-01,M2025-02,x", b'c1,"two\nlines",1,2,', b"c2,x,3,", b"c3,\xff,4,5,", b"c4,x,6,7,,8", b"c5,x,bad,9,"]
    company.drop("points_1.csv", b"\n".join(rows) + b"\n")
    company.ingest()
    assert landed(company) == [("c1", "2025-01", 1, 2), ("c1", "2025-02", 2, 2), ("c5", "2025-02", 9, 7)]
    assert [(line, reasons[0], text) for line, reasons, text in company.quarantine()] == [
        (4, "missing_column", "c2,x,3,"),
        (5, "broken_encoding", "c3,\ufffd,4,5,"),
        (6, "malformed_row", "c4,x,6,7,,8"),
        (7, "bad_integer", "c5,x,bad,9,"),
    ]


def test_a_line_that_is_no_json_is_not_lost(company: Any, feed: dict[str, Any]) -> None:
    company.map({**feed, "format": "jsonl"})
    lines = ['{"cust":"c1","M2025-01":1}', "{no json", '{"cust":"c2","M2025-01":2', '{"cust":"c3","M2025-02":3}']
    company.drop("points_1.jsonl", "\n".join(lines) + "\n")
    report = company.ingest()
    assert landed(company) == [("c1", "2025-01", 1, 1), ("c3", "2025-02", 3, 4)]
    assert [(line, reasons, text) for line, reasons, text in company.quarantine()] == [
        (2, ["malformed_row"], lines[1]),
        (3, ["malformed_row"], lines[2]),
    ]
    assert report.rows_in == 4 and [row["agrees"] for row in balance(company.ledger)] == [True]


@pytest.mark.parametrize("named", [True, False])
def test_a_month_that_appears_late_in_a_file_of_json_lines_is_read(company: Any, feed: dict[str, Any], named: bool) -> None:
    if named:
        feed["unpivot"] = {"columns": ["M2025-01", "M2025-02"], "name": "period", "value": "points"}
        feed["columns"]["period"] = "substr(period, 2)"
    company.map({**feed, "format": "jsonl"})
    rows = [{"cust": f"c{n}", "M2025-01": 1} for n in range(2100)] + [{"cust": "c9999", "M2025-02": 7}]
    company.drop("points_1.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert company.ingest().landed == 2101
    assert company.in_force("points", "customer_id, points", "1")[-1] == ("c9999", 7)


def test_columns_that_give_the_same_name_each_give_their_rows(company: Any, feed: dict[str, Any]) -> None:
    feed["unpivot"]["pattern"] = r"(\d{4}-\d{2})$"
    feed["columns"]["points_type"] = "'base'"
    company.map(feed)
    company.drop("points_1.csv", "cust,base 2025-01,more 2025-01\nc1,1,\nc2,,2\n")
    company.ingest()
    assert [row[:3] for row in landed(company)] == [("c1", "2025-01", 1), ("c2", "2025-01", 2)]


def test_a_column_of_the_file_may_have_the_name_that_a_column_of_months_gives(company: Any, feed: dict[str, Any]) -> None:
    feed["unpivot"]["pattern"] = r"^points (.*)$"
    feed["columns"] |= {"customer_id": "cust", "period": "case when period = 'cust' then '2025-01' else period end"}
    company.map(feed)
    company.drop("points_1.csv", "cust,points cust,points 2025-02,period,points\nc1,10,20,never,77\n")
    company.ingest()
    assert [row[:3] for row in landed(company)] == [("c1", "2025-01", 10), ("c1", "2025-02", 20)]


@pytest.mark.parametrize("pattern", [r"^M(\d{4}-\d{2})$|^(M)x", r"^(x)?M2025"])
def test_a_group_that_takes_no_part_in_a_name_leaves_the_name_whole(company: Any, feed: dict[str, Any], pattern: str) -> None:
    feed["unpivot"]["pattern"] = pattern
    feed["columns"]["period"] = "replace(period, 'M', '')"
    company.map(feed)
    company.drop("points_1.csv", "cust,M2025-01\nc1,10\n")
    company.ingest()
    assert [row[:3] for row in landed(company)] == [("c1", "2025-01", 10)]


def test_columns_are_found_by_name_whatever_the_case_of_its_letters(company: Any, feed: dict[str, Any]) -> None:
    feed["unpivot"] = {"columns": ["base", "bonus"], "name": "points_type", "value": "points"}
    feed["columns"] |= {"period": "month", "points_type": "points_type"}
    company.map(feed)
    company.drop("points_1.csv", "CUST,MONTH,BASE,BONUS\nc1,2025-01,10,5\n")
    company.ingest()
    assert company.in_force("points", "points_type, points", "1") == [("base", 10), ("bonus", 5)]
