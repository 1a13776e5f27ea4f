"""A release says which policy versions decided it; what counts is the release that readers see."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb

from orchestration.gate import run_gate
from orchestration.release import policy_folders, release, released_policies, rollback
from orchestration.release.files import policies_of
from tests.gate.fixture_warehouse import Plan, build_warehouse, make_place, record_build, silent


def test_the_visible_release_says_what_its_period_was_decided_with(tmp_path: Path) -> None:
    deployment, ledger = make_place(tmp_path)
    assert released_policies(ledger) == policy_folders(deployment, ledger) == {}

    def released_by(run: str) -> None:
        plan = Plan(run, ["2026-05"])
        record_build(ledger, run)
        run_gate(deployment, ledger, plan, "2026-05", say=silent, problems={})
        release(deployment, ledger, plan, say=silent)

    build_warehouse(deployment, ["2026-05"])
    released_by("run1")
    manifest = json.loads((deployment.releases / "2026-05.r1" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["policies"] == {"six_star/v1": "abc"}
    assert released_policies(ledger) == {"2026-05": {"six_star/v1": "abc"}}

    with duckdb.connect(str(deployment.warehouse)) as con:
        con.execute("update marts.fct_decisions set policy_hash = 'def'")
    released_by("run2")
    assert released_policies(ledger) == {"2026-05": {"six_star/v1": "def"}}
    assert policy_folders(deployment, ledger) == {"2026-05": deployment.releases / "2026-05.r2" / "policy"}
    rollback(deployment, ledger, 1, "by hand", "a test", say=silent)
    assert released_policies(ledger) == {"2026-05": {"six_star/v1": "abc"}}


def test_a_version_that_decided_nothing_is_not_among_them(tmp_path: Path) -> None:
    rows = (
        "('a', 'v1', 'h1', 'decided'), ('a', 'v2', 'h2', 'not_evaluated'), ('b', null, null, 'not_evaluated'), ('c', 'v1', 'h3', 'decided')"
    )
    with duckdb.connect() as con:
        con.execute(
            f"copy (select * from (values {rows}) as t (program_id, policy_version, policy_hash, status)) to '{tmp_path}/fct_decisions.parquet'"
        )
        assert policies_of(con, tmp_path) == {"a/v1": "h1", "c/v1": "h3"}
