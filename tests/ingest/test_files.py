"""Drops as wholes: known, re-sent, corrected, overlapping, refused; and what a killed or crowded ingest leaves."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

import duckdb
import pytest
from click.testing import CliRunner

from orchestration.cli.base import Context
from orchestration.cli.main import main
from orchestration.cli.summary import print_ingest
from orchestration.errors import BadInput, Failed
from orchestration.ingest import balance, ingest, landed_parts, new_drops, open_periods, refused_drops
from orchestration.ingest.files import disk_failure, storage_errors
from orchestration.policy import load_policies
from orchestration.warehouse import plan_run
from orchestration.wiring.sensors import list_drops
from tests.ingest.conftest import BILL_HEADER, in_a_process
from tests.support import TIERHOUSE


def keyless(feed: dict[str, Any]) -> dict[str, Any]:
    """The feed without a line key, as of a source that has none."""
    del feed["columns"]["bill_line_id"]
    return feed


def test_a_newer_row_of_the_same_key_supersedes_and_touches_both_periods(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY", "b,d1,c1,2025-01,voice,2,CNY")
    company.bills("bills_2.csv", "b,d1,c1,2025-02,voice,3,CNY")
    company.bills("bills_3.csv", "b,d1,c1,2025-03,voice,4,CNY", "b2,d1,c1,2025-03,voice,x,CNY")
    company.ingest()
    assert company.in_force("bill_lines", "_key, bill_period, net_amount", "_key") == [("a", "2025-01", 1), ("b", "2025-03", 4)]
    drops = [entry.payload for entry in company.ledger.entries("drop_landed")]
    assert [drop["periods"] for drop in drops] == [["2025-01"], ["2025-01", "2025-02"], ["2025-02", "2025-03"]]
    account = balance(company.ledger)
    assert [(a["rows_in"], a["landed"], a["quarantined"], a["superseded"]) for a in account] == [(2, 1, 0, 1), (1, 0, 0, 1), (2, 1, 1, 0)]
    assert [a["amount_superseded"] for a in account] == ["2.0000", "3.0000", "0"]
    assert all(a["agrees"] for a in account)


@pytest.mark.parametrize(("format", "encoding"), [("csv", "utf-8"), ("csv", "gb18030"), ("jsonl", "utf-8"), ("parquet", "utf-8")])
def test_a_name_that_reads_as_a_pattern_is_that_file_and_no_other(
    company: Any, bills_feed: dict[str, Any], format: str, encoding: str
) -> None:
    """As browsers and mail programs name a second download; beside it lies the file that the pattern would find."""
    company.map({**bills_feed, "files": "bills_*", "format": format, "encoding": encoding})
    names = ("bills_1", "bills_[1]", "bills_?", "bills_*", "bills_[!1]")
    for number, name in enumerate(names):
        header, row = BILL_HEADER.split(","), [f"k{number}", "d", "c1", "2025-01", "voice", str(number), "CNY"]
        if format == "csv":
            company.bills(f"{name}.csv", ",".join(row))
        elif format == "jsonl":
            company.drop(f"{name}.jsonl", json.dumps(dict(zip(header, row, strict=True))) + "\n")
        else:
            with duckdb.connect() as con:
                con.execute(
                    "create table t as select " + ", ".join(f"'{value}' as {column}" for column, value in zip(header, row, strict=True))
                )
                con.execute(f"copy t to '{company.drops / 'made'}' (format parquet)")
            (company.drops / "made").rename(company.drops / f"{name}.parquet")
    company.ingest()
    assert company.in_force("bill_lines", "bill_line_id, net_amount", "1") == [(f"k{number}", number) for number in range(len(names))]


def test_a_bad_row_supersedes_nothing(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.bills("bills_2.csv", "a,d1,c1,2025-01,voice,x,CNY")
    company.ingest()
    assert company.in_force("bill_lines", "_key, net_amount") == [("a", 1)]


def test_the_same_key_in_another_source_is_another_row(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    company.map({**bills_feed, "files": "other_*.csv"}, source="other")
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.bills("other_1.csv", "a,d1,c1,2025-01,voice,2,CNY")
    company.ingest()
    assert len(company.in_force("bill_lines")) == 2


def test_keys_of_several_ids_are_told_apart_whatever_signs_stand_in_them(company: Any, bills_feed: dict[str, Any]) -> None:
    columns = {"campaign_id": "campaign", "customer_id": "cust"}
    company.map(bills_feed, {"entity": "campaign_targets", "files": "targets_*.csv", "format": "csv", "columns": columns})
    pairs = [("a", "b|c"), ("a|b", "c"), ("a\\", "|c"), ("a", "\\||c"), ("a|", "c"), ("a", "|c")]
    company.drop("targets_1.csv", "campaign,cust\n" + "".join(f"{campaign},{customer}\n" for campaign, customer in pairs[:3]))
    company.drop("targets_2.csv", "campaign,cust\n" + "".join(f"{campaign},{customer}\n" for campaign, customer in pairs[3:]))
    company.ingest()
    assert company.in_force("campaign_targets", "campaign_id, customer_id", "all") == sorted(pairs)


def test_two_sources_that_read_the_same_files_correct_each_their_own_rows(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map({**bills_feed, "where": "cust = 'c1'"}, source="north")
    company.map({**bills_feed, "where": "cust = 'c2'"}, source="south")
    company.map({**bills_feed, "files": "bills_1.csv"}, source="west")
    for number, amount in ((1, 1), (2, 5), (3, 6)):
        company.bills(f"bills_{number}.csv", f"a,d1,c1,2025-01,voice,{amount},CNY", f"b,d2,c2,2025-01,voice,{amount + 1},CNY")
        company.ingest()
    rows = company.in_force("bill_lines", "_source, _key, net_amount", "all")
    assert rows == [("north", "a", 6), ("south", "b", 7), ("west", "a", 1), ("west", "b", 2)]
    assert all(a["agrees"] for a in balance(company.ledger))


def test_without_keys_identical_rows_of_a_file_stay_and_an_overlap_supersedes(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(keyless(bills_feed))
    same = ",d1,c1,2025-01,voice,1,CNY"
    company.bills("bills_1.csv", same, same, ",d2,c1,2025-01,voice,1,CNY", ",d0,c1,2025-01,voice,5,CNY")
    company.bills("bills_2.csv", same, same, same, ",d2,c1,2025-01,voice,7,CNY")
    company.ingest()
    rows = company.in_force("bill_lines", "document_id, net_amount, _row", "document_id, net_amount, _row")
    assert rows == [("d0", 5, 5), ("d1", 1, 2), ("d1", 1, 3), ("d1", 1, 4), ("d2", 1, 4), ("d2", 7, 5)]
    account = balance(company.ledger)
    assert [(a["landed"], a["superseded"], a["identical"]) for a in account] == [(2, 2, 0), (4, 0, 2)]


def test_a_bad_row_takes_no_ordinal(company: Any, bills_feed: dict[str, Any]) -> None:
    feed = keyless(bills_feed)
    feed["columns"]["product"] = "id"
    company.map(feed)
    company.bills("bills_1.csv", ",d1,c1,2025-01,voice,1,USD", ",d1,c1,2025-01,voice,1,CNY")
    company.bills("bills_2.csv", ",d1,c1,2025-01,voice,1,CNY")
    company.ingest()
    assert len(company.in_force("bill_lines")) == 1


@pytest.mark.parametrize("content", [b"", None, b"\n\n", b"id,doc,id\n1,2,3\n"])
def test_a_drop_that_cannot_be_read_is_refused_once_and_the_others_land(
    company: Any, bills_feed: dict[str, Any], content: bytes | None
) -> None:
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    if content is None:
        (company.drops / "bills_2.csv").mkdir()
    else:
        company.drop("bills_2.csv", content)
    for _ in range(2):
        report = company.ingest()
        assert [refusal["file"] for refusal in report.refused] == ["bills_2.csv"]
        error = report.error()
        assert isinstance(error, BadInput) and "bills_2.csv" in str(error)
    assert company.kinds() == ["drop_refused", "drop_landed", "pseudonym_key"]


@pytest.mark.parametrize(("name", "content"), [("bills_2.csv.gz", b"\x1f\x8b\x08\x00cut"), ("bills_2.parquet", b"PAR1 no more")])
def test_a_cut_archive_or_parquet_is_refused(company: Any, bills_feed: dict[str, Any], name: str, content: bytes) -> None:
    bills_feed["files"] = "bills_*"
    if name.endswith("parquet"):
        bills_feed["format"] = "parquet"
    company.map(bills_feed)
    (company.drops / name).write_bytes(content)
    assert len(company.ingest().refused) == 1


def test_a_file_with_a_header_alone_lands_no_rows(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    company.bills("bills_1.csv")
    report = company.ingest()
    assert (report.new_files, report.rows_in, report.refused) == (1, 0, [])


def test_a_file_that_lacks_a_column_goes_to_quarantine_row_by_row(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.drop("bills_2.csv", "id,doc,cust,month,amount,currency\nb,d1,c1,2025-01,1,CNY\nc,d1,c1,2025-01,1,CNY\n")
    report = company.ingest()
    assert company.quarantine("line, reasons, key") == [(2, ["missing_column"], "b"), (3, ["missing_column"], "c")]
    assert report.rows_in == report.landed + report.quarantined == 3
    assert report.bad_share_exceeded


def test_a_column_that_may_be_absent_is_null_then(company: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed["columns"]["product"] = "article"
    bills_feed["optional_columns"] = ["article"]
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.ingest()
    assert company.in_force("bill_lines", "_key, product") == [("a", None)]


CONTROL = {
    "files": "control_*.csv",
    "columns": {"file": "file", "rows": "n", "amount": "total", "replaces": "instead"},
    "amount_column": "net_amount",
}


def promised(feed: dict[str, Any]) -> dict[str, Any]:
    """The feed with a file a period promised, and control totals."""
    return {
        **feed,
        "files": "bills_2*.csv",
        "expected": {"files_per_period": 1, "period_from_name": r"bills_(\d{4})-(\d{2})"},
        "control": CONTROL,
    }


def test_a_period_is_closed_only_when_its_control_total_agrees_and_a_resent_file_mends_it(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(promised(bills_feed))
    company.bills("bills_2025-01.csv", "a,d1,c1,2025-01,voice,1,CNY", "b,d1,c1,2025-01,voice,x,CNY")
    company.drop("control_2025-01.csv", "file,n,total,instead\nbills_2025-01.csv,3,3.5,\n")
    [problem] = company.ingest().held_periods["2025-01"]
    assert "2 rows" in problem and "3 rows" in problem and "3.5" in problem
    company.bills("bills_2025-01_r1.csv", "a,d1,c1,2025-01,voice,1,CNY", "b,d1,c1,2025-01,voice,2,CNY", "c,d1,c1,2025-01,voice,0.5,CNY")
    company.drop("control_2025-01_r1.csv", "file,n,total,instead\nbills_2025-01_r1.csv,3,3.50,bills_2025-01.csv\n")
    assert company.ingest().held_periods == {}
    assert [e.payload["closed"] for e in company.ledger.entries("period_status")] == [False, True]
    assert {Path(e.payload["file"]).name: e.payload["agrees"] for e in company.ledger.entries("control_total")} == {
        "bills_2025-01.csv": False,
        "bills_2025-01_r1.csv": True,
    }


def test_a_period_without_its_promised_file_is_open(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map({**promised(bills_feed), "control": None})
    for month in ("2025-01", "2025-03"):
        company.bills(f"bills_{month}.csv", f"{month},d1,c1,{month},voice,1,CNY")
    assert list(company.ingest().held_periods) == ["2025-02"]
    company.bills("bills_2025-02.csv", "x,d1,c1,2025-02,voice,1,CNY")
    assert company.ingest().held_periods == {}


def test_a_source_that_never_delivers_keeps_every_period_open_that_another_has_begun(
    company: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any]
) -> None:
    never = {**customers_feed, "expected": {"files_per_period": 1, "period_from_name": r"customers_(\d{4})-(\d{2})"}}
    company.map({**promised(bills_feed), "control": None}, never)
    for month in ("2025-01", "2025-02"):
        company.bills(f"bills_{month}.csv", f"{month},d1,c1,{month},voice,1,CNY")
    assert company.ingest().held_periods == {
        month: [f"shop__customers: 0 of 1 promised files for {month} are there"] for month in ("2025-01", "2025-02")
    }
    company.drop("customers_2025-02.csv", "id,since,name,brand\nc1,2025-01-01,Ann,x\n")
    assert list(company.ingest().held_periods) == ["2025-01"], "the months before its first file are missed, too"
    never["expected"]["first_period"] = "2025-02"
    company.map({**promised(bills_feed), "control": None}, never)
    assert company.ingest().held_periods == {}, "a source that begins later says so"


def test_where_no_name_has_a_period_the_bills_tell_which_have_begun(
    company: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any]
) -> None:
    company.map(bills_feed, {**customers_feed, "expected": {"files_per_period": 1, "period_from_name": r"customers_(\d{4})-(\d{2})"}})
    rows = [f"{month},d1,c1,{month},voice,1,CNY" for month in ("2024-12", "2025-01", "2025-02", "2199-01")]
    company.bills("bills_1.csv", *rows)
    assert list(company.ingest().held_periods) == ["2025-01", "2025-02"]


def test_a_promise_that_is_written_down_later_counts_the_files_that_have_landed(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    for month in ("2025-01", "2025-03"):
        company.bills(f"bills_{month}.csv", f"{month},d1,c1,{month},voice,1,CNY")
    company.ingest()
    company.map({**promised(bills_feed), "control": None})
    assert list(company.ingest().held_periods) == ["2025-02"]


def test_what_a_source_promised_that_is_mapped_no_more_holds_nothing(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map({**promised(bills_feed), "control": None})
    for month in ("2025-01", "2025-03"):
        company.bills(f"bills_{month}.csv", f"{month},d1,c1,{month},voice,1,CNY")
    assert list(company.ingest().held_periods) == ["2025-02"]
    (company.folder / "sources" / "shop.yaml").unlink()
    company.map(bills_feed, source="till")
    assert company.ingest().held_periods == {}


@pytest.mark.parametrize("name", ["bills_2025-13.csv", "bills_0001-01.csv", "bills_2025.csv", "bills_may-1.csv"])
def test_a_name_with_no_month_where_one_is_looked_for_is_no_promised_file(company: Any, bills_feed: dict[str, Any], name: str) -> None:
    company.map({**bills_feed, "expected": {"period_from_name": r"bills_(\w+)(?:-(\d+))?"}})
    company.bills(name, "a,d1,c1,2025-01,voice,1,CNY")
    assert company.ingest().held_periods == {"2025-01": ["shop__bill_lines: 0 of 1 promised files for 2025-01 are there"]}


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("bills_01-2025.csv", r"_(?P<month>\d\d)-(?P<year>\d{4})"),
        ("2025/01/bills.csv", r"^(\d{4})/(\d\d)/"),
        ("year=2025/month=1/bills.csv", r"year=(\d+)/month=(\d+)/"),
    ],
)
def test_a_promise_is_kept_by_files_whose_month_stands_first_or_in_their_folders(
    company: Any, bills_feed: dict[str, Any], name: str, pattern: str
) -> None:
    company.map({**bills_feed, "files": "**/bills*.csv", "expected": {"period_from_name": pattern}})
    company.bills(name, "a,d1,c1,2025-01,voice,1,CNY")
    assert company.ingest().held_periods == {}
    (company.drops / name).unlink()
    company.bills(name.replace("01", "03").replace("=1", "=3"), "b,d2,c1,2025-03,voice,1,CNY")
    assert list(company.ingest().held_periods) == ["2025-02"]


def test_a_refused_file_keeps_its_period_open_until_it_is_sent_again_or_taken_out(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map({**promised(bills_feed), "control": None})
    bad = company.drop("bills_2025-01.csv", "")
    company.bills("bills_2025-01_b.csv", "b,d1,c1,2025-01,voice,1,CNY")
    assert company.ingest().held_periods == {"2025-01": ["shop__bill_lines: bills_2025-01.csv was refused: it is empty"]}
    company.bills("bills_2025-01.csv", "a,d1,c1,2025-01,voice,1,CNY")
    assert company.ingest().held_periods == {}, "sent again under its name"
    good = bad.read_bytes()
    bad.write_bytes(b"")
    assert list(company.ingest().held_periods) == ["2025-01"], "refused again"
    bad.write_bytes(good)
    assert company.ingest().held_periods == {}, "the bytes that have landed are there again"
    bad.write_bytes(b"")
    company.ingest()
    bad.unlink()
    assert company.ingest().held_periods == {}


def test_a_file_that_another_mapping_can_read_is_refused_no_more(company: Any, bills_feed: dict[str, Any]) -> None:
    feed = {**promised(bills_feed), "control": None}
    company.map({**feed, "format": "parquet"})
    company.bills("bills_2025-01.csv", "a,d1,c1,2025-01,voice,1,CNY")
    assert list(company.ingest().held_periods) == ["2025-01"]
    assert new_drops(company.deployment, company.ledger) == []
    company.map(feed)
    assert new_drops(company.deployment, company.ledger) == [company.drops / "bills_2025-01.csv"], "a run has something to do"
    assert company.ingest().held_periods == {}


def test_months_without_rows_are_closed_by_their_files_and_totals(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(promised(bills_feed))
    for month in ("2025-01", "2025-02"):
        company.bills(f"bills_{month}.csv")
        company.drop(f"control_{month}.csv", f"file,n,total,instead\nbills_{month}.csv,0,0,\n")
    report = company.ingest()
    assert (report.new_files, report.held_periods) == (2, {})
    company.bills("bills_2025-03.csv")
    assert len(new_drops(company.deployment, company.ledger)) == 1, "a run has something to do"
    assert company.ingest().held_periods == {"2025-03": ["shop__bill_lines: no control total says what bills_2025-03.csv should hold"]}
    company.drop("control_2025-03.csv", "file,n,total,instead\nbills_2025-03.csv,0,0,\n")
    assert company.ingest().held_periods == {}
    head = company.ledger.head()
    assert new_drops(company.deployment, company.ledger) == []
    company.ingest()
    assert company.ledger.head() == head
    assert [account["rows_in"] for account in balance(company.ledger)] == [0, 0, 0]


def test_a_file_that_is_sent_again_is_no_second_promised_one(company: Any, bills_feed: dict[str, Any]) -> None:
    feed = promised(bills_feed)
    feed["expected"]["files_per_period"] = 2
    company.map(feed)
    company.drop("control_2025-01.csv", "file,n,total,instead\nbills_2025-01_a.csv,1,2,\nbills_2025-01_b.csv,1,1,\n")
    company.bills("bills_2025-01_a.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.ingest()
    company.bills("bills_2025-01_a.csv", "a,d1,c1,2025-01,voice,2,CNY")
    expected = ["shop__bill_lines: 1 of 2 promised files for 2025-01 are there"]
    assert expected[0] in company.ingest().held_periods["2025-01"], "under its name"
    company.drop("control_2025-01_r1.csv", "file,n,total,instead\nbills_2025-01_a_r1.csv,1,3,bills_2025-01_a.csv\n")
    company.bills("bills_2025-01_a_r1.csv", "a,d1,c1,2025-01,voice,3,CNY")
    assert expected[0] in company.ingest().held_periods["2025-01"], "under another"
    company.bills("bills_2025-01_b.csv", "b,d1,c1,2025-01,voice,1,CNY")
    assert company.ingest().held_periods == {}


def test_bad_rows_of_a_file_that_was_sent_again_hold_nothing(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(promised(bills_feed))
    good, bad = "a,d1,c1,2025-01,voice,1,CNY", "a,d1,c1,2025-01,voice,x,CNY"
    company.bills("bills_2025-01.csv", bad)
    controls = [company.drop("control_2025-01.csv", "file,n,total,instead\nbills_2025-01.csv,1,,\n")]
    assert "100.0 %" in company.ingest().held_periods["2025-01"][0]
    company.bills("bills_2025-01.csv", good)
    assert company.ingest().held_periods == {}, "under its name"
    company.bills("bills_2025-02.csv", bad.replace("2025-01", "2025-02"))
    company.bills("bills_2025-02_r1.csv", good.replace("2025-01", "2025-02"))
    controls.append(company.drop("control_2025-02.csv", "file,n,total,instead\nbills_2025-02_r1.csv,1,,bills_2025-02.csv\n"))
    assert company.ingest().held_periods == {}, "under another"
    for control in controls:
        control.unlink()
    assert company.ingest().held_periods == {}, "what replaces it was stated once"


def test_bad_rows_whose_key_a_later_file_brings_hold_nothing(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    company.bills("bills_0.csv", *(f"{key},d1,c1,2025-01,voice,1,CNY" for key in "abcdef"))
    company.bills("bills_1.csv", *(f"{key},d1,c1,2025-01,voice,x,CNY" for key in "abcdef"))
    assert "100.0 % of the rows are bad in bills_1.csv" in str(company.ingest().held_periods), "what they correct came before"
    company.bills("bills_2.csv", *(f"{key},d1,c1,2025-01,voice,2,CNY" for key in "ab"))
    assert "66.7 % of the rows are bad in bills_1.csv" in str(company.ingest().held_periods)
    company.bills("bills_3.csv", *(f"{key},d1,c1,2025-01,voice,2,CNY" for key in "cd"))
    assert company.ingest().held_periods == {}, "two of six are no more than half"


def test_a_file_without_its_control_total_keeps_its_period_open(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(promised(bills_feed))
    company.bills("bills_2025-01.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.bills("bills_2025-02.csv", "b,d1,c1,2025-02,voice,1,CNY")
    company.drop("control_2025-02.csv", "file,n,total,instead\nbills_2025-02.csv,1,1,\n")
    assert company.ingest().held_periods == {"2025-01": ["shop__bill_lines: no control total says what bills_2025-01.csv should hold"]}
    control = company.drop("control_2025-01.csv", "file,n,total,instead\nbills_2025-01_r1.csv,1,2,bills_2025-01.csv\n")
    assert len(company.ingest().held_periods["2025-01"]) == 2, "what it replaces stands until it is there"
    company.bills("bills_2025-01_r1.csv", "a,d1,c1,2025-01,voice,2,CNY")
    assert company.ingest().held_periods == {}
    control.unlink()
    assert company.ingest().held_periods == {}, "a total that was stated once may be archived"


def test_a_total_that_does_not_agree_holds_its_period_though_its_control_file_is_taken_away(
    company: Any, bills_feed: dict[str, Any]
) -> None:
    """As archived by night, or where the share with the drops is not mounted: the period closed, and the next run released it."""
    company.map(promised(bills_feed))
    company.bills("bills_2025-01.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.bills("bills_2025-02.csv", "b,d1,c1,2025-02,voice,1,CNY")
    rows = "bills_2025-01.csv,1,2,", "bills_2025-02.csv,1,1,", "bills_2025-03.csv,1,1,"
    control = company.drop("control_2025.csv", "file,n,total,instead\n" + "".join(f"{row}\n" for row in rows))
    held = company.ingest().held_periods
    assert list(held) == ["2025-01", "2025-03"]
    control.unlink()
    [problem] = company.ingest().held_periods["2025-01"]
    assert [problem] == held["2025-01"]
    assert "bills_2025-03.csv was announced in control_2025.csv, which is gone, and is not there" in str(company.ingest().held_periods)
    company.bills("bills_2025-01.csv", "a,d1,c1,2025-01,voice,2,CNY")
    company.bills("bills_2025-03.csv", "c,d1,c1,2025-03,voice,1,CNY")
    assert company.ingest().held_periods == {}, "a file mends it"
    company.bills("bills_2025-04.csv", "d,d1,c1,2025-04,voice,1,CNY")
    company.drop("control_2025.csv", "file,n,total,instead\nbills_2025-04.csv,1,9,\n")
    assert list(company.ingest().held_periods) == ["2025-04"]
    company.map({name: value for name, value in promised(bills_feed).items() if name != "control"})
    assert company.ingest().held_periods == {}, "what asks for no totals is held by none"


def test_a_total_with_a_wrong_name_is_taken_back_by_one_that_replaces_it(company: Any, bills_feed: dict[str, Any]) -> None:
    """A month that the name does not state would be every month; one that it states waits for a file that never comes."""
    company.map(promised(bills_feed))
    company.bills("bills_2025-01.csv", "a,d1,c1,2025-01,voice,1,CNY")
    head, right = "file,n,total,instead\n", "bills_2025-01.csv,1,1,\n"
    company.drop("control_2025-01.csv", f"{head}{right}bills_20250.csv,1,1,\nbills_2025-11.csv,1,1,\n")
    assert list(company.ingest().held_periods) == ["*", "2025-11"]
    control = company.drop("control_2025-01.csv", head + right)
    [[problem]] = company.ingest().held_periods.values()
    assert "bills_2025-11.csv was announced in control_2025-01.csv, which says nothing of it any more" in problem
    assert "if that name was wrong, the control total of another file must say that it replaces it" in problem
    control.unlink()
    assert "which is gone" in str(company.ingest().held_periods["2025-11"])
    company.drop("control_2025-01.csv", f"{head}bills_2025-01.csv,1,1,bills_2025-11.csv\n")
    assert company.ingest().held_periods == {}


def test_a_total_of_an_earlier_state_whose_file_never_came_holds_nothing(company: Any, bills_feed: dict[str, Any]) -> None:
    """It was recorded without its control file, and may have been taken back since."""
    company.map(promised(bills_feed))
    company.bills("bills_2025-01.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.drop("control_2025-01.csv", "file,n,total,instead\nbills_2025-01.csv,1,1,\n")
    company.ingest()
    [entry] = company.ledger.entries("control_total")
    earlier = {name: value for name, value in entry.payload.items() if name != "stated_in"}
    for file in ("bills_20250.csv", "bills_2025-02.csv"):
        company.ledger.append("control_total", {**earlier, "file": file, "rows_found": None, "amount_found": None, "agrees": False})
    company.ledger.append("control_total", earlier)
    assert company.ingest().held_periods == {}
    assert len(company.ledger.entries("control_total")) == 4, "where a total stands is nothing new"
    control = company.drop("control_2025-02.csv", "file,n,total,instead\nbills_2025-02.csv,1,1,\n")
    assert list(company.ingest().held_periods) == ["2025-02"]
    control.unlink()
    assert list(company.ingest().held_periods) == ["2025-02"], "it was announced since"


def test_a_file_that_is_announced_and_not_there_keeps_its_period_open(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(promised(bills_feed))
    company.drop("control_2025-01.csv", "file,n,total,instead\nbills_2025-01.csv,1,1,\n")
    report = company.ingest()
    assert "announced" in report.held_periods["2025-01"][0]
    assert open_periods(company.deployment, company.ledger) == report.held_periods


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_an_accent_in_a_name_may_be_written_in_two_ways(company: Any, bills_feed: dict[str, Any], form: Literal["NFC", "NFD"]) -> None:
    other: Literal["NFC", "NFD"] = "NFD" if form == "NFC" else "NFC"
    feed = {**promised(bills_feed), "files": normalize(other, "Umsätze_*.csv")}
    feed["expected"] = {"period_from_name": normalize(other, r"Umsätze_(\d{4})-(\d\d)")}
    company.map(feed)
    company.bills(normalize(form, "Umsätze_2025-01.csv"), "a,d1,c1,2025-01,voice,1,CNY")
    company.drop("control_1.csv", normalize(other, "file,n,total,instead\nUmsätze_2025-01.csv,1,1,\n"))
    report = company.ingest()
    assert (report.landed, report.held_periods, report.without_files) == (1, {}, [])
    assert new_drops(company.deployment, company.ledger) == []
    assert len(list_drops(company.deployment)) == 2, "the sensor sees what an ingest would land"


def test_an_unchanged_state_is_not_recorded_again(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(promised(bills_feed))
    company.bills("bills_2025-01.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.drop("control_2025-01.csv", "file,n,total,instead\nbills_2025-01.csv,1,1,\n")
    company.ingest()
    head = company.ledger.head()
    company.ingest()
    assert company.ledger.head() == head


def bills_with_bad_rows(company: Any, bad: int, rows: int) -> None:
    """A file of ``rows`` bill lines; the first ``bad`` have no amount that is one."""
    company.bills("bills_1.csv", *[f"{n},d1,c1,2025-01,voice,{'x' if n < bad else 1},CNY" for n in range(rows)])


def test_more_bad_rows_than_allowed_hold_the_period(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    bills_with_bad_rows(company, 30, 1000)
    report = company.ingest()
    assert report.bad_share_exceeded and "3.0 %" in report.held_periods["2025-01"][0]


@pytest.mark.parametrize(
    ("bad", "rows", "held"),
    [
        (1, 14, False),
        (7, 14, False),
        (8, 14, True),
        (9, 10, True),
        (9, 18, False),
        (9, 17, True),
        (10, 500, False),
        (10, 499, True),
        (1, 1, True),
    ],
)
def test_a_few_bad_rows_hold_nothing_unless_more_than_half_of_the_rows_are_bad(
    company: Any, bills_feed: dict[str, Any], bad: int, rows: int, held: bool
) -> None:
    company.map(bills_feed)
    bills_with_bad_rows(company, bad, rows)
    report = company.ingest()
    assert report.quarantined == bad
    assert report.bad_share_exceeded is held


def test_without_the_quarantine_the_period_of_a_bad_file_is_held_and_the_next_file_lands(company: Any, bills_feed: dict[str, Any]) -> None:
    """Ingest ended with an error for good."""
    company.map(bills_feed)
    bills_with_bad_rows(company, 8, 14)
    held = company.ingest().held_periods
    shutil.rmtree(company.deployment.quarantine)
    company.bills("bills_2.csv", "z,d1,c1,2025-02,voice,1,CNY")
    report = company.ingest()
    assert (report.landed, report.held_periods) == (1, held) and held


def test_a_deployment_sets_how_many_bad_rows_are_a_few(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    company.config["min_bad_rows"] = 3
    bills_with_bad_rows(company, 2, 14)
    assert not company.ingest().bad_share_exceeded
    company.config["min_bad_rows"] = 2
    assert company.ingest().bad_share_exceeded
    company.config["min_bad_rows"] = 0
    with pytest.raises(BadInput, match="min_bad_rows"):
        company.ingest()


KILLED_AT = (
    "ingest.vault_written",
    "ingest.landing_written",
    "ingest.quarantine_written",
    "ingest.file_recorded",
    "ingest.totals_recorded",
)


@pytest.mark.parametrize("point", KILLED_AT)
def test_killed_at_any_point_the_next_ingest_completes_as_if_nothing_had_happened(
    company: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any], point: str
) -> None:
    company.map(promised(bills_feed), customers_feed)
    company.drop("customers_1.csv", "id,since,name,brand\nc1,2025-01-01,Ann,gotone\nc2,x,Bob,\n")
    company.bills("bills_2025-01.csv", "a,d1,c1,2025-01,voice,1,CNY", "b,d1,c1,2025-01,voice,x,CNY")
    company.bills("bills_2025-02.csv", "a,d1,c1,2025-02,voice,1,CNY")
    company.drop("control_2025-01.csv", "file,n,total,instead\nbills_2025-01.csv,2,1,\n")
    killed = in_a_process(company, TIERHOUSE_FAILPOINT=point)
    assert killed.returncode == -signal.SIGKILL
    for part in landed_parts(company.deployment, company.ledger):
        assert part.path.exists()
    company.ingest()
    assert company.in_force("bill_lines", "_key, bill_period", "_key") == [("a", "2025-02")]
    assert [a["agrees"] for a in balance(company.ledger)] == [True] * 3
    assert sorted(row[0] for row in company.quarantine("reasons[1]")) == ["bad_date", "bad_decimal"]
    assert len(company.ledger.entries("drop_landed")) == 3 and len(company.ledger.entries("control_total")) == 1
    assert not company.deployment.scratch.exists()


def test_a_full_disk_is_said_as_one(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="disk is full"), storage_errors(tmp_path):
        raise OSError(28, "No space left on device")


def test_too_little_memory_is_said_with_what_to_do(tmp_path: Path) -> None:
    with duckdb.connect(config={"memory_limit": "20MB", "temp_directory": "", "threads": 1}) as con:
        with pytest.raises(Failed, match="more memory") as caught, storage_errors(tmp_path):
            con.execute("create table t as select md5(range::varchar) as m from range(3000000) order by m").fetchall()
        assert "TIERHOUSE_INGEST_MEMORY" in caught.value.remedy and caught.value.where == str(tmp_path)


def test_what_dbt_quotes_of_a_full_disk_is_told_as_one_and_nothing_else_is(tmp_path: Path) -> None:
    head = "Database Error in model int_customer_months (models/intermediate/periods/int_customer_months.sql)"
    told = disk_failure(f'{head}\n  IO Error: Could not write file "/data/warehouse.duckdb": No space left on device', tmp_path)
    assert told is not None and (told.what, told.where) == ("the disk is full", "/data/warehouse.duckdb")
    assert disk_failure(f"{head}\n  Binder Error: there is no column", tmp_path) is None


def test_a_file_that_may_not_grow_is_named_with_the_limit_and_nothing_lands(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map({**bills_feed, "files": "bills_*.parquet", "format": "parquet"})
    rows = (
        "select range as id, md5(range::varchar) as doc, 'c1' as cust, '2025-01' as month, 'voice' as kind, 1 as amount, 'CNY' as currency"
    )
    duckdb.execute(f"copy ({rows} from range(20000)) to '{company.drops}/bills_1.parquet' (format parquet)")
    assert company.deployment
    command = f"ulimit -f 120; exec {TIERHOUSE} ingest --json --deployment {company.folder}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    error = json.loads(done.stdout)
    assert error["what"] == "the file is as large as a file of this user may be" and "ulimit -f" in error["remedy"]
    assert str(company.deployment.scratch) in error["where"]
    assert company.ingest().landed == 20_000


def test_what_was_refused_is_told_without_an_empty_table(
    company: Any, bills_feed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    company.map(bills_feed)
    company.drop("bills_1.csv", "")
    print_ingest(Context(False, str(company.folder)), company.ingest())
    assert capsys.readouterr().out == "Refused whole: bills_1.csv: it is empty\n"


def test_what_was_refused_is_in_status_while_it_lies_there(company: Any, bills_feed: dict[str, Any]) -> None:
    """Of a feed that promises no files nothing else told of it once the run was over."""
    company.map(bills_feed)
    bad = company.drop("bills_1.csv", "")
    company.ingest()

    def told() -> str:
        done = CliRunner().invoke(main, ["status", "-d", str(company.folder)])
        assert done.exit_code == 0
        return done.output

    assert refused_drops(company.deployment, company.ledger) == [{"file": "bills_1.csv", "message": "it is empty"}]
    assert "Refused whole: bills_1.csv: it is empty\n" in told()
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.ingest()
    assert refused_drops(company.deployment, company.ledger) == [] and "Refused" not in told()
    bad.write_bytes(b"")
    company.ingest()
    assert "Refused whole: bills_1.csv" in told()
    bad.unlink()
    assert "Refused" not in told()


def test_what_no_feed_names_any_more_is_not_called_refused(company: Any, bills_feed: dict[str, Any]) -> None:
    """Its mapping took too much: once that is mended nobody waits for the file."""
    company.map({**bills_feed, "files": "*.csv"})
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.drop("notes.csv", "")
    company.ingest()
    assert [each["file"] for each in refused_drops(company.deployment, company.ledger)] == ["notes.csv"]
    company.map({**bills_feed, "files": "bills_*.csv"})
    company.ingest()
    assert refused_drops(company.deployment, company.ledger) == []
    (company.folder / "sources" / "shop.yaml").write_text("source: [", encoding="utf-8")
    assert [each["file"] for each in refused_drops(company.deployment, company.ledger)] == ["notes.csv"], "as long as nobody can tell"


def test_a_refused_file_whose_name_ends_that_of_another_is_in_status_too(company: Any, bills_feed: dict[str, Any]) -> None:
    promise = {"files_per_period": 1, "period_from_name": r"(\d{4})-(\d\d)"}
    company.map({**bills_feed, "files": "*.csv", "expected": promise})
    company.bills("bills_2025-01.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.drop("bills_2025-02.csv", "")
    company.drop("02.csv", "")
    company.ingest()
    done = CliRunner().invoke(main, ["status", "-d", str(company.folder)])
    assert [done.output.count(f"{told}: it is empty") for told in ("Refused whole: 02.csv", "bills_2025-02.csv was refused")] == [1, 1]
    assert "Refused whole: bills_2025-02.csv" not in done.output


def test_where_no_drop_fits_a_mapping_none_is_called_landed(
    company: Any, bills_feed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A path as Windows writes it fits no file: "every one is already landed" hid it."""
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.ingest()
    company.map({**bills_feed, "files": "from\\bills_*.csv"}, source="till")
    print_ingest(Context(False, str(company.folder)), ingest(company.deployment, company.ledger, sources=["till"], say=print))
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("No drop found in ") and "landed" not in said[0]
    assert said[1].endswith("for: till bill_lines (from\\bills_*.csv)")


