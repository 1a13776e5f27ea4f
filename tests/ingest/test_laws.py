"""Laws over random drops: no row is lost, in any format and order of delivery, and what is in force is what came last."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestration.ingest import balance, new_drops
from tests.support import draws

KEYS = st.sampled_from(["k1", "k2", "k3", "k4", ""])
CELLS = st.fixed_dictionaries(
    {
        "id": KEYS,
        "doc": st.sampled_from(["d1", "d2", ""]),
        "cust": st.sampled_from(["c1", "c2", ""]),
        "month": st.sampled_from(["2025-01", "2025-02", "2025-1", ""]),
        "kind": st.sampled_from(["voice", "语音", 'a "quoted", word', "two\nlines", ""]),
        "amount": st.sampled_from(["1", "2.5", "-1", "1.23456", "x", ""]),
        "currency": st.sampled_from(["CNY", "CNY", "USD", ""]),
    }
)
ROWS = st.lists(CELLS, max_size=12)
CUT = st.sampled_from(["", "", "short,row", 'bad"quote,x,y,z,1,2,3', "a,b,c,d,e,f,g,h", "\n"])
# Each example is a whole ingest: shrinking a failure would take minutes.
LAW = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in '",\n') else text


def _good(row: dict[str, str]) -> bool:
    return (
        row["id"] != ""
        and row["doc"] != ""
        and row["cust"] != ""
        and row["month"] in ("2025-01", "2025-02")
        and row["kind"] != ""
        and row["amount"] in ("1", "2.5")
        and row["currency"] == "CNY"
    )


def _fresh(company: Any) -> Any:
    folder = Path(tempfile.mkdtemp(dir=company.folder)) / "one"
    folder.mkdir()
    return type(company)(folder)


@LAW
@given(drops=st.lists(st.tuples(ROWS, CUT), min_size=1, max_size=3))
def test_rows_in_are_landed_quarantined_and_superseded(
    company: Any, bills_feed: dict[str, Any], drops: list[tuple[list[dict[str, str]], str]]
) -> None:
    here = _fresh(company)
    here.map(bills_feed)
    expected: dict[str, str] = {}
    records: list[int] = []
    known: set[bytes] = set()
    for number, (rows, cut) in enumerate(drops):
        lines = [",".join(_cell(row[c]) for c in ("id", "doc", "cust", "month", "kind", "amount", "currency")) for row in rows]
        data = ("\n".join(["id,doc,cust,month,kind,amount,currency", *lines]) + "\n" + (cut + "\n" if cut.strip() else cut)).encode()
        here.drop(f"bills_{number}.csv", data)
        count = len(rows) + (1 if cut.strip() else 0)
        # The same rows once more are a copy; files without rows are deliveries each.
        if data in known and count:
            continue
        known.add(data)
        records.append(count)
        seen: set[str] = set()
        for row in rows:
            if _good(row) and row["id"] not in seen:
                seen.add(row["id"])
                expected[row["id"]] = row["amount"]
    here.ingest()
    account = balance(here.ledger)
    assert all(a["agrees"] and a["rows_in"] == a["landed"] + a["quarantined"] + a["superseded"] for a in account)
    assert [a["rows_in"] for a in account] == records
    assert {key: float(amount) for key, amount in here.in_force("bill_lines", "_key, net_amount")} == {
        key: float(a) for key, a in expected.items()
    }
    assert len(here.quarantine()) == sum(a["quarantined"] for a in account)


@LAW
@given(rows=ROWS)
def test_csv_and_json_lines_of_the_same_rows_land_the_same(company: Any, bills_feed: dict[str, Any], rows: list[dict[str, str]]) -> None:
    found = []
    for kind in ("csv", "jsonl"):
        here = _fresh(company)
        here.map({**bills_feed, "format": kind, "files": "bills_*"})
        columns = ("id", "doc", "cust", "month", "kind", "amount", "currency")
        if kind == "csv":
            here.drop(
                "bills_1", ("\n".join([",".join(columns), *(",".join(_cell(row[c]) for c in columns) for row in rows)]) + "\n").encode()
            )
        else:
            here.drop("bills_1", ("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) or "\n").encode())
        report = here.ingest()
        landed = here.in_force("bill_lines", "_key, document_id, customer_id, bill_period, charge_type, net_amount", "_key")
        found.append((report.landed, report.quarantined, report.reasons, landed))
    assert found[0] == found[1]


@LAW
@given(data=st.data())
def test_without_keys_as_many_identical_rows_are_in_force_as_the_last_file_with_them_has(
    company: Any, bills_feed: dict[str, Any], data: Any
) -> None:
    """Document by document: a row stands as often as it does in the file that holds it most often."""
    here = _fresh(company)
    columns = {name: expression for name, expression in bills_feed["columns"].items() if name != "bill_line_id"}
    here.map({**bills_feed, "columns": columns})
    row = st.sampled_from(["d1,1", "d1,2", "d2,1"])
    most: dict[str, int] = {}
    for number in range(data.draw(st.integers(1, 3))):
        rows = data.draw(st.lists(row, max_size=6))
        for kind in set(rows):
            most[kind] = max(most.get(kind, 0), rows.count(kind))
        here.bills(f"bills_{number}.csv", *(f",{r.split(',')[0]},c1,2025-01,voice,{r.split(',')[1]},CNY" for r in rows))
    here.ingest()
    found: dict[str, int] = {}
    for document, amount in here.in_force("bill_lines", "document_id, net_amount"):
        key = f"{document},{amount.normalize()}"
        found[key] = found.get(key, 0) + 1
    assert found == most


MONTHS = st.sampled_from(["2025-01", "2025-02", "2025-03"])
DOCUMENTS = st.sampled_from(["D1", "D2"])


@settings(LAW, max_examples=8)
@given(data=st.data())
def test_credit_notes_count_in_the_period_of_their_bill_in_any_order_of_delivery(
    company: Any, bills_feed: dict[str, Any], data: Any
) -> None:
    """Bills and notes, each with corrections that follow it; how they are mixed with the others, and into which files, does not matter."""
    bills_feed["columns"] |= {"is_credit_note": "kind = 'credit'", "refers_to_document_id": "nullif(ref, '')"}
    bill, note = st.tuples(DOCUMENTS, MONTHS), st.tuples(DOCUMENTS, MONTHS, DOCUMENTS)
    versions = {key: data.draw(st.lists(bill, max_size=2)) for key in ("l1", "l2")}
    versions |= {key: data.draw(st.lists(note, max_size=2)) for key in ("n1", "n2")}
    last = {key: told[-1] for key, told in versions.items() if told}
    billed: dict[str, str] = {}
    for document, month in (told for told in last.values() if len(told) == 2):
        billed[document] = min(month, billed.get(document, month))
    expected = {key: billed.get(told[-1], told[1]) if len(told) == 3 else told[1] for key, told in last.items()}
    for _ in range(2):
        here = _fresh(company)
        here.map(bills_feed)
        waiting = {key: list(told) for key, told in versions.items() if told}
        rows: list[str] = []
        number = 0
        while waiting:
            key = data.draw(st.sampled_from(sorted(waiting)))
            document, month, *of = waiting[key].pop(0)
            if not waiting[key]:
                del waiting[key]
            kind, amount = ("credit", "-5") if of else ("voice", "10")
            if any(row.startswith(f"{key},") for row in rows) or data.draw(st.booleans()):
                rows = _deliver(here, number, rows)
                number += 1
            rows.append(f"{key},{document},c1,{month},{kind},{amount},CNY,{of[0] if of else ''}")
        _deliver(here, number, rows)
        assert dict(here.in_force("bill_lines", "_key, bill_period")) == expected
        assert all(a["agrees"] and a["rows_in"] == a["landed"] + a["superseded"] for a in balance(here.ledger))


def _deliver(here: Any, number: int, rows: list[str]) -> list[str]:
    """Ingest the rows as a file of their own, if there are any; no rows. The number makes the bytes of each file its own."""
    if rows:
        here.drop(f"bills_{number}.csv", "\n".join(["id,doc,cust,month,kind,amount,currency,ref", *rows]) + "\n" * (number + 1))
        here.ingest()
    return []


@pytest.mark.parametrize("rows", [60_000])
def test_order_and_line_numbers_hold_in_a_file_that_is_read_in_parallel(company: Any, bills_feed: dict[str, Any], rows: int) -> None:
    company.map(bills_feed)
    lines = [
        f"k{n},d{n},c1,2025-01,voice,{'x' if n % 97 == 0 else n % 50},CNY" + (",more" if n % 1009 == 1 else "") for n in range(2, rows + 2)
    ]
    company.bills("bills_1.csv", *lines)
    company.ingest()
    assert company.in_force("bill_lines", "count(*)", "1") == [(sum(n % 97 != 0 and n % 1009 != 1 for n in range(2, rows + 2)),)]
    assert company.in_force("bill_lines", "count(*) filter (where _key <> 'k' || _row)", "1") == [(0,)]
    assert all(f"k{line}," in text[: len(str(line)) + 2] for line, _, text in company.quarantine())


@settings(LAW, max_examples=draws(3, 60))
@given(chance=st.randoms(use_true_random=False), added=st.sampled_from([None, "product", "bill_line_id"]))
def test_what_is_in_force_after_many_ingests_is_what_one_ingest_gives(
    company: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any], chance: Any, added: str | None
) -> None:
    """Customers who become known late, files that others replace, and columns that are added to a mapping without keys leave no trace."""
    control = {"files": "control_*.csv", "columns": {"file": "file", "rows": "n", "replaces": "instead"}}
    columns = {name: text for name, text in bills_feed["columns"].items() if added is None or name != "bill_line_id"}
    after = columns | ({added: "kind" if added == "product" else "id"} if added else {})

    def start(mapped: dict[str, str]) -> Any:
        here = _fresh(company)
        here.config |= {"customers_from": "customers", "max_bad_share": 1}
        here.map({**bills_feed, "columns": mapped, "control": control}, customers_feed)
        return here

    here, others = start(columns), ["c2", "c3"]
    files: dict[str, list[str]] = {}
    replaced: dict[str, str] = {}
    chance.shuffle(others)
    here.drop("customers_c1.csv", "id,since,name,brand\nc1,2025-01-01,Ann,\n")
    for number in range(chance.randint(5, 9)):
        what = chance.choice(["file", "file", "customer", "replaced", "column", "ingest"])
        # A key always has its customer and amount where rows have no key by which a correction could be known.
        rows = [(key, "abc".index(key) + 1) if added else (key, chance.randint(1, 3)) for key in chance.sample("abc", chance.randint(1, 3))]
        free = [name for name in sorted(files) if name not in {*replaced, *replaced.values()}]
        if what == "file":
            name = f"bills_{number}.csv"
            files[name] = [f"{key},d{key},c{value},2025-01,voice,{value},CNY" for key, value in rows] + [
                f"u{number},u{number},c1,2025-02,voice,9,CNY"
            ]
            here.bills(name, *files[name])
        elif what == "customer" and others:
            here.drop(f"customers_{others[-1]}.csv", f"id,since,name,brand\n{others.pop()},2025-01-01,Bob,\n")
        elif what == "replaced" and len(free) > 1:
            new, old = chance.sample(free, 2)
            replaced[new] = old
            here.drop(f"control_{number}.csv", f"file,n,instead\n{new},{len(files[new])},{old}\n")
        elif what == "column":
            here.map({**bills_feed, "columns": after, "control": control}, customers_feed)
        else:
            here.ingest()
    there = start(after)
    for name, drops in [("customers_1.csv", here), ("customers_1.csv", there)]:
        drops.drop(name, "id,since,name,brand\n" + "".join(f"{customer},2025-01-01,Cid,\n" for customer in ("c1", "c2", "c3")))
    for name in sorted({*files} - {*replaced.values()}):
        there.bills(name, *files[name])
    found = []
    for one in (here, there):
        one.ingest()
        assert new_drops(one.deployment, one.ledger) == []
        assert all(a["agrees"] and a["rows_in"] == a["landed"] + a["quarantined"] + a["superseded"] for a in balance(one.ledger))
        found.append(sorted(one.in_force("bill_lines", "document_id, customer_id, bill_period, net_amount")))
    assert found[0] == found[1]
