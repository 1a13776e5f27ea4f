"""Bad input gets a message with file, line, column and remedy, exit code 2, and leaves no trace but the quarantine."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.support import PROJECT_ROOT, Cli

TELECOM = PROJECT_ROOT / "examples" / "telecom"


@pytest.fixture
def place(make_cli: Callable[..., Cli], released_sample: Cli, tmp_path: Path) -> Cli:
    """A released sample of its own, with a deployment folder that may be damaged."""
    folder = tmp_path / "deployment"
    shutil.copytree(TELECOM, folder)
    cli = make_cli(copy_of=released_sample.folder)
    cli.deployment = folder
    return cli


def trace(cli: Cli) -> dict[str, bytes]:
    """All that a command could leave behind, but for quarantine, logs and the lock's note."""
    skipped = {"quarantine", "logs", "run.lock", "run.json", "scratch"}
    return {
        str(f.relative_to(cli.data)): f.read_bytes()
        for f in sorted(cli.data.rglob("*"))
        if f.is_file() and f.relative_to(cli.data).parts[0] not in skipped
    }


def refused(cli: Cli, *arguments: str) -> dict[str, Any]:
    """Run a command that must end with exit code 2 and change nothing; return its error object."""
    before = trace(cli)
    error: dict[str, Any] = cli.json(*arguments, expect=2)
    assert error["exit_code"] == 2 and error["what"] and error["where"] and error["remedy"], error
    assert trace(cli) == before
    return error


def said(error: dict[str, Any]) -> str:
    return f"{error['where']}: {error['what']} {error['remedy']}"


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_a_period_out_of_range(place: Cli) -> None:
    assert "2019-01" in said(refused(place, "run", "--periods", "2019-01"))
    assert "2031-01" in said(refused(place, "run", "--periods", "2031-01"))
    assert "YYYY-MM" in said(refused(place, "run", "--periods", "2026-6"))


def test_a_customer_who_does_not_exist(place: Cli) -> None:
    assert "NOBODY" in said(refused(place, "explain", "NOBODY", "--period", "2026-06"))


def test_a_program_or_period_that_was_not_released(place: Cli) -> None:
    assert "seven_star" in said(refused(place, "explain", "C0000001", "--program", "seven_star", "--period", "2026-06"))
    assert "2025-03" in said(refused(place, "explain", "C0000001", "--period", "2025-03"))


def test_a_configuration_key_with_a_typo(place: Cli) -> None:
    assert place.deployment
    with (place.deployment / "tierhouse.yaml").open("a") as file:
        file.write("\nmax_bad_shar: 0.5\n")
    error = refused(place, "ingest")
    assert "did you mean 'max_bad_share'?" in said(error) and "tierhouse.yaml" in error["where"]


def mapping(cli: Cli) -> Path:
    assert cli.deployment
    return cli.deployment / "sources" / "billing_new.yaml"


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ('"no_such_column"', "no_such_column"),
        ('"net_amount +"', "net_amount"),
        ("\"(select max(column0) from read_csv('/etc/passwd'))\"", "net_amount"),
        ("\"read_text('/etc/passwd')\"", "read_text"),
        ("\"getenv('HOME')\"", "getenv"),
        ('"1; drop table x"', "net_amount"),
    ],
)
def test_a_mapping_expression_that_is_no_plain_sql_over_the_file(place: Cli, expression: str, words: str) -> None:
    file = mapping(place)
    text = file.read_text()
    changed = re.sub(r"(?m)^(\s+net_amount:).*$", lambda m: f"{m.group(1)} {expression}", text, count=1)
    assert changed != text
    file.write_text(changed)
    # A new drop (the same rows in other bytes), so that there is something to map.
    newest = sorted(place.drops.glob("billing_new/bill_lines_*"))[-1]
    pl.read_parquet(newest).write_parquet(newest.with_name(newest.name.replace(".parquet", "_x.parquet")), compression="gzip")
    error = refused(place, "ingest")
    assert "billing_new.yaml" in said(error) and words in said(error)


def test_a_mapping_key_with_a_typo(place: Cli) -> None:
    replace(mapping(place), "format:", "fromat:")
    error = refused(place, "ingest")
    assert "fromat" in said(error) and "format" in said(error)


def policy(cli: Cli, seed: str) -> Path:
    assert cli.deployment
    folder = cli.deployment / "policies"
    folder.mkdir(exist_ok=True)
    file = folder / seed
    if not file.exists():
        shutil.copy(PROJECT_ROOT / "seeds" / seed, file)
    return file


def test_a_policy_row_with_an_unknown_attribute(place: Cli) -> None:
    file = policy(place, "decision_conditions.csv")
    replace(file, "spend_avg_6m", "spend_avg_6n")
    for command in (["policy", "check"], ["run", "--periods", "2026-06"]):
        error = refused(place, *command)
        assert "decision_conditions.csv" in error["where"] and "row" in error["where"]
        assert "spend_avg_6n" in said(error) and "spend_avg_6m" in said(error)


def test_a_policy_value_that_does_not_parse(place: Cli) -> None:
    file = policy(place, "decision_conditions.csv")
    rows = file.read_text().splitlines()
    number = next(n for n, row in enumerate(rows) if "spend_avg_6m" in row)
    rows[number] = re.sub(r"\d+(\.\d+)?\s*$", "three hundred", rows[number])
    file.write_text("\n".join(rows) + "\n")
    error = refused(place, "policy", "check")
    assert "decision_conditions.csv" in error["where"] and f"row {number + 1}" in error["where"] and "three hundred" in said(error)


def test_an_empty_drop_and_a_folder_in_place_of_a_file(place: Cli) -> None:
    (place.drops / "billing_new" / "bill_lines_2026-07.parquet").write_bytes(b"")
    (place.drops / "billing_old" / "bill_lines_2026-07.csv").mkdir()
    before = {k: v for k, v in trace(place).items() if not k.startswith("ledger")}
    error = place.json("ingest", expect=2)
    report = str(error)
    assert "bill_lines_2026-07.parquet" in report and "bill_lines_2026-07.csv" in report
    assert {k: v for k, v in trace(place).items() if not k.startswith("ledger")} == before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_summary_of_a_run_names_the_files_that_it_refused(place: Cli) -> None:
    """The run is done without them, and nothing else told of a file whose feed promises none."""
    (place.drops / "service" / "contacts_2026-07.jsonl").write_bytes(b"")
    said = place("run", "--periods", "2026-06", timeout=600).stdout
    assert "\nRefused whole: service/contacts_2026-07.jsonl: it is empty\n" in said
