"""A policy version that released periods were decided with: changed, declared, changed again; a new version beside it."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

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


@pytest.fixture
def place(make_cli: Callable[..., Cli], released_sample: Cli, tmp_path: Path) -> Cli:
    """The released sample with a deployment of its own, whose policies may be changed."""
    cli = make_cli(copy_of=released_sample.folder)
    cli.deployment = tmp_path / "deployment"
    shutil.copytree(PROJECT_ROOT / "examples" / "telecom", cli.deployment)
    return cli


def declare(cli: Cli, policy_hash: str) -> None:
    names = {"author": "policy.owner", "approver": "head.of.audit", "declared_on": "2026-07-01", "reason": "the bar was mistyped"}
    write(cli, "restatements", [{"program_id": "six_star", "version": "v1", "policy_hash": policy_hash, **names}])


def test_a_change_of_the_past_is_refused_until_it_is_declared(place: Cli) -> None:
    first = current_hash(place)
    assert released_with(place) == {"2026-05.r1": {"six_star/v1": first}, "2026-06.r1": {"six_star/v1": first}}
    threshold(place, "310")
    changed = current_hash(place, expect=2)
    entries = Ledger(place.data / "ledger.sqlite").head()
    for command in (["policy", "check"], ["run", "--periods", "2026-06"]):
        said = place(*command, expect=2)
        text = said.stdout + said.stderr
        assert first in text and changed in text and "2026-05 to 2026-06" in text and "restatements.csv" in text
    assert Ledger(place.data / "ledger.sqlite").head() == entries, "nothing was computed or recorded"
    declare(place, changed)
    assert current_hash(place) == changed
    threshold(place, "320")
    again, text = current_hash(place, expect=2), place("policy", "check", expect=2).stdout
    assert again in text and first in text


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_declared_change_is_computed_and_each_month_is_decided_by_its_own_version(place: Cli) -> None:
    first = current_hash(place)
    threshold(place, "310")
    changed = current_hash(place, expect=2)
    declare(place, changed)
    place("run", "--periods", "2026-06", timeout=900)
    assert released_with(place)["2026-06.r2"] == {"six_star/v1": changed}
    assert rules_used(place, "2026-06.r2") == {("v1", changed)}
    threshold(place, "320")
    again, text = current_hash(place, expect=2), place("policy", "check", expect=2).stdout
    assert [known for known in (first, changed, again) if known not in text] == [], "each month with what it was released with"
    threshold(place, "310")

    # Another version for the months before: each month of a backfill is decided by its own.
    for seed in VERSIONED:
        rows = read(place, seed)
        write(place, seed, [*rows, *({**r, "version": "v0"} for r in rows if r["program_id"] == "six_star")])
    threshold(place, "290", "v0")
    rows = read(place, "policy_versions")
    for row in rows:
        if row["program_id"] == "six_star":
            row |= {"valid_to_period": "2026-04"} if row["version"] == "v0" else {"valid_from_period": "2026-05"}
    write(place, "policy_versions", rows)
    assert current_hash(place) == changed
    place("run", "--periods", "2026-04..2026-05", timeout=900)
    releases = released_with(place)
    assert set(releases["2026-04.r1"]) == {"six_star/v0"} and releases["2026-05.r2"] == {"six_star/v1": changed}
    assert {version for version, _ in rules_used(place, "2026-04.r1")} == {"v0"}
    assert rules_used(place, "2026-05.r2") == {("v1", changed)}
