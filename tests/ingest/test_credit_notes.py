"""Credit notes that name a bill and no period count in the period of the bill in force, in whatever order the two land."""

from __future__ import annotations

import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestration.ingest import balance, new_drops
from tests.ingest.conftest import in_a_process

HEAD = "id,doc,cust,month,kind,amount,currency,ref\n"
BILL = "l1,D1,c1,2025-01,voice,100,CNY,\n"
MOVED = "l1,D1,c1,2025-02,voice,100,CNY,\n"
NOTE = "n1,C1,c1,2025-03,credit,-5,CNY,D1\n"


@pytest.fixture
def shop(company: Any, bills_feed: dict[str, Any]) -> Any:
    bills_feed["columns"] |= {"is_credit_note": "kind = 'credit'", "refers_to_document_id": "nullif(ref, '')"}
    company.map(bills_feed)
    return company


def periods(shop: Any) -> dict[str, str]:
    """Period of each document in force; every file must be in balance, and what has landed once must lie there unchanged."""
    for row in balance(shop.ledger):
        assert row["agrees"] and row["rows_in"] == row["landed"] + row["quarantined"] + row["superseded"]
        assert Decimal(row["amount_in"]) == sum(Decimal(row[f"amount_{k}"]) for k in ("landed", "quarantined", "superseded"))
    in_force = shop.in_force("bill_lines", "document_id, bill_period", "1")
    assert len(in_force) == len(dict(in_force))
    return dict(in_force)


def landed_bytes(shop: Any) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in shop.deployment.landing.rglob("*.parquet")}


def ingest_one_by_one(shop: Any, *files: str) -> None:
    for number, rows in enumerate(files, 1):
        shop.drop(f"bills_{number}.csv", HEAD + rows)
        before = landed_bytes(shop) if number > 1 else {}
        shop.ingest()
        assert before.items() <= landed_bytes(shop).items(), "landing is added to, never changed"


@pytest.mark.parametrize(
    "files",
    [
        (BILL, MOVED, NOTE),
        (BILL, MOVED + NOTE),
        (BILL, NOTE, MOVED),
        (NOTE, BILL, MOVED),
        (NOTE, MOVED),
        (BILL + NOTE, MOVED),
        (NOTE + "n2,C2,c1,2025-04,credit,-1,CNY,nowhere\n", MOVED, "n1,C1,c1,2025-05,credit,-5,CNY,D1\n"),
    ],
)
def test_a_note_counts_in_the_period_of_its_bill_as_it_stands(shop: Any, files: tuple[str, ...]) -> None:
    ingest_one_by_one(shop, *files)
    found = periods(shop)
    assert (found.pop("D1"), found.pop("C1")) == ("2025-02", "2025-02")
    assert found in ({}, {"C2": "2025-04"})


@pytest.mark.parametrize("files", [(NOTE, "{}"), ("{}", NOTE), (NOTE + "{}",)], ids=["the note first", "the bill first", "one file"])
def test_a_note_to_a_bill_with_lines_of_two_months_counts_in_the_earlier(shop: Any, files: tuple[str, ...]) -> None:
    ingest_one_by_one(shop, *(file.format(BILL.replace("l1", "l2") + MOVED) for file in files))
    assert dict(shop.in_force("bill_lines", "_key, bill_period")) == {"l1": "2025-02", "l2": "2025-01", "n1": "2025-01"}


