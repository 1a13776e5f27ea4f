"""Landed rows of which what they refer to is taken back: they wait again, as if it had never been known, whichever way that came about."""

from __future__ import annotations

import json
import shutil
import signal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.ingest import balance, new_drops
from orchestration.ingest.quarantine import quarantined_rows
from tests.ingest.conftest import in_a_process
from tests.ingest.test_laws import LAW, _fresh
from tests.ingest.test_replacements import in_force as told_alike
from tests.support import draws

CONTROL = {"files": "control_*.csv", "columns": {"file": "file", "rows": "n", "replaces": "instead"}}
LINES: dict[str, Any] = {
    "entity": "lines",
    "files": "lines_*.csv",
    "format": "csv",
    "columns": {"line_id": "id", "customer_id": "cust", "number": "phone", "start_date": "since", "end_date": "until"},
    "control": CONTROL,
}
LINE_HEAD = "id,cust,phone,since,until"


@pytest.fixture
def feeds(bills_feed: dict[str, Any], customers_feed: dict[str, Any]) -> list[dict[str, Any]]:
    columns = bills_feed["columns"] | {
        "customer_id": "cust",
        "line_id": "line",
        "is_credit_note": "kind = 'credit'",
        "refers_to_document_id": "ref",
    }
    bills = {**bills_feed, "columns": columns, "control": CONTROL, "unattributed": "cust is null and line is null"}
    return [{**customers_feed, "control": CONTROL}, LINES, bills]


def start(company: Any, feeds: list[dict[str, Any]]) -> Any:
    company.config |= {"customers_from": "customers", "max_bad_share": 1}
    company.map(*feeds)
    return company


@pytest.fixture
def shop(company: Any, feeds: list[dict[str, Any]]) -> Any:
    """Customers, their numbers and bills, all from files that may be replaced."""
    return start(company, feeds)


def customers(shop: Any, name: str, *ids: str) -> None:
    shop.drop(f"customers_{name}.csv", "id,since,name,brand\n" + "".join(f"{of},2025-01-01,Ann of {name},\n" for of in ids))


def lines(shop: Any, name: str, *rows: str) -> None:
    shop.drop(f"lines_{name}.csv", "\n".join((LINE_HEAD, *rows, "")))


def bills(shop: Any, name: str, *rows: str) -> None:
    shop.drop(f"bills_{name}.csv", "\n".join(("id,doc,cust,month,kind,amount,currency,line,ref", *rows, "")))


def replaces(shop: Any, name: str, rows: int, other: str) -> None:
    shop.drop(f"control_{name}", f"file,n,instead\n{name},{rows},{other}\n")


def stands(shop: Any) -> dict[str, tuple[int, int, int, int]]:
    """Rows in, landed, quarantined, superseded of each file; rows and amounts of each must add up."""
    found = {}
    for row in balance(shop.ledger):
        assert row["agrees"] and row["rows_in"] == row["landed"] + row["quarantined"] + row["superseded"]
        if row["amount_in"] is not None:
            assert float(row["amount_in"]) == sum(float(row[f"amount_{k}"]) for k in ("landed", "quarantined", "superseded"))
        found[row["file"]] = (row["rows_in"], row["landed"], row["quarantined"], row["superseded"])
    return found


def waiting(shop: Any, file: str) -> list[tuple[int, list[str], str]]:
    [drop] = [drop for drop in shop.standing() if drop["file"] == file]
    return quarantined_rows(shop.deployment, drop, 100)


def two_customers(shop: Any) -> None:
    """Of c1 and c2 bills have landed, and those that belong to nobody."""
    customers(shop, "1", "c1", "c2")
    bills(shop, "1", "a,d1,c1,2025-01,voice,1,CNY,,", "b,d2,c2,2025-02,voice,2,CNY,,", "u,d3,,2025-02,voice,4,CNY,,")
    shop.ingest()


