"""Landed rows of which what they refer to is gone: its file was replaced, landed anew without it, or took it back. They wait again.

All is as if the reference had never been known. Such a row may have superseded an older one, and been superseded by a newer one; so all
landed rows of its drop are put among those that wait, as if the drop were taken back (see ``replacement``), and those that need not wait
are admitted again at once, with the drop's place in the order (see ``readmission``).
"""

from __future__ import annotations

from typing import Any

import duckdb

from orchestration.deployment import Deployment
from orchestration.failpoints import failpoint
from orchestration.ingest.contracts import Contract, load_contracts
from orchestration.ingest.landing import count, identical, recorded, take_landed
from orchestration.ingest.parts import Landed, Standing, following
from orchestration.ingest.quarantine import add_to_quarantine, place_waiting
from orchestration.ingest.references import References
from orchestration.ingest.replacement import forget, withdrawn
from orchestration.ingest.supersession import is_nobodys
from orchestration.ingest.vault import recall
from orchestration.ledger.store import Ledger
from orchestration.sqltext import literal, parquet, quoted

# Kind of the entry that says up to which one what rows refer to was looked for.
_CHECKED = "references_checked"


def _shrunk(ledger: Ledger, known: Landed) -> set[str]:
    """Entities that others refer to of which an entry since the last look took rows away."""
    last = ledger.last(_CHECKED)
    upto = last.payload["upto"] if last else 0
    columns = (column for contract in load_contracts().values() for column in contract.columns.values())
    entities = {column.references.partition(".")[0] for column in columns if column.references}
    return {
        entity
        for entity in entities
        for source in {part.source for part in known.parts(entity)}
        if any(seq > upto and takes_away(drop) for seq, drop in known.entries(source, entity))
    }


def takes_away(drop: dict[str, Any]) -> bool:
    """Whether what the rows of a drop told may be told by none since an entry. A row that supersedes another names the same, unless it takes
    its key back: it is superseded as it lands."""
    by_itself = drop["file_id"] in drop["supersedes"]["by_file"]
    return bool(drop.get("is_replaced") or drop.get("is_set_aside") or drop.get("replaces") or by_itself)


def record_checked(ledger: Ledger, known: Landed) -> None:
    """Record that for all that is landed what it refers to was looked for."""
    if _shrunk(ledger, known):
        ledger.append(_CHECKED, {"upto": ledger.head()[0]})


def lost_drops(con: duckdb.DuckDBPyConnection, ledger: Ledger, known: Landed, references: References, contract: Contract) -> list[Standing]:
    """Drops of an entity with landed rows that name what has landed and counts no more. Leaves the reasons of each such row, by file and key,
    in the table ``_lost``."""
    shrunk = _shrunk(ledger, known)
    parts = known.parts(contract.entity)
    lacks = []
    for name, (entity, target) in references.targets(contract).items():
        if entity not in shrunk or not parts:
            continue
        told = f"select {quoted(target)} from {parquet(part.path for part in known.parts(entity))}"
        there = references.of(contract, {name})[name]
        gone = quoted(f"_gone_{name}")
        con.execute(
            f"create or replace temp table {gone} as select distinct value from ({told}) as t(value) "
            f"where value is not null and value not in (select value from {there})"
        ).fetchall()
        instead = contract.columns[name].references_without
        asked = f"{quoted(instead)} is null and " if instead else ""
        lacks.append(f"case when {asked}{quoted(name)} in (select value from {gone}) then {literal(f'unknown_reference: {name}')} end")
    counting = known.counting_ids(contract.entity)
    paths = [part.path for part in parts if part.file_id in counting]
    if not lacks or not paths:
        return []
    con.execute(
        f"create or replace temp table _lost as select _file_id, _key, list_filter([{', '.join(lacks)}], lambda x: x is not null) as details "
        f"from {parquet(paths)} where coalesce({', '.join(lacks)}) is not null"
    ).fetchall()
    files = {file_id for (file_id,) in con.execute("select distinct _file_id from _lost").fetchall()}
    return [drop for drop in known.standing() if drop.payload["entity"] == contract.entity and files.intersection(drop.counting_ids)]


def set_aside_lost(
    con: duckdb.DuckDBPyConnection, deployment: Deployment, ledger: Ledger, known: Landed, references: References, contract: Contract
) -> list[dict[str, Any]]:
    """Let the landed rows of every drop of :func:`lost_drops` wait; the payloads of the entries recorded."""
    found = []
    for drop in lost_drops(con, ledger, known, references, contract):
        payload = _set_aside(con, deployment, known, contract, drop)
        known.add(ledger.append("drop_landed", payload).seq, payload)
        failpoint("ingest.set_aside_recorded")
        found.append(payload)
    return found


