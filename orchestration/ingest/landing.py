"""From the scanned rows of one drop to durable files: vault, parts, quarantine, superseded rows; and the ledger entry.

The order is what makes a killed run harmless: files whose names follow from the drop's bytes first, the ledger entry
that makes them count last.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from orchestration.deployment import Deployment
from orchestration.failpoints import failpoint
from orchestration.ingest.checking import Scan, settings_used
from orchestration.ingest.contracts import Contract
from orchestration.ingest.drops import Drop, rejects_relation, settle_lines
from orchestration.ingest.earlier_keys import content, files_named, list_earlier_keys
from orchestration.ingest.files import place, place_privately, sha256_file
from orchestration.ingest.mapping import Feed
from orchestration.ingest.parts import Landed, asked_again, file_stat
from orchestration.ingest.quarantine import write_quarantine, write_waiting
from orchestration.ingest.supersession import referred_periods, supersede
from orchestration.ingest.vault import keep_personal
from orchestration.ingest.withdrawal import accept_withdrawals, overtake_withdrawn
from orchestration.ledger.store import Ledger
from orchestration.sqltext import PERIOD_FOLDER, literal, quoted

# Keys are all different: without small limits the writer builds a dictionary of them first, in vain.
_PARQUET = (
    "(format parquet, parquet_version v2, compression zstd, compression_level 1, "
    "string_dictionary_page_size_limit 65536, dictionary_size_limit 2000)"
)


class Changed(Exception):
    """The file was written to while it was read. Not a fault of its bytes: they are looked at again next time."""


@dataclass(frozen=True)
class Arrival:
    """Which file is landed, as it was when its bytes were hashed.

    ``earlier_ids``: file ids of all that it landed before, where it lands anew; ``is_replaced``: another file that is there takes its place, none of its rows counts.
    """

    name: str
    sha256: str
    stat: dict[str, int]
    file_id: str
    earlier_ids: tuple[str, ...] = ()
    is_replaced: bool = False


@dataclass(frozen=True)
class Counts:
    """Rows of a drop."""

    rows: int
    good: int
    other: int
    unattributed: int
    amount_unattributed: Decimal
    amount_all: Decimal
    amount_good: Decimal

    @property
    def bad(self) -> int:
        """Rows for the quarantine."""
        return self.rows - self.good - self.other


def land(
    con: duckdb.DuckDBPyConnection,
    deployment: Deployment,
    ledger: Ledger,
    known: Landed,
    drop: Drop,
    scan: Scan,
    arrival: Arrival,
) -> dict[str, Any]:
    """Scan ``drop`` and make everything of it durable; the payload of its ``drop_landed`` entry, already recorded.

    Changed, and nothing recorded, if the file is no longer the one that was hashed.
    """
    feed, contract, file_id = drop.feed, drop.feed.contract, arrival.file_id
    _scan(con, deployment, drop, scan)
    _is_unchanged(drop.path, arrival)
    key = _keys(con, feed)
    # A drop that lands anew comes after those alone that have landed anew before it.
    since = asked_again(ledger).get((feed.source, feed.entity), 0) if arrival.earlier_ids else 0
    accept_withdrawals(con, deployment, known, feed, scan, key, since)
    if _has_duplicates(con, key):
        _mark_duplicates(con, scan, key)
    counts = count(con, contract.amount_column)
    older = known.in_force(contract.entity, feed.source)
    con.execute("create or replace table _overtaken (key varchar)").fetchall()
    earlier = list_earlier_keys(con, deployment, known, feed, key, scan.mask("unknown_reference"), file_id)
    named = files_named(con, known.standing_of(feed.source, contract.entity)) if earlier else {}
    if "refers_to_document_id" in feed.columns:
        # What it landed before goes, whatever its keys were.
        others = [part for part in older if part.file_id not in arrival.earlier_ids]
        referred_periods(con, others, known.superseded(contract.entity), key, named)
    withdrawn = overtake_withdrawn(con, contract, key)
    if arrival.is_replaced:
        con.execute(f"insert into _overtaken select {key} from _rows where _mask = 0 and not _other").fetchall()
        withdrawn = True
        older = [part for part in older if part.file_id in arrival.earlier_ids]
    rows = drop.line_sql("_rows")
    personal = [name for name in contract.personal if name in feed.columns]
    if contract.personal:
        kept = f"(from {rows} where {key} not in (select key from _overtaken))" if withdrawn else rows
        still = [item for item in known.standing_of(feed.source, contract.entity) if item.seq < since]
        outdated = {name for item in still for name in item.file_ids}
        keep_personal(con, deployment.vault, contract, feed.source, personal, kept, file_id, outdated=outdated, gone=arrival.earlier_ids)
        failpoint("ingest.vault_written")
    parts = write_parts(con, deployment, feed.source, contract, rows, file_id, key)
    overtaken = rows if withdrawn else None
    supersedes = supersede(
        con, deployment, contract, known, older, parts, key, file_id, replaced=arrival.earlier_ids, overtaken=overtaken, earlier=named
    )
    failpoint("ingest.landing_written")
    set_aside = _set_aside(con, deployment, drop, scan, rows, key, file_id) if counts.bad else _NOTHING_SET_ASIDE
    _is_unchanged(drop.path, arrival)
    payload = {
        "source": feed.source,
        "entity": contract.entity,
        "file": arrival.name,
        "file_id": file_id,
        "sha256": arrival.sha256,
        **arrival.stat,
        "mapping": feed.mapping_file.name,
        "mapping_hash": feed.mapping_hash,
        "settings": settings_used(feed, deployment.config),
        "rows_in": counts.rows,
        "landed": counts.good,
        "quarantined": counts.bad,
        "not_for_entity": counts.other,
        "amount_in": recorded(contract, counts.amount_all),
        "amount_landed": recorded(contract, counts.amount_good),
        "amount_quarantined": recorded(contract, counts.amount_all - counts.amount_good),
        "unattributed": counts.unattributed,
        "amount_unattributed": recorded(contract, counts.amount_unattributed),
        "identical": identical(con, key),
        "parts": parts,
        **set_aside,
        "personal": personal,
        "columns": sorted(feed.columns) if key == "_key" else None,
        "earlier_keys": earlier,
        "replaces": list(arrival.earlier_ids),
        "is_replaced": arrival.is_replaced,
        "supersedes": supersedes,
        "periods": sorted({p["period"] for p in parts if p["period"]} | set(supersedes["periods"])),
    }
    known.add(ledger.append("drop_landed", payload).seq, payload)
    failpoint("ingest.file_recorded")
    return payload


def _is_unchanged(path: Path, arrival: Arrival) -> None:
    """A source may still be writing: what was scanned must be the bytes that were hashed."""
    if file_stat(path) != arrival.stat:
        raise Changed("it changed while it was read: ingest again when the source has finished writing it")


# What an entry says of rejected rows where there are none.
_NOTHING_SET_ASIDE: dict[str, Any] = {"reasons": {}, "quarantine": None, "waiting": None}


def _set_aside(
    con: duckdb.DuckDBPyConnection, deployment: Deployment, drop: Drop, scan: Scan, rows: str, key: str, file_id: str
) -> dict[str, Any]:
    """Put rejected rows into the quarantine, and beside it those that wait for what they refer to; what the ledger says of them."""
    contract = drop.feed.contract
    amount = f"cast({quoted(contract.amount_column)} as decimal(18,4))" if contract.amount_column else "cast(null as decimal(18,4))"
    bad = (
        f"(select _line as line, _mask as mask, {key} as key, {amount} as amount from {rows} where _mask <> 0 "
        f"union all select _line, _mask, {key}, {amount} from _reject_rows where _mask <> 0)"
    )
    made = deployment.scratch / "quarantine.parquet"
    reasons = write_quarantine(con, drop, scan, bad, made)
    target = deployment.quarantine / contract.entity / drop.feed.source / f"{file_id}.parquet"
    place_privately(made, target)
    waiting = None
    if "unknown_reference" in reasons:
        waiting = write_waiting(con, deployment, drop.feed, rows, scan.mask("unknown_reference"), key, file_id)
    failpoint("ingest.quarantine_written")
    return {"reasons": reasons, "quarantine": str(target.relative_to(deployment.data)), "waiting": waiting}


def _scan(con: duckdb.DuckDBPyConnection, deployment: Deployment, drop: Drop, scan: Scan) -> None:
    """Fill ``_rows`` from the drop, and ``_reject_rows`` with those that could not be split."""
    # Casts to timestamptz in the mapping take the session's zone for texts that state none.
    con.execute(f"set TimeZone = {literal(drop.feed.config.timezone or deployment.config.timezone)}").fetchall()
    # The statistics of a Parquet file leave NaN out: beside one number alone, a cast that fails for NaN would be taken for one that never does.
    # What two expressions have in common DuckDB computes before both, out of the TRY that would catch its error.
    off = "statistics_propagation" + (",common_subexpressions" if drop.feed.may_raise else "")
    con.execute(f"set disabled_optimizers = {literal(off)}").fetchall()
    extra = "_structural" if drop.carry else "0"
    con.execute(f"create or replace table _rows as {scan.select(drop.relation, drop.carry, extra)}").fetchall()
    # Ordinals are those of the table that was filled straight from the file.
    source = "_lines" if drop.feed.config.format == "jsonl" else "_wide" if drop.feed.config.unpivot else "_rows"
    accepted = con.execute(f"select count(*) from {source}").fetchall()[0][0]
    settle_lines(con, drop, accepted)
    if drop.rejects:
        relation = rejects_relation(con, drop)
        con.execute(f"create or replace table _reject_rows as {scan.select(relation, '_line, _structural', '_structural')}").fetchall()
    else:
        con.execute("create or replace table _reject_rows as select *, 0::bigint as _line from _rows limit 0").fetchall()
    con.execute("set TimeZone = 'UTC'; set disabled_optimizers = ''").fetchall()


def take_landed(con: duckdb.DuckDBPyConnection, contract: Contract, query: str) -> str:
    """Fill ``_rows`` with rows that had a key before, none of which is rejected; SQL for that key."""
    con.execute(f"create or replace table _rows as {query}").fetchall()
    con.execute("create or replace table _reject_rows as select * from _rows limit 0").fetchall()
    is_made = con.execute("select 1 from _rows where _content_hash is not null limit 1").fetchall()
    return "_key" if is_made else key_sql(contract)


def key_sql(contract: Contract) -> str:
    """SQL for the natural key of a row, from the contract's columns."""
    if len(contract.key) == 1:
        return quoted(contract.key[0])
    texts = {name for name in contract.key if contract.columns[name].type == "text" and not contract.columns[name].allowed}
    # Between two texts the sign that parts them must be none of theirs: `a|b` and `c` are others than `a` and `b|c`.
    cells = (
        f"replace(replace({quoted(name)}, '\\', '\\\\'), '|', '\\|')"
        if name in texts and len(texts) > 1
        else f"cast({quoted(name)} as varchar)"
        for name in contract.key
    )
    return "(" + " || '|' || ".join(cells) + ")"


