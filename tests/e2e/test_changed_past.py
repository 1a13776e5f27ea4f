"""A policy version that released periods were decided with: changed, declared, changed again; a new version beside it."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from orchestration.ledger import Ledger
from tests.support import PROJECT_ROOT, Cli

VERSIONED = ("policy_versions", "decision_rules", "decision_conditions", "scope_rules", "caps")


def read(cli: Cli, seed: str) -> list[dict[str, str]]:
    assert cli.deployment
    own = cli.deployment / "policies" / f"{seed}.csv"
    with (own if own.exists() else PROJECT_ROOT / "seeds" / own.name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(cli: Cli, seed: str, rows: list[dict[str, str]]) -> None:
    assert cli.deployment
    folder = cli.deployment / "policies"
    folder.mkdir(exist_ok=True)
    with (folder / f"{seed}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def threshold(cli: Cli, value: str, version: str = "v1") -> None:
    rows = read(cli, "decision_conditions")
    (row,) = [r for r in rows if (r["program_id"], r["version"], r["rule_id"]) == ("six_star", version, "star_5_spend")]
    row["value"] = value
    write(cli, "decision_conditions", rows)


def current_hash(cli: Cli, expect: int = 0) -> str:
    versions = cli.json("policy", "check", expect=expect)["versions"]
    (found,) = [v["policy_hash"] for v in versions if (v["program_id"], v["version"]) == ("six_star", "v1")]
    return str(found)


def released_with(cli: Cli) -> dict[str, dict[str, str]]:
    """Release → six-star version and hash that decided it."""
    return {
        entry.payload["release"]: {k: v for k, v in entry.payload["policies"].items() if k.startswith("six_star/")}
        for entry in Ledger(cli.data / "ledger.sqlite").entries("release")
    }


def rules_used(cli: Cli, release: str) -> set[tuple[Any, ...]]:
    decisions = cli.data / "releases" / release / "fct_decisions.parquet"
    return set(
        duckdb.execute(
            f"select distinct policy_version, policy_hash from read_parquet('{decisions}') where program_id = 'six_star' and status = 'decided'"
        ).fetchall()
    )


def test_a_change_of_the_past_is_refused_until_it_is_declared(make_cli: Callable[..., Cli], released_sample: Cli, tmp_path: Path) -> None:
    cli = make_cli(copy_of=released_sample.folder)
    cli.deployment = tmp_path / "deployment"
    shutil.copytree(PROJECT_ROOT / "examples" / "telecom", cli.deployment)
    first = current_hash(cli)
    assert released_with(cli) == {"2026-05.r1": {"six_star/v1": first}, "2026-06.r1": {"six_star/v1": first}}

    threshold(cli, "310")
    changed = current_hash(cli, expect=2)
    entries = Ledger(cli.data / "ledger.sqlite").head()
    for command in (["policy", "check"], ["run", "--periods", "2026-06"]):
        said = cli(*command, expect=2)
        text = said.stdout + said.stderr
        assert first in text and changed in text and "2026-05 to 2026-06" in text and "restatements.csv" in text
    assert Ledger(cli.data / "ledger.sqlite").head() == entries, "nothing was computed or recorded"

    declared = {"program_id": "six_star", "version": "v1", "policy_hash": changed, "author": "policy.owner", "approver": "head.of.audit"}
    write(cli, "restatements", [declared | {"declared_on": "2026-07-01", "reason": "the bar was mistyped"}])
    assert current_hash(cli) == changed
    cli("run", "--periods", "2026-06")
    assert released_with(cli)["2026-06.r2"] == {"six_star/v1": changed}
    assert rules_used(cli, "2026-06.r2") == {("v1", changed)}

    threshold(cli, "320")
    assert "2026-05 to 2026-06" not in (text := cli("policy", "check", expect=2).stdout) or current_hash(cli, expect=2) in text
    threshold(cli, "310")

    # Another version for the months before: each month of a backfill is decided by its own.
    for seed in VERSIONED:
        rows = read(cli, seed)
        write(cli, seed, [*rows, *({**r, "version": "v0"} for r in rows if r["program_id"] == "six_star")])
    threshold(cli, "290", "v0")
    rows = read(cli, "policy_versions")
    for row in rows:
        if row["program_id"] == "six_star":
            row |= {"valid_to_period": "2026-04"} if row["version"] == "v0" else {"valid_from_period": "2026-05"}
    write(cli, "policy_versions", rows)
    assert current_hash(cli) == changed
    cli("run", "--periods", "2026-04..2026-05")
    releases = released_with(cli)
    assert set(releases["2026-04.r1"]) == {"six_star/v0"} and releases["2026-05.r2"] == {"six_star/v1": changed}
    assert {version for version, _ in rules_used(cli, "2026-04.r1")} == {"v0"}
    assert rules_used(cli, "2026-05.r2") == {("v1", changed)}
