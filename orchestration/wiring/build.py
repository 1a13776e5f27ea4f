"""Definitions for one deployment, out of the parts beside this module. Importing it starts nothing and reads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from orchestration.deployment import Deployment
from orchestration.ingest import SourceMapping, load_mappings
from orchestration.wiring.assets import channel_assets, landing_assets, model_assets, policy_asset, raw_assets, release_asset
from orchestration.wiring.checks import gate_checks
from orchestration.wiring.dbt import dbt_project, dbt_resource, load_manifest
from orchestration.wiring.failures import failure_sensor
from orchestration.wiring.jobs import jobs
from orchestration.wiring.resources import RESOURCE_KEY, run_resource
from orchestration.wiring.schedules import monthly_schedule
from orchestration.wiring.sensors import drops_sensor


def build_defs(
    deployment: Deployment,
    *,
    mappings: Sequence[SourceMapping] | None = None,
    resource_overrides: Mapping[str, Any] | None = None,
    loggers: Mapping[str, dg.LoggerDefinition] | None = None,
) -> dg.Definitions:
    """All definitions of ``deployment``. ``resource_overrides`` take the place of resources of the same key (tests, launch)."""
    mappings = load_mappings(deployment) if mappings is None else mappings
    project = dbt_project()
    manifest = load_manifest(deployment, project)
    models = model_assets(deployment, project, manifest)
    marts = sorted(key for key in models.keys if key.path[0] == "marts")
    optional = [raw_assets(mappings), channel_assets(deployment)]
    return dg.Definitions(
        assets=[
            policy_asset(),
            landing_assets(deployment, mappings),
            models,
            release_asset(deployment, marts),
            *(assets for assets in optional if assets is not None),
        ],
        asset_checks=[gate_checks(deployment)],
        jobs=jobs(deployment),
        schedules=[monthly_schedule(deployment)],
        sensors=[drops_sensor(deployment), failure_sensor(deployment)],
        resources={RESOURCE_KEY: run_resource(deployment), "dbt": dbt_resource(project), **(resource_overrides or {})},
        executor=dg.in_process_executor,
        loggers=loggers,
    )
