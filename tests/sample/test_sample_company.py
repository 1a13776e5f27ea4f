"""The sample company: the same seed gives the same bytes, every entity is there, and truth.json tells the truth.

Counts here are made from the files themselves with other means than the generator's.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from orchestration.cli.sample import sample_command
from orchestration.deployment import PROJECT_ROOT
from orchestration.errors import BadInput
from orchestration.sample import ENTITIES, ensure_sample, write_sample

CUSTOMERS, MONTHS, SEED = 2_000, 8, 11
TRUNCATED = {"truncated_last_line", "control_total"}


@pytest.fixture(scope="module")
def drops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("drops")
    write_sample(out, customers=CUSTOMERS, months=MONTHS, seed=SEED, say=lambda _: None)
    return out


@pytest.fixture(scope="module")
def truth(drops: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((drops / "truth.json").read_text(encoding="utf-8"))
    return content


def raw(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Rows of a drop as a reader without any of the project's code sees them; bytes that are no text become U+FFFD."""
    if path.suffix == ".parquet":
        relation = duckdb.sql(f"select * from read_parquet('{path}')")
        return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    text = raw(path).decode("gb18030" if "billing_old" in path.parts else "utf-8-sig", errors="replace")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return list(csv.DictReader(io.StringIO(text), delimiter=";" if "finance" in path.parts else ","))


def lines_of(path: Path) -> int:
    """Data rows of a drop; a last line without its end counts."""
    if path.suffix == ".parquet":
        return len(rows_of(path))
    data = raw(path)
    return data.count(b"\n") + (not data.endswith(b"\n")) - (path.suffix != ".jsonl")


def all_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def every(drops: Path, pattern: str) -> list[dict[str, Any]]:
    return [row for path in sorted(drops.glob(pattern)) if "_resent" not in path.name for row in rows_of(path)]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_sample(tmp_path / name, customers=400, months=4, seed=seed, say=lambda _: None)
    first, again, other = (all_files(tmp_path / name) for name in "abc")
    assert first == again
    assert first.keys() == other.keys() or first != other
    assert first["billing_new/bill_lines_2026-05.parquet"] != other["billing_new/bill_lines_2026-05.parquet"]


def test_leaving_entities_out_changes_no_other_file(drops: Path, tmp_path: Path) -> None:
    wanted = ["customers", "lines", "bill_lines", "points"]
    write_sample(tmp_path, customers=CUSTOMERS, months=MONTHS, seed=SEED, entities=wanted, say=lambda _: None)
    some, everything = all_files(tmp_path), all_files(drops)
    some.pop("truth.json")
    assert {name: data for name, data in everything.items() if name in some} == some
    assert {name.split("/")[0] for name in some} == {"crm", "billing_old", "billing_new", "rewards", "rewards_history"}


def test_a_second_sample_replaces_the_first_and_leaves_other_files_alone(tmp_path: Path) -> None:
    write_sample(tmp_path, customers=300, months=6, seed=1, say=lambda _: None)
    (tmp_path / "crm" / "notes.txt").write_text("mine")
    write_sample(tmp_path, customers=300, months=2, seed=1, say=lambda _: None)
    names = {name for name in all_files(tmp_path) if "2026-0" in name}
    assert names and not [name for name in names if any(f"2026-0{month}" in name for month in (1, 2, 3))]
    assert (tmp_path / "crm" / "notes.txt").is_file()


def test_a_sample_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    lines: list[str] = []
    first = ensure_sample(tmp_path, customers=40, months=3, seed=1, has_landed=False, say=lines.append)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    lines.clear()
    assert ensure_sample(tmp_path, customers=40, months=3, seed=1, has_landed=True, say=lines.append) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert len(lines) == 1 and "already" in lines[0]
    with pytest.raises(BadInput, match="another sample company have landed"):
        ensure_sample(tmp_path, customers=40, months=2, seed=1, has_landed=True, say=lines.append)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    other = ensure_sample(tmp_path, customers=40, months=2, seed=1, has_landed=False, say=lines.append)
    assert other["periods"] == ["2026-05", "2026-06"]


