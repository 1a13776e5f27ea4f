"""A file that another one replaces, as a control total says: none of its rows counts, as if it had never been delivered."""

from __future__ import annotations

import itertools
import re
import signal
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from orchestration.cli.base import Context
from orchestration.cli.summary import print_quarantine, quarantine_listing
from orchestration.errors import BadInput, Failed
from orchestration.ingest import balance, ingest, new_drops
from orchestration.ingest.contracts import load_contracts
from orchestration.ingest.files import sha256_file
from orchestration.ingest.parts import landed
from orchestration.ingest.replacement import replacements
from orchestration.ingest.totals import recorded_totals
from orchestration.periods import period_index
from orchestration.release.publish import inputs
from orchestration.warehouse.landed import Landed, relation
from tests.ingest.conftest import in_a_process

CONTROL = {
    "files": "control_*.csv",
    "columns": {"file": "file", "rows": "n", "amount": "total", "replaces": "instead"},
    "amount_column": "net_amount",
}


def replaces(shop: Any, name: str, rows: int, amount: str, other: str) -> None:
    """A control file that says so, under a name of its own."""
    shop.drop(f"control_{name}", f"file,n,total,instead\n{name},{rows},{amount},{other}\n")


def accounts(shop: Any) -> dict[str, tuple[int, int, int, int]]:
    """Rows in, landed, quarantined, superseded of each file of bills; rows and amounts of each must add up."""
    rows = [row for row in balance(shop.ledger) if row["entity"] == "bill_lines"]
    for row in rows:
        assert row["agrees"] and row["rows_in"] == row["landed"] + row["quarantined"] + row["superseded"]
        assert Decimal(row["amount_in"]) == sum(Decimal(row[f"amount_{k}"]) for k in ("landed", "quarantined", "superseded"))
        assert row["landed"] or (row["unattributed"], row["identical"]) == (0, 0)
    return {row["file"]: (row["rows_in"], row["landed"], row["quarantined"], row["superseded"]) for row in rows}


def of_a_manifest(shop: Any, columns: str) -> list[tuple[Any, ...]]:
    """The rows in force as the inputs of a release's manifest give them alone: landing parts and lists of superseded rows, each with its hash."""
    listed = [item for item in inputs(shop.deployment, shop.ledger, shop.ledger.head()[0]) if item["entity"] == "bill_lines"]
    data, parts = shop.deployment.data, [part for item in listed for part in item["parts"]]
    lists = [item["superseded"] for item in listed if item["superseded"]]
    for file in (*parts, *lists):
        assert sha256_file(data / file["path"]) == file["sha256"]
    with duckdb.connect() as con:
        gone = "select null as file_id, null as key where false"
        if lists:
            gone = f"select file_id, key from read_parquet({[str(data / item['path']) for item in lists]})"
            assert con.execute(f"select count(*) from ({gone})").fetchall() == [(sum(item["rows"] for item in lists),)]
        rows = f"select * from read_parquet({[str(data / part['path']) for part in parts]}, hive_partitioning = false)"
        return con.execute(
            f"select {columns} from ({rows}) l anti join ({gone}) g on _file_id = file_id and _key = key order by all"
        ).fetchall()


def in_force(shop: Any) -> list[tuple[Any, ...]]:
    """Document, period and amount of the rows in force: as the tests read them, as the models do, and as a release's manifest says."""
    columns = "document_id, bill_period, net_amount"
    found: list[tuple[Any, ...]] = sorted(shop.in_force("bill_lines", columns))
    rows = Landed(shop.deployment, shop.ledger, landed(shop.ledger))
    with duckdb.connect() as con:
        effective = relation(load_contracts()["bill_lines"], rows.parts["bill_lines"], rows.replaced["bill_lines"])
        assert con.execute(f"select {columns} from ({effective}) order by all").fetchall() == found
        indexes = con.execute(f"select distinct bill_period, _period_index from ({effective})").fetchall()
        assert {period: period_index(period) for period, _ in indexes} == dict(indexes)
    assert of_a_manifest(shop, columns) == found
    return found


