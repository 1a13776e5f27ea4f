"""Rows that a source takes back: one that ends before it starts was never in force.

Of a key that is not known it is a mistake and is rejected. Of a key that an earlier drop has brought it is a correction: it
supersedes the earlier rows and is superseded itself as it lands, so that nothing that reads the rows in force can meet it.
"""

from __future__ import annotations

import duckdb

from orchestration.deployment import Deployment
from orchestration.ingest.checking import ENDS_BEFORE_START, Scan, is_before
from orchestration.ingest.contracts import Contract
from orchestration.ingest.mapping import Feed
from orchestration.ingest.parts import Landed
from orchestration.sqltext import parquet


def accept_withdrawals(
    con: duckdb.DuckDBPyConnection, deployment: Deployment, known: Landed, feed: Feed, scan: Scan, key: str, since: int
) -> None:
    """Take the reason from rows of ``_rows`` that end before they start and whose key a drop landed after entry ``since`` has brought.

    A row that waits for what it refers to has brought its key, or it would come into force when that lands; so may the row here
    wait, but one with other reasons stays rejected. So does one beside a good row of its key: that one corrects, as ever.
    """
    ended = scan.mask(ENDS_BEFORE_START)
    free = ended | scan.mask("unknown_reference")
    if not ended:
        return
    taken_back = f"not _other and _mask & {ended} <> 0 and (_mask | {free}) = {free}"
    if not con.execute(f"select 1 from _rows where {taken_back} limit 1").fetchall():
        return
    drops = [drop.payload for drop in known.standing_of(feed.source, feed.entity) if drop.seq > since and not drop.is_replaced]
    paths = [deployment.data / part["path"] for drop in drops for part in drop["parts"]]
    paths += [deployment.data / drop["waiting"]["path"] for drop in drops if drop["waiting"]]
    if paths:
        brought = f"select _key from {parquet(paths)}"
        good = f"select {key} from _rows where _mask = 0 and not _other"
        con.execute(
            f"update _rows set _mask = _mask - (_mask & {ended}) where {taken_back} and {key} in ({brought}) and {key} not in ({good})"
        ).fetchall()


def overtake_withdrawn(con: duckdb.DuckDBPyConnection, contract: Contract, key: str) -> bool:
    """Add the keys of good rows of ``_rows`` that are taken back to the table ``_overtaken``; whether it holds any key."""
    con.execute(f"insert into _overtaken select {key} from _rows where _mask = 0 and not _other and {taken_back(contract)}").fetchall()
    return bool(con.execute("select 1 from _overtaken limit 1").fetchall())


def taken_back(contract: Contract) -> str:
    """Condition that a row of an entity ends before it starts."""
    ended = [is_before(name, column.not_before) for name, column in contract.columns.items() if column.not_before is not None]
    return f"({' or '.join(ended)})" if ended else "false"
