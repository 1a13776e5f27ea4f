"""Rows that waited for what they refer to: admitted when it lands, balanced in their file, in the order of their drops."""

from __future__ import annotations

import os
import signal
from decimal import Decimal
from typing import Any

import pytest

from orchestration.ingest import balance, new_drops
from orchestration.ingest.quarantine import quarantined_rows
from tests.ingest.conftest import in_a_process

C1 = "id,since,name,brand\nc1,2025-01-01,Ann,gotone\n"
C2 = "id,since,name,brand\nc2,2025-01-01,Bob,\n"


@pytest.fixture
def shop(company: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any]) -> Any:
    """Customers are known by their own feed; c1 is there, c2 is not yet."""
    company.config |= {"customers_from": "customers", "max_bad_share": 1}
    company.map(bills_feed, customers_feed)
    company.drop("customers_1.csv", C1)
    return company


def accounts(shop: Any) -> dict[str, tuple[int, int, int, int]]:
    """Rows in, landed, quarantined, superseded of each file of bills."""
    rows = [row for row in balance(shop.ledger) if row["entity"] == "bill_lines"]
    assert all(row["agrees"] for row in rows)
    assert all(Decimal(r["amount_in"]) == sum(Decimal(r[f"amount_{k}"]) for k in ("landed", "quarantined", "superseded")) for r in rows)
    return {row["file"]: (row["rows_in"], row["landed"], row["quarantined"], row["superseded"]) for row in rows}


def in_quarantine(shop: Any) -> list[tuple[int, list[str]]]:
    """Line and reasons of the rows of bills that are rejected still."""
    return [
        (line, reasons)
        for drop in shop.standing()
        if drop["quarantine"]
        for line, reasons, _ in quarantined_rows(shop.deployment, drop, 100)
    ]


def test_rows_of_a_customer_who_lands_later_are_admitted_with_their_line_and_file(shop: Any) -> None:
    shop.bills(
        "bills_1.csv",
        "a,d1,c1,2025-01,voice,1,CNY",
        "b,d1,c2,2025-02,voice,2,CNY",
        "x,d1,c2,2025-13,voice,3,CNY",
        "y,d1,c3,2025-01,voice,4,CNY",
    )
    assert shop.ingest().readmitted == {}
    assert accounts(shop) == {"bills_1.csv": (4, 1, 3, 0)}
    shop.drop("customers_2.csv", C2)
    report = shop.ingest()
    assert report.readmitted == {"bills_1.csv": 1}
    assert accounts(shop) == {"bills_1.csv": (4, 2, 2, 0)}
    assert shop.in_force("bill_lines", "_key, customer_id, bill_period, net_amount, _row", "_key") == [
        ("a", "c1", "2025-01", 1, 2),
        ("b", "c2", "2025-02", 2, 3),
    ]
    assert in_quarantine(shop) == [(4, ["unknown_reference", "bad_period"]), (5, ["unknown_reference"])]
    head = shop.ledger.head()
    assert shop.ingest().readmitted == {} and shop.ledger.head() == head
    assert new_drops(shop.deployment, shop.ledger) == []


def test_a_customer_whom_a_changed_mapping_reads_no_more_is_unknown(
    shop: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any]
) -> None:
    shop.drop("customers_2.csv", C2)
    shop.bills("bills_1.csv", "a,d1,c2,2025-01,voice,1,CNY")
    shop.ingest()
    shop.map(bills_feed, {**customers_feed, "where": "id <> 'c2'"})
    shop.ingest(again=True)
    shop.bills("bills_2.csv", "b,d1,c2,2025-02,voice,2,CNY", "c,d1,c1,2025-02,voice,2,CNY")
    shop.ingest()
    assert accounts(shop) == {"bills_1.csv": (1, 0, 1, 0), "bills_2.csv": (2, 1, 1, 0)}
    assert new_drops(shop.deployment, shop.ledger) == []


def test_rows_admitted_of_what_a_name_stood_for_before_make_the_file_no_new_one(shop: Any) -> None:
    shop.bills("bills_1.csv", "a,d1,c2,2025-01,voice,1,CNY", "b,d2,c1,2025-01,voice,1,CNY")
    shop.ingest()
    shop.bills("bills_1.csv", "b,d2,c1,2025-01,voice,2,CNY")
    shop.ingest()
    shop.drop("customers_2.csv", C2)
    assert shop.ingest().readmitted == {"bills_1.csv": 1}
    assert new_drops(shop.deployment, shop.ledger) == []
    assert shop.ingest().new_files == 0