@pytest.fixture
def shop(company: Any, bills_feed: dict[str, Any]) -> Any:
    """Bills without keys, with control totals."""
    del bills_feed["columns"]["bill_line_id"]
    company.config["max_bad_share"] = 1
    company.map({**bills_feed, "control": CONTROL})
    return company


@pytest.fixture
def keyed(company: Any, bills_feed: dict[str, Any]) -> Any:
    """Bills with keys, with control totals."""
    company.config["max_bad_share"] = 1
    company.map({**bills_feed, "control": CONTROL})
    return company


WRONG = (",d1,c1,2025-01,voice,100,CNY", ",d2,c1,2025-02,voice,7,CNY", ",d3,c1,2025-01,voice,x,CNY")
RIGHT = (",d1,c1,2025-01,voice,10,CNY",)


def knows_ann(company: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any]) -> None:
    """Bills of customers who are not known wait; one is."""
    company.config |= {"customers_from": "customers", "max_bad_share": 1}
    company.map({**bills_feed, "control": CONTROL}, customers_feed)
    company.drop("customers_1.csv", "id,since,name,brand\nc1,2025-01-01,Ann,\n")


def test_an_amount_that_a_source_without_keys_corrects_stands_once(shop: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shop.bills("bills_1.csv", *WRONG)
    replaces(shop, "bills_1.csv", 3, "107", "")
    shop.ingest()
    digests = Landed(shop.deployment, shop.ledger, landed(shop.ledger)).period_digests("2025-12")
    shop.bills("bills_1_r1.csv", *RIGHT)
    replaces(shop, "bills_1_r1.csv", 1, "10", "bills_1.csv")
    assert shop.ingest().held_periods == {}
    assert in_force(shop) == [("d1", "2025-01", 10)]
    assert accounts(shop) == {"bills_1.csv": (3, 0, 1, 2), "bills_1_r1.csv": (1, 1, 0, 0)}
    context = Context(False, str(shop.folder))
    print_quarantine(context, quarantine_listing(context, 0))
    told = "bills_1.csv (bill_lines): 1 row: bad_decimal 1; another file has replaced this one, nothing is to be done\n"
    assert capsys.readouterr().out == told
    after = Landed(shop.deployment, shop.ledger, landed(shop.ledger)).period_digests("2025-12")
    assert [month for month in after if after[month] != digests[month]] == ["2025-01", "2025-02"], "both months are computed again"
    head = shop.ledger.head()
    assert new_drops(shop.deployment, shop.ledger) == []
    shop.ingest()
    assert shop.ledger.head() == head


def test_who_asks_for_one_period_reads_no_file_of_another(keyed: Any) -> None:
    """Of files with and without replaced rows, in one scan each, however many months there are."""
    months = [f"2024-{month:02}" for month in range(1, 11)]
    keyed.bills("bills_1.csv", *(f"L{month},D{month},C1,{month},voice,10,CNY" for month in months))
    keyed.bills("bills_2.csv", *(f"M{month},E{month},C1,{month},voice,10,CNY" for month in months))
    keyed.ingest()
    keyed.bills("bills_3.csv", f"M{months[4]},E{months[4]},C1,{months[4]},voice,11,CNY")
    keyed.ingest()
    rows = Landed(keyed.deployment, keyed.ledger, landed(keyed.ledger))
    effective = relation(load_contracts()["bill_lines"], rows.parts["bill_lines"], rows.replaced["bill_lines"])
    with duckdb.connect() as con:
        query = f"select sum(net_amount) from ({effective}) where _period_index = {period_index(months[4])}"
        assert con.execute(query).fetchall() == [(Decimal(21),)]
        plan = con.execute(f"explain {query}").fetchall()[0][1]
    assert sorted(re.findall(r"Scanning Files: (\d+/\d+)", plan)) == ["1/10", "2/11"]


def test_the_quarantine_says_how_many_rows_later_files_have_brought_right(
    company: Any, bills_feed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    company.map(bills_feed)
    company.bills("bills_1.csv", *(f"L{n},D{n},C1,2025-01,voice,x,CNY" for n in (1, 2, 3)))
    company.bills("bills_2.csv", "L1,D1,C1,2025-01,voice,10,CNY", "L3,D3,C1,2025-01,voice,y,CNY")
    company.ingest()
    context = Context(False, str(company.folder))
    listing = quarantine_listing(context, 1)
    assert [(item["file"], item["corrected"]) for item in listing] == [("bills_1.csv", 1), ("bills_2.csv", 0)]
    print_quarantine(context, listing)
    assert "bills_1.csv (bill_lines): 3 rows: bad_decimal 3; 1 of them corrected by later files\n" in capsys.readouterr().out
    [part] = (company.deployment.landing / "bill_lines").rglob("*.parquet")
    company.bills("bills_3.csv", "L3,D3,C1,2025-01,voice,10,CNY", "L4,D3,C1,2025-01,voice,z,CNY")
    company.bills("bills_4.csv", "L5,D3,C1,2025-01,voice,10,CNY", "L3,D3,C1,2025-01,voice,z,CNY")
    company.ingest()
    brought = {item["file"]: item["corrected"] for item in quarantine_listing(context, 1)}
    assert brought == {"bills_1.csv": 2, "bills_2.csv": 1, "bills_3.csv": 0, "bills_4.csv": 0}
    part.unlink()
    with pytest.raises(Failed, match=r"the rows that landed after bills_1\.csv cannot be read"):
        quarantine_listing(context, 1)


@pytest.mark.parametrize("added", ["product", "bill_line_id"])
@pytest.mark.parametrize("name", ["sent again", "sent before it", "left out"])
def test_without_keys_a_row_of_a_replaced_file_counts_once_though_a_column_was_added_before_it(
    shop: Any, bills_feed: dict[str, Any], added: str, name: str
) -> None:
    """The row is in the first file; the second one has it, too, and is replaced by a third."""
    row, own = "a,d1,c1,2025-01,voice,1,CNY", "b,d2,c1,2025-01,voice,2,CNY"
    shop.bills("bills_1.csv", row)
    shop.ingest()
    feed = {**bills_feed, "columns": bills_feed["columns"] | {added: "id"}, "control": CONTROL}
    shop.map(feed)
    if name == "sent before it":
        shop.bills("bills_2.csv", row, own)
        shop.ingest()
    shop.bills("bills_3.csv", row, "x,d9,c1,2025-01,voice,9,CNY")
    shop.ingest()
    rows = [row, own] if name == "sent again" else [own]
    shop.bills("bills_4.csv", *rows)
    replaces(shop, "bills_4.csv", len(rows), str(len(rows) + 1), "bills_3.csv")
    shop.ingest()
    stands = None if name == "left out" else "a"
    assert shop.in_force("bill_lines", f"document_id, {added}", "document_id") == [("d1", stands), ("d2", "b")]
    assert sum(landed_rows for _, landed_rows, _, _ in accounts(shop).values()) == 2
    assert new_drops(shop.deployment, shop.ledger) == []


ORDERS = list(itertools.permutations(["wrong", "right", "control"]))


@pytest.mark.parametrize(("order", "keys"), [*((order, True) for order in ORDERS), (ORDERS[0], False), (ORDERS[-1], False)])
def test_order_of_arrival_does_not_matter(keyed: Any, bills_feed: dict[str, Any], order: tuple[str, ...], keys: bool) -> None:
    """What the replaced file had taken the place of stands again, unless the other brings it, too."""
    if not keys:
        del bills_feed["columns"]["bill_line_id"]
        keyed.map({**bills_feed, "control": CONTROL})
    row = "{0},{0},c1,{1},voice,{2},CNY"
    keyed.bills("bills_0.csv", row.format("a", "2025-01", 1), row.format("b", "2025-01", 2), row.format("e", "2025-01", 9))
    replaces(keyed, "bills_0.csv", 3, "12", "")
    keyed.ingest()
    for step in order:
        if step == "wrong":
            rows = [("a", "2025-01", 1), ("b", "2025-01", 2), ("c", "2025-02", 4), ("d", "2025-01", "x")]
            keyed.bills("bills_1.csv", *(row.format(*cells) for cells in rows))
        elif step == "right":
            keyed.bills("bills_1_r1.csv", row.format("b", "2025-01", 2), row.format("c", "2025-01", 5))
        else:
            replaces(keyed, "bills_1_r1.csv", 2, "7", "bills_1.csv")
        keyed.ingest()
    assert in_force(keyed) == [("a", "2025-01", 1), ("b", "2025-01", 2), ("c", "2025-01", 5), ("e", "2025-01", 9)]
    assert accounts(keyed) == {"bills_0.csv": (3, 2, 0, 1), "bills_1.csv": (4, 0, 1, 3), "bills_1_r1.csv": (2, 2, 0, 0)}
    assert new_drops(keyed.deployment, keyed.ledger) == []


def chain(number: int, *others: str) -> dict[str, tuple[str, str, str]]:
    """File → its amount of row ``a``, which the first ``number`` of them have, its amount of a row of its own, and the file that it replaces."""
    return {f"bills_{n}.csv": (str(n + 1) if n < number else "", str(10 * (n + 1)), other) for n, other in enumerate(others)}


CHAINS = {
    "a correction of a correction": (chain(3, "", "", "bills_1.csv", "bills_2.csv"), 1),
    "three corrections": (chain(4, "", "", "bills_1.csv", "bills_2.csv", "bills_3.csv"), 1),
    "two files by themselves": (chain(3, "", "", "", "bills_1.csv", "bills_2.csv"), 1),
    "the newer one first": (chain(3, "", "", "", "bills_2.csv", "bills_1.csv"), 1),
    "a file between stands": (chain(4, "", "", "bills_1.csv", "", "bills_2.csv"), 4),
}


@pytest.mark.parametrize("step", [1, 9], ids=["each by itself", "all at once"])
@pytest.mark.parametrize("name", CHAINS)
def test_a_row_stands_again_when_all_that_took_its_place_is_taken_back(keyed: Any, name: str, step: int) -> None:
    files, stands = CHAINS[name]
    for number, (file, (amount, own, other)) in enumerate(files.items()):
        rows = [f"a,a,c1,2025-01,voice,{amount},CNY"] * bool(amount) + [f"{number},{number},c1,2025-01,voice,{own},CNY"]
        keyed.bills(file, *rows)
        replaces(keyed, file, len(rows), str(int(amount or 0) + int(own)), other)
        if number % step == step - 1 or number == len(files) - 1:
            assert keyed.ingest().held_periods == {}
    gone = {other for _, _, other in files.values()}
    left = [(str(number), "2025-01", int(own)) for number, (file, (_, own, _)) in enumerate(files.items()) if file not in gone]
    assert in_force(keyed) == [*left, ("a", "2025-01", stands)]
    assert {file for file, (_, landed_rows, _, _) in accounts(keyed).items() if not landed_rows} == gone - {""}
    assert new_drops(keyed.deployment, keyed.ledger) == []


def test_what_waits_in_a_replaced_file_is_never_admitted(company: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any]) -> None:
    knows_ann(company, bills_feed, customers_feed)
    company.bills("bills_1.csv", "a,d1,c2,2025-01,voice,1,CNY", "b,d1,c1,2025-01,voice,1,CNY")
    company.bills("bills_1_r1.csv", "b,d1,c1,2025-01,voice,2,CNY")
    replaces(company, "bills_1_r1.csv", 1, "2", "bills_1.csv")
    company.ingest()
    company.drop("customers_2.csv", "id,since,name,brand\nc2,2025-01-01,Bob,\n")
    assert new_drops(company.deployment, company.ledger) == [company.drops / "customers_2.csv"]
    assert company.ingest().readmitted == {}
    assert in_force(company) == [("d1", "2025-01", 2)]
    assert accounts(company) == {"bills_1.csv": (2, 0, 1, 1), "bills_1_r1.csv": (1, 1, 0, 0)}


def test_a_row_that_waits_is_admitted_though_a_replaced_file_had_its_key(
    company: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any]
) -> None:
    knows_ann(company, bills_feed, customers_feed)
    company.bills("bills_1.csv", "a,d1,c2,2025-01,voice,1,CNY")
    company.bills("bills_2.csv", "a,d1,c1,2025-01,voice,2,CNY")
    company.bills("bills_3.csv", "b,d2,c1,2025-01,voice,3,CNY")
    replaces(company, "bills_3.csv", 1, "3", "bills_2.csv")
    company.ingest()
    company.drop("customers_2.csv", "id,since,name,brand\nc2,2025-01-01,Bob,\n")
    company.ingest()
    assert in_force(company) == [("d1", "2025-01", 1), ("d2", "2025-01", 3)]


