"""What the vault holds of a subject: of each column the newest that a source says, and nothing that no landed row says any more."""

from __future__ import annotations

import signal
from typing import Any

import duckdb
import pytest

from tests.ingest.conftest import in_a_process

HEAD = "id,since,name,brand\n"


@pytest.fixture
def shop(company: Any, customers_feed: dict[str, Any]) -> Any:
    """Names come from one source, telephone numbers from another."""
    company.map(customers_feed)
    phones = {"customer_id": "id", "valid_from_date": "since", "phone": "phone"}
    company.map({**customers_feed, "files": "phones_*.csv", "columns": phones}, source="shop_app")
    return company


def test_an_older_row_fills_the_columns_that_no_newer_one_speaks_of(shop: Any) -> None:
    shop.drop("customers_1.csv", f"{HEAD}c1,2025-03-01,Ann,\nc2,2025-03-01,,\n")
    shop.ingest()
    shop.drop("phones_1.csv", "id,since,phone\nc1,2025-01-01,138\nc2,2025-01-01,139\n")
    shop.drop("customers_2.csv", f"{HEAD}c1,2025-02-01,Old,\nc2,2025-02-01,Bob,\n")
    shop.ingest()
    assert shop.vault("customers", "customer_id, name, phone") == [("c1", "Ann", "138"), ("c2", None, "139")]


def test_whom_a_changed_mapping_leaves_out_is_forgotten_and_whoever_another_file_names_is_not(
    shop: Any, customers_feed: dict[str, Any]
) -> None:
    shop.drop("customers_1.csv", f"{HEAD}c1,2025-01-01,Ann,\nc2,2025-01-01,Bob,\n")
    shop.drop("customers_2.csv", f"{HEAD}c1,2025-02-01,Ann B,out\nc2,2025-02-01,Bob,\nc3,2025-02-01,Cid,out\n")
    shop.drop("phones_1.csv", "id,since,phone\nc3,2025-01-01,137\n")
    shop.ingest()
    assert [row[0] for row in shop.vault("customers", "name")] == ["Ann B", "Bob", "Cid"]
    customers_feed["where"] = "coalesce(brand, '') <> 'out'"
    shop.map(customers_feed)
    assert in_a_process(shop, again=True, TIERHOUSE_FAILPOINT="ingest.file_recorded").returncode == -signal.SIGKILL
    shop.ingest()
    assert shop.vault("customers", "customer_id, name, phone") == [("c1", "Ann", None), ("c2", "Bob", None), ("c3", None, "137")]
    del customers_feed["columns"]["name"]
    shop.map(customers_feed)
    shop.ingest(again=True)
    assert shop.vault("customers", "customer_id, name, phone") == [("c3", None, "137")]


def test_whom_a_replaced_file_alone_names_is_forgotten(shop: Any, customers_feed: dict[str, Any]) -> None:
    control = {"files": "control_*.csv", "columns": {"file": "file", "rows": "n", "replaces": "instead"}}
    shop.map({**customers_feed, "control": control})
    shop.drop("customers_1.csv", f"{HEAD}c1,2025-01-01,Ann,\nc2,2025-01-01,Bob,\n")
    shop.ingest()
    shop.drop("customers_2.csv", f"{HEAD}c1,2025-01-01,Ann B,\n")
    shop.drop("control_1.csv", "file,n,instead\ncustomers_2.csv,1,customers_1.csv\n")
    shop.ingest()
    assert shop.vault("customers", "customer_id, name") == [("c1", "Ann B")]


def test_a_number_that_only_a_row_that_is_taken_back_says_beside_a_replaced_file_is_forgotten(
    company: Any, bills_feed: dict[str, Any]
) -> None:
    columns = {"line_id": "id", "customer_id": "cust", "number": "number", "start_date": "since", "end_date": "until"}
    control = {"files": "control_*.csv", "columns": {"file": "file", "rows": "n", "replaces": "instead"}}
    company.map(bills_feed, {"entity": "lines", "files": "lines_*.csv", "format": "csv", "columns": columns, "control": control})
    head = "id,cust,number,since,until\n"
    company.drop("lines_1.csv", f"{head}l1,c1,138,2025-01-01,\nl2,c1,139,2025-01-01,\n")
    company.ingest()
    company.drop("lines_2.csv", f"{head}l1,c1,138,2025-01-01,2024-12-31\n")
    company.drop("lines_3.csv", f"{head}l2,c1,139,2025-01-01,2025-05-05\n")
    company.ingest()
    company.drop("lines_4.csv", f"{head}l3,c1,137,2025-01-01,\n")
    company.drop("control_1.csv", "file,n,instead\nlines_4.csv,1,lines_1.csv\n")
    company.ingest()
    assert sorted(company.in_force("lines", "line_id")) == [("l2",), ("l3",)]
    assert [row[0] for row in company.vault("lines", "line_id")] == ["l2", "l3"]


def test_a_vault_with_one_row_per_subject_is_taken_over(shop: Any) -> None:
    shop.deployment.data.mkdir()
    with duckdb.connect(str(shop.deployment.vault)) as con:
        personal = "name varchar, phone varchar, id_document varchar, address varchar, birth_date date"
        con.execute(f"create table customers (customer_id varchar, {personal}, _as_of_date date, _file_id varchar, _row bigint)")
        con.execute(
            "insert into customers by name select 'c1' as customer_id, 'Ann' as name, '138' as phone, date '2025-01-01' as _as_of_date"
        )
    shop.drop("phones_1.csv", "id,since,phone\nc1,2025-02-01,139\nc2,2025-02-01,137\n")
    shop.ingest()
    assert shop.vault("customers", "customer_id, name, phone") == [("c1", "Ann", "139"), ("c2", None, "137")]