def test_rows_wait_no_longer_for_customers_whom_the_deployment_takes_from_bills(shop: Any) -> None:
    shop.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY", "b,d1,c2,2025-02,voice,2,CNY")
    shop.ingest()
    shop.config["customers_from"] = "bill_lines"
    assert [path.name for path in new_drops(shop.deployment, shop.ledger)] == ["bills_1.csv"]
    assert shop.ingest().readmitted == {"bills_1.csv": 1}
    assert accounts(shop) == {"bills_1.csv": (2, 2, 0, 0)}
    assert new_drops(shop.deployment, shop.ledger) == []


def test_rows_go_on_waiting_for_customers_of_a_source_that_has_ended(shop: Any, bills_feed: dict[str, Any]) -> None:
    shop.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY", "b,d1,c2,2025-02,voice,2,CNY")
    shop.ingest()
    shop.map(bills_feed)
    assert shop.ingest().readmitted == {}
    assert accounts(shop) == {"bills_1.csv": (2, 1, 1, 0)}


def test_a_second_customer_is_admitted_from_what_still_waits(shop: Any) -> None:
    shop.bills("bills_1.csv", "a,d1,c2,2025-01,voice,1,CNY", "b,d1,c3,2025-01,voice,2,CNY")
    shop.ingest()
    for number, customer in ((2, "c2"), (3, "c3")):
        shop.drop(f"customers_{number}.csv", f"id,since,name,brand\n{customer},2025-01-01,Bob,\n")
        assert shop.ingest().readmitted == {"bills_1.csv": 1}
    assert accounts(shop) == {"bills_1.csv": (2, 2, 0, 0)} and in_quarantine(shop) == []
    assert [row[0] for row in shop.in_force("bill_lines", "_key", "_key")] == ["a", "b"]


def test_an_admitted_row_takes_the_place_of_older_rows_but_not_of_newer_ones(shop: Any) -> None:
    shop.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY", "b,d1,c1,2025-01,voice,1,CNY")
    shop.bills("bills_2.csv", "a,d1,c2,2025-01,voice,2,CNY", "b,d1,c2,2025-02,voice,2,CNY")
    shop.bills("bills_3.csv", "b,d1,c1,2025-03,voice,3,CNY")
    shop.ingest()
    shop.drop("customers_2.csv", C2)
    shop.ingest()
    assert shop.in_force("bill_lines", "_key, net_amount", "_key") == [("a", 2), ("b", 3)]
    assert accounts(shop) == {"bills_1.csv": (2, 0, 0, 2), "bills_2.csv": (2, 1, 0, 1), "bills_3.csv": (1, 1, 0, 0)}
    shop.bills("bills_4.csv", "a,d1,c1,2025-01,voice,4,CNY")
    shop.ingest()
    assert shop.in_force("bill_lines", "_key, net_amount", "_key") == [("a", 4), ("b", 3)]
    assert accounts(shop)["bills_2.csv"] == (2, 0, 0, 2)


def test_a_row_whose_key_its_own_file_landed_stays_a_duplicate(shop: Any) -> None:
    shop.bills("bills_1.csv", "a,d1,c2,2025-01,voice,1,CNY", "a,d1,c1,2025-01,voice,2,CNY")
    shop.ingest()
    shop.drop("customers_2.csv", C2)
    assert shop.ingest().readmitted == {}
    assert shop.in_force("bill_lines", "_key, net_amount") == [("a", 2)]
    assert new_drops(shop.deployment, shop.ledger) == []


def test_without_keys_identical_rows_are_all_admitted_and_an_overlap_supersedes_them(
    shop: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any]
) -> None:
    del bills_feed["columns"]["bill_line_id"]
    shop.map(bills_feed, customers_feed)
    same = ",d1,c2,2025-01,voice,1,CNY"
    shop.bills("bills_1.csv", same, same, ",d2,c1,2025-01,voice,1,CNY")
    shop.ingest()
    shop.drop("customers_2.csv", C2)
    assert shop.ingest().readmitted == {"bills_1.csv": 2}
    shop.bills("bills_2.csv", same, same, same)
    shop.ingest()
    assert accounts(shop) == {"bills_1.csv": (3, 1, 0, 2), "bills_2.csv": (3, 3, 0, 0)}


