"""What the ledger says about releases: revisions, the gate's verdicts, and why a period may not be released."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestration.deployment import Deployment
from orchestration.errors import BadInput
from orchestration.ledger.readers import held_periods, is_of_some_models, payloads_in_catalog, releases_in_catalog
from orchestration.ledger.store import Entry, Ledger


def release_entries(ledger: Ledger, period: str | None = None) -> list[dict[str, Any]]:
    """Payloads of ``release`` in order, of one period or all."""
    return [e.payload for e in ledger.entries("release") if period is None or e.payload["period"] == period]


def release_entry(ledger: Ledger, release: str) -> Entry:
    """The entry of one release: what it is, and since when; BadInput for one that does not exist."""
    for entry in ledger.entries("release"):
        if entry.payload["release"] == release:
            return entry
    raise BadInput(f"there is no release {release!r}", "release", "list them: `tierhouse releases`")


def released_policies(ledger: Ledger) -> dict[str, dict[str, str]]:
    """Period → program/version → policy hash, of the releases in the catalog that stands."""
    # A release made before policies were recorded says nothing of them.
    return {payload["period"]: payload.get("policies", {}) for payload in payloads_in_catalog(ledger)}


def policy_folders(deployment: Deployment, ledger: Ledger) -> dict[str, Path]:
    """Period → the folder with the policies of its release, in the catalog that stands."""
    return {period: deployment.releases / release / "policy" for period, release in releases_in_catalog(ledger).items()}


def last_gate(ledger: Ledger, period: str, run_id: str | None = None) -> Entry | None:
    """The newest verdict on a period, of one run or of any."""
    found = [e for e in ledger.entries("gate") if e.payload["period"] == period and run_id in (None, e.payload["run_id"])]
    return found[-1] if found else None


def build_problem(ledger: Ledger, run_id: str) -> str | None:
    """Why dbt's part of the run does not count, or None."""
    found = [e.payload for e in ledger.entries("build") if e.payload.get("run_id") == run_id]
    if not found:
        return "dbt has not ended in this run"
    if is_of_some_models(ledger, run_id):
        return "only some of the models were built in this run"
    if not found[-1].get("ok"):
        return f"dbt failed in this run: {found[-1].get('message') or 'see its log'}"
    return None


def gate_problem(ledger: Ledger, run_id: str, period: str) -> str | None:
    """Why the gate does not let this run's candidate of the period pass, or None."""
    entry = last_gate(ledger, period, run_id)
    if entry is None:
        return "the gate has not looked at this run's candidate"
    if entry.payload.get("crashed"):
        return f"the gate crashed: {entry.payload['crashed']}"
    if not entry.payload["passed"]:
        failed = [c["check"] for c in entry.payload["checks"] if not c["passed"] and c["severity"] != "warning"]
        return f"the gate failed: {', '.join(failed)}"
    return None


def held_before(ledger: Ledger, period: str, first: str) -> str | None:
    """An earlier period that is held, see :func:`orchestration.ledger.readers.held_periods`; ``first``: the first that may be run."""
    return next((other for other in held_periods(ledger, first) if other < period), None)