def _keys(con: duckdb.DuckDBPyConnection, feed: Feed) -> str:
    """SQL for the key of a row of ``_rows``.

    Bill lines of a source without line keys get one: document, content, and ordinal among identical rows of the file.
    """
    contract = feed.contract
    if contract.entity == "bill_lines" and "bill_line_id" not in feed.columns:
        con.execute(f"create or replace table _hashed as select *, {content(contract)} as _content_hash from _rows").fetchall()
        con.execute("drop table _rows").fetchall()
        # Only rows that are not alone need counting, and they are few.
        con.execute(
            "create or replace table _nth as select rowid as place, row_number() over (partition by document_id, _content_hash, _mask, _other order by rowid) as nth "
            "from _hashed where _content_hash in (select _content_hash from _hashed group by 1 having count(*) > 1)"
        ).fetchall()
        con.execute(
            "create or replace table _rows as select h.*, document_id || '|' || _content_hash || '|' || coalesce(n.nth, 1) as _key "
            "from (select *, rowid as place from _hashed) h left join _nth n using (place)"
        ).fetchall()
        con.execute("alter table _rows drop column place").fetchall()
        con.execute("drop table _hashed").fetchall()
        con.execute("alter table _reject_rows add column _key varchar").fetchall()
        return "_key"
    return key_sql(contract)


