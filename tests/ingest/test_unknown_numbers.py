"""Bills of a source that knows numbers and no customers: a number that no source knows is an unknown reference."""

from __future__ import annotations

from typing import Any

import pytest

from orchestration.audit.landed import Landing
from orchestration.ingest import balance

HEADER = "id,doc,num,month,kind,amount,currency"
LINES = {
    "entity": "lines",
    "files": "lines_*.csv",
    "format": "csv",
    "columns": {"line_id": "num", "customer_id": "cust", "number": "num", "start_date": "since"},
}


@pytest.fixture
def feed(bills_feed: dict[str, Any]) -> dict[str, Any]:
    """Bills by number alone."""
    bills_feed["columns"]["line_id"] = "num"
    del bills_feed["columns"]["customer_id"]
    return bills_feed


def deliver(company: Any) -> None:
    rows = ["1,d1,1390001,2026-01,voice,100,CNY", "2,d2,1390002,2026-01,voice,50,CNY", "3,d3,1390009,2026-01,voice,900,CNY"]
    company.drop("bills_1.csv", "".join(f"{line}\n" for line in (HEADER, *rows)))
    company.drop("lines_1.csv", "num,cust,since\n1390001,K1,2025-01-01\n1390002,K2,2025-01-01\n")


def test_bills_of_an_unknown_number_wait_for_it_and_are_admitted_when_it_lands(company: Any, feed: dict[str, Any]) -> None:
    company.map(feed, LINES)
    deliver(company)
    company.ingest()
    assert [(reasons, text) for _, reasons, text in company.quarantine()] == [(["unknown_reference"], "3,d3,1390009,2026-01,voice,900,CNY")]
    [bills] = [drop for drop in company.standing() if drop["entity"] == "bill_lines"]
    assert (bills["landed"], bills["quarantined"], bills["amount_quarantined"]) == (2, 1, "900.0000")
    company.drop("lines_2.csv", "num,cust,since\n1390009,K1,2026-01-01\n")
    assert company.ingest().readmitted
    assert company.in_force("bill_lines", "_key", "_key") == [("1",), ("2",), ("3",)]
    [bills] = [drop for drop in company.standing() if drop["entity"] == "bill_lines"]
    assert (bills["landed"], bills["quarantined"], bills["reasons"]) == (3, 0, {})


def test_a_bill_of_an_unknown_number_that_is_declared_unattributed_lands(company: Any, feed: dict[str, Any]) -> None:
    feed["unattributed"] = "kind = 'roaming'"
    company.map(feed, LINES)
    deliver(company)
    company.drop("bills_2.csv", f"{HEADER}\n5,d5,1390009,2026-01,roaming,1,CNY\n")
    company.ingest()
    assert company.in_force("bill_lines", "_key", "_key") == [("1",), ("2",), ("5",)]


def test_a_bill_that_is_declared_unattributed_is_nobodys_though_its_number_has_a_holder(company: Any, feed: dict[str, Any]) -> None:
    feed["unattributed"] = "kind = 'roaming'"
    company.map(feed, LINES)
    deliver(company)
    company.drop("bills_2.csv", f"{HEADER}\n5,d5,1390001,2026-01,roaming,1,CNY\n")
    company.ingest()
    assert company.in_force("bill_lines", "customer_id, line_id, net_amount", "_key")[-1] == (None, None, 1)
    with Landing(company.deployment, company.ledger, company.ledger.head()[0]) as landing:
        assert [bill.document_id for bill in landing.bills(["K1"], ["2026-01"])] == ["d1"]
    company.drop("bills_3.csv", f"{HEADER}\n5,d5,1390001,2026-01,roaming,2,CNY\n")
    company.ingest()
    assert [row["unattributed"] for row in balance(company.ledger) if row["entity"] == "bill_lines"] == [0, 0, 1]


def test_a_number_that_its_source_has_taken_back_is_unknown(company: Any, feed: dict[str, Any]) -> None:
    company.map(feed, {**LINES, "columns": {**LINES["columns"], "end_date": "until"}})
    company.drop("lines_1.csv", "num,cust,since,until\n1390001,K1,2025-01-01,\n1390002,K2,2025-01-01,\n")
    company.drop("lines_2.csv", "num,cust,since,until\n1390001,K1,2025-01-01,2024-12-31\n")
    company.drop("bills_1.csv", f"{HEADER}\n1,d1,1390001,2026-01,voice,100,CNY\n2,d2,1390002,2026-01,voice,50,CNY\n")
    company.ingest()
    assert company.in_force("bill_lines", "_key") == [("2",)]
    assert [reasons for _, reasons, _ in company.quarantine()] == [["unknown_reference"]]


def test_numbers_are_not_looked_up_where_a_customer_is_mapped_or_no_source_delivers_lines(
    company: Any, feed: dict[str, Any], bills_feed: dict[str, Any]
) -> None:
    company.map(feed)
    deliver(company)
    company.ingest()
    assert company.quarantine() == []
    with_customer = {**feed, "files": "named_*.csv", "columns": {**feed["columns"], "customer_id": "cust"}}
    company.map(with_customer, LINES, source="other")
    company.drop("named_1.csv", f"{HEADER},cust\n6,d6,1390009,2026-01,voice,1,CNY,K1\n")
    company.ingest()
    assert company.quarantine() == []
    assert ("6",) in company.in_force("bill_lines", "_key", "_key")


def test_a_bill_without_a_customer_waits_for_its_number_though_others_of_its_source_name_one(company: Any, feed: dict[str, Any]) -> None:
    company.map({**feed, "columns": {**feed["columns"], "customer_id": "cust"}}, LINES)
    deliver(company)
    company.drop(
        "bills_1.csv",
        f"{HEADER},cust\n1,d1,1390009,2026-01,voice,1,CNY,K9\n2,d2,1390009,2026-01,voice,2,CNY,\n3,d3,1390001,2026-01,voice,3,CNY,\n",
    )
    company.ingest()
    assert company.in_force("bill_lines", "_key", "_key") == [("1",), ("3",)]
    assert company.quarantine("key, reasons") == [("2", ["unknown_reference"])]
    company.drop("lines_2.csv", "num,cust,since\n1390009,K1,2026-01-01\n")
    company.ingest()
    assert company.in_force("bill_lines", "_key", "_key") == [("1",), ("2",), ("3",)]


def test_a_bill_with_customer_and_number_waits_for_the_customer_alone(
    company: Any, feed: dict[str, Any], customers_feed: dict[str, Any]
) -> None:
    company.config["customers_from"] = "customers"
    with_customer = {**feed, "columns": {**feed["columns"], "customer_id": "cust"}}
    company.map(with_customer, LINES, customers_feed)
    company.drop("bills_1.csv", f"{HEADER},cust\n6,d6,1390009,2026-01,voice,1,CNY,K1\n")
    company.ingest()
    assert company.in_force("bill_lines", "_key") == []
    company.drop("customers_1.csv", "id,since,name,brand\nK1,2025-01-01,Ann,x\n")
    company.ingest()
    assert company.in_force("bill_lines", "_key") == [("6",)]
