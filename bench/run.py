"""The benchmark: one run that measures the project against DuckDB itself on the same machine, and prints tables.

Every step is a process of its own; seconds are wall time, CPU is user and system time, and memory is the largest resident
set of any process of the step. Sizes come from the environment so that a small trial is possible:
TIERHOUSE_BENCH_CUSTOMERS (1000000), TIERHOUSE_BENCH_GROWTH_CUSTOMERS (200000), TIERHOUSE_BENCH_FOLDER (var/bench).
Nothing is cached between runs but the sample drops.

Usage: python -m bench.run
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import yaml

from orchestration.deployment import PROJECT_ROOT
from orchestration.periods import add_months

CUSTOMERS = int(os.environ.get("TIERHOUSE_BENCH_CUSTOMERS", "1000000"))
GROWTH_CUSTOMERS = int(os.environ.get("TIERHOUSE_BENCH_GROWTH_CUSTOMERS", "200000"))
FOLDER = Path(os.environ.get("TIERHOUSE_BENCH_FOLDER", str(PROJECT_ROOT / "var" / "bench"))).resolve()
LAST = "2026-06"
# The old billing system of the sample knows numbers only and would make its own measurement; every other source is landed, because a
# program without one of its entities would be "not evaluated" and cost nothing.
LEFT_OUT = ("billing_old",)
BILLS = "billing_new"
# The program that the first bar is about.
SINGLE = "six_star"
TIERHOUSE = str(Path(sys.executable).parent / "tierhouse")
GIB = 1024**3


@dataclass
class Step:
    """Seconds, CPU seconds and peak bytes of one process and its children, and what it printed."""

    seconds: float
    cpu: float
    peak_bytes: int
    output: str

    @property
    def measured(self) -> tuple[str, str, str]:
        """Wall, CPU and memory as a table shows them."""
        return f"{self.seconds:.1f} s", f"{self.cpu:.1f} s", f"{self.peak_bytes / GIB:.1f} GiB"


@dataclass
class Place:
    """A deployment of the benchmark: mappings of the sample company with the bill lines as plain CSV."""

    name: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    def run(self, *arguments: str) -> Step:
        """Run a process to its end; its failure ends the benchmark."""
        log = FOLDER / "logs" / f"{self.name}-{time.monotonic_ns()}.out"
        log.parent.mkdir(parents=True, exist_ok=True)
        print(f"  {self.name}: {' '.join(Path(a).name if a.startswith('/') else a for a in arguments)}", file=sys.stderr, flush=True)
        started = time.monotonic()
        with log.open("wb") as out, log.with_suffix(".err").open("wb") as err:
            environment = {**os.environ, **self.environment}
            pid = os.posix_spawnp(
                arguments[0],
                list(arguments),
                environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, out.fileno(), 1), (os.POSIX_SPAWN_DUP2, err.fileno(), 2)],
            )
            _, status, usage = os.wait4(pid, 0)
        seconds = time.monotonic() - started
        if os.waitstatus_to_exitcode(status):
            sys.exit(f"failed: {' '.join(arguments)}\n{log.read_text()[-2000:]}\n{log.with_suffix('.err').read_text()[-4000:]}")
        return Step(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, log.read_text())

    def tierhouse(self, *arguments: str) -> Step:
        return self.run(TIERHOUSE, *arguments)


def make_place(name: str, customers: int, months: int) -> Place:
    """Sample drops (kept between runs) with bill lines as CSV, and a deployment over them with nothing landed."""
    place = Place(name)
    folder = place.folder
    drops = folder / "drops"
    telecom = PROJECT_ROOT / "examples" / "telecom"
    stamp = folder / f"sample-{customers}-{months}-every-source.done"
    if not stamp.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        made = place.tierhouse(
            *("sample", "--customers", str(customers), "--months", str(months), "--seed", "1", "--last-period", LAST),
            *("--old-billing-share", "0", "--no-defects", "--out", str(drops)),
        )
        print(f"sample of {customers:,} customers × {months} months: {made.seconds:.0f} s, {made.peak_bytes / GIB:.1f} GiB", flush=True)
        for file in sorted((drops / BILLS).glob("bill_lines_*.parquet")):
            duckdb.sql(f"copy (select * from read_parquet('{file}')) to '{file.with_suffix('.csv')}' (format csv, header)")
            file.unlink()
        for control in (drops / BILLS).glob("control_*"):
            control.unlink()
        stamp.touch()
    deployment = folder / "deployment"
    shutil.rmtree(deployment, ignore_errors=True)
    (deployment / "sources").mkdir(parents=True)
    config = yaml.safe_load((telecom / "tierhouse.yaml").read_text())
    config |= {"name": "bench", "first_period": add_months(LAST, 1 - months), "data": str(folder / "data"), "drops": str(drops)}
    (deployment / "tierhouse.yaml").write_text(yaml.safe_dump(config))
    for path in sorted((telecom / "sources").glob("*.yaml")):
        if path.stem in LEFT_OUT:
            continue
        mapping = yaml.safe_load(path.read_text(encoding="utf-8"))
        mapping["feeds"] = [{k: v for k, v in feed.items() if k != "expected"} for feed in mapping["feeds"]]
        if path.stem == BILLS:
            mapping["feeds"] = [feed | {"format": "csv", "files": f"{BILLS}/bill_lines_*.csv"} for feed in mapping["feeds"]]
            mapping["feeds"] = [{k: v for k, v in feed.items() if k != "control"} for feed in mapping["feeds"]]
        (deployment / "sources" / path.name).write_text(yaml.safe_dump(mapping, allow_unicode=True), encoding="utf-8")
    forget_state(place)
    home = folder / "dagster_home"
    place.environment = {"TIERHOUSE_DEPLOYMENT": str(deployment), "DAGSTER_HOME": str(home)}
    return place


def forget_state(place: Place) -> None:
    """Back to nothing landed and an empty Dagster storage."""
    shutil.rmtree(place.folder / "data", ignore_errors=True)
    home = place.folder / "dagster_home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")


def keep_landed(place: Place) -> None:
    """Remember the state right after the ingest, so that builds can start from it again."""
    kept = place.folder / "landed"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir()
    for path in (place.folder / "data").iterdir():
        if path.is_file():
            shutil.copy2(path, kept / path.name)


def back_to_landed(place: Place) -> None:
    """No warehouse, no release, no channel file: landing and ledger as right after the ingest. Parts of landing never change."""
    for path in (place.folder / "data").iterdir():
        if path.is_file():
            path.unlink()
        elif path.name not in ("landing", "quarantine"):
            shutil.rmtree(path)
    shutil.copytree(place.folder / "landed", place.folder / "data", dirs_exist_ok=True)


def enable_only(place: Place, program: str | None) -> int:
    """Let the deployment run one program, or those that the default policies enable; return how many it runs."""
    policies = place.folder / "deployment" / "policies"
    shutil.rmtree(policies, ignore_errors=True)
    with (PROJECT_ROOT / "seeds" / "programs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if program is not None:
        policies.mkdir()
        for row in rows:
            row["enabled"] = str(row["program_id"] == program).lower()
        with (policies / "programs.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return sum(row["enabled"] == "true" for row in rows)


@dataclass
class Build:
    """A ``tierhouse run``: its seconds per stage and per model of dbt."""

    step: Step
    stages: dict[str, float]
    models: dict[str, float]


def run_periods(place: Place, periods: str) -> Build:
    """``tierhouse run`` over ``periods``, taken apart."""
    step = place.tierhouse("run", "--periods", periods, "--json")
    stages = json.loads(step.output)["stages"]
    results = json.loads((place.folder / "data" / "dbt" / "target" / "run_results.json").read_text())["results"]
    models = {found["unique_id"].split(".")[2]: found["execution_time"] for found in results}
    return Build(step, {"start": step.seconds - sum(stages.values()), **stages}, models)


def print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    print("\n| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def main() -> None:
    place = make_place("million", CUSTOMERS, 12)
    csvs = str(place.folder / "drops" / BILLS / "bill_lines_*.csv")
    bare = place.run(sys.executable, "-m", "bench.bare", csvs, str(place.folder / "bare"))
    shutil.rmtree(place.folder / "bare")
    for source in sorted(path.stem for path in (place.folder / "deployment" / "sources").glob("*.yaml")):
        if source != BILLS:
            place.tierhouse("ingest", "--source", source)
    ingest = place.tierhouse("ingest", "--source", BILLS)
    keep_landed(place)

    tiny = make_place("tiny", 50, 2)
    tiny.tierhouse("ingest")
    tiny.tierhouse("run", "--periods", add_months(LAST, -1))
    fixed = run_periods(tiny, LAST)

    landing = place.folder / "data" / "landing"
    parts = [str(landing / "bill_lines" / "**" / "*.parquet"), str(landing / "customers" / "**" / "*.parquet")]
    floors = [place.run(sys.executable, "-m", "bench.floor", *parts, LAST, str(place.folder / "floor.parquet")) for _ in range(3)]
    floor = sorted(floors, key=lambda step: step.seconds)[1]
    lines = duckdb.execute("select count(*) from read_parquet(?)", [parts[0]]).fetchall()[0][0]

    enable_only(place, SINGLE)
    single = run_periods(place, LAST)
    back_to_landed(place)
    programs = enable_only(place, None)
    every = run_periods(place, LAST)

    growth = make_place("growth", GROWTH_CUSTOMERS, 27)
    growth.tierhouse("ingest")
    month = [add_months(LAST, back - 26) for back in range(27)]
    growth.tierhouse("run", "--periods", month[13])
    early = run_periods(growth, month[14]).step
    growth.tierhouse("run", "--periods", f"{month[15]}..{month[25]}")
    late = run_periods(growth, month[26]).step

    def over_floor(build: Build, bar: float) -> str:
        return f"(cold − fixed) = {(build.step.seconds - fixed.step.seconds) / floor.seconds:.1f} × floor (bar {bar})"

    def share(build: Build) -> str:
        return f"{build.stages.get('gate', 0.0) / build.step.seconds:.0%} of the run (bar 20 %)"

    print(f"\n{CUSTOMERS:,} customers × 12 months, {lines:,} bill lines, {os.cpu_count()} CPUs, DuckDB {duckdb.__version__}")
    several = f"cold build, the {programs} programs of the default policies"
    print_table(
        ("what", "wall", "CPU", "peak memory", "ratio and bar"),
        [
            ("floor, median of 3", *floor.measured, ""),
            ("bare ingest of the bill lines", *bare.measured, ""),
            ("ingest of the bill lines", *ingest.measured, f"{ingest.seconds / bare.seconds:.2f} × bare (bar 2)"),
            ("fixed: one nearly empty month", *fixed.step.measured, "bar 20 s"),
            (f"cold build, {SINGLE} alone", *single.step.measured, over_floor(single, 2.5) + "; bar 6 GiB"),
            ("of it gate", f"{single.stages.get('gate', 0.0):.1f} s", "", "", share(single)),
            (several, *every.step.measured, over_floor(every, 4) + "; bar 8 GiB"),
            ("of it gate", f"{every.stages.get('gate', 0.0):.1f} s", "", "", share(every)),
            (f"month 15 of {GROWTH_CUSTOMERS:,} customers", *early.measured, ""),
            (f"month 27 of {GROWTH_CUSTOMERS:,} customers", *late.measured, f"{late.seconds / early.seconds:.2f} × month 15 (bar 1.2)"),
        ],
    )
    builds = (single, every, fixed)
    names = sorted({name for build in builds for name in build.models}, key=lambda name: -single.models.get(name, 0.0))
    print_table(
        ("seconds", f"{SINGLE} alone", f"{programs} programs", "fixed"),
        [
            *((name, *(f"{build.stages.get(name, 0.0):.1f}" for build in builds)) for name in single.stages),
            *((f"dbt: {name}", *(f"{build.models.get(name, 0.0):.1f}" for build in builds)) for name in names[:12]),
        ],
    )


if __name__ == "__main__":
    main()
