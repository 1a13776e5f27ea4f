"""The jobs: months from drops to channels, ingest alone, deliveries alone; and the hook that reports a failed step."""

from __future__ import annotations

import dagster as dg

from orchestration.deployment import Deployment
from orchestration.wiring.failures import failure_hook
from orchestration.wiring.resources import DEPLOYMENT_TAG

MONTHS_JOB = "months"
INGEST_JOB = "ingest_drops"
DELIVER_JOB = "deliver_channels"


def jobs(deployment: Deployment) -> list[dg.UnresolvedAssetJobDefinition]:
    """All jobs of a deployment. Steps run one after the other in one process: DuckDB is given the cores, and only one
    start is paid for.
    """
    hooks = {failure_hook(deployment)}

    def job(name: str, selection: dg.AssetSelection, description: str) -> dg.UnresolvedAssetJobDefinition:
        tags = {DEPLOYMENT_TAG: deployment.name}
        return dg.define_asset_job(name, selection, executor_def=dg.in_process_executor, hooks=hooks, description=description, tags=tags)

    groups = dg.AssetSelection.groups
    return [
        job(
            MONTHS_JOB, dg.AssetSelection.all(), "Ingest new drops, compute and gate the months of the partition (range), release, deliver."
        ),
        job(INGEST_JOB, groups("raw"), "Land new drops, so that bad files and open periods are known before the month is run."),
        job(DELIVER_JOB, groups("channels"), "Bring every channel to the current catalog."),
    ]