def test_a_row_that_was_admitted_and_overtaken_stands_when_what_overtook_it_is_replaced(
    company: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any]
) -> None:
    knows_ann(company, bills_feed, customers_feed)
    company.bills("bills_0.csv", "a,d1,c1,2025-01,voice,9,CNY")
    company.ingest()
    company.bills("bills_1.csv", "a,d1,c2,2025-01,voice,1,CNY", "b,d2,c2,2025-01,voice,1,CNY")
    company.bills("bills_2.csv", "a,d1,c1,2025-01,voice,2,CNY")
    company.bills("bills_3.csv", "b,d2,c1,2025-01,voice,4,CNY")
    company.ingest()
    company.drop("customers_2.csv", "id,since,name,brand\nc2,2025-01-01,Bob,\n")
    company.ingest()
    assert in_force(company) == [("d1", "2025-01", 2), ("d2", "2025-01", 4)]
    company.bills("bills_4.csv", "c,d3,c1,2025-01,voice,3,CNY")
    replaces(company, "bills_4.csv", 1, "3", "bills_2.csv")
    company.ingest()
    assert in_force(company) == [("d1", "2025-01", 1), ("d2", "2025-01", 4), ("d3", "2025-01", 3)]
    accounts(company)


def test_an_admitted_row_that_takes_its_key_back_never_stands(
    company: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any]
) -> None:
    company.config |= {"customers_from": "customers", "max_bad_share": 1}
    control = {"files": "control_*.csv", "columns": {"file": "file", "rows": "n", "replaces": "instead"}}
    columns = {"line_id": "id", "customer_id": "cust", "start_date": "since", "end_date": "until"}
    lines = {"entity": "lines", "files": "lines_*.csv", "format": "csv", "columns": columns, "control": control}
    company.map(bills_feed, customers_feed, lines)
    company.drop("customers_1.csv", "id,since,name,brand\nc1,2025-01-01,Ann,\n")
    for number, row in enumerate(("l1,c1,2025-01-01,", "l1,c2,2025-01-01,2024-12-31", "l1,c1,2025-01-01,2025-05-05")):
        company.drop(f"lines_{number}.csv", f"id,cust,since,until\n{row}\n")
        company.ingest()
    company.drop("customers_2.csv", "id,since,name,brand\nc2,2025-01-01,Bob,\n")
    company.ingest()
    company.drop("lines_3.csv", "id,cust,since,until\nl3,c1,2025-01-01,\n")
    company.drop("control_1.csv", "file,n,instead\nlines_3.csv,1,lines_2.csv\n")
    company.ingest()
    assert company.in_force("lines", "line_id") == [("l3",)]