def test_bills_of_a_customer_who_is_taken_back_wait_again_and_are_admitted_when_he_comes_back(shop: Any) -> None:
    two_customers(shop)
    customers(shop, "2", "c1")
    replaces(shop, "customers_2.csv", 1, "customers_1.csv")
    report = shop.ingest()
    assert (report.set_aside, report.readmitted) == ({"bills_1.csv": 1}, {})
    assert stands(shop)["bills_1.csv"] == (3, 2, 1, 0)
    assert [row["unattributed"] for row in balance(shop.ledger) if row["file"] == "bills_1.csv"] == [1]
    assert shop.in_force("bill_lines", "_key, bill_period, _row", "_key") == [("a", "2025-01", 2), ("u", "2025-02", 4)]
    [(line, reasons, text)] = waiting(shop, "bills_1.csv")
    assert (line, reasons, json.loads(text)["customer_id"]) == (3, ["unknown_reference"], "c2")
    head = shop.ledger.head()
    assert new_drops(shop.deployment, shop.ledger) == [] and shop.ingest().set_aside == {} and shop.ledger.head() == head
    customers(shop, "3", "c2")
    assert shop.ingest().readmitted == {"bills_1.csv": 1}
    assert stands(shop)["bills_1.csv"] == (3, 3, 0, 0) and waiting(shop, "bills_1.csv") == []
    shop.ledger.verify()


def test_what_waited_before_keeps_its_text_and_is_told_once(shop: Any) -> None:
    customers(shop, "1", "c1")
    bills(shop, "1", "a,d1,c1,2025-01,voice,1,CNY,,", "b,d2,c2,2025-02,voice,2,CNY,,", "x,d2,c2,2025-02,voice,zwei,CNY,,")
    shop.ingest()
    before = waiting(shop, "bills_1.csv")
    customers(shop, "2", "c2")
    shop.ingest()
    customers(shop, "3", "c3")
    replaces(shop, "customers_3.csv", 1, "customers_2.csv")
    assert shop.ingest().set_aside == {"bills_1.csv": 1}
    assert waiting(shop, "bills_1.csv") == before
    assert stands(shop)["bills_1.csv"] == (3, 1, 2, 0)


def test_rows_wait_again_though_the_quarantine_was_removed(shop: Any) -> None:
    """Ingest ended with an error for good; the rejected rows that are gone are counted still."""
    customers(shop, "1", "c1", "c2")
    bills(shop, "1", "a,d1,c1,2025-01,voice,1,CNY,,", "b,d2,c2,2025-02,voice,2,CNY,,", "x,d2,c2,2025-02,voice,zwei,CNY,,")
    shop.ingest()
    shutil.rmtree(shop.deployment.quarantine)
    customers(shop, "2", "c1")
    replaces(shop, "customers_2.csv", 1, "customers_1.csv")
    assert shop.ingest().set_aside == {"bills_1.csv": 1}
    assert stands(shop)["bills_1.csv"] == (3, 1, 2, 0)
    assert [line for line, _, _ in waiting(shop, "bills_1.csv")] == [3]


def test_what_the_row_had_superseded_is_in_force_again(shop: Any) -> None:
    customers(shop, "1", "c1")
    customers(shop, "2", "c2")
    bills(shop, "1", "a,d1,c1,2025-01,voice,1,CNY,,", "b,d1,c1,2025-01,voice,1,CNY,,")
    bills(shop, "2", "a,d1,c2,2025-02,voice,2,CNY,,", "b,d1,c1,2025-02,voice,2,CNY,,")
    bills(shop, "3", "b,d1,c1,2025-03,voice,3,CNY,,")
    shop.ingest()
    customers(shop, "3", "c3")
    replaces(shop, "customers_3.csv", 1, "customers_2.csv")
    shop.ingest()
    assert shop.in_force("bill_lines", "_key, bill_period", "_key") == [("a", "2025-01"), ("b", "2025-03")]
    assert {name: of for name, of in stands(shop).items() if "bills" in name} == {
        "bills_1.csv": (2, 1, 0, 1),
        "bills_2.csv": (2, 0, 1, 1),
        "bills_3.csv": (1, 1, 0, 0),
    }


