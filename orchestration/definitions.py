"""Entry point of Dagster's tools: ``defs`` for the deployment that ``$TIERHOUSE_DEPLOYMENT`` names (default: the sample company)."""

from __future__ import annotations

from orchestration.deployment import load_deployment
from orchestration.wiring.build import build_defs

defs = build_defs(load_deployment())