def test_a_customer_of_a_replaced_file_alone_is_unknown(company: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any]) -> None:
    company.config |= {"customers_from": "customers", "max_bad_share": 1}
    control = {"files": "control_*.csv", "columns": {"file": "file", "rows": "n", "replaces": "instead"}}
    company.map(bills_feed, {**customers_feed, "control": control})
    company.drop("customers_1.csv", "id,since,name,brand\nc1,2025-01-01,Ann,\nc2,2025-01-01,Bob,\n")
    company.drop("customers_2.csv", "id,since,name,brand\nc1,2025-01-01,Ann,\n")
    company.drop("control_1.csv", "file,n,instead\ncustomers_2.csv,1,customers_1.csv\n")
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY", "b,d2,c2,2025-01,voice,2,CNY")
    company.ingest()
    assert in_force(company) == [("d1", "2025-01", 1)]


def test_a_copy_of_the_replaced_bytes_counts_under_its_own_name(shop: Any) -> None:
    first = shop.bills("bills_1.csv", *RIGHT).read_bytes()
    shop.bills("bills_2.csv", *WRONG[:2])
    replaces(shop, "bills_2.csv", 2, "107", "bills_1.csv")
    shop.ingest()
    assert in_force(shop) == [("d1", "2025-01", 100), ("d2", "2025-02", 7)]
    shop.drop("bills_3.csv", first)
    replaces(shop, "bills_3.csv", 1, "10", "bills_2.csv")
    shop.ingest()
    assert in_force(shop) == [("d1", "2025-01", 10)]
    assert accounts(shop) == {"bills_1.csv": (1, 0, 0, 1), "bills_2.csv": (2, 0, 0, 2), "bills_3.csv": (1, 1, 0, 0)}
    shop.drop("bills_4.csv", first)
    replaces(shop, "bills_4.csv", 1, "10", "bills_3.csv")
    assert shop.ingest().copies == {"bills_4.csv": "bills_3.csv"}
    assert in_force(shop) == [("d1", "2025-01", 10)], "the bytes count under the name of the copy"