def test_what_a_newer_row_alone_kept_superseded_stands_again_when_that_goes_too(shop: Any) -> None:
    customers(shop, "1", "c1")
    customers(shop, "2", "c2")
    for number, customer in ((1, "c1"), (2, "c2"), (3, "c1")):
        bills(shop, str(number), f"a,d1,{customer},2025-01,voice,{number},CNY,,")
        shop.ingest()
    customers(shop, "3", "c3")
    replaces(shop, "customers_3.csv", 1, "customers_2.csv")
    shop.ingest()
    assert shop.in_force("bill_lines", "net_amount") == [(3,)]
    bills(shop, "4", "b,d1,c1,2025-01,voice,4,CNY,,")
    replaces(shop, "bills_4.csv", 1, "bills_3.csv")
    shop.ingest()
    assert shop.in_force("bill_lines", "net_amount", "1") == [(1,), (4,)]
    assert stands(shop)["bills_1.csv"] == (1, 1, 0, 0)


def test_bills_of_a_number_whose_file_is_replaced_by_one_without_it_wait_again(shop: Any) -> None:
    customers(shop, "1", "c1")
    lines(shop, "1", "l1,c1,138001,2025-01-01,", "l2,c1,138002,2025-01-01,")
    bills(shop, "1", "a,d1,,2025-01,voice,1,CNY,l1,", "b,d2,,2025-01,voice,2,CNY,l2,", "c,d3,c1,2025-01,voice,4,CNY,l2,")
    shop.ingest()
    lines(shop, "2", "l1,c1,138001,2025-01-01,")
    replaces(shop, "lines_2.csv", 1, "lines_1.csv")
    assert shop.ingest().set_aside == {"bills_1.csv": 1}
    assert [row[0] for row in shop.in_force("bill_lines", "_key", "_key")] == ["a", "c"], "c names its customer itself"


def test_bills_of_a_number_that_is_taken_back_wait_again(shop: Any) -> None:
    customers(shop, "1", "c1")
    lines(shop, "1", "l1,c1,138001,2025-01-01,", "l2,c1,138002,2025-01-01,")
    bills(shop, "1", "a,d1,,2025-01,voice,1,CNY,l1,", "b,d2,,2025-01,voice,2,CNY,l2,")
    shop.ingest()
    lines(shop, "2", "l2,c1,138002,2025-01-01,2024-12-31")
    assert shop.ingest().set_aside == {"bills_1.csv": 1}
    assert [row[0] for row in shop.in_force("bill_lines", "_key")] == ["a"]


@pytest.mark.parametrize("number", ["l1", "l2"])
def test_a_row_that_waited_and_takes_a_number_back_takes_it_from_all_bills(shop: Any, number: str) -> None:
    """Also where a bill has landed just before, for which the number was still there."""
    customers(shop, "1", "c1")
    lines(shop, "1", "l1,c1,138001,2025-01-01,", "l2,c1,138002,2025-01-01,")
    bills(shop, "1", "a,d1,,2025-01,voice,1,CNY,l1,", "b,d2,,2025-01,voice,2,CNY,l2,")
    lines(shop, "2", "l2,c9,138002,2025-01-01,2024-12-31")
    shop.ingest()
    customers(shop, "2", "c9")
    bills(shop, "2", f"c,d3,,2025-01,voice,4,CNY,{number},")
    shop.ingest()
    assert [row[0] for row in shop.in_force("bill_lines", "_key", "_key")] == (["a", "c"] if number == "l1" else ["a"])
    assert stands(shop)["lines_2.csv"] == (1, 0, 0, 1)


