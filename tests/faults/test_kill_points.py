"""Nothing is lost: the process is killed at every durable step; the old catalog stands and the next run completes.

One month (2026-05) is released; then June's drops arrive and the run of June is killed at the point under test. What a
reader sees must be the old catalog, or, once the pointer has moved, the whole new one. The next run must end as if
nothing had happened: the same rows as in an undisturbed run.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.ledger import Ledger
from tests.support import Cli, prepared

LATE_ARRIVALS = "2026-06"


def make_may(cli: Cli) -> None:
    """May released; June's drops wait in ``waiting/``."""
    cli("sample", "--customers", "120", "--months", "8", "--seed", "5", "--out", str(cli.drops))
    waiting = cli.folder / "waiting"
    for file in sorted(cli.drops.rglob(f"*{LATE_ARRIVALS}*")):
        target = waiting / file.relative_to(cli.drops)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, target)
    spoil(waiting / "finance" / f"payments_{LATE_ARRIVALS}.csv.gz")
    cli("run", "--periods", "2026-05")


def spoil(file: Path) -> None:
    """Send the last row twice, so that June has something for the quarantine."""
    rows = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
    file.write_bytes(gzip.compress(b"".join([*rows, rows[-1]])))


def june_arrives(cli: Cli) -> None:
    shutil.copytree(cli.folder / "waiting", cli.drops, dirs_exist_ok=True)


def pointer(cli: Cli) -> str:
    return (cli.data / "catalogs" / "current.json").read_text()


def decisions(cli: Cli) -> list[tuple[Any, ...]]:
    """The released rows that readers see, without run ids, in a fixed order."""
    catalog = cli.json("releases")["catalog"]
    files = [str(cli.data / "releases" / release / "fct_decisions.parquet") for release in catalog["periods"].values()]
    columns = "program_id, subject_id, period, level_id, qualified_level_id, matched_rule_id, movement, evidence, missing_amount"
    return duckdb.execute(f"select {columns} from read_parquet(?) order by all", [files]).fetchall()


def feeds(cli: Cli) -> dict[str, str]:
    """The newest file of each channel, without the columns that name the catalog."""
    out = {}
    for folder in sorted((cli.data / "channels").iterdir()):
        newest = max(folder.glob("*.csv"))
        rows = duckdb.sql(f"select * exclude (catalog) from read_csv('{newest}', all_varchar = true) order by all").fetchall()
        out[folder.name] = repr([row[:-1] for row in rows])
    return out


@pytest.fixture(scope="module")
def may(shared_folder: Path) -> Cli:
    return prepared(shared_folder, "may_released", make_may)


@pytest.fixture(scope="module")
def undisturbed(may: Cli, shared_folder: Path) -> Cli:
    def make(cli: Cli) -> None:
        shutil.copytree(may.folder, cli.folder, dirs_exist_ok=True)
        june_arrives(cli)
        cli("run", "--periods", "2026-06")

    return prepared(shared_folder, "june_undisturbed", make)


