"""A small deployment of the sample company, with data, drops and Dagster storage of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest

from orchestration.deployment import PROJECT_ROOT, Deployment, load_deployment
from orchestration.ledger import Ledger
from orchestration.sample import write_sample
from orchestration.wiring.launch import RunOutcome, run_months

NOT_YET = "not_yet"

HOLDER = """
import sys
from pathlib import Path
from orchestration.deployment import load_deployment
from orchestration.locking import exclusive
with exclusive(load_deployment(Path(sys.argv[1])), "another run"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def locked_by_another_process(place: Place) -> Iterator[int]:
    command = [sys.executable, "-c", HOLDER, str(place.deployment.folder)]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield child.pid
        assert child.stdin is not None
        child.stdin.close()


@dataclass
class Place:
    """A copy of the sample's deployment under ``folder``; its data and drops are beside it."""

    folder: Path
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        shutil.copytree(PROJECT_ROOT / "examples" / "telecom", self.folder / "deployment")
        file = self.folder / "deployment" / "tierhouse.yaml"
        text = file.read_text(encoding="utf-8").replace("../../var/telecom/drops", "../drops").replace("../../var/telecom", "../data")
        file.write_text(text, encoding="utf-8")
        (self.folder / "home").mkdir()
        (self.folder / "home" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")

    @property
    def deployment(self) -> Deployment:
        return load_deployment(self.folder / "deployment")

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.deployment.ledger)

    def hold(self, period: str) -> None:
        """Give the deployment a suite of its own that fails for ``period``, for every customer."""
        folder = self.folder / "deployment" / "expectations"
        folder.mkdir()
        sql = f"select subject_id from candidate.fct_decisions where period = '{period}'"
        (folder / "house.yaml").write_text(
            f"suite: house\ntitle: House rules\nof: candidate\nchecks:\n- check: house__{NOT_YET}\n  severity: approvable\n"
            f"  expected: no decision for {period}\n  none_of: >-\n    {sql}\n",
            encoding="utf-8",
        )

    def let_go(self) -> None:
        shutil.rmtree(self.folder / "deployment" / "expectations")

    def run(self, *periods: str, instance: dg.DagsterInstance) -> RunOutcome:
        return run_months(self.deployment, list(periods), say=self.said.append, instance=instance)


@pytest.fixture(scope="module")
def make_place(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Place]:
    """Makes a place with drops of 300 customers over the eight months to 2026-06."""

    def make() -> Place:
        place = Place(tmp_path_factory.mktemp("place"))
        write_sample(place.folder / "drops", customers=300, months=8, seed=3, say=place.said.append)
        return place

    return make


@pytest.fixture(autouse=True)
def no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deployment's own folders count, whatever the environment of the test run says."""
    for name in ("TIERHOUSE_DATA", "TIERHOUSE_DROPS", "TIERHOUSE_DEPLOYMENT"):
        monkeypatch.delenv(name, raising=False)