@pytest.mark.parametrize("known", ["before the second file", "after both files"])
@pytest.mark.parametrize("added", ["product", "bill_line_id"])
def test_without_keys_a_row_that_waits_counts_once_though_a_column_was_added_before_it_came_again(
    shop: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any], added: str, known: str
) -> None:
    columns = bills_feed["columns"]
    without = {name: columns[name] for name in columns if name != "bill_line_id"}
    shop.map({**bills_feed, "columns": without}, customers_feed)
    row = "a,d1,c2,2025-01,voice,1,CNY"
    shop.bills("bills_1.csv", row, "c,d2,c2,2025-01,voice,1,CNY")
    shop.ingest()
    shop.map({**bills_feed, "columns": without | {added: "id"}}, customers_feed)
    shop.bills("bills_2.csv", row)
    if known == "after both files":
        shop.ingest()
    shop.drop("customers_2.csv", C2)
    shop.ingest()
    assert shop.in_force("bill_lines", f"document_id, {added}", "document_id") == [("d1", "a"), ("d2", None)]
    assert accounts(shop) == {"bills_1.csv": (2, 1, 0, 1), "bills_2.csv": (1, 1, 0, 0)}
    assert new_drops(shop.deployment, shop.ledger) == []


def test_personal_columns_of_admitted_rows_reach_the_vault_alone(
    shop: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any]
) -> None:
    lines = {
        "entity": "lines",
        "files": "lines_*.csv",
        "format": "csv",
        "columns": {"line_id": "id", "customer_id": "cust", "number": "phone", "start_date": "since"},
    }
    shop.map(bills_feed, customers_feed, lines)
    shop.drop("lines_1.csv", "id,cust,phone,since\nl1,c2,13800000001,2025-01-01\n")
    shop.ingest()
    shop.drop("customers_2.csv", C2)
    assert shop.ingest().readmitted == {"lines_1.csv": 1}
    assert shop.vault("lines", "line_id, number") == [("l1", "13800000001")]
    assert b"13800000001" not in b"".join(part.read_bytes() for part in shop.deployment.landing.rglob("*.parquet"))


def test_rejected_and_waiting_rows_are_readable_by_their_owner_alone(shop: Any) -> None:
    data = shop.deployment.data
    # As an earlier version left them: open to all.
    for name in ("quarantine", "waiting"):
        (data / name).mkdir(parents=True)
        (data / name).chmod(0o755)
    before = os.umask(0o022)
    try:
        shop.bills("bills_1.csv", "a,d1,c1,2025-01,voice,x,CNY", "b,d1,c2,2025-01,voice,2,CNY", "c,d1,c3,2025-01,voice,2,CNY")
        shop.ingest()
        shop.drop("customers_2.csv", C2)
        assert shop.ingest().readmitted == {"bills_1.csv": 1}
    finally:
        os.umask(before)
    kept = [path for name in ("quarantine", "waiting") for path in [data / name, *(data / name).rglob("*")]]
    files = [path for path in kept if path.is_file()]
    assert [path.parts[-4] for path in files] == ["quarantine", "waiting", "waiting"]
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o600"}
    assert {oct(path.stat().st_mode & 0o777) for path in kept if path not in files} == {"0o700"}
    assert (data / "landing").stat().st_mode & 0o777 == 0o755, "what holds no personal data stays as the umask has it"


def test_a_held_period_opens_when_the_rows_that_were_bad_are_admitted(shop: Any) -> None:
    shop.config |= {"max_bad_share": 0.1, "min_bad_rows": 1}
    shop.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY", "b,d1,c2,2025-01,voice,2,CNY")
    assert "50.0 %" in shop.ingest().held_periods["2025-01"][0]
    shop.drop("customers_2.csv", C2)
    assert shop.ingest().held_periods == {}


KILLED_AT = ("ingest.file_recorded", "ingest.readmission_written", "ingest.readmission_recorded")


@pytest.mark.parametrize("point", KILLED_AT)
def test_killed_half_way_the_next_ingest_admits_the_rest(shop: Any, point: str) -> None:
    for number in (1, 2):
        shop.bills(f"bills_{number}.csv", f"a{number},d1,c1,2025-01,voice,1,CNY", f"b{number},d1,c2,2025-01,voice,2,CNY")
    shop.ingest()
    shop.drop("customers_2.csv", C2)
    assert in_a_process(shop, TIERHOUSE_FAILPOINT=point).returncode == -signal.SIGKILL
    assert new_drops(shop.deployment, shop.ledger), "a run must not say that there is nothing new"
    shop.ingest()
    assert [row[0] for row in shop.in_force("bill_lines", "_key", "_key")] == ["a1", "a2", "b1", "b2"]
    assert accounts(shop) == {"bills_1.csv": (2, 2, 0, 0), "bills_2.csv": (2, 2, 0, 0)}
    shop.ledger.verify()