def test_a_file_that_replaces_itself_replaces_what_was_sent_under_its_name_before(shop: Any) -> None:
    for rows, total in ((WRONG[:2], "107"), (RIGHT, "10"), (WRONG[:2], "107")):
        shop.bills("bills_1.csv", *rows)
        replaces(shop, "bills_1.csv", len(rows), total, "bills_1.csv")
        assert shop.ingest().held_periods == {}
        assert sum(row[2] for row in in_force(shop)) == Decimal(total)


@pytest.mark.parametrize("said_before", [True, False])
def test_a_replaced_file_lands_anew_no_more_and_need_not_be_there(shop: Any, bills_feed: dict[str, Any], said_before: bool) -> None:
    shop.bills("bills_1.csv", *WRONG)
    shop.bills("bills_1_r1.csv", *RIGHT)
    if said_before:
        replaces(shop, "bills_1_r1.csv", 1, "10", "bills_1.csv")
    shop.ingest()
    (shop.drops / "bills_1.csv").unlink()
    replaces(shop, "bills_1_r1.csv", 1, "10", "bills_1.csv")
    bills_feed["columns"] |= {"product": "kind"}
    shop.map({**bills_feed, "control": CONTROL})
    report = shop.ingest(again=True)
    assert (report.new_files, report.older_mapping) == (1, {})
    assert in_force(shop) == [("d1", "2025-01", 10)]
    assert accounts(shop) == {"bills_1.csv": (3, 0, 1, 2), "bills_1_r1.csv": (1, 1, 0, 0)}


