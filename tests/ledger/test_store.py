"""The ledger keeps what is appended, in order, and shows any later change."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.errors import Failed, Mismatch
from orchestration.ledger import Ledger
from orchestration.ledger.store import GENESIS


def test_entries_come_back_in_order_and_by_kind(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.append("drop_landed", {"file": "a.csv", "rows": 3})
    ledger.append("gate", {"period": "2026-06", "passed": True})
    ledger.append("drop_landed", {"file": "b.csv", "rows": 4})
    assert [e.payload["file"] for e in ledger.entries("drop_landed")] == ["a.csv", "b.csv"]
    assert [e.seq for e in ledger.entries(after=1)] == [2, 3]
    assert [e.seq for e in ledger.entries(upto=2)] == [1, 2]
    newest = ledger.last("gate")
    assert newest is not None and newest.payload == {"period": "2026-06", "passed": True}
    assert ledger.head() == (3, ledger.entries()[-1].hash)


def test_a_ledger_that_was_never_written_is_empty(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "none.sqlite")
    assert ledger.entries() == [] and ledger.head() == (0, GENESIS) and ledger.verify() == 0


@settings(max_examples=25, deadline=None)
@given(
    payloads=st.lists(
        st.dictionaries(st.text(max_size=8), st.one_of(st.integers(), st.text(max_size=8), st.none())), min_size=1, max_size=6
    )
)
def test_any_payload_survives_and_verifies(tmp_path_factory: pytest.TempPathFactory, payloads: list[dict[str, object]]) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "l.sqlite")
    for payload in payloads:
        ledger.append("any", payload)
    assert [e.payload for e in ledger.entries()] == payloads
    assert ledger.verify() == len(payloads)


def test_the_file_refuses_changes_and_deletions(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.sqlite")
    ledger.append("gate", {"passed": False})
    con = sqlite3.connect(ledger.path)
    for attack in ("update entries set payload = '{}'", "delete from entries"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            con.execute(attack)
    con.close()


@pytest.mark.parametrize(
    "attack",
    [
        "update entries set payload = replace(payload, 'false', 'true') where seq = 2",
        "delete from entries where seq = 2",
        "update entries set at = '2001-01-01T00:00:00+00:00' where seq = 1",
        "update entries set kind = 'release' where seq = 3",
        "update entries set payload = '{' where seq = 2",
        "update entries set payload = 7 where seq = 2",
        "update entries set payload = '{\"n\":9,' || substr(payload, 2) where seq = 2",
        "update entries set payload = ' ' || payload where seq = 2",
        "update entries set prev_hash = hash where seq = 2",
    ],
)
def test_a_forged_entry_is_found(tmp_path: Path, attack: str) -> None:
    ledger = Ledger(tmp_path / "l.sqlite")
    for n in range(3):
        ledger.append("gate", {"n": n, "passed": False})
    con = sqlite3.connect(ledger.path)
    con.execute("drop trigger entries_are_never_changed")
    con.execute("drop trigger entries_are_never_deleted")
    con.execute(attack)
    con.commit()
    con.close()
    with pytest.raises(Mismatch, match="does not fit the chain"):
        ledger.verify()
    if attack.startswith("update"):
        with pytest.raises(Mismatch, match="does not fit the chain"):
            ledger.entries()


def test_an_index_that_hides_an_entry_is_found(tmp_path: Path) -> None:
    """Whoever asks for the verdicts would not see it, and the chain is whole."""
    ledger = Ledger(tmp_path / "l.sqlite")
    for period in ("2026-05", "2026-06"):
        ledger.append("gate", {"period": period, "passed": False})
    with sqlite3.connect(ledger.path) as con:
        con.execute("pragma writable_schema = on")
        con.execute(
            "update sqlite_schema set sql = 'create index entries_kind on entries (kind, seq) where seq < 2' where name = 'entries_kind'"
        )
    with sqlite3.connect(ledger.path) as con:
        con.execute("reindex entries_kind")
        con.execute("pragma writable_schema = on")
        con.execute("update sqlite_schema set sql = 'create index entries_kind on entries (kind, seq)' where name = 'entries_kind'")
    assert [entry.payload["period"] for entry in ledger.entries("gate")] == ["2026-05"]
    with pytest.raises(Mismatch, match="damaged"):
        ledger.verify()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    path.write_bytes(b"not a database, but long enough to look like one" * 50)
    with pytest.raises(Failed) as caught:
        Ledger(path).append("gate", {})
    assert str(path) in str(caught.value)
