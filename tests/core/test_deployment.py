"""Configuration problems are named with file, line and the key that was probably meant."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.deployment import load_deployment
from orchestration.errors import BadInput, Busy
from orchestration.ingest.irreplaceable import record_key
from orchestration.ledger import Ledger
from orchestration.locking import exclusive, who_holds

GOOD = """\
name: tiny
title: A tiny company
currency: CNY
timezone: Asia/Shanghai
first_period: 2026-01
data: data
drops: drops
"""


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "tierhouse.yaml").write_text(text)
    return folder


def test_a_good_configuration_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIERHOUSE_DATA", raising=False)
    deployment = load_deployment(write(tmp_path / "d", GOOD))
    assert deployment.data == tmp_path / "d" / "data"
    assert deployment.zone.key == "Asia/Shanghai"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD + "curency: EUR\n", ["unknown key 'curency' (line 8)", "did you mean 'currency'?"]),
        (GOOD.replace("Asia/Shanghai", "Asia/Shanghia"), ["'timezone' (line 4)", "no time zone"]),
        (GOOD.replace("2026-01", "2026-13"), ["'first_period' (line 5)", "not a period"]),
        (GOOD.replace("2026-01", "0001-01"), ["'first_period' (line 5)", "is no month of any bill"]),
        (GOOD.replace("2026-01", "9999-12"), ["'first_period' (line 5)", "is no month of any bill"]),
        (GOOD.replace("currency: CNY\n", ""), ["key 'currency' is missing"]),
        (
            GOOD.replace("title: A", "title: : A"),
            ["line 2", "To do: put the value in quotes if it holds `: `, else correct the indentation"],
        ),
        (GOOD.replace("currency: CNY", "\tcurrency: CNY"), ["line 3", "To do: indent with spaces"]),
        (GOOD.replace("currency: CNY", " currency: CNY"), ["line 3", "correct the indentation"]),
        (GOOD.replace("A tiny company", '"A \\d company"'), ["line 2", "To do: write it in single quotes"]),
        (GOOD.replace("A tiny company", "%company"), ["line 2", "To do: put the value in quotes"]),
        (GOOD + "title: Another\n", ["line 8", "the key 'title' stands twice", "To do: keep one of the two"]),
        (GOOD.replace("A tiny company", "No"), ["'title' (line 2)", "YAML reads this as true or false; put it in quotes"]),
        (GOOD.replace("A tiny company", "12"), ["'title' (line 2)", "YAML reads this as a number; put it in quotes"]),
        (GOOD.replace("A tiny company", ""), ["'title' (line 2): has no value"]),
        (GOOD.replace("A tiny company", "{tiny}"), ["'title' (line 2)", "put it in quotes if it begins with a bracket"]),
        (GOOD.replace("2026-01", "2026-01-01"), ["'first_period' (line 5)", "YAML reads this as a date; put it in quotes"]),
        (GOOD.replace("CNY", "cny"), ["'currency' (line 3): 'cny' does not fit; write the three capital letters"]),
        (GOOD.replace("name: tiny", "name: Tiny Ltd"), ["'name' (line 1): 'Tiny Ltd' does not fit; write small letters, digits and _"]),
        (
            GOOD + "failure_webhook: hooks.example.com/tierhouse\n",
            ["'failure_webhook' (line 8)", "no address to post to; write one that begins"],
        ),
        ("", ["holds no keys"]),
    ],
)
def test_a_bad_configuration_is_explained(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        load_deployment(write(tmp_path / "d", text))
    assert "tierhouse.yaml" in caught.value.where
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["data[1]", "what?", "all*", "period=2026-06"])
def test_a_data_folder_whose_path_reads_as_a_pattern_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB reads the files of ``data1`` where it is told to read those of ``data[1]``, and ``period`` in them is what the folder says."""
    monkeypatch.delenv("TIERHOUSE_DATA", raising=False)
    folder = write(tmp_path / "d", GOOD.replace("data: data", f"data: '{name}'"))
    with pytest.raises(BadInput, match=r"reads as a (pattern|column of its files)") as caught:
        load_deployment(folder)
    assert caught.value.where == str(folder / name)
    monkeypatch.setenv("TIERHOUSE_DATA", str(tmp_path / "elsewhere"))
    assert load_deployment(folder).data == tmp_path / "elsewhere"