def test_files_that_replace_each_other_are_an_error_of_the_control_files(shop: Any) -> None:
    shop.bills("bills_1.csv", *WRONG)
    shop.bills("bills_2.csv", *RIGHT)
    replaces(shop, "bills_1.csv", 3, "107", "bills_2.csv")
    replaces(shop, "bills_2.csv", 1, "10", "bills_1.csv")
    with pytest.raises(BadInput, match=r"replace each other: bills_1\.csv, bills_2\.csv"):
        shop.ingest()
    assert shop.kinds() == []


@pytest.mark.parametrize("stated", ["when the second one lands", "after both have landed"])
def test_a_name_that_files_of_two_folders_have_replaces_nothing(company: Any, bills_feed: dict[str, Any], stated: str) -> None:
    company.map({**bills_feed, "files": "*/bills.csv", "control": {**CONTROL, "files": "*/control.csv"}})
    is_late = stated == "after both have landed"
    rows = {"2025-01": "a,d1,c1,2025-01,voice,1,CNY", "2025-02": "b,d2,c1,2025-02,voice,2,CNY"}
    company.bills("2025-01/bills.csv", rows["2025-01"])
    company.drop("2025-01/control.csv", f"file,n,total,instead\nbills.csv,1,1,{'' if is_late else 'bills.csv'}\n")
    company.ingest()
    company.bills("2025-02/bills.csv", rows["2025-02"])
    if is_late:
        company.ingest()
    control = company.drop("2025-02/control.csv", "file,n,total,instead\nbills.csv,1,2,bills.csv\n")
    head, before = company.ledger.head(), in_force(company)
    with pytest.raises(BadInput, match=r"2025-01/bills\.csv and 2025-02/bills\.csv are different files") as error:
        company.ingest()
    assert "control.csv" in str(error.value)
    assert (company.ledger.head(), in_force(company)) == (head, before)
    control.unlink()
    if not is_late:
        (company.drops / "2025-02/bills.csv").rename(company.drops / "2025-02/bills_2.csv")
        company.map({**bills_feed, "files": "*/bills*.csv", "control": {**CONTROL, "files": "*/control.csv"}})
    company.ingest()
    assert in_force(company) == [("d1", "2025-01", 1), ("d2", "2025-02", 2)]