def forget_set_aside(con: duckdb.DuckDBPyConnection, deployment: Deployment, ledger: Ledger, known: Landed, contract: Contract) -> None:
    """Remove from the vault what rows said that wait now. Done again after a crash, for it comes after what is recorded."""
    if not contract.personal or contract.entity not in _shrunk(ledger, known):
        return
    for drop in known.standing():
        if drop.payload["entity"] == contract.entity and drop.set_aside:
            counting = known.counting_ids(contract.entity, drop.payload["source"])
            forget(con, deployment, known, contract, drop, known.superseded(contract.entity), counting)


def _set_aside(con: duckdb.DuckDBPyConnection, deployment: Deployment, known: Landed, contract: Contract, drop: Standing) -> dict[str, Any]:
    before, file_id = drop.payload, drop.next_file_id
    key = take_landed(con, contract, _as_landed(con, deployment, known, contract, drop))
    counts = count(con, contract.amount_column)
    same = identical(con, key)
    columns = ", ".join([*map(quoted, contract.columns), "_period", "_line", "_key", "_content_hash"])
    waiting = f"select {columns} from _rows"
    if before["waiting"]:
        waiting += f" union all by name select {columns} from {parquet([deployment.data / before['waiting']['path']])}"
    kept = place_waiting(
        con,
        deployment,
        f"from ({waiting}) order by _line, _key",
        deployment.waiting / contract.entity / before["source"] / f"{file_id}.parquet",
    )
    quarantine = add_to_quarantine(con, deployment, before, _rejected(contract), file_id)
    undone, supersedes = withdrawn(con, deployment, known, contract, drop)
    failpoint("ingest.set_aside_written")
    return following(
        drop,
        is_set_aside=True,
        undoes=[entry["file_id"] for entry in undone],
        landed=-counts.good,
        quarantined=counts.good,
        reasons={"unknown_reference": counts.good},
        unattributed=-counts.unattributed,
        identical=-same,
        amount_landed=recorded(contract, -counts.amount_good),
        amount_quarantined=recorded(contract, counts.amount_good),
        amount_unattributed=recorded(contract, -counts.amount_unattributed),
        # They stand in the parts still, and are neither landed nor superseded by another row.
        moved=counts.good,
        amount_moved=str(counts.amount_good),
        unattributed_moved=counts.unattributed,
        identical_moved=same,
        quarantine=quarantine,
        waiting=kept,
        supersedes=supersedes,
    )


def _as_landed(con: duckdb.DuckDBPyConnection, deployment: Deployment, known: Landed, contract: Contract, drop: Standing) -> str:
    """Query of the rows of a drop as ``_rows`` holds them, with their ``_file_id``. Personal columns come from the vault."""
    source, is_bill = drop.payload["source"], contract.entity == "bill_lines"
    parts = [part for part in known.parts(contract.entity, source) if part.file_id in drop.counting_ids]
    personal, joined = "", ""
    if contract.personal:
        recall(con, deployment.vault, contract, source, drop.counting_ids)
        personal = "".join(f", v.{quoted(name)}" for name in contract.personal)
        subject = " and ".join(f"v.{quoted(name)} = r.{quoted(name)}" for name in contract.subject_key)
        joined = f" left join _recalled as v on v._file_id = r._file_id and v._row = r._row and {subject}"
    # A note that was moved to the period of its bill stands in two parts, in the newer one as it is now.
    has_own = any(part.min_referred is not None for part in parts)
    period = {"bill_lines": f"{'coalesce(r._own_period, r.bill_period)' if has_own else 'r.bill_period'}", "points": "r.period"}
    newest = f" qualify row_number() over (partition by r._key order by list_position({list(drop.counting_ids)}, r._file_id) desc) = 1"
    return (
        f"select {', '.join(f'r.{quoted(name)}' for name in contract.landed)}{personal}, "
        f"{period.get(contract.entity, 'null::varchar')} as _period, r._row as _line, r._key, r._content_hash, "
        f"0::bigint as _mask, false as _other, {is_nobodys(contract)} as _unattributed, r._file_id "
        f"from {parquet((part.path for part in parts), ', union_by_name = true' if has_own else '')} as r{joined}"
        f"{newest if is_bill and len(drop.counting_ids) > 1 else ''} order by r._row, r._key"
    )


def _rejected(contract: Contract) -> str:
    """Query of what the quarantine gets of the rows of ``_rows`` that lack what they refer to. Their text is what of them has landed."""
    landed = ", ".join(f"{quoted(name)} := r.{quoted(name)}" for name in contract.landed)
    amount = f"r.{quoted(contract.amount_column)}" if contract.amount_column else "null"
    return (
        f"select r._line as line, ['unknown_reference'] as reasons, l.details, cast(to_json(struct_pack({landed})) as varchar) as text, "
        f"r._key as key, cast({amount} as decimal(18,4)) as amount from _rows as r join _lost as l using (_file_id, _key)"
    )