def test_the_newest_month_can_be_run_without_bills_once_its_file_says_that_there_are_none(company: Any, bills_feed: dict[str, Any]) -> None:
    """A shop that was closed in March: its month was out of range until bills of April came."""
    company.map({**bills_feed, "expected": {"period_from_name": "bills_(....)-(..)"}})
    company.bills("bills_2025-01.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.ingest()

    def run(period: str) -> list[str]:
        return plan_run(company.deployment, company.ledger, [period], load_policies(company.deployment)).periods

    with pytest.raises(BadInput, match="2025-02 is out of range: bill lines have landed for 2025-01 to 2025-01"):
        run("2025-02")
    company.bills("bills_2024-12.csv")
    company.bills("bills_2025-02.csv")
    company.bills("bills_2025-03.csv")
    company.ingest()
    assert [run("2025-02"), run("2025-03")] == [["2025-02"], ["2025-03"]]
    with pytest.raises(BadInput, match="2025-04 is out of range: bill lines have landed for 2025-01 to 2025-03"):
        run("2025-04")


def test_a_control_total_without_an_amount_is_told_without_one(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map({**bills_feed, "control": {"files": "control_*.csv", "columns": {"file": "file", "rows": "n"}}})
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.drop("control_1.csv", "file,n\nbills_1.csv,2\n")
    [text] = company.ingest().held_periods["2025-01"]
    assert text.endswith("bills_1.csv has 1 row, its control total says 2 rows")


@pytest.mark.parametrize(
    ("amount", "found"),
    [("12.50", "12.5"), ("+12.5", "12.5"), (" 12.50 ", "12.5"), ('"1,234.50"', "1234.5"), ('"-1,234,567"', "-1234567"), ("1.25e1", "12.5")],
)
def test_the_amount_of_a_control_total_is_read_where_it_means_one_number(
    company: Any, bills_feed: dict[str, Any], amount: str, found: str
) -> None:
    company.map({**bills_feed, "control": {"files": "control_*.csv", "columns": {"file": "file", "rows": "n", "amount": "total"}}})
    company.bills("bills_1.csv", f"a,d1,c1,2025-01,voice,{found.lstrip('-')},CNY")
    company.drop("control_1.csv", f"file,n,total\nbills_1.csv,1,{amount}\n")
    company.ingest()
    [total] = company.ledger.entries("control_total")
    assert Decimal(total.payload["amount_expected"]) == Decimal(found)


@pytest.mark.parametrize("row", ['bills_1.csv,1,"12,50"', 'bills_1.csv,1,"1,234"', "bills_1.csv,1,NaN", 'bills_1.csv,1,"1,23.5"'])
def test_an_amount_of_a_control_total_that_may_mean_two_numbers_is_refused_with_its_place(
    company: Any, bills_feed: dict[str, Any], row: str
) -> None:
    """12,50 was read as 1250."""
    company.map({**bills_feed, "control": {"files": "control_*.csv", "columns": {"file": "file", "rows": "n", "amount": "total"}}})
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,12.50,CNY")
    company.drop("control_1.csv", f'file,n,total\n"bills_\n0.csv",1,1\n\n{row}\n')
    with pytest.raises(BadInput) as error:
        company.ingest()
    assert error.value.where == "control_1.csv, line 5, column 'total'"
    assert "is no number of amount" in str(error.value) and "replace(" in str(error.value.remedy)
    company.drop("control_1.csv", "file,n,total\nbills_1.csv,one,1\n")
    with pytest.raises(BadInput, match="'one' is no number of rows") as error:
        company.ingest()
    assert error.value.where == "control_1.csv, line 2, column 'n'"


def test_an_ingest_that_finds_a_control_total_alone_says_that_it_took_it(
    company: Any, bills_feed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    company.map({**bills_feed, "control": {"files": "control_*.csv", "columns": {"file": "file", "rows": "n"}}})
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.ingest()
    company.drop("control_1.csv", "file,n\nbills_1.csv,2\n")
    report = company.ingest()
    print_ingest(Context(False, str(company.folder)), report)
    assert capsys.readouterr().out == "Taken: 1 control total; not as they say: bills_1.csv\nNo new drop.\n"
    assert report.as_json()["control_totals"] == {"bills_1.csv": False}
    print_ingest(Context(False, str(company.folder)), company.ingest())
    assert capsys.readouterr().out == "No new drop: every one is already landed.\n"


def test_amounts_of_a_file_balance_to_the_cent(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,0.1,CNY", "b,d1,c1,2025-01,voice,0.2,USD", "c,d1,c1,2025-01,voice,0.3,CNY", "d,d1")
    company.ingest()
    [a] = balance(company.ledger)
    assert [Decimal(a[k]) for k in ("amount_in", "amount_landed", "amount_quarantined")] == [Decimal("0.6"), Decimal("0.4"), Decimal("0.2")]
