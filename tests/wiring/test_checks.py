"""How gate results become asset checks: what blocks the release step and what only warns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg

from orchestration.deployment import load_deployment
from orchestration.gate import GateResult
from orchestration.wiring.checks import WHOLE_GATE, check_results, gate_checks

DECLARED = {WHOLE_GATE, "keys__are_unique", "budget__is_kept"}


def gate(period: str, *failing: str, severity: str = "invariant") -> GateResult:
    checks: list[dict[str, Any]] = [
        {
            "suite": "decisions",
            "check": check,
            "passed": check not in failing,
            "severity": severity,
            "observed": "3",
            "expected": "0",
            "failing_rows": 3 if check in failing else 0,
            "failing_keys_file": f"gates/{period}/keys.csv" if check in failing else None,
        }
        for check in ("keys__are_unique", "budget__is_kept")
    ]
    passed = severity == "warning" or not failing
    return GateResult("run", period, passed, checks, "hash", Path(f"gates/{period}/results.json"), {})


def results(*gates: GateResult, declared: set[str] = DECLARED) -> dict[str, dg.AssetCheckResult]:
    return {str(result.check_name): result for result in check_results(gates, declared)}


def blocking(result: dg.AssetCheckResult) -> bool:
    return not result.passed and result.severity == dg.AssetCheckSeverity.ERROR


def test_every_check_passes_when_every_period_does() -> None:
    assert all(result.passed for result in results(gate("2026-05"), gate("2026-06")).values())


def test_a_held_first_month_blocks_the_release_step() -> None:
    found = results(gate("2026-05", "keys__are_unique"), gate("2026-06"))
    assert blocking(found[WHOLE_GATE])
    assert blocking(found["keys__are_unique"])
    assert found["budget__is_kept"].passed
    assert found[WHOLE_GATE].metadata["held_periods"].value == "2026-05"
    assert "gates/2026-05/keys.csv" in found[WHOLE_GATE].metadata["failed"].value
    assert (found["keys__are_unique"].metadata["failing_rows"].value, found["budget__is_kept"].metadata["failing_rows"].value) == (3, 0)


def test_each_check_says_what_it_expects() -> None:
    said = {spec.name: spec.description for spec in gate_checks(load_deployment()).check_specs}
    assert said["decisions__keys_are_unique"] == "Expected: one row per program, subject and period. Severity invariant, suite decisions."
    assert all(said.values())


def test_a_held_later_month_shows_but_lets_the_months_before_it_be_released() -> None:
    found = results(gate("2026-05"), gate("2026-06", "budget__is_kept"))
    failed = [result for result in found.values() if not result.passed]
    assert {result.check_name for result in failed} == {WHOLE_GATE, "budget__is_kept"}
    assert not any(blocking(result) for result in failed)


def test_a_warning_shows_and_holds_nothing() -> None:
    found = results(gate("2026-05", "budget__is_kept", severity="warning"))
    assert found[WHOLE_GATE].passed
    assert not found["budget__is_kept"].passed
    assert not blocking(found["budget__is_kept"])


def test_a_check_that_the_gate_did_not_report_blocks() -> None:
    assert blocking(results(gate("2026-05"), declared={*DECLARED, "levels__are_known"})["levels__are_known"])


def test_a_gate_that_looked_at_no_period_blocks() -> None:
    assert all(blocking(result) for result in results().values())
