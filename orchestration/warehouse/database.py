"""The warehouse file: how it is opened, and what it says it holds."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from orchestration.errors import Busy, Failed
from orchestration.ingest.files import storage_failure
from orchestration.periods import period_from_index, period_index
from orchestration.warehouse.plan import CARRIED


@dataclass(frozen=True)
class Held:
    """What the warehouse says it holds. Empty for a warehouse that is not there yet."""

    digests: dict[str, str] = field(default_factory=dict)
    months_version: str = ""
    windows_version: str = ""
    window_periods: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Carried:
    """The newest month before a run of which the warehouse holds decisions of a program, and whether anybody has a level in it."""

    period: str
    has_levels: bool


@contextmanager
def warehouse(path: Path, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the warehouse; errors of the environment become ours, with what to do."""
    try:
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
        con = duckdb.connect(str(path), read_only=read_only)
    except OSError as err:
        raise Failed(f"the data folder cannot be written: {err.strerror}", str(path.parent), "make it writable, or free space") from err
    except duckdb.Error as err:
        if "could not set lock" in str(err).lower():
            raise Busy(
                "another process has the warehouse open", str(path), "wait until it is done; BI tools read a release, never the warehouse"
            ) from err
        remedy = "check space and permissions; if the file is damaged delete it and run all months again: they are built from the landing"
        raise Failed(f"the warehouse cannot be opened: {err}", str(path), remedy) from err
    try:
        con.execute("set TimeZone = 'UTC'")
        yield con
    except duckdb.Error as err:
        if failed := storage_failure(err, path):
            raise failed from err
        raise
    finally:
        con.close()


def has_table(con: duckdb.DuckDBPyConnection, name: str) -> bool:
    return bool(con.execute("select 1 from duckdb_tables() where schema_name || '.' || table_name = ?", [name]).fetchall())


@contextmanager
def _holding(path: Path, table: str) -> Iterator[duckdb.DuckDBPyConnection | None]:
    """The warehouse at ``path``, to be read; None where it is not there, or has no such table."""
    if not path.exists():
        yield None
        return
    with warehouse(path, read_only=True) as con:
        yield con if has_table(con, table) else None


def read_held(path: Path) -> Held:
    """What the warehouse at ``path`` says it holds; nothing if it is not there."""
    with _holding(path, "ctl.applied") as con:
        if con is None:
            return Held()
        state = dict(con.execute("select key, value from ctl.state").fetchall())
        windows: list[str] = []
        if has_table(con, "intermediate.int_customer_windows"):
            windows = [
                row[0] for row in con.execute("select distinct period from intermediate.int_customer_windows order by period").fetchall()
            ]
        months_are_there = has_table(con, "intermediate.int_customer_months")
        return Held(
            digests=dict(con.execute("select period, digest from ctl.applied").fetchall()) if months_are_there else {},
            months_version=state.get("months_version", ""),
            windows_version=state.get("windows_version", ""),
            window_periods=windows,
        )


def prepared_run(path: Path) -> str | None:
    """The run that the inputs in the warehouse at ``path`` were written for; None if there are none."""
    with _holding(path, "ctl.run") as con:
        return None if con is None else str(con.execute("select run_id from ctl.run").fetchall()[0][0])


def carried_levels(path: Path, before: str, programs: Collection[str]) -> dict[str, Carried]:
    """For each program with decisions in ``before`` or an earlier month: the newest such month in the warehouse at ``path``."""
    if not programs:
        return {}
    decisions = f"intermediate.{CARRIED}"
    levels = "bool_or(level_id is not null or held_level_id is not null)"
    with _holding(path, decisions) as con:
        if con is None:
            return {}
        # One month is read from the files' statistics; all of them only where it does not tell, which a run then refuses.
        query = f"select program_id, period_index, {levels} from {decisions} where period_index = ? group by all"
        found = {row[0]: row for row in con.execute(query, [period_index(before)]).fetchall()}
        lacking = sorted(set(programs) - found.keys())
        if lacking:
            newest = f"select program_id, max(period_index) as period_index from {decisions} where period_index < ? group by all"
            query = f"select program_id, period_index, {levels} from {decisions} semi join ({newest}) using (program_id, period_index) group by all"
            found |= {row[0]: row for row in con.execute(query, [period_index(before)]).fetchall() if row[0] in lacking}
    return {program: Carried(period_from_index(index), has_levels) for program, index, has_levels in found.values()}


def lost_periods(path: Path, released: Collection[str]) -> list[str]:
    """Which of the periods, released with decisions, the warehouse at ``path`` holds none of: it was deleted or begun anew."""
    if not released:
        return []
    decisions = f"intermediate.{CARRIED}"
    with _holding(path, decisions) as con:
        if con is None:
            return sorted(released)
        query = f"select 1 from {decisions} where period_index = ? limit 1"
        return [period for period in sorted(released) if not con.execute(query, [period_index(period)]).fetchall()]