def test_the_data_folder_of_another_deployment_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TIERHOUSE_DATA goes with every deployment that is named beside it: releases and channels of two companies would be mixed."""
    monkeypatch.delenv("TIERHOUSE_DATA", raising=False)
    mine, other = write(tmp_path / "mine", GOOD), write(tmp_path / "other", GOOD.replace("name: tiny", "name: small"))
    record_key(load_deployment(mine), Ledger(load_deployment(mine).ledger), "salt")
    monkeypatch.setenv("TIERHOUSE_DATA", str(tmp_path / "mine" / "data"))
    assert load_deployment(mine).name == "tiny"
    with pytest.raises(BadInput, match="the data folder of deployment 'tiny', and not of 'small'") as caught:
        load_deployment(other)
    assert caught.value.where == str(tmp_path / "mine" / "data") and "TIERHOUSE_DATA" in caught.value.remedy


def test_a_home_in_a_path_of_the_environment_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where no shell has put it in: in a unit file of a service, or in quotes."""
    write(tmp_path / "d", GOOD)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in (("DEPLOYMENT", "~/d"), ("DATA", "~/data"), ("DROPS", "~/drops")):
        monkeypatch.setenv(f"TIERHOUSE_{name}", value)
    deployment = load_deployment()
    assert (deployment.folder, deployment.data, deployment.drops) == (tmp_path / "d", tmp_path / "data", tmp_path / "drops")


@pytest.mark.parametrize("name", ["TIERHOUSE_DEPLOYMENT", "TIERHOUSE_DATA", "TIERHOUSE_DROPS", "data", "drops"])
def test_the_home_of_nobody_is_bad_input(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GOOD
    monkeypatch.delenv("TIERHOUSE_DATA", raising=False)
    monkeypatch.delenv("TIERHOUSE_DROPS", raising=False)
    monkeypatch.setenv("TIERHOUSE_DEPLOYMENT", str(tmp_path / "d"))
    if name.isupper():
        monkeypatch.setenv(name, "~nobody-here/x")
    else:
        text = GOOD.replace(f"{name}: {name}", f"{name}: ~nobody-here/x")
    write(tmp_path / "d", text)
    with pytest.raises(BadInput, match="'~nobody-here/x' begins with the home of a user who is not known here") as caught:
        load_deployment()
    assert name in caught.value.where


def test_an_empty_address_of_failures_is_none(tmp_path: Path) -> None:
    assert load_deployment(write(tmp_path / "d", GOOD + 'failure_webhook: ""\n')).config.failure_webhook is None


@pytest.mark.parametrize("note", ["", "[]", "3", '"x"', "null", '{"pid": 1}'])
def test_a_note_of_the_lock_that_is_none_names_nobody(note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIERHOUSE_DATA", raising=False)
    deployment = load_deployment(write(tmp_path / "d", GOOD))
    deployment.data.mkdir()
    deployment.lock.with_suffix(".json").write_text(note)
    with deployment.lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert who_holds(deployment) == "another process"
        with pytest.raises(Busy, match="another process holds the lock"), exclusive(deployment, "a run"):
            pass


def test_a_folder_without_configuration_is_no_deployment(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no tierhouse\.yaml"):
        load_deployment(tmp_path)


def test_a_second_process_is_told_who_holds_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIERHOUSE_DATA", raising=False)
    folder = write(tmp_path / "d", GOOD)
    deployment = load_deployment(folder)
    code = (
        "import sys; from orchestration.deployment import load_deployment; from orchestration.locking import exclusive\n"
        f"with exclusive(load_deployment({str(folder)!r}), 'a run of 2026-06'):\n    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(Busy) as caught, exclusive(deployment, "another"):
            pass
        assert f"process {holder.pid} " in caught.value.what and "a run of 2026-06" in caught.value.what
        holder.kill()
    with exclusive(deployment, "after a kill"), exclusive(deployment, "again, in the same process"):
        assert json.loads(deployment.lock.with_suffix(".json").read_text())["doing"] == "after a kill"
