"""Files as they should not be: refused whole with a reason, or row by row in quarantine; never a crash, and never again new."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.errors import BadInput
from orchestration.ingest import balance, new_drops
from orchestration.ingest import reading as reading_module
from tests.ingest.conftest import BILL_HEADER

GOOD = "a,d1,c1,2025-01,voice,1,CNY"
TEXT = f"{BILL_HEADER}\n{GOOD}\n".encode()
ROW = dict(zip(BILL_HEADER.split(","), GOOD.split(","), strict=True))


def parquet(path: Path, damage: Callable[[bytes], bytes] = lambda data: data) -> None:
    pq.write_table(pa.table({name: [value] * 2000 for name, value in ROW.items()}), path)
    path.write_bytes(damage(path.read_bytes()))


REFUSED: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "empty": ("b.csv", lambda path: path.touch(), "empty"),
    "folder": ("b.csv", lambda path: path.mkdir(), "folder"),
    "link to itself": ("b.csv", lambda path: path.symlink_to(path), "link"),
    "link to nothing": ("b.csv", lambda path: path.symlink_to(path.with_name("nowhere")), "link"),
    "pipe": ("b.csv", lambda path: os.mkfifo(path), "pipe"),
    "blank lines": ("b.csv", lambda path: path.write_bytes(b"\n \n\n"), "no column names"),
    "UTF-16": ("b.csv", lambda path: path.write_bytes(TEXT.decode().encode("utf-16")), "iconv -f UTF-16 -t UTF-8"),
    "UTF-16 with the other end first": ("b.csv", lambda path: path.write_bytes(b"\xfe\xff" + TEXT.decode().encode("utf-16-be")), "iconv"),
    "UTF-16 without a mark": ("b.csv", lambda path: path.write_bytes(TEXT.decode().encode("utf-16-le")), "UTF-16; it must be UTF-8"),
    "UTF-16, packed": ("b.csv.gz", lambda path: path.write_bytes(gzip.compress(TEXT.decode().encode("utf-16"))), "iconv"),
    "UTF-16 JSON": ("b.jsonl", lambda path: path.write_bytes('{"id": "a"}\n'.encode("utf-16")), "iconv"),
    "gzip by another name": ("b.csv", lambda path: path.write_bytes(gzip.compress(TEXT)), "its name must end in .gz"),
    "gzip of JSON by another name": ("b.jsonl", lambda path: path.write_bytes(gzip.compress(b'{"id": "a"}\n')), "its name must end in .gz"),
    "spreadsheet": ("b.csv", lambda path: zipfile.ZipFile(path, "w").writestr("xl/workbook.xml", "<a/>"), "zip archive or a spreadsheet"),
    "a name twice": ("b.csv", lambda path: path.write_bytes(TEXT.replace(b"doc", b"ID")), "twice: columns 1 and 2"),
    "gzip cut short": ("b.csv.gz", lambda path: path.write_bytes(gzip.compress(TEXT * 50)[:60]), "no complete gzip"),
    "no gzip": ("b.csv.gz", lambda path: path.write_bytes(TEXT), "no complete gzip"),
    "gzip of nothing": ("b.csv.gz", lambda path: path.write_bytes(gzip.compress(b"")), "no column names"),
    "gzip with more behind": ("b.csv.gz", lambda path: path.write_bytes(gzip.compress(TEXT) + b"more"), "no complete gzip"),
    "empty Parquet": ("b.parquet", lambda path: path.touch(), "empty"),
    "Parquet cut short": ("b.parquet", lambda path: parquet(path, lambda data: data[:200]), "no Parquet"),
    "no Parquet": ("b.parquet", lambda path: path.write_bytes(TEXT), "no Parquet"),
    "Parquet with damaged pages": (
        "b.parquet",
        lambda path: parquet(path, lambda data: data[:4] + b"\xff" * 80 + data[84:]),
        "cannot be read as parquet",
    ),
    "no JSON": ("b.jsonl", lambda path: path.write_bytes(b"x\ny\n"), "no JSON objects"),
    "one JSON list": ("b.jsonl", lambda path: path.write_text(json.dumps([ROW, ROW])), "no list around them"),
    "JSON over several lines": ("b.jsonl", lambda path: path.write_text(json.dumps(ROW, indent=2)), "each line must hold a whole one"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_that_cannot_be_read_is_refused_with_its_reason_once(company: Any, bills_feed: dict[str, Any], kind: str) -> None:
    name, make, words = REFUSED[kind]
    form = {"csv.gz": "csv"}.get(name.partition(".")[2], name.partition(".")[2])
    company.map({**bills_feed, "files": "b.*", "format": form})
    make(company.drops / name)
    assert new_drops(company.deployment, company.ledger) == [company.drops / name]
    report = company.ingest()
    assert [refusal["file"] for refusal in report.refused] == [name] and words in report.refused[0]["message"]
    error = report.error()
    assert error is not None and error.exit_code == 2
    assert company.kinds() == ["drop_refused"] and not company.deployment.landing.exists()
    assert new_drops(company.deployment, company.ledger) == []


QUARANTINED: dict[str, tuple[str, bytes, list[tuple[int, str]], int]] = {
    "NUL in a value": ("b.csv", TEXT + b"b,d1,c\x002,2025-01,voice,1,CNY\n", [(3, "broken_encoding")], 1),
    "quote left open": ("b.csv", TEXT + b'"b,d1,c1\nc,d1,c1,2025-01,voice,1,CNY\n', [(3, "missing_column"), (4, "malformed_row")], 1),
    "300 values": ("b.csv", TEXT + b"b" + b",1" * 300 + b"\n", [(3, "malformed_row")], 1),
    "mixed line ends": ("b.csv", TEXT.rstrip() + b"\r\nb,d1,c1,2025-01,voice,1,CNY\rc,d1,c1,2025-01,voice,x,CNY\r\n", [(4, "bad_decimal")], 2),
    "numbers out of this world": ("b.csv", TEXT + b"b,d1,c1,2025-01,v,1e400,CNY\nc,d1,c1,2025-01,v,NaN,CNY\n", [(3, "bad_decimal"), (4, "bad_decimal")], 1),
    "a line of three megabytes": ("b.csv", TEXT + b"b,d1," + b"c" * 3_000_000 + b",2025-01,v,1,CNY\n", [(3, "missing_column")], 1),
    "GB18030 where UTF-8 was said": ("b.csv", TEXT + "b,d1,c1,2025-01,语音,1,CNY\n".encode("gb18030"), [(3, "broken_encoding")], 1),
    "header alone": ("b.csv", BILL_HEADER.encode(), [], 0),
    "300 columns": ("b.csv", TEXT.replace(b"\n", b",x\n").replace(b",x", b"".join(b",x%d" % i for i in range(300))), [], 1),
    "NUL as an escape in JSON": (
        "b.jsonl",
        b'{"id":"a","doc":"d1","cust":"c1","month":"2025-01","kind":"v","amount":"1","currency":"CNY"}\n'
        b'{"id":"b","doc":"d\\u00001","cust":"c1","month":"2025-01","kind":"v","amount":"1","currency":"CNY"}\n',
        [(2, "broken_encoding")],
        1,
    ),
    "broken JSON lines": (
        "b.jsonl",
        b'{"id":"a","doc":"d1","cust":"c1","month":"2025-01","kind":"v","amount":"1","currency":"CNY"}\n{"id":\n\nnull\n[1]\n{"id":"z"',
        [(2, "malformed_row"), (4, "malformed_row"), (5, "malformed_row"), (6, "truncated_row")],
        1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", QUARANTINED)
def test_bad_rows_go_to_quarantine_with_their_line_and_the_others_land(company: Any, bills_feed: dict[str, Any], kind: str) -> None:
    name, data, rejected, good = QUARANTINED[kind]
    company.map({**bills_feed, "files": "b.*", "format": name.partition(".")[2]})
    (company.drops / name).write_bytes(data)
    report = company.ingest()
    assert report.landed == good and report.refused == []
    assert [(line, reasons[0]) for line, reasons in company.quarantine("line, reasons")] == rejected
    assert [row["agrees"] for row in balance(company.ledger)] == [True]
    assert new_drops(company.deployment, company.ledger) == []


def test_a_nul_in_a_text_of_parquet_sends_its_row_to_quarantine(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map({**bills_feed, "files": "b.*", "format": "parquet"})
    rows: dict[str, list[str]] = {name: [value] * 4 for name, value in ROW.items()}
    rows |= {"id": ["a", "b", "c", "d\0"], "doc": ["d1", "d\0", "d1", "d1"], "of nobody": ["", "", "\0", ""]}
    pq.write_table(pa.table(rows), company.drops / "b.parquet")
    company.ingest()
    assert company.in_force("bill_lines", "_key, document_id") == [("a", "d1"), ("c", "d1")]
    found = company.quarantine()
    assert [(line, reasons) for line, reasons, _ in found] == [(2, ["broken_encoding"]), (4, ["broken_encoding"])]
    assert '"doc":"d\\u0000"' in found[0][2]
    assert [row["agrees"] for row in balance(company.ledger)] == [True]


def test_bytes_of_parquet_that_are_text_are_read_as_text(company: Any, bills_feed: dict[str, Any]) -> None:
    """Old writers do not say of their texts that they are."""
    bills_feed["columns"]["product"] = "product"
    company.map({**bills_feed, "files": "b.*", "format": "parquet"})
    table = {name: pa.array([value.encode()], pa.binary()) for name, value in {**ROW, "kind": "语音", "amount": "12.50"}.items()}
    pq.write_table(pa.table({**table, "product": pa.array([b"\xff\x00"], pa.binary())}), company.drops / "b.parquet")
    company.ingest()
    assert company.in_force("bill_lines", "_key, charge_type, net_amount, product") == [("a", "语音", Decimal("12.5"), "\\xFF\\x00")]


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ("c1,2025-01-01,Wang Wei,Wang Wei", "twice: columns 3 and 4"),
        ("c1,2025-01-01,Wang Wei,gotone", "`header: false`"),
        ("c1;2025-01-01;Wang Wei;gotone", "is `delimiter` ';'?"),
    ],
)
def test_a_first_row_that_is_taken_for_a_header_is_told_nowhere(
    company: Any, customers_feed: dict[str, Any], first: str, told: str
) -> None:
    """It may hold personal columns; errors go to logs, and those of refused files to the ledger."""
    company.map(customers_feed)
    company.drop("customers_1.csv", f"{first}\nc2,2025-01-01,Li Na,gotone\n")
    try:
        text = company.ingest().refused[0]["message"]
    except BadInput as err:
        text = str(err)
    assert told in text and "wang" not in text.lower()
    assert all("wang" not in str(entry.payload).lower() for entry in company.ledger.entries())


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("name", ["a b", 'it\'s "so"', "two\nlines", "账单", "[a]*?{b}", "$HOME;--"])
def test_a_file_of_any_name_lands(company: Any, bills_feed: dict[str, Any], name: str, form: str) -> None:
    company.map({**bills_feed, "files": f"*.{form}", "format": form})
    path = company.drops / f"{name}.{form}"
    if form == "csv":
        path.write_bytes(TEXT + b"b,bad\n")
        company.bills("a1.csv", "z,d1,c1,2025-01,voice,1,CNY")
    else:
        parquet(path)
    company.ingest()
    assert {drop["file"]: drop["landed"] for drop in company.standing()}[path.name] == 1
    assert new_drops(company.deployment, company.ledger) == []


def test_a_name_that_is_no_text_is_refused_once(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map({**bills_feed, "files": "*.csv"})
    Path(os.fsdecode(os.fsencode(company.drops) + b"/\xff\xfe.csv")).write_bytes(TEXT)
    report = company.ingest()
    assert [refusal["file"] for refusal in report.refused] == ["\\xff\\xfe.csv"] and "UTF-8" in report.refused[0]["message"]
    assert new_drops(company.deployment, company.ledger) == []


def test_a_folder_that_links_to_itself_is_walked_once(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map({**bills_feed, "files": "**/*.csv"})
    (company.drops / "loop").symlink_to(company.drops)
    (company.drops / "b.csv").write_bytes(TEXT)
    assert company.ingest().landed == 1


def test_a_drop_that_grows_while_it_is_read_is_left_for_the_next_ingest(
    company: Any, bills_feed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    company.map(bills_feed)
    path = company.bills("bills_1.csv", GOOD)
    company.bills("bills_2.csv", "z,d1,c1,2025-01,voice,1,CNY")
    hashed = reading_module.sha256_file

    def hash_then_grow(file: Path) -> str:
        digest = hashed(file)
        if file == path:
            with path.open("a") as out:
                out.write("b,d1,c1,2025-01,voice,2,CNY\n")
        return digest

    monkeypatch.setattr(reading_module, "sha256_file", hash_then_grow)
    report = company.ingest()
    assert [refusal["file"] for refusal in report.refused] == ["bills_1.csv"] and "changed while it was read" in str(report.error())
    assert [row[0] for row in company.in_force("bill_lines", "_key")] == ["z"]
    assert company.kinds() == ["drop_landed", "pseudonym_key"]
    monkeypatch.undo()
    assert company.ingest().landed == 2
    assert [row[0] for row in company.in_force("bill_lines", "_key", "_key")] == ["a", "b", "z"]


def test_damage_that_ends_the_connection_is_refused_and_named(
    company: Any, bills_feed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    company.map({**bills_feed, "files": "b.*", "format": "parquet"})
    path = company.drops / "b.parquet"
    parquet(path)

    def fail(*_: Any) -> None:
        path.write_bytes(b"PAR1 damaged")
        raise duckdb.InternalException("INTERNAL Error: Information loss on integer cast")

    monkeypatch.setattr("orchestration.ingest.run.land", fail)
    with pytest.raises(BadInput, match=r"b\.parquet"):
        company.ingest()
    assert company.kinds() == ["drop_refused"]
