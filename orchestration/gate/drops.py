"""What the gate asks of the drops, as small tables: what keeps a period open, and whether every row is accounted for.

Everything comes from what the ingest recorded; no drop is read again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb

from orchestration.ingest import ANY_PERIOD, balance, landed_money
from orchestration.ingest.closing import BAD_SHARE
from orchestration.ledger.store import Ledger


def make_drop_tables(con: duckdb.DuckDBPyConnection, ledger: Ledger, period: str, problems: Mapping[str, list[Any]], upto_seq: int) -> None:
    """Make ``drops.problems`` (period, problem, is_bad_share), ``drops.balance`` and ``drops.landed_money`` (rows and amount of the period's bill
    lines in force; no row where the ledger does not say); ``problems``: ingest.open_periods."""
    con.execute("create schema drops")
    con.execute("create table drops.problems (period varchar, problem varchar, is_bad_share boolean)")
    for key in (ANY_PERIOD, period):
        for problem in problems.get(key, []):
            con.execute("insert into drops.problems values (?, ?, ?)", [key, str(problem), BAD_SHARE in str(problem)])
    con.execute(
        """create table drops.balance (
            source varchar, entity varchar, file varchar, rows_in bigint, landed bigint, quarantined bigint,
            superseded bigint, agrees boolean)"""
    )
    columns = ("source", "entity", "file", "rows_in", "landed", "quarantined", "superseded", "agrees")
    wrong = [row for row in balance(ledger, upto_seq) if not row["agrees"]]
    for row in wrong:
        con.execute("insert into drops.balance values (?, ?, ?, ?, ?, ?, ?, ?)", [row[name] for name in columns])
    con.execute("create table drops.landed_money (landed_line_count bigint, landed_amount decimal(38, 4))")
    money = landed_money(ledger, "bill_lines", period, upto_seq)
    if money:
        con.execute("insert into drops.landed_money values (?, ?)", list(money))