def test_numbers_of_a_customer_who_is_taken_back_wait_and_their_bills_with_them(shop: Any) -> None:
    customers(shop, "1", "c1", "c2")
    lines(shop, "1", "l1,c1,138001,2025-01-01,", "l2,c2,138002,2025-01-01,")
    bills(shop, "1", "a,d1,,2025-01,voice,1,CNY,l1,", "b,d2,,2025-01,voice,2,CNY,l2,")
    bills(shop, "2", "c,d3,,2025-01,voice,1,CNY,l1,")
    shop.ingest()
    customers(shop, "2", "c1")
    replaces(shop, "customers_2.csv", 1, "customers_1.csv")
    assert shop.ingest().set_aside == {"lines_1.csv": 1, "bills_1.csv": 1}
    assert shop.vault("lines", "line_id, number") == [("l1", "138001")], "nothing is kept of who has no row"
    assert stands(shop)["bills_2.csv"] == (1, 1, 0, 0)
    customers(shop, "3", "c2")
    assert shop.ingest().readmitted == {"lines_1.csv": 1, "bills_1.csv": 1}
    assert shop.vault("lines", "line_id, number") == [("l1", "138001"), ("l2", "138002")]
    assert [row[0] for row in shop.in_force("bill_lines", "_key", "_key")] == ["a", "b", "c"]


def test_a_number_that_need_not_wait_stays_older_than_what_another_source_said_since(shop: Any) -> None:
    """Its file has rows of a customer who is gone, and all of them land again."""
    shop.map({**LINES, "files": "others_*.csv"}, source="other")
    customers(shop, "1", "c1", "c2")
    lines(shop, "1", "l1,c1,138001,2025-01-01,", "l2,c2,138002,2025-01-01,")
    shop.drop("others_1.csv", f"{LINE_HEAD}\nl1,c1,139001,2025-01-01,\n")
    shop.ingest()
    lines(shop, "2", "l1,c1,138003,2025-01-01,", "l3,c2,138004,2025-01-01,")
    shop.ingest()
    shop.drop("others_2.csv", f"{LINE_HEAD}\nl1,c1,139002,2025-01-01,\n")
    shop.ingest()
    assert shop.vault("lines", "line_id, number") == [("l1", "139002"), ("l2", "138002"), ("l3", "138004")]
    customers(shop, "2", "c1")
    replaces(shop, "customers_2.csv", 1, "customers_1.csv")
    assert shop.ingest().set_aside == {"lines_1.csv": 1, "lines_2.csv": 1}
    assert shop.vault("lines", "line_id, number") == [("l1", "139002")]


def test_credit_notes_go_back_to_their_own_period_when_their_bill_waits(shop: Any) -> None:
    customers(shop, "1", "c1")
    customers(shop, "2", "c2")
    bills(shop, "1", "n,d9,c1,2025-02,credit,-1,CNY,,d1")
    shop.ingest()
    bills(shop, "2", "a,d1,c2,2025-01,voice,5,CNY,,", "m,d8,c2,2025-03,credit,-2,CNY,,d1", "o,d7,c1,2025-03,credit,-2,CNY,,d1")
    shop.ingest()
    assert dict(shop.in_force("bill_lines", "_key, bill_period")) == {"n": "2025-01", "a": "2025-01", "m": "2025-01", "o": "2025-01"}
    customers(shop, "3", "c3")
    replaces(shop, "customers_3.csv", 1, "customers_2.csv")
    shop.ingest()
    assert dict(shop.in_force("bill_lines", "_key, bill_period")) == {"n": "2025-02", "o": "2025-03"}
    customers(shop, "4", "c2")
    shop.ingest()
    assert dict(shop.in_force("bill_lines", "_key, bill_period")) == {"n": "2025-01", "a": "2025-01", "m": "2025-01", "o": "2025-01"}
    stands(shop)


