"""A release says which policy versions decided it; what counts is the release that readers see."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb

from orchestration.gate import run_gate
from orchestration.release import release, released_policies, rollback
from tests.gate.fixture_warehouse import Plan, build_warehouse, make_place, record_build, silent


def test_the_visible_release_says_what_its_period_was_decided_with(tmp_path: Path) -> None:
    deployment, ledger = make_place(tmp_path)
    assert released_policies(ledger) == {}

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
        # What no rule decided says nothing of the version.
        con.execute("update marts.fct_decisions set policy_version = 'v0', status = 'not_evaluated' where subject_id = 'c1'")
    released_by("run2")
    assert released_policies(ledger) == {"2026-05": {"six_star/v1": "def"}}
    rollback(deployment, ledger, 1, "by hand", "a test", say=silent)
    assert released_policies(ledger) == {"2026-05": {"six_star/v1": "abc"}}