def _has_duplicates(con: duckdb.DuckDBPyConnection, key: str) -> bool:
    """Whether good rows of ``_rows`` have a key in common."""
    if key == "_key":
        # It holds an ordinal among the rows that are alike.
        return False
    good = f"select {key} as key from _rows where _mask = 0 and not _other"
    # Keys that ascend from row to row are all different, and most sources number their rows in turn: a look at neighbours takes a quarter
    # of what counting takes. The first rows tell whether it is worth it.
    for some in (f"{good} limit 10000", good):
        firsts = f"select count(*) from (select key, lag(key) over () as before from ({some})) where before is null or not key > before"
        if con.execute(firsts).fetchall()[0][0] > 1:
            break
    else:
        return False
    return bool(con.execute(f"select count(*) <> count(distinct hash(key)) from ({good})").fetchall()[0][0])


def _mark_duplicates(con: duckdb.DuckDBPyConnection, scan: Scan, key: str) -> None:
    """The first row of a key is kept, the later ones are bad."""
    con.execute(
        f"create or replace table _later as select place from (select rowid as place, row_number() over (partition by {key} order by rowid) as nth "
        "from _rows where _mask = 0 and not _other) where nth > 1"
    ).fetchall()
    con.execute(f"update _rows set _mask = {scan.mask('duplicate_key')} where rowid in (select place from _later)").fetchall()