def test_notes_without_keys_move_and_identical_ones_stay_apart(shop: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed["columns"] |= {"is_credit_note": "kind = 'credit'", "refers_to_document_id": "nullif(ref, '')"}
    del bills_feed["columns"]["bill_line_id"]
    shop.map(bills_feed)
    ingest_one_by_one(shop, NOTE + NOTE, BILL, NOTE + NOTE)
    rows = sorted(shop.in_force("bill_lines", "document_id, bill_period"))
    assert rows == [("C1", "2025-01"), ("C1", "2025-01"), ("D1", "2025-01")]
    assert sum(row["identical"] for row in balance(shop.ledger)) == 1
    assert all(row["agrees"] and row["rows_in"] == row["landed"] + row["superseded"] for row in balance(shop.ledger))


def test_a_bill_and_its_notes_of_one_ingest_agree_and_the_next_ingest_does_nothing(shop: Any) -> None:
    shop.drop("bills_1.csv", HEAD + NOTE)
    shop.drop("bills_2.csv", HEAD + BILL)
    shop.ingest()
    assert periods(shop) == {"C1": "2025-01", "D1": "2025-01"}
    head = shop.ledger.head()
    assert new_drops(shop.deployment, shop.ledger) == []
    shop.ingest()
    assert shop.ledger.head() == head


def test_a_note_that_waited_with_its_bill_follows_the_correction_that_came_meanwhile(
    shop: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any]
) -> None:
    bills_feed["columns"] |= {"is_credit_note": "kind = 'credit'", "refers_to_document_id": "nullif(ref, '')"}
    shop.config["customers_from"] = "customers"
    shop.map(bills_feed, customers_feed)
    shop.drop("customers_1.csv", "id,since,name,brand\nc1,2025-01-01,Ann,gotone\n")
    ingest_one_by_one(shop, (BILL + NOTE).replace(",c1,", ",c2,"), MOVED)
    shop.drop("customers_2.csv", "id,since,name,brand\nc2,2025-01-01,Bob,gotone\n")
    assert shop.ingest().readmitted == {"bills_1.csv": 2}
    assert sorted(shop.in_force("bill_lines", "document_id, bill_period")) == [("C1", "2025-02"), ("D1", "2025-02")]


def test_a_moved_note_is_corrected_and_moved_again_as_any_other_row(shop: Any) -> None:
    ingest_one_by_one(shop, NOTE, BILL, "n1,C1,c1,2025-03,credit,-7,CNY,D1\n", MOVED)
    assert periods(shop) == {"C1": "2025-02", "D1": "2025-02"}
    assert shop.in_force("bill_lines", "sum(net_amount)", "1") == [(93,)]
    assert {row["file"]: (row["rows_in"], row["landed"], row["superseded"]) for row in balance(shop.ledger)} == {
        "bills_1.csv": (1, 0, 1),
        "bills_2.csv": (1, 0, 1),
        "bills_3.csv": (1, 1, 0),
        "bills_4.csv": (1, 1, 0),
    }


