"""The vault: the one mutable store of personal columns. Readers see a view per entity, with one row per subject.

Behind it each source has its own newest row of a subject, for it knows nothing of the columns that it does not deliver: of each column the
newest row that delivers it counts, by the row's date of effect where the entity has a history, then by landing order. What no landed row
says any more, because a mapping that was changed leaves it out or another file has replaced it, is removed.
Opened only while a drop with personal columns lands; landing, logs and the ledger never hold what stands here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from orchestration.ingest.contracts import Contract
from orchestration.ingest.files import close_to_others, for_the_owner_alone
from orchestration.sqltext import literal, quoted


def keep_personal(
    con: duckdb.DuckDBPyConnection,
    vault: Path,
    contract: Contract,
    source: str,
    delivered: list[str],
    rows: str,
    file_id: str,
    *,
    placed_as: Collection[str] = (),
    outdated: Collection[str] = (),
    gone: Collection[str] = (),
) -> None:
    """Upsert the personal columns ``delivered`` of the good rows in ``rows`` (a relation with ``_line``). One transaction; to do it
    again after a crash changes nothing.

    ``placed_as``: file ids of the drop that the rows are of, whose place among the sources they take, where the vault still has anything of it.
    ``outdated``: file ids of the source whose drops are still to land anew, so that any row is newer; ``gone``: those of them of which
    nothing is left when this is done. The vault and DuckDB's log beside it are readable by the user that runs Tierhouse and by nobody else.
    """
    with _opened(con, vault, contract) as table:
        if delivered:
            _upsert(con, table, contract, source, delivered, rows, file_id, placed_as, outdated)
        if gone:
            con.execute(f"delete from {table} where {_of(source, gone)}").fetchall()


def forget_replaced(
    con: duckdb.DuckDBPyConnection, vault: Path, contract: Contract, source: str, file_ids: Collection[str], known: str
) -> None:
    """Remove what drops that another file has replaced said of subjects that are not in ``known``, a query of subjects of the source.

    Of the others it stays: what was known of them before is not kept.
    """
    with _opened(con, vault, contract) as table:
        subject = ", ".join(map(quoted, contract.subject_key))
        con.execute(f"delete from {table} where {_of(source, file_ids)} and ({subject}) not in ({known})").fetchall()


def recall(con: duckdb.DuckDBPyConnection, vault: Path, contract: Contract, source: str, file_ids: Collection[str]) -> None:
    """Fill the table ``_recalled`` with the subjects and personal columns that come from rows of ``file_ids``, with ``_file_id`` and ``_row``."""
    columns = ", ".join(map(quoted, [*contract.subject_key, *contract.personal]))
    with _opened(con, vault, contract) as table:
        con.execute(
            f"create or replace temp table _recalled as select {columns}, _file_id, _row from {table} where {_of(source, file_ids)}"
        ).fetchall()


def _of(source: str, file_ids: Collection[str]) -> str:
    return f"coalesce(_source, {literal(source)}) = {literal(source)} and _file_id in ({', '.join(map(literal, sorted(file_ids)))})"


@contextmanager
def _opened(con: duckdb.DuckDBPyConnection, vault: Path, contract: Contract) -> Iterator[str]:
    """The table of an entity's rows by source, made if need be, within a transaction."""
    close_to_others(vault)
    with for_the_owner_alone():
        con.execute(f"attach {literal(str(vault))} as vault").fetchall()
        try:
            con.execute("begin").fetchall()
            try:
                yield _table(con, contract)
                con.execute("commit").fetchall()
            except BaseException:
                con.execute("rollback").fetchall()
                raise
        finally:
            con.execute("detach vault").fetchall()


def _table(con: duckdb.DuckDBPyConnection, contract: Contract) -> str:
    entity, name = contract.entity, f"{contract.entity}_by_source"
    table = f"vault.{quoted(name)}"
    tables = {row[0] for row in con.execute("select table_name from duckdb_tables() where database_name = 'vault'").fetchall()}
    if name in tables:
        return table
    columns = {column: contract.columns[column].sql_type for column in [*contract.subject_key, *contract.personal]}
    columns |= {"_as_of_date": "date", "_file_id": "varchar", "_row": "bigint"}
    if entity in tables:
        # A vault that kept one row per subject: whose it is is not known, and it spoke of all columns.
        con.execute(f"alter table vault.{quoted(entity)} rename to {quoted(name)}").fetchall()
    else:
        con.execute(f"create table {table} ({', '.join(f'{quoted(column)} {kind}' for column, kind in columns.items())})").fetchall()
    for column, kind in (("_source", "varchar"), ("_columns", "varchar[]"), ("_order", "bigint")):
        con.execute(f"alter table {table} add column {column} {kind}").fetchall()
    subject = ", ".join(map(quoted, contract.subject_key))
    newest = ", ".join(
        f"last({quoted(column)} order by _as_of_date nulls first, _order nulls first) "
        f"filter (where _columns is null or list_contains(_columns, {literal(column)})) as {quoted(column)}"
        for column in contract.personal
    )
    con.execute(f"create view vault.{quoted(entity)} as select {subject}, {newest} from {quoted(name)} group by {subject}").fetchall()
    return table


def _upsert(
    con: duckdb.DuckDBPyConnection,
    table: str,
    contract: Contract,
    source: str,
    delivered: list[str],
    rows: str,
    file_id: str,
    placed_as: Collection[str],
    outdated: Collection[str],
) -> None:
    subject = [quoted(name) for name in contract.subject_key]
    personal = [quoted(name) for name in contract.personal]
    effect = quoted(contract.history) if contract.history else ("start_date" if "start_date" in contract.columns else "cast(null as date)")
    spoken = f"[{', '.join(literal(name) for name in delivered)}]"
    place = f"(select coalesce(max(_order), 0) + 1 from {table})"
    if placed_as:
        place = f"coalesce((select min(_order) from {table} where {_of(source, placed_as)}), {place})"
    con.execute(
        f"create or replace temp table _personal as select {', '.join([*subject, *personal])}, {effect} as _as_of_date, "
        f"{literal(file_id)} as _file_id, _line as _row, {literal(source)} as _source, {spoken} as _columns, "
        f"{place} as _order from {rows} where _mask = 0 and not _other "
        f"qualify row_number() over (partition by {', '.join(subject)} order by _as_of_date desc nulls last, _line desc) = 1"
    ).fetchall()
    old = f"v._file_id in ({', '.join(map(literal, sorted(outdated)))})" if outdated else "false"
    same = f"{' and '.join(f'v.{name} = n.{name}' for name in subject)} and coalesce(v._source, n._source) = n._source"
    said = f"coalesce(v._columns, [{', '.join(literal(name) for name in contract.personal)}])"
    newer = f"coalesce(v._as_of_date > n._as_of_date, false) and not {old}"
    con.execute(f"delete from _personal n using {table} v where {same} and {newer} and list_has_all({said}, n._columns)").fetchall()
    con.execute(f"delete from {table} v using _personal n where {same} and not ({newer}) and list_has_all(n._columns, {said})").fetchall()
    con.execute(f"insert into {table} by name from _personal").fetchall()
    con.execute("drop table _personal").fetchall()
