"""The step of the channels, where one of them cannot be served at first."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from orchestration.gate import run_gate
from orchestration.release import release
from orchestration.wiring.assets import channel_assets
from orchestration.wiring.resources import RESOURCE_KEY, Run, run_resource
from tests.gate.fixture_warehouse import Plan, build_warehouse, make_place, make_vault, record_build, silent


def test_what_was_delivered_before_the_step_was_tried_again_is_told_to_dagster_and_of_the_run(tmp_path: Path) -> None:
    deployment, ledger = make_place(tmp_path)
    build_warehouse(deployment, ["2026-06"])
    make_vault(deployment)
    plan = Plan("run1", ["2026-06"])
    record_build(ledger, plan.run_id)
    run_gate(deployment, ledger, plan, "2026-06", say=silent, problems={})
    release(deployment, ledger, plan, say=silent)
    deployment.channels.mkdir()
    in_the_way = deployment.channels / "hotline"
    in_the_way.write_text("a file where a folder must be", encoding="utf-8")

    def say(line: str) -> None:
        if line.startswith("channel store_queue: "):
            in_the_way.unlink()  # as a share that is back when the step is tried again

    run, in_order = Run(deployment, say=say), ["store_queue", "hotline"]
    channels = channel_assets(deployment)
    assert channels is not None
    with dg.DagsterInstance.ephemeral() as instance:
        resources = {RESOURCE_KEY: run_resource(deployment, run)}
        result = dg.materialize([channels], resources=resources, instance=instance, raise_on_error=False)
        told = {name: len(instance.fetch_materializations(dg.AssetKey(["channel", name]), limit=9).records) for name in in_order}
    assert result.success and sum(event.is_step_up_for_retry for event in result.all_events) == 1
    assert [delivery["channel"] for delivery in run.deliveries] == in_order
    assert told == dict.fromkeys(in_order, 1)
