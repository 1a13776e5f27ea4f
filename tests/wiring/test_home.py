"""DAGSTER_HOME: a folder of its own works at once, without a warning, and what stands there stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orchestration.deployment import PROJECT_ROOT
from orchestration.errors import BadInput, Failed
from orchestration.wiring.launch import dagster_home, project_instance


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DAGSTER_HOME is a folder that is not there yet; the current folder is another."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "home"


def test_an_empty_home_gets_the_settings_of_the_project_and_no_warning(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        with project_instance() as instance:
            assert Path(instance.root_directory) == home
            assert not instance.telemetry_enabled
            assert instance.run_monitoring_enabled and instance.run_monitoring_max_runtime_seconds == 12 * 3600, (
                "a run whose process is gone would keep the queue waiting for ever"
            )
    assert caplog.records == []
    settings = yaml.safe_load((home / "dagster.yaml").read_text(encoding="utf-8"))
    assert settings["concurrency"] == {"runs": {"max_concurrent_runs": 1}}
    assert "storage" not in settings, "relative folders would be taken from the current folder by Dagster's own tools"
    assert list((home.parent / "elsewhere").iterdir()) == []


def test_a_home_with_settings_keeps_them(home: Path) -> None:
    home.mkdir()
    text = "telemetry: {enabled: false}\nrun_monitoring: {enabled: false}\n"
    (home / "dagster.yaml").write_text(text, encoding="utf-8")
    with project_instance() as instance:
        assert not instance.run_monitoring_enabled
    assert (home / "dagster.yaml").read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("storage: [", "line 1"),
        ("storage: sqlite", "storage"),
        ("telemtry: {enabled: false}", "telemtry"),
        ("run_monitoring: {enabled: perhaps}", "enabled"),
        ("just a text", "holds no keys"),
    ],
)
def test_settings_that_are_none_are_named(home: Path, text: str, told: str) -> None:
    home.mkdir()
    (home / "dagster.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        project_instance()
    assert str(home / "dagster.yaml") in caught.value.where and told in str(caught.value)


def test_settings_may_be_remarks_alone(home: Path) -> None:
    home.mkdir()
    (home / "dagster.yaml").write_text("# all as it comes\n", encoding="utf-8")
    with project_instance() as instance:
        assert not instance.telemetry_enabled


def test_a_home_may_be_named_from_that_of_the_user(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home.parent))
    monkeypatch.setenv("DAGSTER_HOME", "~/home")
    assert dagster_home() == home


def test_make_ui_starts_without_a_warning(home: Path) -> None:
    # With settings that are none it ends where it would start its servers; `-o`: the environment is that of the test.
    home.mkdir()
    (home / "dagster.yaml").write_text("telemtry: {enabled: false}\n", encoding="utf-8")
    command = ["make", "-o", "setup", "ui", f"BIN={Path(sys.executable).parent}"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60)
    assert 'unexpected config entry "telemtry"' in done.stderr, "the home of the environment counts, as for `tierhouse`"
    assert "Warning" not in done.stdout + done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written_is_named(home: Path) -> None:
    home.mkdir(mode=0o500)
    with pytest.raises(Failed, match="DAGSTER_HOME"):
        project_instance()
