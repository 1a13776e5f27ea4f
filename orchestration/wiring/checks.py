"""The gate as Dagster sees it: one recorded step whose checks show on the decisions and stop the release.

The checks themselves, and the record that the release asks for, are the domain's (``orchestration.gate``).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from orchestration.deployment import Deployment
from orchestration.gate import GateResult, check_descriptions, run_gate
from orchestration.ledger import is_of_some_models
from orchestration.wiring.metadata import markdown_table
from orchestration.wiring.resources import RESOURCE_KEY, the_run
from orchestration.wiring.translator import DECISIONS_KEY

WHOLE_GATE = "gate"
SOME_MODELS = "only some of the models were chosen"


def gate_checks(deployment: Deployment) -> dg.AssetChecksDefinition:
    """One blocking check per check of the suites, and ``gate`` for the verdict of each period.

    A check is blocking where it holds the first month of the run: then nothing may be released, and the release is not
    even started. Where it holds a later month only, it is a warning here: the release step publishes the months before
    it, in order, and fails as held at that month.
    """
    specs = [
        dg.AssetCheckSpec(WHOLE_GATE, asset=DECISIONS_KEY, blocking=True, description="No period of the run is held."),
        *(
            dg.AssetCheckSpec(check, asset=DECISIONS_KEY, blocking=True, description=description)
            for check, description in check_descriptions(deployment).items()
        ),
    ]

    @dg.multi_asset_check(name="gate", specs=specs, required_resource_keys={RESOURCE_KEY})
    def gate(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        run = the_run(context)
        names = {spec.name for spec in specs}
        with run.stage("gate"):
            plan = run.require_plan()
            if is_of_some_models(run.ledger, plan.run_id):
                # There is no candidate. A verdict would hold the months, and those after them, because someone looked at a model.
                run.say(f"gate: not asked, {SOME_MODELS}")
                yield from not_asked(names)
                return
            run.gates = [run_gate(run.deployment, run.ledger, plan, period, say=run.say) for period in plan.periods]
        yield from check_results(run.gates, names)

    return gate


def not_asked(declared: set[str]) -> Iterator[dg.AssetCheckResult]:
    """Results for a run that built some models alone: nothing was looked at, and nothing is held."""
    for name in sorted(declared):
        yield dg.AssetCheckResult(
            passed=False,
            check_name=name,
            asset_key=DECISIONS_KEY,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"Not asked: {SOME_MODELS}. All of them are checked by a run of the job months.",
        )


def check_results(gates: Sequence[GateResult], declared: set[str]) -> Iterator[dg.AssetCheckResult]:
    """Results for all ``declared`` checks over the periods of a run, in period order.

    A check that a suite lists but no gate reported has not passed. A failed check of severity ``warning`` holds nothing. One that was reported without being declared (a
    suite changed since the definitions were loaded) counts in the verdict ``gate``.
    """
    yield _verdict(gates)
    for name in sorted(declared - {WHOLE_GATE}):
        yield _result_of(name, [(gate, check) for gate in gates for check in gate.checks if check["check"] == name], gates)


def _verdict(gates: Sequence[GateResult]) -> dg.AssetCheckResult:
    """Whether any period is held. It blocks where the first one is, or where the gate looked at none."""
    held = [gate.period for gate in gates if not gate.passed]
    return dg.AssetCheckResult(
        passed=bool(gates) and not held,
        check_name=WHOLE_GATE,
        asset_key=DECISIONS_KEY,
        severity=_severity(blocks=not gates or not gates[0].passed),
        metadata={
            "held_periods": dg.MetadataValue.text(", ".join(held) or "none"),
            "failed": dg.MetadataValue.md(_failed_table(gates)),
            "results": dg.MetadataValue.text(", ".join(str(gate.path) for gate in gates)),
        },
    )


def _result_of(name: str, found: Sequence[tuple[GateResult, Mapping[str, Any]]], gates: Sequence[GateResult]) -> dg.AssetCheckResult:
    """One check over the periods, as ``found`` in each. It blocks where it holds the first one, or where no gate reported it."""
    holds_the_first = any(gate is gates[0] and check in gate.failed_checks for gate, check in found)
    return dg.AssetCheckResult(
        passed=bool(found) and all(check["passed"] for _, check in found),
        check_name=name,
        asset_key=DECISIONS_KEY,
        severity=_severity(blocks=not found or holds_the_first),
        metadata={
            # A number of its own, so that Dagster draws it over the runs.
            "failing_rows": dg.MetadataValue.int(sum(check["failing_rows"] for _, check in found)),
            "by_period": dg.MetadataValue.md(_check_table(found)) if found else dg.MetadataValue.text("not reported by the gate"),
        },
    )


def _severity(*, blocks: bool) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.ERROR if blocks else dg.AssetCheckSeverity.WARN


_HEADER = ["period", "check", "passed", "observed", "expected", "failing rows", "failing keys"]


def _row(gate: GateResult, check: Mapping[str, Any]) -> list[Any]:
    shown = [check["observed"], check["expected"], check["failing_rows"], gate.keys_file(check)]
    return [gate.period, f"{check['suite']}: {check['check']}", "yes" if check["passed"] else "no", *shown]


def _check_table(found: Sequence[tuple[GateResult, Mapping[str, Any]]]) -> str:
    return markdown_table(_HEADER, [_row(gate, check) for gate, check in found])


def _failed_table(gates: Sequence[GateResult]) -> str:
    return markdown_table(_HEADER, [_row(gate, check) for gate in gates for check in gate.checks if not check["passed"]], "None.")