def test_a_period_that_the_source_states_is_kept(shop: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed["columns"] |= {"is_credit_note": "kind = 'credit'", "refers_to_document_id": "ref", "refers_to_period": "'2024-12'"}
    shop.map(bills_feed)
    ingest_one_by_one(shop, NOTE, BILL)
    assert periods(shop)["C1"] == "2024-12" and "notes_settled" not in shop.kinds()


def test_notes_of_nobody_and_notes_of_files_landed_anew_are_in_balance(shop: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed["columns"] |= {"is_credit_note": "kind = 'credit'", "refers_to_document_id": "nullif(ref, '')"}
    shop.map(bills_feed | {"unattributed": "cust is null"})
    ingest_one_by_one(shop, NOTE.replace("c1", ""), BILL)
    assert periods(shop) == {"C1": "2025-01", "D1": "2025-01"}
    assert sum(row["unattributed"] for row in balance(shop.ledger)) == 1
    bills_feed["columns"]["product"] = "kind"
    shop.map(bills_feed | {"unattributed": "cust is null"})
    shop.ingest(again=True)
    assert periods(shop) == {"C1": "2025-01", "D1": "2025-01"}
    assert sum(row["unattributed"] for row in balance(shop.ledger)) == 1


KILLED_AT = ("ingest.file_recorded", "ingest.notes_written", "ingest.notes_moved")


@pytest.mark.parametrize("point", KILLED_AT)
def test_an_ingest_that_is_killed_while_notes_move_ends_as_if_it_had_not_been(shop: Any, point: str) -> None:
    ingest_one_by_one(shop, NOTE)
    shop.drop("bills_2.csv", HEAD + BILL)
    assert in_a_process(shop, TIERHOUSE_FAILPOINT=point).returncode == -signal.SIGKILL
    assert new_drops(shop.deployment, shop.ledger) == [shop.drops / "bills_1.csv"]
    shop.ingest()
    assert periods(shop) == {"C1": "2025-01", "D1": "2025-01"}
    assert new_drops(shop.deployment, shop.ledger) == []


@pytest.mark.parametrize("landed_at_once", [True, False])
@pytest.mark.parametrize("moved", ["l1,D9,c1,2025-01,voice,100,CNY,\n", "l1,D1,c1,2025-01,credit,-100,CNY,\n"])
def test_a_note_whose_bill_is_of_another_document_now_counts_in_its_own_period(shop: Any, moved: str, landed_at_once: bool) -> None:
    for number, rows in enumerate((BILL, NOTE, moved), 1):
        shop.drop(f"bills_{number}.csv", HEAD + rows)
        if not landed_at_once:
            shop.ingest()
    shop.ingest()
    assert periods(shop)["C1"] == "2025-03"
    shop.drop("bills_4.csv", HEAD + "l2,D1,c1,2025-04,voice,1,CNY,\n")
    shop.ingest()
    assert ("C1", "2025-04") in shop.in_force("bill_lines", "document_id, bill_period"), "and follows the next bill of its document"
    head = shop.ledger.head()
    assert new_drops(shop.deployment, shop.ledger) == []
    shop.ingest()
    assert shop.ledger.head() == head


def test_a_note_that_is_in_force_again_counts_in_the_period_that_its_bill_has_got_meanwhile(shop: Any, bills_feed: dict[str, Any]) -> None:
    control = {"files": "control_*.csv", "columns": {"file": "file", "rows": "n", "replaces": "instead"}}
    shop.map({**bills_feed, "control": control})
    ingest_one_by_one(shop, NOTE, NOTE.replace("-5", "-6"), BILL)
    assert periods(shop) == {"D1": "2025-01", "C1": "2025-01"}
    shop.drop("bills_4.csv", f"{HEAD}l4,D4,c1,2025-04,voice,1,CNY,\n")
    shop.drop("control_4.csv", "file,n,instead\nbills_4.csv,1,bills_2.csv\n")
    shop.ingest()
    assert periods(shop) == {"D1": "2025-01", "C1": "2025-01", "D4": "2025-04"}
    assert (Decimal(-5),) in shop.in_force("bill_lines", "net_amount")


def test_a_note_whose_bill_stood_in_a_file_that_is_replaced_counts_in_its_own_period(shop: Any, bills_feed: dict[str, Any]) -> None:
    control = {"files": "control_*.csv", "columns": {"file": "file", "rows": "n", "replaces": "instead"}}
    bills_feed["columns"] |= {"is_credit_note": "kind = 'credit'", "refers_to_document_id": "nullif(ref, '')"}
    shop.map({**bills_feed, "control": control})
    ingest_one_by_one(shop, BILL, MOVED, NOTE)
    assert periods(shop)["C1"] == "2025-02"
    shop.drop("bills_4.csv", HEAD + "l7,D7,c1,2025-02,voice,1,CNY,\n")
    shop.drop("control_4.csv", "file,n,instead\nbills_4.csv,1,bills_2.csv\n")
    shop.ingest()
    assert periods(shop) == {"C1": "2025-01", "D1": "2025-01", "D7": "2025-02"}, "the bill stands as it was before"
    shop.drop("bills_5.csv", HEAD)
    shop.drop("control_5.csv", "file,n,instead\nbills_5.csv,0,bills_1.csv\n")
    shop.ingest()
    assert periods(shop) == {"C1": "2025-03", "D7": "2025-02"}


@pytest.mark.parametrize("month", ["2025-02", "2025-04"], ids=["to an earlier month", "to a later month"])
def test_a_note_lands_anew_in_the_period_that_its_bill_has_now(shop: Any, bills_feed: dict[str, Any], month: str) -> None:
    """Without keys of lines the rows of the first landing have other keys than those that land anew."""
    del bills_feed["columns"]["bill_line_id"]
    bills_feed["columns"] |= {"is_credit_note": "kind = 'credit'", "refers_to_document_id": "nullif(ref, '')"}
    shop.map(bills_feed)
    ingest_one_by_one(shop, "l1,D1,c1,2025-03,voice,100,CNY,\n" + NOTE)
    bills_feed["columns"]["bill_period"] = f"case when kind = 'voice' then '{month}' else month end"
    shop.map(bills_feed)
    shop.ingest(again=True)
    assert periods(shop) == {"D1": month, "C1": month}
