"""Shared fixtures: small sample drops, and the command line as a person calls it.

Expensive things are made once a test run and shared by the workers, under a file lock.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support import Cli, prepared

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

# Files whose tests share a place that takes long to prepare, or go on from what a test before them left: on two workers, one would wait
# for the other, or find nothing.
ONE_WORKER = frozenset(
    {
        "tests/audit/test_explain_sample.py",
        "tests/e2e/test_twelfth_program.py",
        "tests/examples/test_bank.py",
        "tests/examples/test_hotel.py",
        "tests/examples/test_prospects.py",
        "tests/examples/test_sales_force.py",
        "tests/movement/test_in_the_warehouse.py",
        "tests/warehouse/test_warehouse.py",
        "tests/wiring/test_months.py",
        "tests/wiring/test_runs_that_fail.py",
    }
)


class ByPlace(LoadScopeScheduling):
    """The tests of some files stay together, every other one goes where there is time. The groups of pytest-xdist 3.8 do nothing in pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return file if file in ONE_WORKER else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByPlace | None:
    return ByPlace(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this test run see."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture
def make_cli(tmp_path: Path) -> Callable[..., Cli]:
    """``make_cli()`` gives an empty place; ``make_cli(copy_of=other.folder)`` a copy of a prepared one."""

    def make(name: str = "place", *, copy_of: Path | None = None, deployment: Path | None = None) -> Cli:
        folder = tmp_path / name
        if copy_of:
            shutil.copytree(copy_of, folder, symlinks=True)
        else:
            folder.mkdir()
        return Cli(folder, deployment)

    return make


@pytest.fixture(scope="session")
def released_sample(shared_folder: Path) -> Cli:
    """The sample company, 300 customers × 18 months, its last two months released. Read only: copy it to change it."""

    def make(cli: Cli) -> None:
        cli("sample", "--customers", "300", "--months", "18", "--seed", "3", "--out", str(cli.drops))
        cli("run", "--periods", "2026-05..2026-06")

    return prepared(shared_folder, "released_sample", make)