@pytest.mark.parametrize("is_archived", [False, True])
def test_where_folders_state_the_month_totals_need_names_of_their_own(company: Any, bills_feed: dict[str, Any], is_archived: bool) -> None:
    """The total of the later month took the place of the earlier one's, and the month that did not agree closed."""
    expected = {"files_per_period": 1, "period_from_name": r"(\d{4})-(\d\d)/bills"}
    company.map({**bills_feed, "files": "*/bills*.csv", "expected": expected, "control": {**CONTROL, "files": "*/control.csv"}})
    company.bills("2025-01/bills.csv", "a,d1,c1,2025-01,voice,1,CNY")
    control = company.drop("2025-01/control.csv", "file,n,total,instead\nbills.csv,2,1,\n")
    held = company.ingest().held_periods
    assert list(held) == ["2025-01"]
    later = company.bills("2025-02/bills.csv", "b,d2,c1,2025-02,voice,2,CNY")
    if is_archived:
        control.unlink()
    else:
        company.drop("2025-02/control.csv", "file,n,total,instead\nbills.csv,1,2,\n")
    with pytest.raises(BadInput, match=r"says what bills\.csv holds, and 2025-01/bills\.csv and 2025-02/bills\.csv are different files"):
        company.ingest()
    later.rename(company.drops / "2025-02/bills_2.csv")
    company.drop("2025-02/control.csv", "file,n,total,instead\nbills_2.csv,3,2,\n")
    found = company.ingest().held_periods
    assert found["2025-01"] == held["2025-01"]
    assert list(found) == ["2025-01", "2025-02"], "the folder states the month"


