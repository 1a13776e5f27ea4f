"""Rows that were rejected only because what they refer to was not known: admitted when it has landed since. Before that, those that have
landed and refer to what is gone are put among them, see ``lost_references``.

They become parts of their own, beside those of their drop. The ledger entry moves their counts in the drop's balance from
quarantined to landed; it holds the moves with their sign. The rows stand where their drop stands: a row of the same key that a
later drop brought stays in force, and a row that takes its key back never is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb

from orchestration.deployment import Deployment
from orchestration.failpoints import failpoint
from orchestration.ingest.contracts import Contract, load_contracts
from orchestration.ingest.earlier_keys import earlier_keys, files_named, landed_under
from orchestration.ingest.landing import count, identical, recorded, take_landed, write_parts
from orchestration.ingest.lost_references import forget_set_aside, record_checked, set_aside_lost, takes_away
from orchestration.ingest.parts import Landed, Standing, following
from orchestration.ingest.quarantine import place_waiting
from orchestration.ingest.references import References
from orchestration.ingest.supersession import is_nobodys, referred_periods, supersede
from orchestration.ingest.vault import keep_personal
from orchestration.ingest.withdrawal import overtake_withdrawn
from orchestration.ledger.store import Ledger
from orchestration.sqltext import literal, parquet, quoted


def readmittable(
    con: duckdb.DuckDBPyConnection, deployment: Deployment, known: Landed, references: References, contract: Contract
) -> Iterator[Standing]:
    """Drops of an entity with waiting rows of which some can be admitted now.

    Lazy: what is admitted meanwhile counts for the drops after it. Leaves the rows that can be admitted in the table ``_ready``.
    """
    targets = references.targets(contract)
    is_less_checked = references.is_less_checked(contract)
    for drop in known.standing():
        payload = drop.payload
        if payload["entity"] != contract.entity or not payload.get("waiting") or drop.is_replaced:
            continue
        # All that was known when the rows were rejected was looked at then.
        if not is_less_checked and not any(part.seq > drop.last_seq for entity, _ in targets.values() for part in known.parts(entity)):
            continue
        exists = ["true"] + [_exists(contract, name, references.of(contract, {name})[name]) for name in targets]
        con.execute(
            f"create or replace table _ready as select *, 0::bigint as _mask, false as _other, {is_nobodys(contract)} as _unattributed "
            f"from {parquet([deployment.data / payload['waiting']['path']])} "
            f"where {' and '.join(exists)} qualify row_number() over (partition by _key order by _line) = 1 order by _line, _key"
        ).fetchall()
        if not _has_ready(con):
            continue
        # A key that the drop has landed already makes the row a duplicate: it stays where it is. Few drops come to this look.
        own = [part.path for part in known.parts(contract.entity, payload["source"]) if part.file_id in drop.counting_ids]
        if own:
            con.execute(f"delete from _ready where _key in (select _key from {parquet(own)})").fetchall()
        if _has_ready(con):
            yield drop


def _exists(contract: Contract, name: str, table: str) -> str:
    """Condition that what a waiting row names in a column is known; a row that names something more direct needs it not."""
    instead = contract.columns[name].references_without
    needless = f"{quoted(instead)} is not null or " if instead else ""
    return f"({needless}{quoted(name)} is null or {quoted(name)} in (select value from {table}))"


def _has_ready(con: duckdb.DuckDBPyConnection) -> bool:
    return bool(con.execute("select 1 from _ready limit 1").fetchall())


def readmit(
    con: duckdb.DuckDBPyConnection, deployment: Deployment, ledger: Ledger, known: Landed, references: References
) -> list[dict[str, Any]]:
    """Set every row aside of which what it refers to is gone, and admit every row that can be, referenced entities first; the payloads of
    the entries recorded."""
    found = []
    for contract in load_contracts().values():
        moved = set_aside_lost(con, deployment, ledger, known, references, contract)
        for drop in readmittable(con, deployment, known, references, contract):
            payload = _admit(con, deployment, known, contract, drop)
            known.add(ledger.append("drop_landed", payload).seq, payload)
            failpoint("ingest.readmission_recorded")
            moved.append(payload)
        if any(map(takes_away, moved)):
            references.forget(contract.entity)
        found += moved
        forget_set_aside(con, deployment, ledger, known, contract)
    record_checked(ledger, known)
    return found


def _admit(con: duckdb.DuckDBPyConnection, deployment: Deployment, known: Landed, contract: Contract, drop: Standing) -> dict[str, Any]:
    before = drop.payload
    source, entity = before["source"], contract.entity
    file_id = drop.next_file_id
    key = take_landed(con, contract, "from _ready")
    parts_here = known.parts(entity, source)
    counting = known.counting_ids(entity, source)
    later = [part.path for part in parts_here if part.position > drop.seq and part.file_id in counting]
    newer = f"select _key from {parquet(later)}" if later else "select null where false"
    drops = known.standing_of(source, entity)
    resent = landed_under(deployment, known, [item for item in drops if item.seq > drop.seq and not item.is_replaced])
    newer += f" union all select before from ({resent}) where drop_id = {literal(before['file_id'])}"
    con.execute(f"create or replace table _overtaken as select _key as key from _rows where _key in ({newer})").fetchall()
    con.execute(f"create or replace table _earlier as {earlier_keys(deployment, [drop])}").fetchall()
    earlier = files_named(con, drops)
    if entity == "bill_lines":
        referred_periods(con, parts_here, known.superseded(entity), key, earlier)
    overtaken = overtake_withdrawn(con, contract, key)
    counts = count(con, contract.amount_column)
    if contract.personal:
        personal = before.get("personal", contract.personal)
        kept = "(from _rows where _key not in (select key from _overtaken))"
        keep_personal(con, deployment.vault, contract, source, personal, kept, file_id, placed_as=drop.file_ids)
    parts = write_parts(con, deployment, source, contract, "_rows", file_id, key)
    older = [part for part in known.in_force(entity, source) if part.position < drop.seq]
    taken_back = "_rows" if overtaken else None
    supersedes = supersede(con, deployment, contract, known, older, parts, key, file_id, overtaken=taken_back, earlier=earlier)
    waiting = place_waiting(
        con,
        deployment,
        f"select * from {parquet([deployment.data / before['waiting']['path']])} "
        "where (_line, _key) not in (select (_line, _key) from _rows) order by _line, _key",
        deployment.waiting / entity / source / f"{file_id}.parquet",
    )
    failpoint("ingest.readmission_written")
    return following(
        drop,
        landed=counts.good,
        quarantined=-counts.good,
        unattributed=counts.unattributed,
        amount_unattributed=recorded(contract, counts.amount_unattributed),
        reasons={"unknown_reference": -counts.good},
        amount_landed=recorded(contract, counts.amount_good),
        amount_quarantined=recorded(contract, -counts.amount_good),
        identical=identical(con, key),
        parts=parts,
        waiting=waiting,
        supersedes=supersedes,
    )