def count(con: duckdb.DuckDBPyConnection, amount_column: str | None) -> Counts:
    """Rows of ``_rows`` and ``_reject_rows`` by what becomes of them."""
    amount = quoted(amount_column) if amount_column else "null::decimal(18,4)"
    one = (
        f"select count(*) as n, count(*) filter (where _mask = 0 and not _other) as good, count(*) filter (where _other) as other, "
        f"count(*) filter (where _mask = 0 and not _other and _unattributed) as unattributed, "
        f"coalesce(sum({amount}) filter (where _mask = 0 and not _other and _unattributed), 0) as u, "
        f"coalesce(sum({amount}) filter (where not _other), 0) as a, coalesce(sum({amount}) filter (where _mask = 0 and not _other), 0) as g from "
    )
    row = con.execute(
        f"select sum(n), sum(good), sum(other), sum(unattributed), sum(u)::decimal(38,4), sum(a)::decimal(38,4), sum(g)::decimal(38,4) "
        f"from ({one} _rows union all {one} _reject_rows)"
    ).fetchall()[0]
    rows, good, other, unattributed, u, a, g = row
    return Counts(int(rows), int(good), int(other), int(unattributed), u, a, g)


def recorded(contract: Contract, amount: Decimal) -> str | None:
    """An amount as the ledger keeps it; None where the entity has none."""
    return str(amount) if contract.amount_column else None


def identical(con: duckdb.DuckDBPyConnection, key: str) -> int:
    """Good rows that repeat an earlier row of the same file: kept, because without a key nobody can tell them apart."""
    if key != "_key":
        return 0
    return int(con.execute("select count(*) from _rows where _mask = 0 and not _other and not ends_with(_key, '|1')").fetchall()[0][0])


def write_parts(
    con: duckdb.DuckDBPyConnection,
    deployment: Deployment,
    source: str,
    contract: Contract,
    rows: str,
    file_id: str,
    key: str,
) -> list[dict[str, Any]]:
    """One Parquet file per period (or one in all) with the good rows of ``rows``, put in place; what the ledger says of each."""
    folder = deployment.landing / contract.entity / source / file_id
    is_bill = contract.entity == "bill_lines"
    document = "min(document_id), max(document_id)" if is_bill else "null, null"
    open_note = "is_credit_note and refers_to_period is null"
    referred = ", ".join(f"{of}(refers_to_document_id) filter ({open_note})" for of in ("min", "max")) if is_bill else "null, null"
    amount = f"cast(sum({quoted(contract.amount_column)}) as decimal(38,4))" if contract.amount_column else "null"
    groups = con.execute(
        f"select {'_period' if contract.by_period else 'null'} as p, count(*), {amount}, min({key}), max({key}), {document}, {referred} "
        "from _rows where _mask = 0 and not _other group by 1 order by 1"
    ).fetchall()
    columns = ["_period as bill_period" if is_bill and name == "bill_period" else quoted(name) for name in contract.landed]
    columns += [
        # As types of one value: text that is the same in every row would be looked up in a dictionary row by row.
        f"cast({literal(source)} as enum({literal(source)})) as _source",
        f"cast({literal(file_id)} as enum({literal(file_id)})) as _file_id",
        "cast(_line as bigint) as _row",
        f"{key} as _key",
        f"{'_content_hash' if key == '_key' else 'cast(null as varchar)'} as _content_hash",
    ]
    parts = []
    for period, number, money, low, high, low_document, high_document, low_referred, high_referred in groups:
        only = f" and _period = {literal(period)}" if period is not None and len(groups) > 1 else ""
        made = deployment.scratch / f"part_{period or 'all'}.parquet"
        # A note that has the period of its bill gets its own one back when there is no such bill any more.
        own = ["_own_period"] if low_referred is not None else []
        con.execute(
            f"copy (select {', '.join([*columns, *own])} from {rows} where _mask = 0 and not _other{only}) to {literal(str(made))} {_PARQUET}"
        ).fetchall()
        target = folder / (f"{PERIOD_FOLDER}={period}" if period is not None else "all") / "part.parquet"
        digest = sha256_file(made)
        place(made, target)
        parts.append(
            {
                "path": str(target.relative_to(deployment.data)),
                "period": period,
                "rows": number,
                **({"amount": str(money or 0)} if contract.amount_column else {}),
                "sha256": digest,
                "min_key": low,
                "max_key": high,
                **({"min_document": low_document, "max_document": high_document} if is_bill else {}),
                **({"min_referred": low_referred, "max_referred": high_referred} if low_referred is not None else {}),
            }
        )
    return parts