# What no telecom operator has: the example deployments of the sales force, of prospects and of the hotel bring it.
OF_OTHERS = {"customer_potentials", "customer_purchases", "prospects", "receptions"}


def test_every_entity_with_a_contract_is_written(truth: dict[str, Any]) -> None:
    contracts = {path.stem for path in (PROJECT_ROOT / "orchestration" / "ingest" / "contracts").glob("*.yaml")}
    assert set(ENTITIES) == contracts - OF_OTHERS
    assert set(truth["rows"]) == contracts - OF_OTHERS
    assert all(truth["rows"].values())


def test_rows_by_file_are_those_in_the_files(drops: Path, truth: dict[str, Any]) -> None:
    counted = {name: lines_of(drops / name) for name in truth["files"]}
    assert counted == {name: entry["rows"] for name, entry in truth["files"].items()}
    written = {name for name in all_files(drops) if name != "truth.json"}
    assert written == set(truth["files"]) | set(truth["control_files"])


def test_each_source_writes_in_its_own_format(drops: Path) -> None:
    old = (drops / "billing_old" / "bill_lines_2026-06.csv").read_bytes()
    assert old.decode("gb18030").startswith("流水号,账单号,号码")
    with pytest.raises(UnicodeDecodeError):
        old.decode("utf-8")
    packed = (drops / "crm" / "customers_2026-06.csv.gz").read_bytes()
    assert packed[:2] == b"\x1f\x8b" and packed[4:8] == b"\0\0\0\0"
    assert (drops / "rewards" / "points_2026-06.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    types = duckdb.sql(
        f"select column_name, column_type from (describe from read_parquet('{drops}/billing_new/bill_lines_2026-06.parquet'))"
    )
    assert dict(types.fetchall())["amount_net"] == "DECIMAL(18,4)"


def test_no_file_has_more_than_two_percent_bad_rows(truth: dict[str, Any]) -> None:
    for kind, entry in truth["defects"].items():
        for name, reasons in entry["files"].items():
            rows = sum(reasons.values())
            assert rows == 1 if kind in TRUNCATED else rows <= 0.015 * truth["files"][name]["rows"], (kind, name)


def test_every_kind_of_defect_is_planted_and_its_counts_add_up(truth: dict[str, Any]) -> None:
    kinds = {"bad_date", "unknown_customer", "duplicate_key", "wrong_currency", "broken_encoding", "missing_column"}
    assert set(truth["defects"]) == kinds | {"truncated_last_line", "negative_amount", "control_total"}
    for entry in truth["defects"].values():
        assert entry["rows"] == sum(entry["reasons"].values()) == sum(sum(reasons.values()) for reasons in entry["files"].values()) > 0


def found(kind: str, path: Path, known: set[str]) -> int:
    """Rows of the file that show the defect, found from the file alone."""
    if kind == "control_total":
        return 1
    data = raw(path)
    if kind == "truncated_last_line":
        return int(not data.endswith(b"\n"))
    if kind == "broken_encoding":
        return sum(b"\xff\xff" in line for line in data.splitlines())
    rows = rows_of(path)
    if kind == "missing_column":
        return sum(None in row.values() for row in rows)
    if kind == "unknown_customer":
        return sum(row.get("customer_no", row.get("customer")) not in known for row in rows)
    if kind == "wrong_currency":
        return sum(next(row[name] for name in ("currency", "币种") if name in row) not in ("CNY", "人民币") for row in rows)
    if kind == "negative_amount":
        return sum(
            Decimal(row.get("amount_net", row.get("金额"))) < 0 and row.get("doc_type", row.get("单据类型")) in ("bill", "账单")
            for row in rows
        )
    if kind == "bad_date":
        bad = {"2025-02-30", "2026-02-30 09:00:00", "31/01/2025", "20250231"}
        return sum(bool(bad & set(row.values())) for row in rows)
    names = {"bill_lines": ["line_key", "流水号"], "lines": ["MSISDN", "START_DATE"]}[path.name.split("_20")[0]]
    keys = Counter(tuple(row[name] for name in names if name in row) for row in rows)
    return sum(times - 1 for times in keys.values())


