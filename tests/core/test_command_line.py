"""The command line as a part of a pipeline, and in an empty place."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import duckdb
import pytest
from click.testing import CliRunner

from orchestration.cli.base import Context
from orchestration.cli.main import main
from orchestration.cli.summary import print_next
from orchestration.errors import BadInput
from orchestration.interruption import is_interruption, listen, stop_if_told
from orchestration.memory import query_memory
from orchestration.policy import load_policies
from orchestration.warehouse.late import LateInput
from tests.support import PROJECT_ROOT, TIERHOUSE, Cli


@pytest.mark.parametrize("command", ["status", "policy check", "ledger verify"])
def test_a_reader_that_has_read_enough_is_no_fault_of_the_disk(make_cli: Callable[..., Cli], command: str) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [str(TIERHOUSE), *command.split()],
            env=make_cli().environment(),
            cwd=PROJECT_ROOT,
            stdout=write_end,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_stopped_from_outside_says_so(make_cli: Callable[..., Cli], tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [str(TIERHOUSE), "sample", "--customers", "50000", "--months", "36", "--out", str(tmp_path / "drops")],
        env=make_cli().environment(),
        cwd=PROJECT_ROOT,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background of a shell ignores the keyboard's signal, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as child:
        assert child.stderr is not None and child.stderr.readline()
        child.send_signal(number)
        said = child.stderr.read()
    assert child.returncode == 1, said
    assert "Failed: stopped by the keyboard or another signal" in said and "Traceback" not in said


def test_a_signal_whose_exception_is_lost_stops_at_the_next_word() -> None:
    """Who catches everything, as a library may that looks whether another one is there, does not hold up the end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        listen()
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            stop_if_told()
        stop_if_told()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_an_error_that_is_its_own_cause_is_no_interruption() -> None:
    err, other = OSError("disk full"), RuntimeError("a step failed")
    err.__cause__, other.__cause__ = other, err
    assert not is_interruption(err)
    other.__cause__ = RuntimeError("Query interrupted")
    assert is_interruption(err)


def test_a_terminal_that_cannot_show_chinese_shows_numbers(make_cli: Callable[..., Cli], tmp_path: Path) -> None:
    folder = str(tmp_path / "客户 é")

    def said(encoding: str, *more: str) -> subprocess.CompletedProcess[bytes]:
        environment = make_cli(encoding + "".join(more)).environment(PYTHONIOENCODING=encoding)
        command = [str(TIERHOUSE), "status", "-d", folder, *more]
        return subprocess.run(command, env=environment, cwd=PROJECT_ROOT, capture_output=True)

    text = said("latin-1").stderr.decode("latin-1")
    assert text.startswith("BadInput: ") and "\\u5ba2\\u6237 é" in text
    for encoding in ("latin-1", "ascii", "utf-8", "gb18030"):
        assert json.loads(said(encoding, "--json").stdout.decode(encoding))["where"] == folder, encoding


def test_a_folder_without_drops_is_not_called_landed(make_cli: Callable[..., Cli]) -> None:
    cli = make_cli()
    cli.drops.mkdir()
    said = cli("ingest").stdout
    assert said.startswith(f"No drop found in {cli.drops};")
    assert "landed" not in said


def test_a_command_to_copy_is_for_the_same_deployment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "our company"
    shutil.copytree(PROJECT_ROOT / "examples" / "telecom", folder)
    monkeypatch.setenv("TIERHOUSE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PATH", str(TIERHOUSE.parent))
    late = [LateInput("2026-02", "2026-02.r1", {"bill_lines": 1}, {}), LateInput("2026-03", "2026-03.r1", {}, {"bill_lines": 1})]
    monkeypatch.setattr("orchestration.warehouse.late.late_inputs", lambda *_: late)
    given = f"--deployment '{folder}'"

    def said(*args: str) -> str:
        return CliRunner().invoke(main, args).output

    assert said("status", "-d", str(folder)).endswith(f"To compute them anew: tierhouse run --periods 2026-02..2026-03 {given}\n")
    assert json.loads(said("status", "-d", str(folder), "--json"))["late_inputs"]["commands"] == [
        f"tierhouse run --periods 2026-02..2026-03 {given}"
    ]
    assert said("releases", "-d", str(folder)) == f"No release yet. Try: tierhouse run --periods YYYY-MM {given}\n"
    assert said("deliveries", "-d", str(folder)).startswith("Nothing has been delivered: ")
    assert f"run `tierhouse run --periods 2026-02 {given}`" in " ".join(
        said("explain", "C1", "--program", "six_star", "--period", "2026-02", "-d", str(folder)).split()
    )
    assert f"To do: tierhouse run --periods 2026-02 {given}" in " ".join(said("paths", "--period", "2026-02", "-d", str(folder)).split())

    context = Context(False, str(folder))
    release = context.deployment.releases / "2026-02.r1"
    release.mkdir(parents=True)
    duckdb.sql(
        "select 'C1' as subject_id, 'six_star' as program_id, 'star_1' as level_id, 1 as level_rank, 'rose' as movement"
    ).write_parquet(str(release / "fct_decisions.parquet"))
    print_next(context, {"2026-02": "2026-02.r1"}, [load_policies(context.deployment).programs["six_star"]])
    printed = [command for line in capsys.readouterr().out.splitlines()[1:] for command in line.strip().split("   ")[0:1]]
    assert printed.pop() == f"TIERHOUSE_DEPLOYMENT='{folder}' make ui"
    assert len(printed) == 5
    for command in printed:
        assert command.endswith(given), command

    monkeypatch.setenv("TIERHOUSE_DEPLOYMENT", str(folder))
    assert said("status").endswith("To compute them anew: tierhouse run --periods 2026-02..2026-03\n"), "which the shell knows already"


