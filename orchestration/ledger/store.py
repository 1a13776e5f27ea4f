"""An append-only list of entries in one SQLite file, each carrying the hash of the one before.

The ledger is the record of everything durable: drops landed or refused, control totals, gates, releases, catalogs,
deliveries, rollbacks. State is never stored beside it: which files are landed or which catalog stands is read from
the entries. SQLite gives the atomic, durable append (a killed process leaves either the whole entry or none); the
hash chain makes a later change to any entry show.

An entry's hash is SHA-256 over the previous hash and the canonical JSON of (seq, kind, at, payload).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestration.errors import Failed, Mismatch

GENESIS = "0" * 64

_SCHEMA = """
create table if not exists entries (
    seq integer primary key,
    kind text not null,
    at text not null,
    payload text not null,
    prev_hash text not null,
    hash text not null unique
);
create index if not exists entries_kind on entries (kind, seq);
create trigger if not exists entries_are_never_changed before update on entries
begin select raise(abort, 'the ledger is append-only'); end;
create trigger if not exists entries_are_never_deleted before delete on entries
begin select raise(abort, 'the ledger is append-only'); end;
"""

_SELECT = "select seq, kind, at, payload, prev_hash, hash from entries"


@dataclass(frozen=True)
class Entry:
    """One entry. ``at`` is a UTC timestamp in ISO format; ``payload`` is whatever its ``kind`` documents."""

    seq: int
    kind: str
    at: str
    payload: dict[str, Any]
    prev_hash: str
    hash: str


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: one text for one value, so that it can be hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def entry_hash(prev_hash: str, seq: int, kind: str, at: str, payload: str) -> str:
    """SHA-256 that chains an entry to the one before it: over that hash and the canonical JSON of the entry, whose ``payload`` is text already."""
    body = f'{{"at":{canonical_json(at)},"kind":{canonical_json(kind)},"payload":{payload},"seq":{seq}}}'
    return hashlib.sha256((prev_hash + body).encode()).hexdigest()


class Ledger:
    """Open (and make, if need be) the ledger at ``path``. One process appends (under the lock); any number read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            con = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        except (OSError, sqlite3.OperationalError) as err:
            raise Failed(f"the ledger cannot be opened: {err}", str(self.path), "make the data folder writable") from err
        try:
            con.execute("pragma synchronous = full")
            con.executescript(_SCHEMA)
            yield con
        except sqlite3.OperationalError as err:
            raise Failed(
                f"the ledger cannot be used: {err}", str(self.path), "check free space and write permission of the data folder"
            ) from err
        except sqlite3.DatabaseError as err:
            raise Failed(
                f"the ledger is damaged: {err}", str(self.path), "restore it from a backup; nothing else can say what was released"
            ) from err
        finally:
            con.close()

    def append(self, kind: str, payload: dict[str, Any]) -> Entry:
        """Append one entry durably and return it."""
        with self._connect() as con:
            con.execute("begin immediate")
            try:
                row = con.execute("select seq, hash from entries order by seq desc limit 1").fetchone()
                seq, prev = (row[0] + 1, row[1]) if row else (1, GENESIS)
                at = datetime.now(UTC).isoformat(timespec="milliseconds")
                text = canonical_json(json.loads(canonical_json(payload)))
                chained = entry_hash(prev, seq, kind, at, text)
                con.execute("insert into entries values (?, ?, ?, ?, ?, ?)", (seq, kind, at, text, prev, chained))
                con.execute("commit")
            except BaseException:
                if con.in_transaction:
                    con.execute("rollback")
                raise
        return Entry(seq, kind, at, json.loads(text), prev, chained)

    def entries(self, *kinds: str, after: int = 0, upto: int | None = None) -> list[Entry]:
        """Entries of the given kinds (all kinds if none) with ``after < seq <= upto``, in order. Raises Mismatch at one that was changed."""
        if not self.path.exists():
            return []
        query = f"{_SELECT} where seq > ?"
        params: list[Any] = [after]
        if upto is not None:
            query += " and seq <= ?"
            params.append(upto)
        if kinds:
            query += f" and kind in ({', '.join('?' for _ in kinds)})"
            params.extend(kinds)
        with self._connect() as con:
            rows = con.execute(query + " order by seq", params).fetchall()
        return [self._entry(row) for row in rows]

    def last(self, *kinds: str) -> Entry | None:
        """The newest entry of the given kinds. Raises Mismatch if it was changed."""
        if not self.path.exists():
            return None
        # Read from the end: payloads of years of drops would be parsed for one of them.
        asked = f" where kind in ({', '.join('?' for _ in kinds)})" if kinds else ""
        query = f"{_SELECT}{asked} order by seq desc limit 1"
        with self._connect() as con:
            found = con.execute(query, kinds).fetchone()
        return self._entry(found) if found else None

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        """What stands in a row. Its own hash is looked at whoever asks: what was decided on a changed entry would look like all else."""
        seq, kind, at, text, prev_hash, own_hash = row
        try:
            payload = json.loads(text)
        except (TypeError, ValueError) as err:
            raise self._changed(seq, kind) from err
        if own_hash != entry_hash(prev_hash, seq, kind, at, text):
            raise self._changed(seq, kind)
        return Entry(seq, kind, at, payload, prev_hash, own_hash)

    def _changed(self, seq: Any, kind: Any) -> Mismatch:
        return Mismatch(
            f"entry {seq} ({kind}) does not fit the chain",
            str(self.path),
            "the ledger was changed after it was written; restore it from a backup",
        )

    def head(self) -> tuple[int, str]:
        """Sequence number and hash of the newest entry; ``(0, GENESIS)`` for an empty ledger."""
        newest = self.last()
        return (newest.seq, newest.hash) if newest else (0, GENESIS)

    def verify(self) -> int:
        """Recompute the whole chain; return the number of entries, raise Mismatch at the first that does not agree.

        The text of a payload must be the one that was written: of a key that stands twice others may read the first. And the file must be
        whole: entries of a kind are found by an index, which the chain does not know.
        """
        if not self.path.exists():
            return 0
        with self._connect() as con:
            problem = con.execute("pragma integrity_check(1)").fetchone()[0]
            rows = con.execute(f"{_SELECT} order by seq").fetchall()
        if problem != "ok":
            raise Mismatch(f"the ledger is damaged: {problem}", str(self.path), "restore it from a backup")
        prev = GENESIS
        for expected_seq, row in enumerate(rows, 1):
            entry = self._entry(row)
            if (entry.seq, entry.prev_hash, canonical_json(entry.payload)) != (expected_seq, prev, row[3]):
                raise self._changed(entry.seq, entry.kind)
            prev = entry.hash
        return len(rows)
