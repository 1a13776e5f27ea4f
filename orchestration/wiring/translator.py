"""How dbt nodes become Dagster assets: key = layer/name, group = layer, sources = the assets that make them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings

POLICY_KEY = dg.AssetKey("policy")
PLAN_KEY = dg.AssetKey("plan")
DECISIONS_KEY = dg.AssetKey(["marts", "fct_decisions"])


class LayerTranslator(DagsterDbtTranslator):  # type: ignore[misc] # dagster-dbt is not typed for mypy
    """Groups by the first folder under ``models/`` (the default puts every node into one group)."""

    def __init__(self) -> None:
        # The sources ``policy.*`` are one asset to Dagster, as one version of the policies is loaded at once; so are
        # the tables of ``ctl`` that say what the run is to compute.
        super().__init__(DagsterDbtTranslatorSettings(enable_duplicate_source_asset_keys=True))

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        props = dbt_resource_props
        if props["resource_type"] == "source":
            return source_key(props["source_name"], props["name"])
        return dg.AssetKey([layer_of(props), props["name"]])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        if dbt_resource_props["resource_type"] == "source":
            return source_key(dbt_resource_props["source_name"], dbt_resource_props["name"]).path[0]
        return layer_of(dbt_resource_props)


def source_key(source: str, table: str) -> dg.AssetKey:
    """``landing.bill_lines`` → landing/bill_lines; what else the plan writes → plan; ``policy.*`` → policy."""
    if source == "landing":
        return dg.AssetKey(["landing", table])
    return POLICY_KEY if source == "policy" else PLAN_KEY


def layer_of(props: Mapping[str, Any]) -> str:
    """First folder of a node: ``staging``, ``intermediate``, ``marts``; for a seed or a snapshot its resource type."""
    fqn = list(props["fqn"])
    return str(fqn[1]) if len(fqn) > 2 else f"{props['resource_type']}s"
