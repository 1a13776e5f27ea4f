"""The same bytes under another name or once more: copies, which change nothing, and deliveries of their own."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from orchestration.ingest import balance, new_drops
from tests.ingest.conftest import in_a_process

KILLED_AT = ["ingest.copy_recorded"]
CONTROL = {
    "files": "control_*.csv",
    "columns": {"file": "file", "rows": "n", "amount": "total", "replaces": "instead"},
    "amount_column": "net_amount",
}
NOTHING = "id,doc,cust,month,kind,amount,currency\n"


def promised(feed: dict[str, Any], name: str) -> dict[str, Any]:
    return {**feed, "expected": {"files_per_period": 1, "period_from_name": name + r"_(\d{4})-(\d{2})"}}


@pytest.fixture
def register(company: Any, customers_feed: dict[str, Any]) -> Any:
    """A company whose register of customers is dumped every month."""
    company.map(promised(customers_feed, "customers"))
    return company


def dump(company: Any, month: str, brand: str) -> None:
    company.drop(f"customers_{month}.csv", f"id,since,name,brand\nc1,2025-01-01,Ann,{brand}\n")


def test_a_copy_is_recorded_once_and_changes_nothing_else(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    first = company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY", "b,bad,c1,2025-01,voice,x,CNY")
    company.ingest()
    before = balance(company.ledger), sorted(path for path in company.deployment.data.rglob("*") if path.is_file())
    copy = company.drop("bills_2.csv", first.read_bytes())
    assert new_drops(company.deployment, company.ledger) == [copy]
    report = company.ingest()
    assert (report.new_files, report.known_files, report.copies) == (0, 2, {"bills_2.csv": "bills_1.csv"})
    assert (balance(company.ledger), sorted(path for path in company.deployment.data.rglob("*") if path.is_file())) == before
    assert company.kinds()[-1] == "drop_copy" and company.ledger.last("drop_copy").payload["copy_of"] == "bills_1.csv"
    head = company.ledger.head()
    assert new_drops(company.deployment, company.ledger) == [] and company.ingest().copies == {} and company.ledger.head() == head


@pytest.mark.parametrize("point", KILLED_AT)
def test_an_ingest_that_is_killed_at_a_copy_ends_as_if_it_had_not_been(company: Any, bills_feed: dict[str, Any], point: str) -> None:
    company.map(bills_feed)
    first = company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.ingest()
    company.drop("bills_2.csv", first.read_bytes())
    company.bills("bills_3.csv", "b,d1,c1,2025-01,voice,2,CNY")
    assert in_a_process(company, TIERHOUSE_FAILPOINT=point).returncode == -signal.SIGKILL
    assert new_drops(company.deployment, company.ledger) == [company.drops / "bills_3.csv"]
    company.ingest()
    assert company.in_force("bill_lines", "_key, net_amount", "_key") == [("a", 1), ("b", 2)]
    assert company.kinds().count("drop_copy") == 1


def test_two_files_of_the_same_bytes_land_once(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    for name in ("bills_1.csv", "bills_2.csv"):
        company.bills(name, "a,d1,c1,2025-01,voice,1,CNY")
    report = company.ingest()
    assert (report.new_files, report.known_files, report.copies) == (1, 1, {"bills_2.csv": "bills_1.csv"})


@pytest.mark.parametrize("at_once", [True, False])
def test_a_month_without_rows_is_delivered_by_its_own_file(company: Any, bills_feed: dict[str, Any], at_once: bool) -> None:
    company.map(promised(bills_feed, "bills"))
    for month in ("2025-01", "2025-02", "2025-03"):
        company.drop(f"bills_{month}.csv", NOTHING)
        if not at_once:
            company.ingest()
    assert company.ingest().held_periods == {}
    assert [(line["file"], line["rows_in"]) for line in balance(company.ledger)] == [(f"bills_2025-0{month}.csv", 0) for month in (1, 2, 3)]
    assert company.ingest().new_files == 0


@pytest.mark.parametrize("at_once", [True, False])
def test_a_register_that_changed_and_changed_back_stands_as_it_was_dumped_last(register: Any, at_once: bool) -> None:
    for month, brand in (("2025-01", "x"), ("2025-02", "y"), ("2025-03", "x")):
        dump(register, month, brand)
        if not at_once:
            register.ingest()
    assert register.ingest().held_periods == {}
    assert register.in_force("customers", "customer_id, brand") == [("c1", "x")]
    assert [line["superseded"] for line in balance(register.ledger)] == [1, 1, 0]


def test_a_register_that_has_not_changed_is_delivered_all_the_same(register: Any) -> None:
    for month in ("2025-01", "2025-02"):
        dump(register, month, "x")
    assert register.ingest().held_periods == {}


def test_a_file_that_is_changed_and_changed_back_stands_as_it_lies_there(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    for amount in ("1", "2", "1", "2"):
        company.bills("bills_1.csv", f"a,d1,c1,2025-01,voice,{amount},CNY")
        company.ingest()
        assert company.in_force("bill_lines", "net_amount") == [(int(amount),)]
    ids = [entry.payload["file_id"] for entry in company.ledger.entries("drop_landed")]
    assert len(set(ids)) == 4 and all(line["agrees"] for line in balance(company.ledger))


def test_deliveries_of_the_same_bytes_land_anew_in_their_order(register: Any, customers_feed: dict[str, Any]) -> None:
    for month, brand in (("2025-01", "x"), ("2025-02", "y"), ("2025-03", "x")):
        dump(register, month, brand)
    register.ingest()
    customers_feed["columns"]["brand"] = "upper(brand)"
    register.map(promised(customers_feed, "customers"))
    assert register.ingest(again=True).new_files == 3
    assert register.in_force("customers", "customer_id, brand") == [("c1", "X")]
    ids = [entry.payload["file_id"] for entry in register.ledger.entries("drop_landed")]
    assert len(set(ids)) == 6


def test_bills_of_one_month_under_the_name_of_another_are_no_delivery_of_it(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(promised(bills_feed, "bills"))
    first = company.bills("bills_2025-01.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.drop("bills_2025-02.csv", first.read_bytes())
    assert company.ingest().held_periods == {
        "2025-02": ["shop__bill_lines: 0 of 1 promised files for 2025-02 are there; bills_2025-02.csv has the bytes of bills_2025-01.csv"]
    }


def test_a_copy_that_a_control_total_announces_is_there(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map({**promised(bills_feed, "bills"), "control": CONTROL})
    first = company.bills("bills_2025-01.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.drop("control_2025-01.csv", "file,n,total,instead\nbills_2025-01.csv,1,1,\n")
    assert company.ingest().held_periods == {}
    company.drop("bills_2025-01_r1.csv", first.read_bytes())
    company.drop("control_2025-01_r1.csv", "file,n,total,instead\nbills_2025-01_r1.csv,1,1,bills_2025-01.csv\n")
    assert company.ingest().held_periods == {}
    assert [entry.payload["agrees"] for entry in company.ledger.entries("control_total")] == [True, True]


def test_the_same_rows_once_more_in_a_month_are_no_second_file_and_need_no_total(company: Any, bills_feed: dict[str, Any]) -> None:
    feed = {**promised(bills_feed, "bills"), "control": CONTROL}
    feed["expected"]["files_per_period"] = 2
    company.map(feed)
    company.bills("bills_2025-01.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.bills("bills_2025-01_resent.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.drop("control_2025-01.csv", "file,n,total,instead\nbills_2025-01.csv,1,1,\n")
    repeats = "bills_2025-01_resent.csv has the bytes of bills_2025-01.csv"
    assert company.ingest().held_periods == {"2025-01": [f"shop__bill_lines: 1 of 2 promised files for 2025-01 are there; {repeats}"]}
    for place in ("north", "south"):
        company.bills(f"bills_2025-02_{place}.csv")
    company.drop("control_2025-02.csv", "file,n,total,instead\nbills_2025-02_north.csv,0,0,\nbills_2025-02_south.csv,0,0,\n")
    assert list(company.ingest().held_periods) == ["2025-01"], "two files without rows are two"