# Each step's own tests kill it too, in the quick suite. Here whole runs are killed, a chain a stage: every run of a chain is killed a
# step further on, so that it also meets what the killed runs before it left.
CHAINS = {
    "ingest": [
        "ingest.vault_written",
        "ingest.landing_written",
        "ingest.quarantine_written",
        "ingest.file_recorded",
        "ingest.totals_recorded",
    ],
    "warehouse": ["warehouse.inputs_prepared", "warehouse.started", "warehouse.built", "warehouse.applied"],
    "gate": ["gate.results_written", "gate.recorded"],
    # What comes after a recorded release or catalog is done by the next run's recovery: the pointer is killed at there, once.
    "release": ["release.files_written", "release.manifest_written", "release.moved", "release.recorded", "catalog.pointer_moved"],
    "catalog": ["catalog.recorded", "channels.file_written", "channels.recorded"],
}
# A run that is killed at one of these has moved the pointer.
AFTER_THE_POINTER = {"catalog.pointer_moved", "channels.file_written", "channels.recorded"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("points", [pytest.param(points, id=stage) for stage, points in CHAINS.items()])
def test_kills_leave_the_old_catalog_and_the_next_run_completes(
    points: list[str], may: Cli, undisturbed: Cli, make_cli: Callable[..., Cli]
) -> None:
    cli = make_cli(copy_of=may.folder)
    before = pointer(cli)
    june_arrives(cli)
    for point in points:
        killed = cli("run", "--periods", "2026-06", expect=None, TIERHOUSE_FAILPOINT=point)
        assert killed.returncode == -9, f"the run never came to {point}\n{killed.stderr[-3000:]}"
        assert (pointer(cli) != before) == (point in AFTER_THE_POINTER)
        Ledger(cli.data / "ledger.sqlite").verify()

    cli("run", "--periods", "2026-06")
    assert decisions(cli) == decisions(undisturbed)
    assert feeds(cli) == feeds(undisturbed)
    assert list((cli.data / "scratch").glob("*")) == []
    periods = cli.json("releases")["catalog"]["periods"]
    assert periods == {"2026-05": "2026-05.r1", "2026-06": "2026-06.r1"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_month_after_a_range_that_was_killed_between_two_months_is_refused_with_the_range_to_run(
    may: Cli, make_cli: Callable[..., Cli]
) -> None:
    """The first month is recorded, and published by the next command; the second was decided, and nobody released it."""
    undisturbed, cli = make_cli("undisturbed", copy_of=may.folder), make_cli("victim", copy_of=may.folder)
    for place in (undisturbed, cli):
        june_arrives(place)
    undisturbed("run", "--periods", "2026-03..2026-06")

    killed = cli("run", "--periods", "2026-03..2026-05", expect=None, TIERHOUSE_FAILPOINT="release.recorded:2")
    assert killed.returncode == -9, killed.stderr[-3000:]
    refused = cli.json("run", "--periods", "2026-06", expect=2)
    assert "2026-06 would go on from rows that were never released" in refused["what"]
    assert refused["remedy"].endswith("run --periods 2026-05..2026-06`")
    assert sorted(cli.json("releases")["catalog"]["periods"]) == ["2026-03", "2026-04", "2026-05"]
    cli("run", "--periods", "2026-05..2026-06")
    assert decisions(cli) == decisions(undisturbed)

    # Of a process that dies while dbt writes nothing tells but the entry that was made before.
    points = (cli.drops / "rewards" / "points_2026-06.csv").read_text(encoding="utf-8")
    (cli.drops / "rewards" / "points_2026-07.csv").write_text(points.replace("2026-06", "2026-07"), encoding="utf-8")
    killed = cli("run", "--periods", "2026-05", expect=None, TIERHOUSE_FAILPOINT="warehouse.started")
    assert killed.returncode == -9, killed.stderr[-3000:]
    assert cli.json("run", "--periods", "2026-06", expect=2)["remedy"].endswith("run --periods 2026-05..2026-06`")
    cli("run", "--periods", "2026-05..2026-06")
    assert decisions(cli) == decisions(undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_a_killed_run_of_an_earlier_month_decided_counts_for_no_later_one(may: Cli, make_cli: Callable[..., Cli]) -> None:
    """Changes of level in twelve months are those that readers were shown."""
    released = make_cli("released", copy_of=may.folder)
    june_arrives(released)
    released("run", "--periods", "2026-03..2026-05")
    rows = ["NOMINATION_ID,PROGRAM,SUBJECT_ID,KIND,LEVEL,REASON,REQUESTED_BY,APPROVED_BY,APPROVED_ON,START_DATE,END_DATE"]
    for number in range(1, 121):
        rows.append(f"LATE{number},six_star,C{number:08d},SET,star_6,late,a.one,b.two,2026-03-20,2026-04-01,2026-04-30")
    (released.drops / "crm" / "nominations_late.csv.gz").write_bytes(gzip.compress("\n".join([*rows, ""]).encode()))
    undisturbed, cli = make_cli("undisturbed", copy_of=released.folder), make_cli("victim", copy_of=released.folder)
    killed = cli("run", "--periods", "2026-04", expect=None, TIERHOUSE_FAILPOINT="warehouse.applied")
    assert killed.returncode == -9, killed.stderr[-3000:]
    decided = "select count(*) from intermediate.int_movement_causes where period = '2026-04' and program_id = 'six_star'"
    assert cli.warehouse(decided)[0][0] > 60, "most rose to six stars in April, and nobody was told"
    changes = []
    for place in (undisturbed, cli):
        place("run", "--periods", "2026-06")
        changes.append(place.released("2026-06", "fct_level_flapping", "select * from mart order by all"))
    assert changes[1] == changes[0] != []