def test_planted_defects_are_in_the_files_exactly_as_told(drops: Path, truth: dict[str, Any]) -> None:
    known = {row["CUST_ID"] for row in every(drops, "crm/customers_*.csv.gz")}
    for kind, entry in truth["defects"].items():
        seen = {name: found(kind, drops / name, known) for name in entry["files"]}
        assert seen == {name: sum(reasons.values()) for name, reasons in entry["files"].items()}, kind


def test_files_without_planted_defects_have_none(drops: Path, truth: dict[str, Any]) -> None:
    known = {row["CUST_ID"] for row in every(drops, "crm/customers_*.csv.gz")}
    for kind, pattern in (
        ("unknown_customer", "billing_new/bill_lines_*.parquet"),
        ("unknown_customer", "service/*s_*.jsonl"),
        ("wrong_currency", "billing_*/bill_lines_*"),
        ("negative_amount", "billing_*/bill_lines_*"),
        ("duplicate_key", "crm/lines_*"),
        ("duplicate_key", "billing_*/bill_lines_*"),
        ("missing_column", "finance/payments_*"),
    ):
        for path in drops.glob(pattern):
            name = str(path.relative_to(drops))
            if (
                name not in truth["defects"][kind]["files"]
                and "staff_measures" not in name
                and name != truth["events"]["control_total"]["file"]
            ):
                assert found(kind, path, known) == 0, (kind, name)


def test_without_defects_nothing_is_planted_but_business_goes_on(tmp_path: Path) -> None:
    truth = write_sample(tmp_path, customers=1_500, months=6, seed=2, defects=False, say=lambda _: None)
    assert truth["defects"] == {}
    assert {"late_rows", "credit_notes", "corrected_file", "resent_file"} <= set(truth["events"])
    assert b"\xff\xff" not in b"".join(data for name, data in all_files(tmp_path).items() if name.endswith(".csv"))


def test_without_old_billing_all_bills_are_in_the_new_system(tmp_path: Path) -> None:
    shares = {}
    for share in (0.0, 0.3):
        truth = write_sample(
            tmp_path / str(share),
            customers=500,
            months=4,
            seed=2,
            entities=["bill_lines"],
            old_billing_share=share,
            defects=False,
            say=lambda _: None,
        )
        old = sum(entry["rows"] for name, entry in truth["files"].items() if name.startswith("billing_old"))
        shares[share] = old / truth["rows"]["bill_lines"]
    assert shares[0.0] == 0 and 0.2 < shares[0.3] < 0.4


def test_some_prepaid_customers_fall_silent_and_keep_their_number(tmp_path: Path) -> None:
    wanted = ["customers", "lines", "bill_lines", "points"]
    write_sample(tmp_path, customers=3_000, months=6, seed=SEED, old_billing_share=0, defects=False, entities=wanted, say=lambda _: None)
    brand = {row["CUST_ID"]: row["BRAND"] for row in every(tmp_path, "crm/customers_*")}
    newest = {(row["MSISDN"], row["CUST_ID"]): row for row in every(tmp_path, "crm/lines_*")}
    holders = {row["CUST_ID"] for row in newest.values() if not row["END_DATE"] and row["START_DATE"] < "2026-04"}
    billed = {row["customer_no"] for row in every(tmp_path, "billing_new/bill_lines_*") if row["billing_month"] >= "2026-04"}
    silent = holders - billed
    assert len(silent) > 5
    assert {brand[customer] for customer in silent} == {"神州行"}
    earning = {row["customer_id"] for row in every(tmp_path, "rewards/points_2026-06*")}
    assert not silent & earning


def test_control_totals_agree_with_every_file_but_the_one_that_broke_off(drops: Path, truth: dict[str, Any]) -> None:
    wrong, replaced = [], []
    for system, columns in (
        ("billing_old", ("文件名", "行数", "金额合计", "替代文件")),
        ("billing_new", ("file_name", "row_count", "amount_total", "replaces")),
    ):
        for control in sorted((drops / system).glob("control_*.csv")):
            for row in rows_of(control):
                name, rows, amount, again = (row[column] for column in columns)
                lines = [line for line in rows_of(drops / system / name) if line.get("金额") or line.get("amount_net") is not None]
                total = sum((Decimal(line.get("金额", line.get("amount_net"))) for line in lines), Decimal(0))
                if (len(lines), total) != (int(rows), Decimal(amount)):
                    wrong.append(f"{system}/{name}")
                if again:
                    replaced.append(f"{system}/{again}")
    assert wrong == replaced == [truth["events"]["control_total"]["file"]]
    mended = {row["流水号"] for row in rows_of(drops / truth["events"]["control_total"]["mended_by"])}
    assert {row["流水号"] for row in rows_of(drops / wrong[0])} <= mended


