"""Rows that a source takes back by moving their end before their start: in force never again, and balanced."""

from __future__ import annotations

import signal
from typing import Any

import duckdb
import pytest

from orchestration.ingest import balance, load_contracts, new_drops
from orchestration.ingest.parts import landed
from orchestration.policy import load_policies
from orchestration.warehouse import prepare
from orchestration.warehouse.landed import Landed, relation
from tests.ingest.conftest import CUSTOMERS, in_a_process
from tests.ingest.test_rows import NOMINATIONS
from tests.warehouse.place import build

GIVEN = "N1,c1,2025-01-01,2026-12-31"
TAKEN_BACK = "N1,c1,2025-01-01,2024-12-31"
SUBSCRIPTIONS: dict[str, Any] = {
    "entity": "subscriptions",
    "files": "subscriptions_*.csv",
    "format": "csv",
    "columns": {"subscription_id": "id", "customer_id": "cust", "kind": "'value_added'", "start_date": "from_day", "end_date": "to_day"},
}
LINES: dict[str, Any] = {
    "entity": "lines",
    "files": "lines_*.csv",
    "format": "csv",
    "columns": {"line_id": "id", "customer_id": "cust", "number": "'+86' || cust", "start_date": "from_day", "end_date": "to_day"},
}


def brings(company: Any, entity: str, number: int, *rows: str) -> None:
    company.drop(f"{entity}_{number}.csv", "\n".join(["id,cust,from_day,to_day", *rows]) + "\n")


def accounts(company: Any, entity: str = "nominations") -> list[tuple[int, int, int, int]]:
    """Rows in, landed, quarantined, superseded of each file in landing order."""
    rows = [row for row in balance(company.ledger) if row["entity"] == entity]
    assert all(row["agrees"] and row["rows_in"] == row["landed"] + row["quarantined"] + row["superseded"] for row in rows)
    return [(row["rows_in"], row["landed"], row["quarantined"], row["superseded"]) for row in rows]


def read_by_models(company: Any, entity: str) -> list[tuple[Any, ...]]:
    """Keys and last days of the rows that staging reads."""
    rows = Landed(company.deployment, company.ledger, landed(company.ledger))
    with duckdb.connect() as con:
        effective = relation(load_contracts()[entity], rows.parts[entity], rows.replaced[entity])
        return con.execute(f"select _key, cast(end_date as varchar) from ({effective}) order by all").fetchall()


@pytest.fixture
def shop(company: Any) -> Any:
    """Nominations from one feed; of N1 the first row has landed."""
    company.config["max_bad_share"] = 1
    company.map(NOMINATIONS)
    brings(company, "nominations", 1, GIVEN, "N2,c1,2025-01-01,2026-12-31")
    company.ingest()
    return company


def test_a_row_that_is_taken_back_ends_what_stood_and_is_not_in_force_itself(shop: Any) -> None:
    brings(shop, "nominations", 2, TAKEN_BACK, "N9,c1,2025-01-01,2024-12-31")
    report = shop.ingest()
    assert report.files[0].reasons == {"end_before_start": 1}
    assert shop.quarantine("line, reasons") == [(3, ["end_before_start"])], "what is not known cannot be taken back"
    assert shop.in_force("nominations", "nomination_id") == [("N2",)]
    assert read_by_models(shop, "nominations") == [("N2", "2026-12-31")]
    assert accounts(shop) == [(2, 1, 0, 1), (2, 0, 1, 1)]
    head = shop.ledger.head()
    assert shop.ingest().new_files == 0 and shop.ledger.head() == head


def test_it_may_be_taken_back_every_month_and_given_again(shop: Any) -> None:
    for number in (2, 3):
        brings(shop, "nominations", number, f"{TAKEN_BACK[:-2]}{32 - number}")
        shop.ingest()
        assert shop.quarantine() == [] and shop.in_force("nominations", "nomination_id") == [("N2",)]
    brings(shop, "nominations", 4, "N1,c1,2025-01-01,2025-06-30")
    shop.ingest()
    assert read_by_models(shop, "nominations") == [("N1", "2025-06-30"), ("N2", "2026-12-31")]
    assert accounts(shop) == [(2, 1, 0, 1), (1, 0, 0, 1), (1, 0, 0, 1), (1, 1, 0, 0)]


@pytest.mark.parametrize("taken_back_first", [True, False])
def test_beside_a_good_row_of_its_key_in_the_same_file_it_is_rejected(shop: Any, taken_back_first: bool) -> None:
    rows = [TAKEN_BACK, "N1,c1,2025-01-01,2025-06-30"]
    brings(shop, "nominations", 2, *(rows if taken_back_first else reversed(rows)))
    shop.ingest()
    assert read_by_models(shop, "nominations") == [("N1", "2025-06-30"), ("N2", "2026-12-31")]
    assert shop.quarantine("reasons") == [(["end_before_start"],)]


def test_taken_back_twice_in_a_file_the_second_is_a_duplicate(shop: Any) -> None:
    brings(shop, "nominations", 2, TAKEN_BACK, TAKEN_BACK)
    shop.ingest()
    assert shop.in_force("nominations", "nomination_id") == [("N2",)]
    assert shop.quarantine("line, reasons") == [(3, ["duplicate_key"])]
    assert accounts(shop) == [(2, 1, 0, 1), (2, 0, 1, 1)]


