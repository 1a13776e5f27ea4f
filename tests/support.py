"""What tests of whole runs share: the command line as a person calls it, and places prepared once a test run."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from filelock import FileLock

from orchestration.policy import Policies

PROJECT_ROOT = Path(__file__).resolve().parent.parent
TIERHOUSE = Path(sys.executable).parent / "tierhouse"


def draws(quick: int, many: int) -> int:
    """Examples that a property test draws: ``many`` where TEST_DRAWS=many, as `make test-slow` sets it, else ``quick``."""
    asked = os.environ.get("TEST_DRAWS", "quick")
    return {"quick": quick, "many": many}[asked]


def write_policy_files(policies: Policies, folder: Path) -> None:
    """The seeds as used, as a release keeps them."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in policies.seeds.values():
        (folder / f"{seed.name}.csv").write_bytes(seed.content)


@dataclass
class Cli:
    """Calls ``tierhouse`` in a process of its own with data, drops and Dagster storage in ``folder``."""

    folder: Path
    deployment: Path | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def drops(self) -> Path:
        return self.folder / "drops"

    def environment(self, **extra: str) -> dict[str, str]:
        home = self.folder / "dagster_home"
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "dagster.yaml").exists():
            (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        env = {k: v for k, v in os.environ.items() if not k.startswith("TIERHOUSE_")}
        env["PATH"] = os.pathsep.join([str(TIERHOUSE.parent), env.get("PATH", "")])
        env |= {"TIERHOUSE_DATA": str(self.data), "TIERHOUSE_DROPS": str(self.drops), "DAGSTER_HOME": str(home)}
        if self.deployment:
            env["TIERHOUSE_DEPLOYMENT"] = str(self.deployment)
        return env | extra

    def __call__(self, *args: str, expect: int | None = 0, timeout: float = 300, **extra: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(TIERHOUSE), *args], env=self.environment(**extra), cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=timeout
        )
        if expect is not None:
            assert done.returncode == expect, f"exit {done.returncode}, expected {expect}\n{done.stdout[-4000:]}\n{done.stderr[-6000:]}"
        assert "Traceback (most recent call last)" not in done.stderr + done.stdout, done.stderr[-6000:]
        return done

    def warehouse(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query over the warehouse."""
        with duckdb.connect(str(self.data / "warehouse.duckdb"), read_only=True) as con:
            return con.execute(query).fetchall()

    def released(self, period: str, mart: str, query: str, revision: int = 1) -> list[tuple[Any, ...]]:
        """Rows of a query over one ``mart`` of a release."""
        with duckdb.connect() as con:
            con.execute(f"create view mart as select * from read_parquet('{self.data}/releases/{period}.r{revision}/{mart}.parquet')")
            return con.execute(query).fetchall()

    def json(self, *args: str, expect: int | None = 0, **extra: str) -> Any:
        return json.loads(self(*args, "--json", expect=expect, **extra).stdout)


def drops_of(example: str) -> Callable[[Path], list[Path]]:
    """What makes the drops of a deployment in ``examples/``."""
    make: Callable[[Path], list[Path]] = runpy.run_path(str(PROJECT_ROOT / "examples" / example / "make_drops.py"))["make"]
    return make


def released_example(shared: Path, example: str, first: str, last: str) -> Cli:
    """A deployment in ``examples/`` with its drops, some months of it released with one command."""

    def make(cli: Cli) -> None:
        drops_of(example)(cli.drops)
        cli("run", "--periods", f"{first}..{last}", timeout=900)

    return prepared(shared, example, make, PROJECT_ROOT / "examples" / example)


def prepared(shared: Path, name: str, make: Callable[[Cli], None], deployment: Path | None = None) -> Cli:
    """``make`` fills the place ``name`` once for all workers; a place that was left half made is made again."""
    cli = Cli(shared / name, deployment)
    with FileLock(shared / f"{name}.lock"):
        done = shared / f"{name}.done"
        if not done.exists():
            shutil.rmtree(cli.folder, ignore_errors=True)
            cli.folder.mkdir(parents=True)
            make(cli)
            done.touch()
    return cli
