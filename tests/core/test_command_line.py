"""The command line as a part of a pipeline, and in an empty place."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

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


def test_a_folder_without_drops_is_not_called_landed(make_cli: Callable[..., Cli]) -> None:
    cli = make_cli()
    cli.drops.mkdir()
    said = cli("ingest").stdout
    assert said.startswith(f"No drop found in {cli.drops};")
    assert "landed" not in said


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