def test_one_with_another_fault_is_rejected_with_both_reasons(shop: Any) -> None:
    brings(shop, "nominations", 2, "N1,,2025-01-01,2024-12-31")
    shop.ingest()
    assert shop.quarantine("reasons") == [(["missing_value", "end_before_start"],)]
    assert [row[0] for row in shop.in_force("nominations", "nomination_id", "1")] == ["N1", "N2"]


@pytest.mark.parametrize("point", ["ingest.landing_written", "ingest.file_recorded"])
def test_killed_while_it_lands_the_next_ingest_completes_it(shop: Any, point: str) -> None:
    brings(shop, "nominations", 2, TAKEN_BACK)
    assert in_a_process(shop, TIERHOUSE_FAILPOINT=point).returncode == -signal.SIGKILL
    shop.ingest()
    assert shop.in_force("nominations", "nomination_id") == [("N2",)]
    assert accounts(shop) == [(2, 1, 0, 1), (1, 0, 0, 1)]


def test_landed_anew_a_row_takes_back_only_what_came_before_it(company: Any) -> None:
    company.config["max_bad_share"] = 1
    company.map(NOMINATIONS)
    for number, row in enumerate((TAKEN_BACK, GIVEN, TAKEN_BACK + " "), 1):
        brings(company, "nominations", number, row)
        company.ingest()
    before = accounts(company)
    assert before == [(1, 0, 1, 0), (1, 0, 0, 1), (1, 0, 0, 1)]
    company.map({**NOMINATIONS, "columns": {**NOMINATIONS["columns"], "reason": "'test'"}})
    company.ingest(again=True)
    assert accounts(company) == before
    assert company.in_force("nominations") == []


@pytest.mark.parametrize("together", [True, False])
def test_what_waits_for_its_customer_does_not_come_into_force_when_it_was_taken_back_meanwhile(company: Any, together: bool) -> None:
    """``together``: the customer lands with the row that takes back, else after it."""
    company.config |= {"customers_from": "customers", "max_bad_share": 1}
    company.map(SUBSCRIPTIONS, CUSTOMERS)
    company.drop("customers_1.csv", "id,since,name,brand\nc0,2025-01-01,Ann,\n")
    brings(company, "subscriptions", 1, "S1,c1,2025-01-01,2026-12-31", "S2,c1,2025-01-01,")
    company.ingest()
    brings(company, "subscriptions", 2, "S1,c1,2025-01-01,2024-12-31")
    if not together:
        company.ingest()
        assert company.standing()[-1]["reasons"] == {"unknown_reference": 1}
    company.drop("customers_2.csv", "id,since,name,brand\nc1,2025-01-01,Bob,\n")
    company.ingest()
    assert read_by_models(company, "subscriptions") == [("S2", None)]
    assert accounts(company, "subscriptions") == [(2, 1, 0, 1), (1, 0, 0, 1)]
    assert new_drops(company.deployment, company.ledger) == []


def test_a_number_that_was_never_held_is_not_kept_for_its_holder(company: Any) -> None:
    company.map(LINES)
    brings(company, "lines", 1, "L1,c1,2025-01-01,")
    company.ingest()
    brings(company, "lines", 2, "L1,c2,2025-01-01,2024-12-31")
    company.ingest()
    assert read_by_models(company, "lines") == []
    assert company.vault("lines", "line_id, number") == [("L1", "+86c1")]


@pytest.mark.slow
def test_the_level_falls_back_when_its_override_is_taken_back(company: Any, bills_feed: dict[str, Any]) -> None:
    """In the very month whose first and last day the row's days lie around."""
    override = {"program_id": "'vip_threshold'", "level_id": "'vip'", "approver_id": "'B'", "approved_date": "date '2025-01-10'"}
    company.config["customers_from"] = "customers"
    customers = {**CUSTOMERS, "columns": {**CUSTOMERS["columns"], "joined_date": "since"}}
    company.map(bills_feed, customers, {**NOMINATIONS, "columns": NOMINATIONS["columns"] | override})
    company.drop("customers_1.csv", "id,since,name,brand\nc1,2025-01-01,Ann,easyown\n")
    company.bills("bills_1.csv", "a,d1,c1,2025-01,monthly_fee,100,CNY")
    brings(company, "nominations", 1, "N1,c1,2025-01-15,2026-01-31")
    levels = []
    for number in (1, 2):
        if number == 2:
            brings(company, "nominations", 2, "N1,c1,2025-01-15,2025-01-14")
        company.ingest()
        plan = prepare(company.deployment, company.ledger, ["2025-01"], load_policies(company.deployment), say=lambda text: None)
        build(company.deployment, company.ledger, plan)
        with duckdb.connect(str(company.deployment.warehouse), read_only=True) as con:
            query = "select level_id, qualified_level_id from marts.fct_decisions where program_id = 'vip_threshold' and subject_id = 'c1'"
            levels += con.execute(query).fetchall()
    (given, qualified), (fallen, same) = levels
    assert (given, qualified) == ("vip", "regular")
    assert (fallen, same) == ("regular", "regular")
