"""The gate as Dagster sees it: one recorded step whose checks show on the decisions and stop the release.

The checks themselves, and the record that the release asks for, are the domain's (``orchestration.gate``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from orchestration.deployment import Deployment
from orchestration.gate import GateResult, check_ids, run_gate
from orchestration.wiring.metadata import markdown_table
from orchestration.wiring.resources import RESOURCE_KEY, the_run

DECISIONS_KEY = dg.AssetKey(["marts", "fct_decisions"])
WHOLE_GATE = "gate"


def check_name(suite: str, check: str) -> str:
    """Dagster's name of a gate check: letters, digits and underscores."""
    return re.sub(r"\W+", "_", f"{suite}__{check}")


def gate_checks(deployment: Deployment) -> dg.AssetChecksDefinition:
    """One blocking check per check of the suites, and ``gate`` for the verdict of each period.

    A check is blocking where it holds the first month of the run: then nothing may be released, and the release is not
    even started. Where it holds a later month only, it is a warning here: the release step publishes the months before
    it, in order, and fails as held at that month.
    """
    specs = [
        dg.AssetCheckSpec(WHOLE_GATE, asset=DECISIONS_KEY, blocking=True, description="No period of the run is held."),
        *(
            dg.AssetCheckSpec(check_name(suite, check), asset=DECISIONS_KEY, blocking=True, description=f"{check} (suite {suite})")
            for suite, check in check_ids(deployment)
        ),
    ]

    @dg.multi_asset_check(name="gate", specs=specs, required_resource_keys={RESOURCE_KEY})
    def gate(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        run = the_run(context)
        with run.stage("gate"):
            plan = run.require_plan()
            run.gates = [run_gate(run.deployment, run.ledger, plan, period, say=run.say) for period in plan.periods]
        yield from check_results(run.gates, {spec.name for spec in specs})

    return gate


def check_results(gates: Sequence[GateResult], declared: set[str]) -> Iterator[dg.AssetCheckResult]:
    """Results for all ``declared`` checks over the periods of a run, in period order.

    A check that a suite lists but no gate reported has not passed. One that was reported without being declared (a
    suite changed since the definitions were loaded) counts in the verdict ``gate``.
    """
    first_is_held = bool(gates) and not gates[0].passed
    held = [gate.period for gate in gates if not gate.passed]
    severity = dg.AssetCheckSeverity.ERROR if first_is_held or not gates else dg.AssetCheckSeverity.WARN
    yield dg.AssetCheckResult(
        passed=bool(gates) and not held,
        check_name=WHOLE_GATE,
        asset_key=DECISIONS_KEY,
        severity=severity,
        metadata={
            "held_periods": dg.MetadataValue.text(", ".join(held) or "none"),
            "failed": dg.MetadataValue.md(_failed_table(gates)),
            "results": dg.MetadataValue.text(", ".join(str(gate.path) for gate in gates)),
        },
    )
    for name in sorted(declared - {WHOLE_GATE}):
        found = [(gate.period, check) for gate in gates for check in gate.checks if check_name(check["suite"], check["check"]) == name]
        failing = [period for period, check in found if not check["passed"]]
        blocks = not found or (bool(gates) and gates[0].period in failing)
        yield dg.AssetCheckResult(
            passed=bool(found) and not failing,
            check_name=name,
            asset_key=DECISIONS_KEY,
            severity=dg.AssetCheckSeverity.ERROR if blocks else dg.AssetCheckSeverity.WARN,
            metadata={
                "by_period": dg.MetadataValue.md(_check_table(found)) if found else dg.MetadataValue.text("not reported by the gate")
            },
        )


def _check_table(found: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    return markdown_table(
        ["period", "passed", "observed", "expected", "failing rows", "failing keys"],
        [
            (
                period,
                "yes" if c["passed"] else "no",
                c.get("observed"),
                c.get("expected"),
                c.get("failing_rows"),
                c.get("failing_keys_file"),
            )
            for period, c in found
        ],
    )


def _failed_table(gates: Sequence[GateResult]) -> str:
    rows = [
        (
            gate.period,
            f"{c['suite']}: {c['check']}",
            c.get("observed"),
            c.get("expected"),
            c.get("failing_rows"),
            c.get("failing_keys_file"),
        )
        for gate in gates
        for c in gate.checks
        if not c["passed"]
    ]
    return markdown_table(["period", "check", "observed", "expected", "failing rows", "failing keys"], rows) if rows else "None."