def test_a_file_that_was_moved_to_another_folder_is_one_file(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map({**bills_feed, "files": "*/bills_*.csv", "control": CONTROL})
    wrong = company.bills("new/bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.ingest()
    (company.drops / "done").mkdir()
    wrong.rename(company.drops / "done/bills_1.csv")
    company.bills("new/bills_2.csv", "b,d1,c1,2025-01,voice,2,CNY")
    replaces(company, "bills_2.csv", 1, "2", "bills_1.csv")
    company.ingest()
    assert in_force(company) == [("d1", "2025-01", 2)]


def test_files_of_a_source_that_lands_nothing_now_that_replace_each_other_are_not_recorded(shop: Any, bills_feed: dict[str, Any]) -> None:
    shop.map({**bills_feed, "files": "other_*.csv"}, source="web")
    shop.bills("bills_1.csv", *RIGHT)
    replaces(shop, "bills_1.csv", 1, "10", "bills_2.csv")
    replaces(shop, "bills_2.csv", 1, "10", "bills_1.csv")
    with pytest.raises(BadInput, match=r"replace each other: bills_1\.csv, bills_2\.csv"):
        ingest(shop.deployment, shop.ledger, sources=["web"], say=print)
    (shop.drops / "control_bills_1.csv").unlink()
    shop.ingest()
    assert in_force(shop) == [("d1", "2025-01", 10)]


def test_of_recorded_totals_that_replace_each_other_the_newest_counts(shop: Any) -> None:
    said = {f"bills_{number}.csv": {"replaces": f"bills_{other}.csv"} for number, other in ((1, 3), (2, 1), (3, 2), (4, 1))}
    assert replacements(said, []) == {"bills_2.csv": "bills_1.csv", "bills_3.csv": "bills_2.csv", "bills_4.csv": "bills_1.csv"}
    shop.ledger.append("control_total", {"source": "s", "entity": "e", "file": "a", "replaces": "b"})
    shop.ledger.append("control_total", {"source": "s", "entity": "e", "file": "b", "replaces": "a"})
    shop.ledger.append("control_total", {"source": "s", "entity": "e", "file": "a", "replaces": "b", "rows_found": 1})
    assert replacements(recorded_totals(shop.ledger)["s", "e"], []) == {"a": "b"}


def test_a_replaced_file_of_which_no_total_says_so_any_more_keeps_its_period_open(keyed: Any, bills_feed: dict[str, Any]) -> None:
    expected = {"files_per_period": 2, "period_from_name": r"bills_(\d{4})-(\d{2})"}
    keyed.map({**bills_feed, "control": CONTROL, "expected": expected})
    first = keyed.bills("bills_2025-01_a.csv", "a,d1,c1,2025-01,voice,1,CNY")
    replaces(keyed, "bills_2025-01_a.csv", 1, "1", "")
    keyed.bills("bills_2025-01_b.csv", "b,d2,c1,2025-01,voice,2,CNY")
    replaces(keyed, "bills_2025-01_b.csv", 1, "2", "bills_2025-01_a.csv")
    keyed.ingest()
    replaces(keyed, "bills_2025-01_b.csv", 1, "2", "")
    problems = keyed.ingest().held_periods["2025-01"]
    assert [text.partition(": ")[2].partition(",")[0] for text in problems] == [
        "1 of 2 promised files for 2025-01 are there",
        "none of the rows of bills_2025-01_a.csv counts",
    ]
    keyed.drop("bills_2025-01_c.csv", first.read_bytes())
    replaces(keyed, "bills_2025-01_c.csv", 1, "1", "")
    assert keyed.ingest().held_periods == {}
    assert in_force(keyed) == [("d1", "2025-01", 1), ("d2", "2025-01", 2)]


KILLED_AT = ("ingest.replaced_written", "ingest.replaced_recorded")


@pytest.mark.parametrize("point", [*KILLED_AT, "ingest.file_recorded"])
def test_killed_before_the_replaced_file_is_taken_back_the_next_ingest_does_it(shop: Any, point: str) -> None:
    shop.bills("bills_1.csv", *WRONG)
    shop.ingest()
    shop.bills("bills_1_r1.csv", *RIGHT)
    replaces(shop, "bills_1_r1.csv", 1, "10", "bills_1.csv")
    assert in_a_process(shop, TIERHOUSE_FAILPOINT=point).returncode == -signal.SIGKILL
    assert new_drops(shop.deployment, shop.ledger)
    shop.ingest()
    assert in_force(shop) == [("d1", "2025-01", 10)]
    assert accounts(shop) == {"bills_1.csv": (3, 0, 1, 2), "bills_1_r1.csv": (1, 1, 0, 0)}


@pytest.mark.parametrize(
    "change", [{"quantity": "1"}, {"net_amount": "'x'"}], ids=["its rows have other keys", "it has no good row any more"]
)
def test_a_file_that_had_landed_anew_is_replaced_with_all_that_it_landed_before(
    shop: Any, bills_feed: dict[str, Any], change: dict[str, str]
) -> None:
    shop.bills("bills_1.csv", WRONG[0])
    shop.ingest()
    shop.map({**bills_feed, "columns": bills_feed["columns"] | change, "control": CONTROL})
    shop.ingest(again=True)
    shop.map({**bills_feed, "control": CONTROL})
    shop.bills("bills_1_r1.csv", *RIGHT)
    replaces(shop, "bills_1_r1.csv", 1, "10", "bills_1.csv")
    shop.ingest()
    assert in_force(shop) == [("d1", "2025-01", 10)]
    assert [line["landed"] for line in balance(shop.ledger)] == [0, 1]
