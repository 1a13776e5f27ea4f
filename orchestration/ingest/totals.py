"""Control totals: what a source says its drops hold, compared with what was found in them."""

from __future__ import annotations

import csv
import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from orchestration.deployment import Deployment
from orchestration.errors import BadInput
from orchestration.ingest.copies import delivered
from orchestration.ingest.expressions import nearest_column
from orchestration.ingest.mapping import Feed
from orchestration.ingest.names import base_name, matching
from orchestration.ingest.reading import TextFile, Unreadable, csv_relation, header_of, read_text, rejects_of, sha256_of
from orchestration.ledger.store import Ledger

# Commas part thousands where nothing else can be meant: with a point behind them, or more than once.
_AMOUNT = r"|[+-]?(\d+(\.\d*)?|\.\d+|\d{1,3}(,\d{3})+\.\d*|\d{1,3}(,\d{3}){2,})([eE][+-]?\d{1,2})?"
_NUMBERS = {"rows": re.compile(r"\d+", re.ASCII), "amount": re.compile(_AMOUNT, re.ASCII)}
_PLAIN = {
    "rows": "let `control.columns.rows` of the mapping give a whole number",
    "amount": """let `control.columns.amount` of the mapping give one with a point before its decimals, as `replace("total", ',', '.')`""",
}


@dataclass(frozen=True)
class ControlTotal:
    """One row of a control file: base name of the drop, data rows, sum of amounts, and the drop it re-sends.

    ``stated_in``: name of the control file; empty where an earlier state recorded the total. ``is_there``: that file still says so.
    """

    file: str
    rows: int
    amount: Decimal | None
    replaces: str | None
    stated_in: str
    is_there: bool = True


def read_totals(con: duckdb.DuckDBPyConnection, deployment: Deployment, feed: Feed, scratch: Path | None = None) -> list[ControlTotal]:
    """Control totals of a feed's drops, in the order of the control files; a later one of a drop counts.

    ``scratch``: folder for transcoded text, by default the deployment's.
    """
    control = feed.config.control
    assert control is not None
    found: dict[str, ControlTotal] = {}
    for path in sorted(matching(deployment.drops, control.files)):
        name = str(path.relative_to(deployment.drops))
        for total in _read(con, scratch or deployment.scratch, feed, path, name):
            if fnmatch.fnmatch(total.file, base_name(feed.config.files)):
                found[total.file] = total
    return list(found.values())


def _read(con: duckdb.DuckDBPyConnection, scratch: Path, feed: Feed, path: Path, name: str) -> list[ControlTotal]:
    control = feed.config.control
    assert control is not None
    delimiter = control.delimiter or (feed.config.delimiter if feed.config.format == "csv" else ",")
    remedy = "have the source send the control file again, or take it out of the drops folder"
    try:
        text = read_text(path, sha256_of(path), control.encoding or feed.config.encoding, scratch)
        if text.empty:
            raise Unreadable("it is empty")
        header = header_of(text, delimiter, True)
    except Unreadable as err:
        raise BadInput(f"the control file cannot be read: {err}", name, remedy) from err
    has = {column.lower() for column in header}
    for key, expression in feed.control.items():
        for column in expression.columns:
            if column.lower() not in has:
                raise BadInput(f"{name} has no column {column!r}", feed.place(key), nearest_column(column, header))
    picked = [feed.control[key].sql if key in feed.control else "null" for key in ("file", "rows", "amount", "replaces")]
    con.execute(
        f"create or replace table _control as select {', '.join(picked)} from {csv_relation(text, delimiter, True, header)}"
    ).fetchall()
    rejected = rejects_of(con, text, header, delimiter)
    rows = con.execute("select * from _control").fetchall()
    con.execute("drop table _control").fetchall()
    if rejected:
        raise BadInput("the row has not as many values as the header", f"{name}, line {rejected[0].line}", remedy)
    totals = []
    for number, (file, count, amount, replaces) in enumerate(rows):
        said = {key: "" if value is None else str(value).strip() for key, value in (("rows", count), ("amount", amount))}
        for key, value in said.items():
            if not _NUMBERS[key].fullmatch(value):
                of = ", ".join(map(repr, feed.control[key].columns)) if key in feed.control else ""
                place = f"{name}, line {_line_of(text, delimiter, number)}{f', column {of}' if of else ''}"
                raise BadInput(f"{value!r} is no number of {key}", place, f"{_PLAIN[key]}, or {remedy}")
        money = Decimal(said["amount"].replace(",", "")) if said["amount"] else None
        totals.append(ControlTotal(base_name(str(file)), int(said["rows"]), money, replaces or None, name))
    return totals