def test_credit_notes_refer_to_an_earlier_bill_and_a_few_exceed_it(drops: Path, truth: dict[str, Any]) -> None:
    lines = every(drops, "billing_new/bill_lines_*.parquet")
    fixed = truth["events"]["corrected_file"]
    bills: dict[str, Decimal] = {}
    for row in lines:
        if row["doc_type"] == "bill":
            bills[row["bill_no"]] = bills.get(row["bill_no"], Decimal(0)) + row["amount_net"]
    notes = [row for row in lines if row["doc_type"] == "credit_note" and row["ref_bill_no"] in bills]
    assert fixed["rows"] >= 3
    assert notes and all(row["ref_month"] < row["billing_month"] and row["amount_net"] < 0 for row in notes)
    assert [row for row in notes if -row["amount_net"] > bills[row["ref_bill_no"]]]


def test_late_bills_come_once_with_the_next_months_file(drops: Path, truth: dict[str, Any]) -> None:
    late = 0
    for path in sorted(drops.glob("billing_*/bill_lines_*")):
        if "_c1" in path.name or "_resent" in path.name or str(path.relative_to(drops)) == truth["events"]["control_total"]["file"]:
            continue
        month = path.name[11:18]
        periods = {(row.get("billing_month") or f"{row['账期'][:4]}-{row['账期'][4:]}") for row in rows_of(path)}
        assert all(period <= month for period in periods)
        late += len(periods - {month})
    assert late > 0
    assert truth["events"]["late_rows"] > 0


def test_the_corrected_file_has_known_keys_new_amounts_and_one_moved_line(drops: Path, truth: dict[str, Any]) -> None:
    event = truth["events"]["corrected_file"]
    before = {row["line_key"]: row for row in rows_of(drops / event["corrects"])}
    after = rows_of(drops / event["file"])
    assert len(after) == event["rows"]
    assert all(row["amount_net"] != before[row["line_key"]]["amount_net"] for row in after)
    moved = [row["line_key"] for row in after if row["billing_month"] != before[row["line_key"]]["billing_month"]]
    assert moved == [event["moved_line"]]


def test_the_file_that_is_sent_twice_has_the_same_bytes(drops: Path, truth: dict[str, Any]) -> None:
    event = truth["events"]["resent_file"]
    assert (drops / event["file"]).read_bytes() == (drops / event["same_as"]).read_bytes()


def test_a_recycled_number_has_another_holder_after_a_gap(drops: Path, truth: dict[str, Any]) -> None:
    holders: dict[str, dict[str, tuple[str, str]]] = {}
    for row in every(drops, "crm/lines_*.csv.gz"):
        start, end = holders.setdefault(row["MSISDN"], {}).get(row["CUST_ID"], (row["START_DATE"], ""))
        holders[row["MSISDN"]][row["CUST_ID"]] = (start, row["END_DATE"] or end)
    recycled = {number: sorted(held.values()) for number, held in holders.items() if len(held) > 1}
    assert len(recycled) == truth["events"]["recycled_numbers"] > 0
    assert all(held[0][1] and held[0][1] < held[1][0] for held in recycled.values())


def test_old_billing_bills_only_numbers_that_someone_holds_in_the_bills_month(drops: Path) -> None:
    held: dict[str, dict[str, tuple[str, str]]] = {}
    for row in every(drops, "crm/lines_*.csv.gz"):
        start, end = held.setdefault(row["MSISDN"], {}).get(row["START_DATE"], (row["START_DATE"][:7], "9999-99"))
        held[row["MSISDN"]][row["START_DATE"]] = (start, row["END_DATE"][:7] or end)
    for row in every(drops, "billing_old/bill_lines_2026-0[56].csv"):
        text = row["原账单号"] or row["账期"]
        period = f"{text[:4]}-{text[4:6]}"
        assert sum(start <= period <= end for start, end in held[row["号码"]].values()) == 1, row