def test_without_keys_identical_rows_wait_again_together_and_land_anew(shop: Any, feeds: list[dict[str, Any]]) -> None:
    def identical() -> list[int]:
        return [row["identical"] for row in balance(shop.ledger) if row["entity"] == "bill_lines"]

    del feeds[-1]["columns"]["bill_line_id"]
    shop.map(*feeds)
    customers(shop, "1", "c1")
    customers(shop, "2", "c2")
    same = ",d1,c2,2025-01,voice,2,CNY,,"
    bills(shop, "1", same, same, ",d2,c1,2025-01,voice,1,CNY,,")
    bills(shop, "2", same, ",d3,c1,2025-01,voice,4,CNY,,")
    shop.ingest()
    assert (stands(shop)["bills_1.csv"], identical()) == ((3, 2, 0, 1), [1, 0])
    customers(shop, "3", "c3")
    replaces(shop, "customers_3.csv", 1, "customers_2.csv")
    assert shop.ingest().set_aside == {"bills_1.csv": 2, "bills_2.csv": 1}
    assert (stands(shop)["bills_1.csv"], stands(shop)["bills_2.csv"], identical()) == ((3, 1, 2, 0), (2, 1, 1, 0), [0, 0])
    feeds[-1]["columns"]["product"] = "kind"
    shop.map(*feeds)
    shop.ingest(again=True)
    assert (stands(shop)["bills_1.csv"], stands(shop)["bills_2.csv"]) == ((3, 1, 2, 0), (2, 1, 1, 0))
    customers(shop, "4", "c2")
    shop.ingest()
    assert (stands(shop)["bills_1.csv"], stands(shop)["bills_2.csv"], identical()) == ((3, 2, 0, 1), (2, 2, 0, 0), [1, 0])


def test_points_of_a_customer_who_is_taken_back_leave_their_period(shop: Any, feeds: list[dict[str, Any]]) -> None:
    points = {
        "entity": "points",
        "files": "points_*.csv",
        "format": "csv",
        "columns": {"customer_id": "cust", "period": "month", "points_type": "'base'", "points": "n"},
    }
    shop.map(*feeds, points)
    customers(shop, "1", "c1", "c2")
    shop.drop("points_1.csv", "cust,month,n\nc1,2025-01,5\nc2,2025-01,7\nc2,2025-02,8\n")
    shop.ingest()
    customers(shop, "2", "c1")
    replaces(shop, "customers_2.csv", 1, "customers_1.csv")
    assert shop.ingest().set_aside == {"points_1.csv": 2}
    assert shop.in_force("points", "customer_id, period, points") == [("c1", "2025-01", 5)]
    customers(shop, "3", "c2")
    shop.ingest()
    assert shop.in_force("points", "customer_id, period, points", "points") == [
        ("c1", "2025-01", 5),
        ("c2", "2025-01", 7),
        ("c2", "2025-02", 8),
    ]
    assert stands(shop)["points_1.csv"] == (3, 3, 0, 0)


KILLED_AT = ("ingest.set_aside_written", "ingest.set_aside_recorded")


@pytest.mark.parametrize("point", [*KILLED_AT, *(f"{point}:2" for point in KILLED_AT), "ingest.replaced_recorded"])
def test_killed_half_way_the_next_ingest_does_the_rest(shop: Any, point: str) -> None:
    customers(shop, "1", "c1", "c2")
    lines(shop, "1", "l1,c1,138001,2025-01-01,", "l2,c2,138002,2025-01-01,", "l3,c1,138003,2025-01-01,")
    bills(shop, "1", "a,d1,,2025-01,voice,1,CNY,l1,", "b,d2,,2025-01,voice,2,CNY,l2,")
    shop.ingest()
    customers(shop, "2", "c1")
    replaces(shop, "customers_2.csv", 1, "customers_1.csv")
    assert in_a_process(shop, TIERHOUSE_FAILPOINT=point).returncode == -signal.SIGKILL
    assert new_drops(shop.deployment, shop.ledger), "a run must not say that there is nothing new"
    shop.ingest()
    assert shop.vault("lines", "line_id, number") == [("l1", "138001"), ("l3", "138003")]
    assert [row[0] for row in shop.in_force("bill_lines", "_key")] == ["a"]
    assert stands(shop) == {
        "customers_1.csv": (2, 0, 0, 2),
        "lines_1.csv": (3, 2, 1, 0),
        "bills_1.csv": (2, 1, 1, 0),
        "customers_2.csv": (1, 1, 0, 0),
    }
    assert new_drops(shop.deployment, shop.ledger) == []


