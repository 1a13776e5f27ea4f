"""Under ``--json`` every command prints exactly one JSON value on standard output, whatever happens."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from orchestration.cli.main import call, main
from orchestration.ledger import Ledger


def commands(group: click.Group, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*above, name))
        else:
            yield (*above, name), command


COMMANDS = dict(commands(main))


def needed(command: click.Command) -> list[str]:
    """What the command cannot do without, so that it comes to its work."""
    words: list[str] = []
    for parameter in command.params:
        if parameter.required:
            option = [parameter.opts[0]] if isinstance(parameter, click.Option) else []
            words += [*option, "2026-06" if "period" in str(parameter.name) else "x"]
    return words


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Exit code and the one JSON value."""
    code = call([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != ("sample",)], ids=" ".join)
def test_no_deployment_there(command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = answer(capsys, *command, *needed(COMMANDS[command]), "--deployment", str(tmp_path))
    assert (code, error["error"], error["exit_code"], error["where"]) == (2, "BadInput", 2, str(tmp_path))


@pytest.mark.parametrize("command", list(COMMANDS), ids=" ".join)
def test_an_option_that_there_is_not(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code, error = answer(capsys, *command, "--no-such-option")
    assert code == error["exit_code"] == 2 and "--no-such-option" in error["what"]
    assert error["where"] == f"tierhouse {' '.join(command)}" and error["remedy"].endswith("--help")


def test_a_command_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    code, error = answer(capsys, "ingset")
    assert code == 2 and "ingset" in error["what"]


@pytest.mark.parametrize(
    ("raised", "what"),
    [
        (RuntimeError("broken"), "a defect of Tierhouse: RuntimeError: broken"),
        (OSError(28, "No space left on device", "/data/x"), "No space left on device"),
        (KeyboardInterrupt(), "stopped by the keyboard or another signal"),
        # What DuckDB makes of it in the middle of a query.
        (RuntimeError("Query interrupted"), "stopped by the keyboard or another signal"),
    ],
)
def test_what_nobody_expected(
    raised: BaseException, what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise raised

    monkeypatch.setattr("orchestration.cli.base.load_deployment", fail)
    found, error = answer(capsys, "ledger", "verify")
    assert found == error["exit_code"] == 1 and error["error"] == "Failed" and error["remedy"]
    assert error["what"] == what


def test_an_entry_that_somebody_changed_is_no_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TIERHOUSE_DATA", str(tmp_path))
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.append("delivery", {"channel": "hotline"})
    with sqlite3.connect(ledger.path) as con:
        con.execute("drop trigger entries_are_never_changed")
        con.execute("update entries set payload = '[]'")
    code, error = answer(capsys, "deliveries")
    assert code == error["exit_code"] == 4 and error["what"] == "entry 1 (delivery) does not fit the chain"


def test_without_it_wrong_use_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["run"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "--periods" in err and "Usage" in err
    assert call(["--help"]) == 0