def test_nominations_hold_unapproved_and_self_approved_ones_as_told(drops: Path, truth: dict[str, Any]) -> None:
    newest = {row["NOMINATION_ID"]: row for row in every(drops, "crm/nominations_*.csv.gz")}
    assert len(newest) == truth["events"]["nominations"]
    assert sum(row["REQUESTED_BY"] == row["APPROVED_BY"] for row in newest.values()) == truth["events"]["nominations_self_approved"] > 0
    last_month = sum(row["APPROVED_BY"] == "" and not row["NOMINATION_ID"].startswith("P202606") for row in newest.values())
    assert 0 < last_month <= truth["events"]["nominations_unapproved"]


def test_complaints_come_again_when_their_state_changes(drops: Path) -> None:
    states: dict[str, list[str]] = {}
    for row in every(drops, "service/complaints_*.jsonl"):
        states.setdefault(row["id"], []).append(row["status"])
    changed = [seen for seen in states.values() if len(seen) > 1]
    assert any(seen[-1] == "closed" for seen in changed)
    assert not [seen for seen in states.values() if "closed" in seen[:-1]]


def test_levels_under_the_default_bars_are_spread_and_move(drops: Path) -> None:
    """A company in which everybody has one level would show nothing."""
    monthly: dict[tuple[str, str], Decimal] = {}
    for row in every(drops, "billing_new/bill_lines_*.parquet"):
        key = (row["customer_no"], row["billing_month"])
        monthly[key] = monthly.get(key, Decimal(0)) + row["amount_net"]

    def levels(periods: list[str]) -> dict[str, int]:
        who = {customer for customer, period in monthly if period == periods[-1]}
        mean = {c: sum((monthly.get((c, period), Decimal(0)) for period in periods), Decimal(0)) / 6 for c in who}
        return {c: sum(value >= bar for bar in (40, 80, 120, 300)) for c, value in mean.items()}

    before, after = (
        levels([f"2026-{month:02d}" if month > 0 else f"2025-{month + 12}" for month in range(last - 5, last + 1)]) for last in (5, 6)
    )
    spread = Counter(after.values())
    assert all(spread[level] >= 0.01 * len(after) for level in range(5)), spread
    moved = sum(after[c] != before[c] for c in after if c in before) / len(after)
    assert 0.01 < moved < 0.25


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"customers": 0}, "--customers"),
        ({"months": 0}, "--months"),
        ({"months": 999}, "--months"),
        ({"seed": -1}, "--seed"),
        ({"entities": ["customer"]}, "--entities"),
        ({"old_billing_share": 1.5}, "--old-billing-share"),
        ({"entities": []}, "--entities"),
        ({"last_period": "2026-13"}, "--last-period"),
        ({"last_period": "1990-03"}, "--months"),
    ],
)
def test_values_out_of_range_are_bad_input_and_leave_nothing(tmp_path: Path, change: dict[str, Any], where: str) -> None:
    with pytest.raises(BadInput) as caught:
        write_sample(tmp_path / "out", **{"customers": 10, "months": 6, "seed": 1, **change}, say=lambda _: None)
    assert caught.value.where == where
    assert not (tmp_path / "out").exists()


def test_a_folder_with_files_of_others_and_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(BadInput):
            write_sample(out, customers=10, months=2, seed=1, say=lambda _: None)


@pytest.mark.parametrize(("customers", "months"), [(1, 1), (7, 1), (3, 18), (60, 3)])
def test_tiny_companies_can_be_written(tmp_path: Path, customers: int, months: int) -> None:
    truth = write_sample(tmp_path, customers=customers, months=months, seed=3, say=lambda _: None)
    assert truth["rows"]["customers"] >= 0


def test_the_command_prints_json_alone_under_json(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        sample_command,
        ["--customers", "50", "--months", "2", "--out", str(tmp_path / "o"), "--entities", "customers, bill_lines", "--json"],
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["entities"] == ["bill_lines", "customers"]