def test_a_command_to_copy_is_found_from_the_current_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    context = Context(False, None)
    monkeypatch.chdir(PROJECT_ROOT)
    monkeypatch.setenv("PATH", str(TIERHOUSE.parent))
    assert (context.command("status"), context.ui_command()) == ("tierhouse status", "make ui")
    monkeypatch.setenv("PATH", str(tmp_path))
    inside = TIERHOUSE.relative_to(PROJECT_ROOT) if TIERHOUSE.is_relative_to(PROJECT_ROOT) else TIERHOUSE
    assert context.command("status") == f"{inside} status"
    assert (
        context.told(BadInput("x", "", "run `tierhouse run --periods 2026-02` first")).remedy
        == f"run `{inside} run --periods 2026-02` first"
    )
    monkeypatch.chdir(tmp_path)
    assert (context.command("status"), context.ui_command()) == (f"{TIERHOUSE} status", f"make -C {PROJECT_ROOT} ui")
    monkeypatch.setenv("HOME", str(tmp_path))
    named = Context(False, "~/shop").ui_command()
    assert named == f"TIERHOUSE_DEPLOYMENT={tmp_path / 'shop'} make -C {PROJECT_ROOT} ui", "as --deployment=~/shop comes from the shell"


def test_policy_check_says_once_what_to_do(make_cli: Callable[..., Cli], tmp_path: Path) -> None:
    cli = make_cli()
    cli.deployment = tmp_path / "deployment"
    shutil.copytree(PROJECT_ROOT / "examples" / "telecom", cli.deployment)
    (cli.deployment / "policies").mkdir()
    text = (PROJECT_ROOT / "seeds" / "policy_versions.csv").read_text(encoding="utf-8")
    (cli.deployment / "policies" / "policy_versions.csv").write_text(
        text.replace("head.of.customer.value", "policy.owner"), encoding="utf-8"
    )
    done = cli("policy", "check", expect=2)
    assert done.stdout.count("To do: have someone else approve it") == done.stdout.count("error (self_approved)") == 8
    assert "8 findings of severity error" in done.stderr and "To do" not in done.stderr
    error = cli.json("policy", "check", expect=2)["error"]
    assert error["remedy"] == "have someone else approve it" and "row 2" in error["where"]


def numeric_options(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Option]]:
    """Every option of every command that takes a number."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from numeric_options(command, (*path, name))
        for option in command.params:
            if isinstance(option, click.Option) and option.type.name.split()[0] in ("integer", "float"):
                yield (*path, name), option


NUMERIC = [pytest.param(path, option, id=" ".join((*path, option.opts[0]))) for path, option in numeric_options(main)]


def test_the_options_that_take_a_number_are_found() -> None:
    assert {"ledger show --last", "paths --limit", "quarantine --limit", "rollback --to", "demo --seed"} <= {str(p.id) for p in NUMERIC}


@pytest.mark.parametrize(("path", "option"), NUMERIC)
@pytest.mark.parametrize("value", ["-1", "many"])
def test_a_number_that_makes_no_sense_is_wrong_use(path: tuple[str, ...], option: click.Option, value: str) -> None:
    result = CliRunner().invoke(main, [*path, option.opts[0], value])
    assert result.exit_code == 2, result.output
    assert f"Invalid value for '{option.opts[0]}'" in result.output


@pytest.mark.parametrize(("path", "option"), NUMERIC)
def test_the_default_of_a_number_is_in_its_range(path: tuple[str, ...], option: click.Option) -> None:
    assert isinstance(option.type, click.IntRange | click.FloatRange) and option.type.min is not None, "without a range anything goes"
    assert option.default is None or option.type.convert(option.default, option, None) == option.default


@pytest.mark.parametrize("value", ["lots", "", "1KB", "63MB", "4"])
def test_an_amount_of_memory_that_is_none_is_found_before_anything_runs(make_cli: Callable[..., Cli], value: str) -> None:
    cli = make_cli()
    for variable in ("TIERHOUSE_INGEST_MEMORY", "TIERHOUSE_MEMORY_LIMIT"):
        said = cli("status", expect=2, **{variable: value}).stderr
        assert variable in said and "write a size" in said


@pytest.mark.parametrize("value", ["64MB", "0.5 GB", "1GiB", "100mb"])
def test_an_amount_of_memory_is_read_as_duckdb_reads_it(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TIERHOUSE_MEMORY_LIMIT", value)
    with duckdb.connect(config={"memory_limit": query_memory()}) as con:
        assert con.execute("select current_setting('memory_limit')").fetchone() is not None


def test_what_a_balance_is_asked_for_must_be_there(make_cli: Callable[..., Cli]) -> None:
    cli = make_cli()
    for option in ("--source", "--entity"):
        assert "nothing of the" in cli("balance", option, "nowhere", expect=2).stderr


@pytest.mark.parametrize("group", [main, *(sub for sub in main.commands.values() if isinstance(sub, click.Group))])
def test_a_list_of_commands_says_a_whole_sentence_of_each(group: click.Group) -> None:
    shown = CliRunner().invoke(group, ["--help"], terminal_width=80).output
    assert [line for line in shown.splitlines() if line.endswith("...") and "[OPTIONS]" not in line] == []