@settings(LAW, max_examples=draws(4, 30))
@given(data=st.data())
def test_in_whatever_order_files_come_and_are_replaced_the_same_rows_are_landed_and_wait(
    company: Any, feeds: list[dict[str, Any]], data: Any
) -> None:
    """Customers, numbers and bills in many ingests, against all of them at once: rows in force, rows that wait, balances, the vault.

    No two files have the same bytes: the second would be a copy.
    """
    chance = data.draw(st.randoms(use_true_random=False))
    known = ["c1", "c2", "c3"]
    made: list[tuple[Any, ...]] = []
    files: dict[str, int] = {}
    replaced: set[str] = set()
    for number in range(chance.randint(6, 11)):
        kind = chance.choice(["customers", "customers", "lines", "bills", "bills", "bills"])
        if kind == "customers":
            rows = chance.sample(known, chance.randint(1, 2))
        elif kind == "lines":
            rows = [f"l{n},{chance.choice(known)},13800{number}{n},2025-01-01," for n in chance.sample([1, 2], chance.randint(1, 2))]
        else:
            rows = [f"u{number},u{number},,2025-01,voice,1,CNY,,"]
            for key in chance.sample("abcd", chance.randint(1, 3)):
                customer, line = (chance.choice(known), "") if chance.random() < 0.6 else ("", chance.choice(["l1", "l2"]))
                rows.append(f"{key},d{key},{customer},2025-0{chance.randint(1, 3)},voice,{chance.randint(1, 5)},CNY,{line},")
            if chance.random() < 0.4:
                rows.append(f"n{number},dn{number},c1,2025-04,credit,-1,CNY,,d{chance.choice('abcd')}")
        made.append((kind, f"{number:02}", rows))
        files[f"{kind}_{number:02}.csv"] = len(rows)
        others = [name for name in files if name.startswith(kind) and name not in replaced and name != f"{kind}_{number:02}.csv"]
        if others and chance.random() < 0.5:
            replaced.add(other := chance.choice(others))
            made.append(("replaces", f"{kind}_{number:02}.csv", len(rows), other))
    found = []
    for at_once in (False, True):
        here = start(_fresh(company), feeds)
        for kind, *what in made:
            if kind == "replaces":
                replaces(here, *what)
            else:
                {"customers": customers, "lines": lines, "bills": bills}[kind](here, what[0], *what[1])
            if not at_once and chance.random() < 0.6:
                here.ingest()
        here.ingest()
        assert new_drops(here.deployment, here.ledger) == []
        if any(kind == "bills" for kind, *_ in made):
            told_alike(here)
        texts = {
            (drop["file"], line): reasons
            for drop in here.standing()
            if drop["quarantine"]
            for line, reasons, _ in quarantined_rows(here.deployment, drop, 100)
        }
        for drop in here.standing():
            assert drop["quarantined"] == sum(file == drop["file"] for file, _ in texts)
        found.append(
            {
                "bills": here.in_force("bill_lines", "_key, customer_id, line_id, bill_period, net_amount", "_key"),
                "lines": here.in_force("lines", "_key, customer_id", "_key"),
                "customers": here.in_force("customers", "_key", "_key"),
                "balance": {name: of for name, of in stands(here).items() if name not in replaced},
                "waiting": {place: of for place, of in texts.items() if place[0] not in replaced},
                "vault": here.vault("lines", "line_id, number") if any(kind == "lines" for kind, *_ in made) else [],
            }
        )
    for what in found[0]:
        assert found[0][what] == found[1][what], what