def _line_of(text: TextFile, delimiter: str, number: int) -> int:
    """Line on which the row ``number`` (from 0) below the header begins; empty lines are no rows."""
    with text.path.open(encoding="utf-8", newline="") as file:
        reader, ends, found = csv.reader(file, delimiter=delimiter), 0, -1
        for row in reader:
            begins, ends = ends + 1, reader.line_num
            found += bool(row)
            if found > number:
                return begins
    raise AssertionError(f"{text.path} has no row {number}")


def recorded_totals(ledger: Ledger) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """Source and entity → base name of a drop → its control total as last recorded, the newest last: control files may be archived like drops."""
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for entry in ledger.entries("control_total"):
        of_feed = found.setdefault((entry.payload["source"], entry.payload["entity"]), {})
        file = base_name(entry.payload["file"])
        of_feed.pop(file, None)
        of_feed[file] = entry.payload
    return found


def stated(feed: Feed, now: Sequence[ControlTotal], recorded: Mapping[str, dict[str, Any]]) -> list[ControlTotal]:
    """Every control total of a feed as it was stated last, also where its control file has been taken away since: archived like the drops that
    it speaks of, or on a share that is not there, it has not been taken back. Nor has one of which the control file of that name says nothing
    more: a source may write each day's totals under one name. ``recorded``: those of the feed.
    """
    there = {total.file for total in now}
    gone = [
        ControlTotal(
            file,
            said["rows_expected"],
            Decimal(said["amount_expected"]) if said["amount_expected"] else None,
            said["replaces"],
            said.get("stated_in", ""),
            is_there=False,
        )
        for file, said in recorded.items()
        if file not in there and fnmatch.fnmatch(file, base_name(feed.config.files))
    ]
    return [*gone, *now] if feed.config.control else []


def new_totals(ledger: Ledger, feeds: Iterable[Feed], totals: dict[str, list[ControlTotal]]) -> list[tuple[ControlTotal, dict[str, Any]]]:
    """Totals (by feed id) that are not recorded yet, or come out otherwise than recorded, each with its ``control_total`` payload.

    One that says the same in another control file says nothing new, nor does one whose control file was not recorded, unless the file that it
    announces is not there: it is missed after its control file is archived only if that is known (see :func:`stated`).
    """
    drops = {(drop["source"], drop["entity"], base_name(drop["file"])): drop for drop in delivered(ledger)}
    last = recorded_totals(ledger)
    found = []
    for feed in feeds:
        of_feed = (feed.source, feed.entity)
        compared = ((total, compare(feed, total, drops.get((*of_feed, total.file)))) for total in totals.get(feed.id, []))
        told = last.get(of_feed, {})
        found += [(total, payload) for total, payload in compared if _as_recorded(told.get(total.file, {}), total) != payload]
    return found


def _as_recorded(said: dict[str, Any], total: ControlTotal) -> dict[str, Any]:
    """What was recorded of a total, as it would be if ``total`` said the same."""
    is_known = "stated_in" in said or said.get("rows_found") is not None
    return {**said, "stated_in": total.stated_in} if is_known else said


def record_totals(ledger: Ledger, feeds: Iterable[Feed], totals: dict[str, list[ControlTotal]]) -> list[dict[str, Any]]:
    """Compare each total with the landed drop of that name; record what is new or has changed: the payloads."""
    return [ledger.append("control_total", payload).payload for _, payload in new_totals(ledger, feeds, totals)]


def compare(feed: Feed, total: ControlTotal, drop: dict[str, Any] | None) -> dict[str, Any]:
    """Payload of a ``control_total`` entry. Rows and amounts are those of all data rows, bad ones too."""
    found_rows = drop["rows_in"] if drop else None
    found_amount = Decimal(drop["amount_in"]) if drop and drop["amount_in"] is not None else None
    agrees = (
        drop is not None and found_rows == total.rows and (total.amount is None or found_amount is None or found_amount == total.amount)
    )
    return {
        "source": feed.source,
        "entity": feed.entity,
        "file": total.file,
        "rows_expected": total.rows,
        "rows_found": found_rows,
        "amount_expected": None if total.amount is None else str(total.amount),
        "amount_found": None if found_amount is None else str(found_amount),
        "replaces": total.replaces,
        "agrees": agrees,
        "stated_in": total.stated_in,
    }
