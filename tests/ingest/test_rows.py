"""Every row of a drop lands or goes to quarantine with all its reasons, its line and its text."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from orchestration.cli.main import main
from orchestration.ingest import balance, load_contracts
from orchestration.ingest.contracts import Contract
from tests.ingest.conftest import BILL_HEADER


def test_good_rows_land_typed_with_their_line_number(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,79.995,CNY", "b,d1,c1,2025-02,voice,1,CNY")
    report = company.ingest()
    assert (report.rows_in, report.landed, report.quarantined) == (2, 2, 0)
    assert company.in_force("bill_lines", "_row, _key, bill_period, net_amount, _source", "_row") == [
        (2, "a", "2025-01", Decimal("79.9950"), "shop"),
        (3, "b", "2025-02", Decimal("1.0000"), "shop"),
    ]


@pytest.mark.parametrize(
    ("row", "reasons"),
    [
        ("a,d1,c1,2025-13,voice,1,CNY", ["bad_period"]),
        ("a,d1,c1,,voice,1,CNY", ["missing_value"]),
        ("a,d1,c1,2025-01,voice,x,CNY", ["bad_decimal"]),
        ("a,d1,c1,2025-01,voice,1.00001,CNY", ["bad_decimal"]),
        ("a,d1,c1,2025-01,voice,,CNY", ["missing_value"]),
        ("a,d1,c1,2025-01,voice,1,USD", ["wrong_currency"]),
        ("a,d1,c1,2025-01,voice,-1,CNY", ["negative_amount"]),
        ("a,d1,,2025-01,voice,1,CNY", ["missing_value"]),
        (",d1,c1,2025-01,voice,1,CNY", ["missing_value"]),
        ("a,d1,c1,2025-01", ["missing_column"]),
        ("a,d1,c1,2025-01,voice,1,CNY,more", ["malformed_row"]),
        ('a,"d"1,c1,2025-01,voice,1,CNY', ["malformed_row"]),
        ("a,,c1,2025-00,voice,-x,EUR", ["missing_value", "bad_decimal", "wrong_currency", "bad_period"]),
    ],
)
def test_a_bad_row_is_quarantined_with_every_reason_and_its_text(
    company: Any, bills_feed: dict[str, Any], row: str, reasons: list[str]
) -> None:
    company.map(bills_feed)
    company.bills("bills_1.csv", "g,d1,c1,2025-01,voice,1,CNY", row, "h,d1,c1,2025-01,voice,1,CNY")
    report = company.ingest()
    assert (report.rows_in, report.landed, report.quarantined) == (3, 2, 1)
    [(line, found, text)] = company.quarantine()
    assert (line, sorted(found), text) == (3, sorted(reasons), row)
    assert company.in_force("bill_lines", "_row, _key", "_row") == [(2, "g"), (4, "h")]


def test_trailing_zeros_are_not_too_many_digits(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1.2500000,CNY")
    assert company.ingest().landed == 1


def test_money_that_came_as_a_binary_float_is_not_rounded(company: Any, bills_feed: dict[str, Any]) -> None:
    doubles = [0.1 + 0.2, 79.995, 9999999999.1234, 1e12, 79.99996, -0.00004, 1234567890123.4567, float("inf"), float("nan")]
    floats = [0.3, 79.995, 100000.15, 16777216, 79.99996, -0.00004]
    bills_feed |= {"format": "parquet", "files": "bills_*.parquet"}
    bills_feed["columns"]["is_adjustment"] = "true"
    company.map(bills_feed)
    for number, amounts in enumerate((pa.array(doubles, pa.float64()), pa.array(floats, pa.float32())), 1):
        ids = [f"{number}{key}" for key in "abcdefghi"[: len(amounts)]]
        same = {"doc": "d1", "cust": "c1", "month": "2025-01", "kind": "voice", "currency": "CNY"}
        table = {"id": ids, "amount": amounts, **{name: [value] * len(ids) for name, value in same.items()}}
        pq.write_table(pa.table(table), company.drops / f"bills_{number}.parquet")
    company.ingest()
    assert {key: str(amount) for key, amount in company.in_force("bill_lines", "_key, net_amount", "_key")} == {
        "1a": "0.3000", "1b": "79.9950", "1c": "9999999999.1234", "1d": "1000000000000.0000",
        "2a": "0.3000", "2b": "79.9950", "2c": "100000.1500", "2d": "16777216.0000",
    }  # fmt: skip
    found = dict(company.quarantine("key, reasons"))
    assert found == {key: ["bad_decimal"] for key in ("1e", "1f", "1g", "1h", "1i", "2e", "2f")}


@pytest.mark.parametrize("expression", ["amount", "cast(amount as decimal(18, 4))", "round(amount, 2)"])
def test_what_is_not_a_number_among_equal_ones_goes_to_quarantine(company: Any, bills_feed: dict[str, Any], expression: str) -> None:
    """The statistics of the file leave it out, so that the column has one value by them: no cast could fail, and an amount of null landed."""
    bills_feed |= {"format": "parquet", "files": "bills_*.parquet"}
    bills_feed["columns"] |= {"net_amount": expression, "quantity": "pieces"}
    company.map(bills_feed)
    same = {"doc": "d1", "cust": "c1", "month": "2025-01", "kind": "voice", "currency": "CNY"}
    nan = float("nan")
    table = {
        "id": ["a", "b", "c"],
        "amount": [1.5, nan, 1.5],
        "pieces": [1.0, 1.0, nan],
        **{name: [value] * 3 for name, value in same.items()},
    }
    pq.write_table(pa.table(table), company.drops / "bills_1.parquet")
    company.ingest()
    assert company.in_force("bill_lines", "_key, net_amount") == [("a", Decimal("1.5"))]
    assert company.quarantine("key, details") == [("b", ["bad_decimal: net_amount"]), ("c", ["bad_decimal: quantity"])]


def test_a_number_of_json_keeps_its_digits(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map({**bills_feed, "format": "jsonl", "files": "bills_*.jsonl"})
    row = '{"id":"%s","doc":"d1","cust":"c1","month":"2025-01","kind":"voice","amount" : %s,"currency":"CNY"}\n'
    amounts = ["1234567890123.4567", '"1234567890123.4567"', "900719925474.1001", "1.5e3", "1234567890123.45678", "79.99996", "3e-5"]
    company.drop("bills_1.jsonl", "".join(row % pair for pair in zip("abcdefg", amounts, strict=True)))
    company.ingest()
    assert [str(amount) for (amount,) in company.in_force("bill_lines", "net_amount", "_key")] == [
        "1234567890123.4567", "1234567890123.4567", "900719925474.1001", "1500.0000",
    ]  # fmt: skip
    assert company.quarantine("key, reasons") == [(key, ["bad_decimal"]) for key in "efg"]


@pytest.mark.parametrize("amount", ["3e-05", "-3e-05", "1.5e-4", "1E-5"])
def test_an_exponent_hides_no_digits(company: Any, bills_feed: dict[str, Any], amount: str) -> None:
    bills_feed["columns"]["is_adjustment"] = "true"
    company.map(bills_feed)
    company.bills("bills_1.csv", f"a,d1,c1,2025-01,voice,{amount},CNY", "b,d1,c1,2025-01,voice,125e-2,CNY")
    company.ingest()
    assert company.in_force("bill_lines", "_key, net_amount") == [("b", Decimal("1.25"))]
    assert company.quarantine("key, reasons") == [("a", ["bad_decimal"])]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_whole_number_is_not_rounded_either(company: Any, form: str) -> None:
    columns = {"customer_id": "cust", "period": "'2025-01'", "points_type": "'base'", "points": "points"}
    company.map({"entity": "points", "files": "points_*", "format": form, "columns": columns})
    if form == "csv":
        company.drop("points_1.csv", "cust,points\nc1,10.0\nc2,10.5\n")
    else:
        pq.write_table(pa.table({"cust": ["c1", "c2"], "points": [10.0, 10.5]}), company.drops / "points_1.parquet")
    company.ingest()
    assert company.in_force("points", "customer_id, points") == [("c1", 10)]
    assert company.quarantine("reasons") == [(["bad_integer"],)]


def test_a_credit_note_and_an_adjustment_may_be_negative(company: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed["columns"] |= {"is_credit_note": "kind = 'credit'", "is_adjustment": "kind = 'adjust'"}
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,credit,-1,CNY", "b,d1,c1,2025-01,adjust,-1,CNY", "c,d1,c1,2025-01,voice,-1,CNY")
    company.ingest()
    assert [row[0] for row in company.quarantine("key")] == ["c"]


def test_the_first_row_of_a_key_is_kept_and_the_later_ones_quarantined(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    company.bills("bills_1.csv", *[f"{key},d1,c1,2025-01,voice,{n},CNY" for n, key in enumerate("abacab")])
    company.ingest()
    assert company.in_force("bill_lines", "_key, net_amount", "_row") == [("a", 0), ("b", 1), ("c", 3)]
    assert company.quarantine("line, reasons") == [(4, ["duplicate_key"]), (6, ["duplicate_key"]), (7, ["duplicate_key"])]


@pytest.mark.parametrize("order", ["ascending", "scattered"])
@pytest.mark.parametrize("place", [None, 3, 11_000, 12_000])
def test_a_repeated_key_is_found_wherever_it_stands(company: Any, bills_feed: dict[str, Any], order: str, place: int | None) -> None:
    company.map(bills_feed)
    numbers = [n if order == "ascending" else n * 7919 % 12_007 for n in range(1, 12_001)]
    rows = [f"k{n:05},d1,c1,2025-01,voice,1,CNY" for n in numbers]
    if place is not None:
        rows.insert(place, rows[2])
    company.bills("bills_1.csv", *rows)
    report = company.ingest()
    assert (report.landed, report.reasons) == (12_000, {} if place is None else {"duplicate_key": 1})
    assert company.quarantine("line") == ([] if place is None else [(place + 2,)])


def test_an_unknown_customer_is_quarantined_and_one_of_the_same_ingest_is_known(
    company: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any]
) -> None:
    company.config["customers_from"] = "customers"
    company.map(bills_feed, customers_feed)
    company.drop("customers_1.csv", "id,since,name,brand\nc1,2025-01-01,Ann,gotone\n")
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY", "b,d1,c9,2025-01,voice,1,CNY")
    company.ingest()
    assert company.quarantine("key, reasons, details") == [("b", ["unknown_reference"], ["unknown_reference: customer_id"])]


def test_lines_without_a_customer_land_only_where_the_mapping_says_so(company: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed["unattributed"] = "cust = 'GUEST' or cust is null"
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,GUEST,2025-01,voice,1,CNY", "b,d1,,2025-01,voice,2,CNY", "c,d1,c1,2025-01,voice,4,CNY")
    company.ingest()
    assert company.in_force("bill_lines", "_key, customer_id", "_row") == [("a", None), ("b", None), ("c", "c1")]
    [account] = balance(company.ledger)
    assert (account["unattributed"], account["amount_landed"]) == (2, "7.0000")


def test_rows_of_another_entity_are_counted_and_neither_landed_nor_bad(company: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed["where"] = "kind <> 'header'"
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY", ",,,,header,,")
    report = company.ingest()
    assert (report.rows_in, report.landed, report.quarantined, report.files[0].not_for_entity) == (2, 1, 0, 1)
    table = CliRunner().invoke(main, ["balance", "-d", str(company.folder)], env={"COLUMNS": "200"}).output
    [titles] = [line for line in table.splitlines() if "rows in" in line]
    [total] = [line for line in table.splitlines() if "1 file " in line]
    shown = dict(zip((t.strip() for t in titles.split("┃")), (n.strip() for n in total.split("│")), strict=True))
    assert [shown[name] for name in ("rows in", "landed", "quarantined", "superseded", "of others")] == ["2", "1", "0", "0", "1"]


def test_a_row_that_cannot_be_split_is_left_to_others_only_where_it_says_that_it_is_theirs(
    company: Any, bills_feed: dict[str, Any]
) -> None:
    bills_feed["where"] = "kind <> 'call'"
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY", "b,d1", "c,d1,c1,2025-01,call,1", "e,d1,c1,2025-01,voice,1,CNY,x", "f,d1")
    report = company.ingest()
    assert (report.rows_in, report.landed, report.quarantined, report.files[0].not_for_entity) == (5, 1, 3, 1)
    assert company.quarantine("line, reasons") == [(3, ["missing_column"]), (5, ["malformed_row"]), (6, ["missing_column"])]
    company.map({**bills_feed, "format": "jsonl", "files": "bills_*.jsonl"}, source="other")
    row = '{"id":"%s","doc":"d1","cust":"c1","month":"2025-01","kind":"%s","amount":1,"currency":"CNY"}'
    company.drop("bills_1.jsonl", "\n".join([row % ("a", "voice"), "{no json", row % ("b", "call"), '{"id":"cut']))
    report = company.ingest()
    assert (report.rows_in, report.landed, report.quarantined, report.files[0].not_for_entity) == (4, 1, 2, 1)


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_a_row_is_not_left_to_others_by_a_broken_cell(company: Any, bills_feed: dict[str, Any], encoding: str) -> None:
    company.map({**bills_feed, "encoding": encoding, "where": "kind = 'voice'"})
    rows = [
        b"a,d1,c1,2025-01,voice,1,CNY",
        b"b,d1,c1,2025-01,v\xff\xffce,1,CNY",
        b"c,d\xff,c1,2025-01,call,1,CNY",
        b"e,d\xff,c1,2025-01,voice,1,CNY",
    ]
    company.drop("bills_1.csv", b"\n".join([BILL_HEADER.encode(), *rows]) + b"\n")
    report = company.ingest()
    assert (report.landed, report.files[0].not_for_entity) == (1, 1)
    assert company.quarantine("line, reasons") == [(3, ["broken_encoding"]), (5, ["broken_encoding"])]


def test_a_file_without_the_column_that_says_whose_its_rows_are_goes_to_quarantine(company: Any, bills_feed: dict[str, Any]) -> None:
    """Where the mapping asks `where` or `unattributed` of it; its rows were left out, or counted for the customer that they name."""
    for number, key in enumerate(("where", "unattributed")):
        company.map({**bills_feed, key: "what = 'bill'", "files": f"bills_{number}*.csv"}, source=f"shop{number}")
        company.drop(f"bills_{number}1.csv", "id,doc,cust,month,kind,amount,currency,what\na,d1,c1,2025-01,voice,1,CNY,bill\n")
        company.bills(f"bills_{number}2.csv", f"b{number},d1,c1,2025-01,voice,1,CNY")
    report = company.ingest()
    assert (report.landed, report.quarantined, sum(file.not_for_entity for file in report.files)) == (2, 2, 0)
    assert company.quarantine("key, reasons") == [("b0", ["missing_column"]), ("b1", ["missing_column"])]


def test_a_key_of_json_lines_that_a_file_leaves_out_is_null_where_a_mapping_asks_what_a_row_is(
    company: Any, bills_feed: dict[str, Any]
) -> None:
    company.map({**bills_feed, "format": "jsonl", "files": "bills_*.jsonl", "where": "coalesce(deleted, 'no') <> 'yes'"})
    row = '{"id":"%s","doc":"d1","cust":"c1","month":"2025-01","kind":"voice","amount":1,"currency":"CNY"%s}\n'
    company.drop("bills_1.jsonl", row % ("a", ',"deleted":"yes"') + row % ("b", ""))
    company.drop("bills_2.jsonl", row % ("c", ""))
    report = company.ingest()
    assert [(file.landed, file.not_for_entity) for file in report.files] == [(1, 1), (1, 0)]


def test_line_numbers_are_those_of_an_editor_through_blank_lines_and_quoted_line_ends(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    rows = [
        "id,doc,cust,month,kind,amount,currency",
        "a,d1,c1,2025-01,voice,1,CNY",
        "",
        'b,"d',
        '1",c1,2025-01,voice,1,CNY',
        "short,d1",
        "c,d1,c1,2025-01,voice,1,CNY",
        "",
        "",
        "long,d1,c1,2025-01,voice,1,CNY,x",
        'bad,"d',
        "",
        '2",c1,2025-01,voice,x,CNY',
        "d,d1,c1,2025-01,voice,1,CNY",
    ]
    company.drop("bills_1.csv", ("\n".join(rows) + "\n").encode())
    company.ingest()
    assert company.in_force("bill_lines", "_key, _row", "_row") == [("a", 2), ("b", 4), ("c", 7), ("d", 14)]
    assert company.quarantine("line, reasons, text") == [
        (6, ["missing_column"], "short,d1"),
        (10, ["malformed_row"], rows[9]),
        (11, ["bad_decimal"], "\n".join(rows[10:13])),
    ]


def test_lines_are_counted_through_lines_of_spaces_and_a_header_of_several_lines(company: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed["columns"] |= {"net_amount": '"Amount\n(CNY)"', "product": "article"}
    company.map({**bills_feed, "optional_columns": ["article"]})
    rows = ['id,doc,cust,month,kind,"Amount', '(CNY)",currency', "a,d1,c1,2025-01,voice,1,CNY", "   ", 'b,"d', '1",c1,2025-01,voice,1,CNY']
    rows += ["\u3000", "c,d1,c1,2025-01,voice,x,CNY", "d,d1,c1,2025-01,voice,1,CNY"]
    company.drop("bills_1.csv", ("\n".join(rows) + "\n").encode())
    report = company.ingest()
    assert (report.rows_in, company.in_force("bill_lines", "_key, _row", "_row")) == (4, [("a", 3), ("b", 5), ("d", 9)])
    assert company.quarantine() == [(8, ["bad_decimal"], rows[7])]


def test_a_broken_byte_is_told_as_one_where_an_optional_column_is_absent(company: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed["columns"]["product"] = "article"
    company.map({**bills_feed, "optional_columns": ["article"]})
    company.drop("bills_1.csv", f"{BILL_HEADER}\na,d?,c1,2025-01,voice,1,CNY\n".encode().replace(b"?", b"\xff"))
    company.ingest()
    assert company.quarantine("line, reasons") == [(2, ["broken_encoding"])]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_kind_of_line_end_is_read(company: Any, bills_feed: dict[str, Any], end: bytes) -> None:
    company.map(bills_feed)
    company.drop(
        "bills_1.csv",
        end.join([b"id,doc,cust,month,kind,amount,currency", b"a,d1,c1,2025-01,voice,1,CNY", b"b,d1", b"c,d1,c1,2025-01,voice,1,CNY"]),
    )
    company.ingest()
    assert company.in_force("bill_lines", "_key, _row", "_row") == [("a", 2), ("c", 4)]
    assert company.quarantine() == [(3, ["missing_column"], "b,d1")]


def test_mixed_line_ends_are_read(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    company.drop("bills_1.csv", b"id,doc,cust,month,kind,amount,currency\na,d1,c1,2025-01,voice,1,CNY\r\nb,d1,c1,2025-01,voice,1,CNY\n")
    assert company.ingest().landed == 2


def test_a_last_line_cut_off_is_truncated_and_one_without_line_end_is_not(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    head = b"id,doc,cust,month,kind,amount,currency\na,d1,c1,2025-01,voice,1,CNY\n"
    company.drop("bills_1.csv", head + b"b,d1,c1,20")
    company.drop("bills_2.csv", head.replace(b"a,", b"x,") + b"y,d1,c1,2025-01,voice,1,CNY")
    company.ingest()
    assert company.quarantine() == [(3, ["truncated_row"], "b,d1,c1,20")]
    assert [row[0] for row in company.in_force("bill_lines", "_key", "_key")] == ["a", "x", "y"]


def test_a_quote_that_is_never_closed_costs_no_row(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    company.bills(
        "bills_1.csv",
        "a,d1,c1,2025-01,voice,1,CNY",
        'b,"d1,c1,2025-01,voice,1,CNY',
        "c,d1,c1,2025-01,voice,1,CNY",
        "d,d1,c1,2025-01,voice,1,CNY",
    )
    report = company.ingest()
    assert (report.rows_in, report.landed + report.quarantined) == (4, 4)
    assert [row[0] for row in company.quarantine("line")] == [3, 4, 5]


@pytest.mark.parametrize("ending", ["", ".gz", ".GZ"])
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_broken_bytes_are_caught_in_either_encoding(company: Any, bills_feed: dict[str, Any], encoding: str, ending: str) -> None:
    bills_feed["encoding"] = encoding
    bills_feed["files"] = "bills_*"
    company.map(bills_feed)
    rows = [
        "id,doc,cust,month,kind,amount,currency",
        "a,账单,c1,2025-01,语音,1,CNY",
        "b,?,c1,2025-01,voice,1,CNY",
        "c,账单,c1,2025-01,语音,1,CNY",
    ]
    data = "\n".join(rows).encode(encoding).replace(b"?", b"\xff") + b"\n"
    company.drop("bills_1.csv" + ending, data)
    company.ingest()
    assert company.in_force("bill_lines", "document_id, charge_type, _row", "_row") == [("账单", "语音", 2), ("账单", "语音", 4)]
    assert company.quarantine() == [(3, ["broken_encoding"], "b,\ufffd,c1,2025-01,voice,1,CNY")]


@pytest.mark.parametrize(
    ("encoding", "mark"), [("utf-8", b"\xef\xbb\xbf"), ("gb18030", b"\xef\xbb\xbf"), ("gb18030", "\ufeff".encode("gb18030"))]
)
def test_a_byte_order_mark_is_no_part_of_the_first_column(company: Any, bills_feed: dict[str, Any], encoding: str, mark: bytes) -> None:
    company.map({**bills_feed, "encoding": encoding})
    company.drop("bills_1.csv", mark + b"id,doc,cust,month,kind,amount,currency\na,d1,c1,2025-01,voice,1,CNY\n")
    assert company.ingest().landed == 1


def test_json_lines_with_keys_left_out_and_lines_that_are_none(company: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed |= {"format": "jsonl", "files": "bills_*.jsonl*"}
    bills_feed["columns"]["product"] = "product"
    company.map(bills_feed)
    row = '{"id":"%s","doc":"d1","cust":"c1","month":"2025-01","kind":"语音","amount":%s,"currency":"CNY"}'
    lines = [row % ("a", "1.5"), "", row % ("b", '"x"'), "{no json", "[1]", row % ("c", "2"), '{"id":"cut']
    company.drop("bills_1.jsonl.gz", "\n".join(lines))
    company.ingest()
    assert company.in_force("bill_lines", "_key, _row, product, net_amount", "_row") == [("a", 1, None, Decimal("1.5")), ("c", 6, None, 2)]
    assert company.quarantine() == [
        (3, ["bad_decimal"], lines[2]),
        (4, ["malformed_row"], lines[3]),
        (5, ["malformed_row"], lines[4]),
        (7, ["truncated_row"], lines[6]),
    ]


def test_of_keys_of_json_lines_that_differ_in_case_the_one_that_is_named_counts(company: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed |= {"format": "jsonl", "files": "bills_*.jsonl"}
    company.map(bills_feed)
    row = '{"ID":"%s","id":"%s","doc":"d1","cust":"c1","month":"2025-01","kind":"voice","%s":1,"currency":"CNY"}\n'
    company.drop("bills_1.jsonl", row % ("x", "a", "amount") + row % ("x", "b", "Amount"))
    assert company.ingest().landed == 2
    assert company.in_force("bill_lines", "_key, net_amount", "1") == [("a", 1), ("b", 1)]


def test_parquet_keeps_row_numbers_and_tells_bad_rows_as_json(company: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed |= {"format": "parquet", "files": "bills_*.parquet"}
    company.map(bills_feed)
    table = pa.table(
        {
            "id": ["a", "b", "c"],
            "doc": ["d1"] * 3,
            "cust": ["c1"] * 3,
            "month": ["2025-01", "2025-99", "2025-01"],
            "kind": ["voice"] * 3,
            "amount": pa.array([Decimal("1.25"), Decimal("2.00"), Decimal("3.00")], pa.decimal128(10, 2)),
            "currency": ["CNY"] * 3,
        }
    )
    pq.write_table(table, company.drops / "bills_1.parquet")
    company.ingest()
    assert company.in_force("bill_lines", "_key, _row", "_row") == [("a", 1), ("c", 3)]
    [(line, reasons, text)] = company.quarantine()
    assert (line, reasons) == (2, ["bad_period"]) and '"month":"2025-99"' in text and "file_row_number" not in text


def test_timestamps_are_utc_and_periods_local_months(company: Any, bills_feed: dict[str, Any]) -> None:
    del bills_feed["columns"]["bill_period"]
    bills_feed["columns"]["billed_at"] = "month"
    bills_feed["timezone"] = "Asia/Shanghai"
    company.map(bills_feed)
    company.bills(
        "bills_1.csv",
        "a,d1,c1,2025-02-01 00:30:00,voice,1,CNY",
        "b,d1,c1,2025-01-31T16:30:00Z,voice,1,CNY",
        "c,d1,c1,2025-01-31 15:30:00+00:00,voice,1,CNY",
        "d,d1,c1,yesterday,voice,1,CNY",
    )
    company.ingest()
    assert company.in_force("bill_lines", "_key, strftime(billed_at, '%d %H:%M'), bill_period", "_key") == [
        ("a", "31 16:30", "2025-02"),
        ("b", "31 16:30", "2025-02"),
        ("c", "31 15:30", "2025-01"),
    ]
    assert company.quarantine("key, reasons") == [("d", ["bad_timestamp"])]


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/New_York", "UTC"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_zone_that_stands_in_a_timestamp_is_applied(company: Any, bills_feed: dict[str, Any], form: str, zone: str) -> None:
    stated = {
        "a": "2026-01-31 20:00:00+08:00",
        "b": "2026-01-31 20:00+0800",
        "c": "2026-01-31T20:00:00.000+08",
        "d": "2026-01-31 07:00:00-05:00",
        "e": "2026-01-31 07:00:00.5-0500 ",
        "f": "2026-01-31 07:00:00 America/New_York",
        "g": "2026-01-31T12:00:00Z",
        "h": "2026-01-31 20:00:00 +0800",
    }
    del bills_feed["columns"]["bill_period"]
    bills_feed["columns"]["billed_at"] = "month"
    company.map({**bills_feed, "timezone": zone, "format": form, "files": f"bills_*.{form}"})
    if form == "csv":
        company.bills("bills_1.csv", *[f"{key},d1,c1,{text},voice,1,CNY" for key, text in stated.items()])
    else:
        rows = [
            {"id": key, "doc": "d1", "cust": "c1", "month": text, "kind": "voice", "amount": 1, "currency": "CNY"}
            for key, text in stated.items()
        ]
        company.drop("bills_1.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    company.ingest()
    assert company.in_force("bill_lines", "_key, strftime(billed_at, '%d %H:%M'), bill_period", "_key") == [
        (key, "31 12:00", "2026-01") for key in "abcdefg"
    ]
    assert company.quarantine("key, reasons") == [("h", ["bad_timestamp"])], "an offset after a blank cannot be applied"


def test_a_cast_in_the_mapping_takes_the_zone_of_the_feed_where_the_text_states_none(company: Any, bills_feed: dict[str, Any]) -> None:
    del bills_feed["columns"]["bill_period"]
    bills_feed["columns"]["billed_at"] = "cast(month as timestamptz)"
    company.map({**bills_feed, "timezone": "America/New_York"})
    company.bills("bills_1.csv", "a,d1,c1,2026-01-31 07:00:00,voice,1,CNY", "b,d1,c1,2026-01-31 20:00:00+08:00,voice,1,CNY")
    company.ingest()
    assert company.in_force("bill_lines", "strftime(billed_at, '%d %H:%M'), bill_period") == [("31 12:00", "2026-01")] * 2


@pytest.mark.parametrize("text", ["infinity", "-infinity", "0001-01-01", "1899-12-31 23:00:00", "2200-01-01", "9999-12-31"])
def test_a_time_in_which_there_are_no_periods_gives_none(company: Any, bills_feed: dict[str, Any], text: str) -> None:
    del bills_feed["columns"]["bill_period"]
    bills_feed["columns"]["billed_at"] = "month"
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01-31,voice,1,CNY", f"b,d1,c1,{text},voice,1,CNY")
    report = company.ingest()
    assert company.quarantine("key, details") == [("b", ["bad_timestamp: billed_at"])]
    assert {period for drop in company.standing() for period in drop["periods"]} == {"2025-01"} and not report.held_periods


def test_a_period_beside_it_makes_an_odd_timestamp_harmless(company: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed["columns"]["billed_at"] = "kind"
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,9999-12-31 23:59:59,1,CNY", "b,d1,c1,2025-01,infinity,1,CNY")
    company.ingest()
    assert company.in_force("bill_lines", "_key, bill_period") == [("a", "2025-01")]
    assert company.quarantine("key, details") == [("b", ["bad_timestamp: billed_at"])]


def test_a_date_without_end_is_bad_and_an_open_end_is_none(company: Any, customers_feed: dict[str, Any]) -> None:
    company.map(customers_feed)
    company.drop("customers_1.csv", "id,since,name,brand\nc1,0001-01-01,Ann,\nc2,infinity,Bob,\nc3,9999-12-31,Cy,\nc4,10000-01-01,Di,\n")
    company.ingest()
    assert [row[0] for row in company.in_force("customers", "customer_id", "1")] == ["c1", "c3"]
    assert company.quarantine("line, reasons") == [(3, ["bad_date"]), (5, ["bad_date"])]


def test_the_day_of_a_moment_is_that_of_the_zone_of_its_feed(company: Any, customers_feed: dict[str, Any]) -> None:
    """Midnight in Shanghai, as programs write it, is the day before in UTC."""
    company.map({**customers_feed, "timezone": "Asia/Shanghai"})
    texts = ["2025-01-31T16:00:00Z", "2025-01-31T15:59:59.999+00:00", "2025-01-31 16:00:00", "2025-02-01 00:00:00+08", "2025-01-31"]
    company.drop("customers_1.csv", "id,since,name,brand\n" + "".join(f"c{number},{text},Ann,\n" for number, text in enumerate(texts)))
    company.ingest()
    days = [str(day) for _, day in company.in_force("customers", "customer_id, valid_from_date", "1")]
    assert days == ["2025-02-01", "2025-01-31", "2025-01-31", "2025-02-01", "2025-01-31"]


def test_what_is_no_zone_for_certain_leaves_the_day_that_stands_in_a_text(company: Any, customers_feed: dict[str, Any]) -> None:
    """CST is China's time and Chicago's; behind a space stands AM as well as an offset."""
    company.map({**customers_feed, "timezone": "Asia/Shanghai"})
    days = {
        "2025-01-31 09:30:00 AM": "2025-01-31",
        "2025-01-31 10:00:00 CST": "2025-01-31",
        "2025-01-31 00:00:00 -08": "2025-01-31",
        "2025-01-31 20:00:00 -05:00": "2025-02-01",
        "2025-01-31 16:00:00 Z": "2025-02-01",
        "2025-01-31 16:00:00 UTC": "2025-02-01",
        "2025-01-31 20:00:00 America/New_York": "2025-02-01",
        "2025-01-31 20:00:00 Nowhere/Else": "2025-01-31",
    }
    company.drop("customers_1.csv", "id,since,name,brand\n" + "".join(f"{text},{text},Ann,\n" for text in days))
    company.ingest()
    found = {text: str(day) for text, day in company.in_force("customers", "customer_id, valid_from_date")}
    assert found == days


def test_a_year_of_two_digits_is_none(company: Any, customers_feed: dict[str, Any]) -> None:
    customers_feed["columns"] |= {"joined_date": "brand", "brand": "null"}
    company.map(customers_feed)
    company.drop("customers_1.csv", "id,since,name,brand\nc1,31-01-25,Ann,\nc2,0001-01-01,Bob,25/01/31\nc3,0001-01-01,Cy,0099-01-01\n")
    visits = {"entity": "payments", "files": "paid_*.csv", "format": "csv"}
    columns = {"payment_id": "id", "customer_id": "cust", "paid_at": "paid", "amount": "1", "currency": "'CNY'"}
    company.map({**visits, "columns": columns}, source="till")
    company.drop("paid_1.csv", "id,cust,paid\np1,c1,25-01-31 10:00:00\np2,c1,2025-01-31 10:00:00\n")
    company.ingest()
    assert [row[0] for row in company.in_force("customers", "customer_id", "1")] == ["c3"]
    assert company.in_force("payments", "payment_id") == [("p2",)]
    assert sorted(company.quarantine("details")) == [
        (["bad_date: joined_date"],),
        (["bad_date: valid_from_date"],),
        (["bad_timestamp: paid_at"],),
    ]


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Shanghai"])
@pytest.mark.parametrize("expression", ["moment", "cast(moment as timestamptz)"])
def test_the_last_nanosecond_of_a_month_is_in_it(company: Any, bills_feed: dict[str, Any], zone: str | None, expression: str) -> None:
    del bills_feed["columns"]["bill_period"]
    bills_feed["columns"]["billed_at"] = expression
    company.map({**bills_feed, "format": "parquet", "files": "bills_*.parquet"})
    midnight = 1735660800 * 10**9
    moments = pa.array([midnight - 1, midnight, 2**63 - 1, None], pa.int64()).cast(pa.timestamp("ns", zone))
    same = {name: [value] * 4 for name, value in {"doc": "d1", "cust": "c1", "kind": "voice", "amount": "1", "currency": "CNY"}.items()}
    pq.write_table(pa.table({"id": ["a", "b", "c", "d"], "moment": moments, **same}), company.drops / "bills_1.parquet")
    company.ingest()
    assert company.in_force("bill_lines", "_key, strftime(billed_at, '%d %H:%M'), bill_period") == [
        ("a", "31 15:59", "2024-12"),
        ("b", "31 16:00", "2025-01"),
    ]
    assert company.quarantine("key, reasons[1]") == [("c", "bad_timestamp"), ("d", "missing_value")]


def test_summer_time_is_taken_from_the_zone(company: Any, bills_feed: dict[str, Any]) -> None:
    company.config["timezone"] = "America/New_York"
    del bills_feed["columns"]["bill_period"]
    bills_feed["columns"]["billed_at"] = "month"
    company.map(bills_feed)
    company.bills(
        "bills_1.csv",
        "a,d1,c1,2025-07-01 03:59:00,voice,1,CNY",
        "b,d1,c1,2025-07-01 04:00:00,voice,1,CNY",
        "c,d1,c1,2025-12-01 04:59:00,voice,1,CNY",
    )
    company.ingest()
    assert company.in_force("bill_lines", "_key, bill_period", "_key") == [("a", "2025-06"), ("b", "2025-07"), ("c", "2025-11")]


def test_a_credit_note_counts_in_the_period_of_its_bill(company: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed["columns"] |= {"is_credit_note": "kind = 'credit'", "refers_to_document_id": "ref", "refers_to_period": "refm"}
    company.map(bills_feed)
    head = "id,doc,cust,month,kind,amount,currency,ref,refm\n"
    company.drop("bills_1.csv", head + "a,d1,c1,2025-01,voice,9,CNY,,\n")
    company.drop(
        "bills_2.csv",
        head
        + "b,d2,c1,2025-03,credit,-1,CNY,d1,\nc,d3,c1,2025-03,credit,-1,CNY,d1,2024-12\nd,d4,c1,2025-03,credit,-1,CNY,nowhere,\n"
        + "e,d5,c1,2025-02,voice,3,CNY,,\nf,d6,c1,2025-03,credit,-1,CNY,d5,\n",
    )
    company.ingest()
    assert dict(company.in_force("bill_lines", "_key, bill_period", "_key")) == {
        "a": "2025-01",
        "b": "2025-01",
        "c": "2024-12",
        "d": "2025-03",
        "e": "2025-02",
        "f": "2025-02",
    }
    assert {part.parent.name for part in (company.deployment.landing / "bill_lines").rglob("part.parquet")} == {
        "period=2024-12", "period=2025-01", "period=2025-02", "period=2025-03",
    }  # fmt: skip


def test_personal_columns_go_to_the_vault_and_nowhere_else(company: Any, customers_feed: dict[str, Any]) -> None:
    company.map(customers_feed)
    company.drop("customers_1.csv", "id,since,name,brand\nc1,2025-01-01,Ann Old,gotone\nc1,2025-03-01,Ann New,gotone\nc2,2025-01-01,Bob,\n")
    company.drop("customers_2.csv", "id,since,name,brand\nc1,2025-02-01,Ann Late,gotone\nc2,2025-04-01,Robert,\n")
    company.ingest()
    assert company.deployment.vault.stat().st_mode & 0o077 == 0, "nobody else may read it"
    with duckdb.connect() as con:
        con.execute(f"attach '{company.deployment.vault}' as vault (read_only)").fetchall()
        assert con.execute("select customer_id, name from vault.customers order by 1").fetchall() == [("c1", "Ann New"), ("c2", "Robert")]
    assert company.in_force("customers", "count(*)", "1") == [(5,)]
    for path in company.deployment.data.rglob("*"):
        if path.is_file() and path != company.deployment.vault:
            assert b"Ann" not in path.read_bytes(), path


def test_a_source_leaves_the_personal_columns_that_it_does_not_deliver(company: Any, customers_feed: dict[str, Any]) -> None:
    company.map(customers_feed)
    columns = {"customer_id": "id", "valid_from_date": "since"}
    company.map({**customers_feed, "files": "brands_*.csv", "columns": {**columns, "brand": "brand"}}, source="billing")
    company.map({**customers_feed, "files": "phones_*.csv", "columns": {**columns, "phone": "phone"}}, source="shop_app")
    company.drop("brands_1.csv", "id,since,brand\nc1,2025-02-01,gotone\nc2,2025-02-01,gotone\n")
    company.ingest()
    assert company.vault("customers", "customer_id") == []
    company.drop("customers_1.csv", "id,since,name,brand\nc1,2025-01-01,Ann,gotone\n")
    company.drop("phones_1.csv", "id,since,phone\nc1,2025-02-01,1380000\n")
    company.drop("brands_2.csv", "id,since,brand\nc1,2025-03-01,gotone\n")
    company.ingest()
    assert company.vault("customers", "customer_id, name, phone") == [("c1", "Ann", "1380000")]
    company.drop("customers_2.csv", "id,since,name,brand\nc1,2025-03-01,,gotone\n")
    company.ingest()
    assert company.vault("customers", "customer_id, name, phone") == [("c1", None, "1380000")], "what is delivered may be emptied"


NOMINATIONS: dict[str, Any] = {
    "entity": "nominations",
    "files": "nominations_*.csv",
    "format": "csv",
    "columns": {
        "nomination_id": "id", "program_id": "'six_star'", "subject_id": "cust", "kind": "'set'", "level_id": "'star_5'", "reason": "'trial'",
        "requester_id": "'A'", "start_date": "from_day", "end_date": "to_day",
    },
}  # fmt: skip


def test_a_row_that_ends_before_it_starts_is_quarantined_and_one_of_a_single_day_lands(company: Any) -> None:
    company.map(NOMINATIONS)
    rows = ["N1,c1,2026-06-02,2026-06-01", "N2,c1,2026-06-01,2026-06-01", "N3,c1,,2026-06-01", "N4,c1,2026-06-01,"]
    company.drop("nominations_1.csv", "\n".join(["id,cust,from_day,to_day", *rows]) + "\n")
    company.ingest()
    assert company.in_force("nominations", "nomination_id") == [("N2",)]
    assert company.quarantine("line, details") == [
        (2, ["end_before_start: end_date"]),
        (4, ["missing_value: start_date"]),
        (5, ["missing_value: end_date"]),
    ]


def test_every_entity_with_a_start_and_an_end_refuses_an_end_before_its_start() -> None:
    lasting = {name: contract.columns["end_date"] for name, contract in load_contracts().items() if "end_date" in contract.columns}
    assert {"nominations", "lines", "group_members", "suspensions"} <= set(lasting)
    assert {column.not_before for column in lasting.values()} == {"start_date"}


def test_a_contract_that_compares_with_a_column_it_has_not_is_refused() -> None:
    contract = load_contracts()["nominations"].model_dump()
    contract["columns"]["end_date"]["not_before"] = "reason"
    with pytest.raises(ValidationError, match="end_date cannot be compared with 'reason'"):
        Contract.model_validate(contract)


def test_a_pseudonym_is_the_same_in_every_drop_and_hides_the_number(company: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed["columns"]["customer_id"] = "pseudonym(cust)"
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,13800000001,2025-01,voice,1,CNY")
    company.ingest()
    company.bills("bills_2.csv", "b,d1,13800000001,2025-01,voice,1,CNY")
    company.ingest()
    [(first,), (second,)] = company.in_force("bill_lines", "customer_id", "_key")
    assert first == second and len(first) == 24 and "1380000" not in first


def test_of_an_empty_number_there_is_no_pseudonym(company: Any, bills_feed: dict[str, Any]) -> None:
    """In JSON lines and Parquet a text may be empty: all bills without a number were of one."""
    bills_feed["columns"] |= {"line_id": "pseudonym(num)"}
    company.map({**bills_feed, "format": "jsonl", "files": "bills_*.jsonl"})
    row = '{"id":"%s","doc":"d1","cust":"c1","month":"2025-01","kind":"voice","amount":1,"currency":"CNY","num":"%s"}\n'
    company.drop("bills_1.jsonl", row % ("a", "") + row % ("b", " ") + row % ("c", "139"))
    company.ingest()
    assert company.in_force("bill_lines", "_key, line_id is null", "_key") == [("a", True), ("b", True), ("c", False)]


def test_a_rejected_text_cannot_speak_to_the_terminal(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    company.bills("bills_1.csv", 'a,d1,c1,2025-01,"\x1b[2Jvoice\nnext",x,CNY', "b,d2,c1,2025-01,语音,y,CNY")
    company.ingest()
    asked = ["quarantine", "-d", str(company.folder)]
    shown = CliRunner().invoke(main, asked).output.splitlines()
    assert len(shown) == 3 and r"\x1b[2Jvoice\nnext" in shown[1] and "语音" in shown[2]
    [listing] = json.loads(CliRunner().invoke(main, [*asked, "--json"]).output)
    assert "\x1b[2Jvoice\nnext" in listing["rows"][0]["text"]


def test_a_problem_of_no_period_is_told_as_one_of_every_period(company: Any, customers_feed: dict[str, Any]) -> None:
    company.map(customers_feed)
    company.drop("customers_1.csv", "id,since,name,brand\nc1,2025-13-01,A,\nc2,never,B,\n")
    assert list(company.ingest().held_periods) == ["*"]
    said = CliRunner().invoke(main, ["status", "-d", str(company.folder)]).output
    assert "no period is closed: shop__customers: 100.0 % of the rows are bad" in said
