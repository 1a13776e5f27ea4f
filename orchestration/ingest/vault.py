"""The vault: the one mutable store of personal columns, one table per entity, one row per subject.

Newer facts replace older ones: by the row's date of effect where the entity has a history, then by landing order. A source knows
nothing of the columns that it does not deliver: there what another one has brought stays.
Opened only while a drop with personal columns lands; landing, logs and the ledger never hold what stands here.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from orchestration.ingest.contracts import Contract
from orchestration.ingest.files import close_to_others, for_the_owner_alone
from orchestration.sqltext import literal, quoted


def keep_personal(con: duckdb.DuckDBPyConnection, vault: Path, contract: Contract, delivered: list[str], rows: str, file_id: str) -> None:
    """Upsert the personal columns ``delivered`` of the good rows in ``rows`` (a relation with ``_line``). One transaction; to do it
    again after a crash changes nothing.

    The vault and DuckDB's log beside it are readable by the user that runs Tierhouse and by nobody else.
    """
    close_to_others(vault)
    with for_the_owner_alone():
        _upsert(con, vault, contract, delivered, rows, file_id)


def _upsert(con: duckdb.DuckDBPyConnection, vault: Path, contract: Contract, delivered: list[str], rows: str, file_id: str) -> None:
    subject = [quoted(name) for name in contract.subject_key]
    personal = [quoted(name) for name in contract.personal]
    effect = quoted(contract.history) if contract.history else ("start_date" if "start_date" in contract.columns else "cast(null as date)")
    types = ", ".join(f"{quoted(name)} {contract.columns[name].sql_type}" for name in [*contract.subject_key, *contract.personal])
    con.execute(f"attach {literal(str(vault))} as vault").fetchall()
    try:
        table = f"vault.{quoted(contract.entity)}"
        con.execute(f"create table if not exists {table} ({types}, _as_of_date date, _file_id varchar, _row bigint)").fetchall()
        if not delivered:
            return
        con.execute(
            f"create or replace temp table _personal as select {', '.join([*subject, *personal])}, {effect} as _as_of_date, "
            f"{literal(file_id)} as _file_id, _line as _row from {rows} where _mask = 0 and not _other "
            f"qualify row_number() over (partition by {', '.join(subject)} order by _as_of_date desc nulls last, _line desc) = 1"
        ).fetchall()
        same = " and ".join(f"v.{name} = n.{name}" for name in subject)
        con.execute("begin").fetchall()
        try:
            con.execute(f"delete from _personal n using {table} v where {same} and v._as_of_date > n._as_of_date").fetchall()
            for name in [quoted(name) for name in contract.personal if name not in delivered]:
                con.execute(f"update _personal n set {name} = v.{name} from {table} v where {same}").fetchall()
            con.execute(f"delete from {table} v using _personal n where {same}").fetchall()
            con.execute(f"insert into {table} select * from _personal").fetchall()
            con.execute("commit").fetchall()
        except BaseException:
            con.execute("rollback").fetchall()
            raise
        con.execute("drop table _personal").fetchall()
    finally:
        con.execute("detach vault").fetchall()
