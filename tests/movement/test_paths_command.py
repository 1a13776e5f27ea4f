"""`tierhouse paths` over a released month."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from orchestration.cli.main import main
from orchestration.ledger import Ledger
from tests.support import PROJECT_ROOT

PERIOD, RELEASE = "2026-06", "2026-06.r1"
HEAD = (
    "create table p (program_id varchar, subject_id varchar, level_id varchar, next_level_id varchar, missing_attribute varchar, "
    "missing_amount decimal(18, 4), pace_amount decimal(18, 4), months_to_next_level integer, is_likely_to_rise boolean, "
    "falls_in_period varchar, falls_to_level_id varchar, months_to_review integer, is_about_to_fall boolean)"
)


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "company"
    shutil.copytree(PROJECT_ROOT / "examples" / "telecom", folder)
    data = tmp_path / "data"
    monkeypatch.setenv("TIERHOUSE_DATA", str(data))
    release = data / "releases" / RELEASE
    release.mkdir(parents=True)
    with duckdb.connect() as con:
        con.execute(HEAD)
        con.execute("insert into p values ('six_star', 'A', 'star_1', 'star_2', 'spend_avg_6m', 1.5, 50, 1, true, null, null, null, false)")
        con.execute(
            "create table d (program_id varchar, qualified_level_rank integer, held_level_rank integer, valid_until_period varchar)"
        )
        con.execute("insert into d values ('six_star', 2, 3, '2027-01'), ('six_star', 1, 3, '2026-12'), ('six_star', 3, 3, '2026-09')")
        con.execute("insert into d values ('six_star', 1, 3, null), ('vip_score', 1, 2, '2026-07')")
        for table, query in (
            ("fct_upgrade_paths", "from p"),
            ("fct_decisions", "from d"),
            ("dim_programs", "select distinct program_id from d"),
        ):
            con.execute(f"copy ({query}) to '{release / table}.parquet' (format parquet)")
    files = {path.name: {} for path in release.glob("*.parquet")}
    (release / "manifest.json").write_text(json.dumps({"files": files}), encoding="utf-8")
    (data / "catalogs").mkdir()
    catalog = {"catalog": 1, "periods": {PERIOD: RELEASE}}
    (data / "catalogs" / "current.json").write_text(json.dumps(catalog))
    ledger = Ledger(data / "ledger.sqlite")
    ledger.append("release", {"release": RELEASE, "period": PERIOD, "cutoff_seq": 0})
    ledger.append("catalog", catalog)
    return folder


def test_who_is_above_what_they_qualify_for_is_counted_with_the_first_review(released: Path) -> None:
    asked = ("paths", "--program", "six_star", "--period", PERIOD, "-d", str(released))
    value = json.loads(CliRunner().invoke(main, [*asked, "--json"]).stdout)
    assert [row["subject_id"] for row in value["likely_to_rise"]] == ["A"] and value["about_to_fall"] == []
    assert value["held_above_qualified"] == {"subjects": 2, "first_valid_until_period": "2026-12"}
    said = CliRunner().invoke(main, asked).stdout
    assert said.endswith(
        "nobody is about to fall\n2 subjects hold a level above the one that the rules give now; the first validity ends with 2026-12\n"
    )


def test_nothing_is_said_where_nobody_is(released: Path) -> None:
    with duckdb.connect() as con:
        file = released.parent / "data" / "releases" / RELEASE / "fct_decisions.parquet"
        con.execute(f"create table d as select * from read_parquet('{file}') where qualified_level_rank = held_level_rank")
        con.execute(f"copy d to '{file}' (format parquet)")
    said = CliRunner().invoke(main, ("paths", "--program", "six_star", "--period", PERIOD, "-d", str(released))).stdout
    assert said.endswith("nobody is about to fall\n")


@pytest.mark.parametrize("command", ["paths", "movements", "explain A"])
def test_what_is_released_is_told_as_ranges(released: Path, command: str) -> None:
    periods = {period: f"{period}.r1" for period in ("2025-11", "2025-12", "2026-01", "2026-03")}
    (released.parent / "data" / "catalogs" / "current.json").write_text(json.dumps({"catalog": 1, "periods": periods}))
    said = CliRunner().invoke(main, [*command.split(), "--period", "2026-02", "-d", str(released)])
    assert said.exit_code == 2 and "2025-11..2026-01, 2026-03" in said.output
    status = CliRunner().invoke(main, ["status", "-d", str(released)])
    assert "released periods: 2025-11..2026-01, 2026-03\n" in status.output


@pytest.mark.parametrize("command", ["paths", "movements"])
def test_a_release_whose_files_are_gone_is_no_bad_input(released: Path, command: str) -> None:
    shutil.rmtree(released.parent / "data" / "releases" / RELEASE)
    said = CliRunner().invoke(main, (command, "--program", "six_star", "--period", PERIOD, "-d", str(released)))
    assert said.exit_code == 1 and "the files of this release are gone" in said.output and "from a backup" in said.output


@pytest.mark.parametrize("damage", ["gone", "cut off"])
def test_a_released_file_that_is_gone_or_damaged_is_named_and_no_bad_input(released: Path, damage: str) -> None:
    folder = released.parent / "data" / "releases" / RELEASE
    file = folder / "fct_decisions.parquet"
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:100])
    said = CliRunner().invoke(main, ("paths", "--program", "six_star", "--period", PERIOD, "-d", str(released)))
    assert said.exit_code == 1 and file.name in said.output and "from a backup" in said.output, said.output
    assert "defect" not in said.output


@pytest.mark.parametrize(("manifest", "told"), [(None, "the manifest cannot be read"), ("{", "cannot be read"), ("[]", "is no manifest")])
def test_without_a_manifest_nobody_says_what_was_published(manifest: str | None, told: str, released: Path) -> None:
    file = released.parent / "data" / "releases" / RELEASE / "manifest.json"
    file.unlink() if manifest is None else file.write_text(manifest)
    said = CliRunner().invoke(main, ("paths", "--period", PERIOD, "-d", str(released)))
    assert said.exit_code == 1 and told in said.output and str(file) in said.output and "from a backup" in said.output, said.output


def test_what_was_not_published_yet_when_the_release_was_made_is_said(released: Path) -> None:
    said = CliRunner().invoke(main, ("movements", "--program", "six_star", "--period", PERIOD, "-d", str(released)))
    assert said.exit_code == 2 and "has no dim_movement_causes: it was made before this was published" in said.output, said.output
