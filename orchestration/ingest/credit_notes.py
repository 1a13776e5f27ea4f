"""Credit notes that name a bill but not its period: they count in the period of that bill, whichever of the two lands first, and in
their own where there is no such bill.

A note finds the bills that landed before it as it lands. When a bill lands later, when a correction moves it to another period or
document, or when it goes, its notes become parts of their own, in the period that is theirs now, and the rows as they stood are
superseded. In the balance of their drop that changes nothing: the ledger entry says how many rows were moved.
"""

from __future__ import annotations

from typing import Any

import duckdb

from orchestration.deployment import Deployment
from orchestration.failpoints import failpoint
from orchestration.ingest.contracts import Contract, load_contracts
from orchestration.ingest.landing import count, identical, take_landed, write_parts
from orchestration.ingest.parts import Landed, Part, Standing, following, with_undone
from orchestration.ingest.supersession import bill_periods, in_force, is_nobodys, supersede
from orchestration.ledger.store import Ledger
from orchestration.sqltext import literal, parquet, quoted

ENTITY = "bill_lines"


def unsettled(ledger: Ledger, known: Landed) -> dict[str, list[Part]]:
    """Source → its parts with notes, where since notes were settled a bill that one of them may name has come, has gone or is in force again."""
    upto = {entry.payload["source"]: entry.payload["upto"] for entry in ledger.entries("notes_settled")}
    found: dict[str, list[Part]] = {}
    for source in sorted({part.source for part in known.parts(ENTITY)}):
        settled, parts = upto.get(source, 0), known.parts(ENTITY, source)
        touched = _touched(known.entries(source, ENTITY))
        changed = [(bill, max(bill.seq, touched.get(bill.file_id, 0))) for bill in parts if bill.min_document is not None]
        changed = [(bill, seq) for bill, seq in changed if seq > settled]
        notes = [
            part
            for part in parts
            if part.min_referred is not None
            and (touched.get(part.file_id, 0) > settled or any(seq > part.seq and _may_name(part, bill) for bill, seq in changed))
        ]
        if notes:
            found[source] = notes
    return found


def _touched(entries: list[tuple[int, dict[str, Any]]]) -> dict[str, int]:
    """File id → the last entry that superseded rows of it, or put some in force again."""
    touched: dict[str, int] = {}
    for seq, drop, undone in with_undone(entries):
        for entry in (drop, *undone):
            touched.update(dict.fromkeys(entry["supersedes"]["by_file"], seq))
    return touched


def _may_name(note: Part, bill: Part) -> bool:
    if note.min_referred is None or note.max_referred is None or bill.min_document is None or bill.max_document is None:
        return False
    return bill.min_document <= note.max_referred and bill.max_document >= note.min_referred


def settle_notes(con: duckdb.DuckDBPyConnection, deployment: Deployment, ledger: Ledger, known: Landed) -> list[dict[str, Any]]:
    """Move every note that stands in another period than its bill, or has none and is not in its own; the payloads of the entries recorded."""
    moved = []
    contract = load_contracts()[ENTITY]
    for source, notes in unsettled(ledger, known).items():
        _find(con, known, source, notes)
        for drop in known.standing_of(source, ENTITY):
            names = f"({', '.join(map(literal, drop.file_ids))})"
            if con.execute(f"select 1 from _moving where _file_id in {names} limit 1").fetchall():
                payload = _move(con, deployment, known, contract, drop, names)
                known.add(ledger.append("drop_landed", payload).seq, payload)
                failpoint("ingest.notes_moved")
                moved.append(payload)
        upto = max(seq for seq, _ in known.entries(source, ENTITY))
        # Until here all was looked at: an ingest that finds nothing new need not look again.
        ledger.append("notes_settled", {"source": source, "upto": upto})
    return moved


def _find(con: duckdb.DuckDBPyConnection, known: Landed, source: str, notes: list[Part]) -> None:
    """Leave the notes in force that are to move in the table ``_moving``, with the period that is theirs as ``_period``."""
    gone = known.superseded(ENTITY)
    landed = (
        f"select * from {parquet((part.path for part in notes), ', union_by_name = true')} "
        "where is_credit_note and refers_to_period is null and refers_to_document_id is not null"
    )
    con.execute(f"create or replace table _standing_notes as from {in_force(landed, gone)}").fetchall()
    # Notes that were landed before own periods were kept beside the bill's know no other than the one that they are in.
    con.execute("alter table _standing_notes add column if not exists _own_period varchar").fetchall()
    con.execute("create or replace table _notes as select distinct refers_to_document_id as document from _standing_notes").fetchall()
    bills = bill_periods(con, known.parts(ENTITY, source), gone)
    con.execute(
        "create or replace table _moving as select n.* replace (coalesce(n._own_period, n.bill_period) as _own_period), "
        "coalesce(b.period, n._own_period, n.bill_period) as _period from _standing_notes n "
        f"left join (select document_id, min(period) as period from ({bills}) group by 1) b "
        "on b.document_id = n.refers_to_document_id where coalesce(b.period, n._own_period, n.bill_period) <> n.bill_period"
    ).fetchall()


def _move(
    con: duckdb.DuckDBPyConnection, deployment: Deployment, known: Landed, contract: Contract, drop: Standing, names: str
) -> dict[str, Any]:
    source = drop.payload["source"]
    file_id = drop.next_file_id
    columns = ", ".join(quoted(name) for name in contract.landed)
    key = take_landed(
        con,
        contract,
        f"select {columns}, _period, _own_period, _row as _line, _key, _content_hash, 0::bigint as _mask, false as _other, "
        f"{is_nobodys(contract)} as _unattributed from _moving where _file_id in {names} order by _row, _key",
    )
    counts = count(con, contract.amount_column)
    parts = write_parts(con, deployment, source, contract, "_rows", file_id, key)
    own = [part for part in known.in_force(ENTITY, source) if part.file_id in drop.file_ids]
    supersedes = supersede(con, deployment, contract, known, own, parts, key, file_id)
    failpoint("ingest.notes_written")
    # Rows that stand in two parts of their drop now, of which one is superseded: neither landed nor superseded by another row.
    return following(
        drop,
        moved=counts.good,
        amount_moved=str(counts.amount_good),
        unattributed_moved=counts.unattributed,
        identical_moved=identical(con, key),
        parts=parts,
        supersedes=supersedes,
    )
