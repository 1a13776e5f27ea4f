"""The benchmark: one run that measures the project against DuckDB itself on the same machine, and prints a table.

Every step is a process of its own; seconds are wall time and memory is the largest resident set of any process of the
step. Sizes come from the environment so that a small trial is possible: TIERHOUSE_BENCH_CUSTOMERS (1000000),
TIERHOUSE_BENCH_GROWTH_CUSTOMERS (200000), TIERHOUSE_BENCH_FOLDER (var/bench). Nothing is cached between runs but the
sample drops.

Usage: python -m bench.run
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import yaml

from orchestration.deployment import PROJECT_ROOT
from orchestration.periods import add_months, period_index

CUSTOMERS = int(os.environ.get("TIERHOUSE_BENCH_CUSTOMERS", "1000000"))
GROWTH_CUSTOMERS = int(os.environ.get("TIERHOUSE_BENCH_GROWTH_CUSTOMERS", "200000"))
FOLDER = Path(os.environ.get("TIERHOUSE_BENCH_FOLDER", str(PROJECT_ROOT / "var" / "bench"))).resolve()
LAST = "2026-06"
TIERHOUSE = str(Path(sys.executable).parent / "tierhouse")
GIB = 1024**3


@dataclass
class Step:
    """Seconds and peak bytes of one process, and what it printed."""

    seconds: float
    peak_bytes: int
    output: str


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
        return Step(seconds, usage.ru_maxrss * 1024, log.read_text())

    def tierhouse(self, *arguments: str) -> Step:
        return self.run(TIERHOUSE, *arguments)


def make_place(name: str, customers: int, months: int) -> Place:
    """Sample drops (kept between runs) with bill lines as CSV, and a deployment over them with nothing landed."""
    place = Place(name)
    folder = place.folder
    drops = folder / "drops"
    telecom = PROJECT_ROOT / "examples" / "telecom"
    stamp = folder / f"sample-{customers}-{months}.done"
    if not stamp.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        made = place.tierhouse(
            *("sample", "--customers", str(customers), "--months", str(months), "--seed", "1", "--last-period", LAST),
            *("--entities", "customers,lines,bill_lines,points,nominations", "--old-billing-share", "0", "--no-defects", "--out", str(drops)),
        )
        print(f"sample of {customers:,} customers × {months} months: {made.seconds:.0f} s, {made.peak_bytes / GIB:.1f} GiB", flush=True)
        for file in sorted((drops / "billing_new").glob("bill_lines_*.parquet")):
            duckdb.sql(f"copy (select * from read_parquet('{file}')) to '{file.with_suffix('.csv')}' (format csv, header)")
            file.unlink()
        for control in (drops / "billing_new").glob("control_*"):
            control.unlink()
        stamp.touch()
    deployment = folder / "deployment"
    shutil.rmtree(deployment, ignore_errors=True)
    (deployment / "sources").mkdir(parents=True)
    config = yaml.safe_load((telecom / "tierhouse.yaml").read_text())
    config |= {"name": "bench", "first_period": add_months(LAST, 1 - months), "data": str(folder / "data"), "drops": str(drops)}
    (deployment / "tierhouse.yaml").write_text(yaml.safe_dump(config))
    for source in ("crm", "rewards", "rewards_history"):
        mapping = yaml.safe_load((telecom / "sources" / f"{source}.yaml").read_text())
        mapping["feeds"] = [
            {k: v for k, v in f.items() if k != "expected"} for f in mapping["feeds"] if f["entity"] in ("customers", "lines", "points", "nominations")
        ]
        if mapping["feeds"]:
            (deployment / "sources" / f"{source}.yaml").write_text(yaml.safe_dump(mapping, allow_unicode=True))
    mapping = yaml.safe_load((telecom / "sources" / "billing_new.yaml").read_text())
    bills = mapping["feeds"][0] | {"format": "csv", "files": "billing_new/bill_lines_*.csv"}
    bills.pop("control", None)
    (deployment / "sources" / "billing_new.yaml").write_text(yaml.safe_dump({**mapping, "feeds": [bills]}, allow_unicode=True))
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


def run_periods(place: Place, periods: str) -> tuple[Step, dict[str, float]]:
    """``tierhouse run`` with its seconds per stage."""
    step = place.tierhouse("run", "--periods", periods, "--json")
    return step, json.loads(step.output)["stages"]


def main() -> None:
    figures: dict[str, object] = {"customers": CUSTOMERS, "cpus": os.cpu_count()}
    place = make_place("million", CUSTOMERS, 12)
    csvs = str(place.folder / "drops" / "billing_new" / "bill_lines_*.csv")

    bare = place.run(sys.executable, "-m", "bench.bare", csvs, str(place.folder / "bare"))
    shutil.rmtree(place.folder / "bare")
    place.tierhouse("ingest", "--source", "crm")
    for source in ("rewards", "rewards_history"):
        if (place.folder / "deployment" / "sources" / f"{source}.yaml").exists():
            place.tierhouse("ingest", "--source", source)
    ingest = place.tierhouse("ingest", "--source", "billing_new")

    landing = place.folder / "data" / "landing"
    parts = [str(landing / "bill_lines" / "**" / "*.parquet"), str(landing / "customers" / "**" / "*.parquet")]
    floors = [place.run(sys.executable, "-m", "bench.floor", *parts, LAST, str(place.folder / "floor.parquet")) for _ in range(3)]
    floor = sorted(floors, key=lambda s: s.seconds)[1]
    lines = duckdb.execute("select count(*) from read_parquet(?)", [parts[0]]).fetchone()
    figures["bill_lines"] = lines[0] if lines else 0

    cold, stages = run_periods(place, LAST)

    tiny = make_place("tiny", 50, 2)
    tiny.tierhouse("ingest")
    tiny.tierhouse("run", "--periods", add_months(LAST, -1))
    fixed, fixed_stages = run_periods(tiny, LAST)

    growth = make_place("growth", GROWTH_CUSTOMERS, 27)
    growth.tierhouse("ingest")
    first = add_months(LAST, -26)
    month = [add_months(first, n) for n in range(27)]
    growth.tierhouse("run", "--periods", month[13])
    early, _ = run_periods(growth, month[14])
    growth.tierhouse("run", "--periods", f"{month[15]}..{month[25]}")
    late, _ = run_periods(growth, month[26])
    assert period_index(month[26]) == period_index(LAST)

    peak = max(step.peak_bytes for step in (ingest, cold)) / GIB
    gate_share = stages.get("gate", 0.0) / cold.seconds
    rows = [
        ("floor: DuckDB script (median of 3)", f"{floor.seconds:.1f} s", f"{floor.peak_bytes / GIB:.1f} GiB", ""),
        ("bare ingest of the bill lines", f"{bare.seconds:.1f} s", f"{bare.peak_bytes / GIB:.1f} GiB", ""),
        (
            "ingest of the bill lines",
            f"{ingest.seconds:.1f} s",
            f"{ingest.peak_bytes / GIB:.1f} GiB",
            f"{ingest.seconds / bare.seconds:.2f} × bare (bar 2)",
        ),
        ("fixed: one nearly empty month", f"{fixed.seconds:.1f} s", f"{fixed.peak_bytes / GIB:.1f} GiB", "bar 20 s"),
        (
            "cold build, 12 months landed, last released",
            f"{cold.seconds:.1f} s",
            f"{cold.peak_bytes / GIB:.1f} GiB",
            f"(cold − fixed) = {(cold.seconds - fixed.seconds) / floor.seconds:.2f} × floor (bar 2.5)",
        ),
        *[
            (f"  of it {name}", f"{seconds:.1f} s", "", f"fixed run {fixed_stages.get(name, 0.0):.1f} s")
            for name, seconds in stages.items()
        ],
        ("gate share of the cold build", f"{gate_share:.0%}", "", "bar 20 %"),
        ("peak memory", "", f"{peak:.1f} GiB", "bar 6 GiB"),
        ("growth: month 15", f"{early.seconds:.1f} s", "", ""),
        ("growth: month 27", f"{late.seconds:.1f} s", "", f"{late.seconds / early.seconds:.2f} × month 15 (bar 1.2)"),
    ]
    print(
        f"\n{CUSTOMERS:,} customers × 12 months, {figures['bill_lines']:,} bill lines, {os.cpu_count()} CPUs, DuckDB {duckdb.__version__}\n"
    )
    print("| what | wall | peak memory | ratio and bar |\n| --- | --- | --- | --- |")
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
