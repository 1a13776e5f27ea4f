"""Release: from a candidate that passed its gate to an immutable folder, a ledger entry and a new catalog.

For each period: write everything in scratch, sync it, move the folder into ``releases/`` in one step, record it. After
the last period: one ``catalog`` entry and one move of the pointer. A crash between any two steps leaves the old catalog
standing; ``recover`` takes away or finishes what it left.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import duckdb

from orchestration.deployment import Deployment
from orchestration.errors import BadInput, Failed, Held
from orchestration.failpoints import failpoint
from orchestration.gate.candidate import combined_hash
from orchestration.ingest.files import sha256_file, storage_errors, sync_folder
from orchestration.ingest.parts import landed, with_lists
from orchestration.ledger.readers import goes_on_from_unseen, last_computed, rolled_back, went_on_from, what_is_new
from orchestration.ledger.store import Ledger
from orchestration.locking import exclusive
from orchestration.periods import add_months
from orchestration.release.catalog import publish_catalog, recorded_catalog
from orchestration.release.files import WAREHOUSE, open_warehouse, policies_of, seal, seal_file, write_marts, write_policies
from orchestration.release.folder import MANIFEST, is_whole
from orchestration.release.record import build_problem, gate_problem, held_before, last_gate, release_entries
from orchestration.release.recovery import recover
from orchestration.wording import counted

if TYPE_CHECKING:
    from orchestration.warehouse.plan import RunPlan as Plan

Say = Callable[[str], None]
Status = Literal["released", "released_again", "unchanged", "rolled_back", "held"]


@dataclass(frozen=True)
class PeriodReport:
    """What became of one period. ``release``: the id that readers see; for a held period what they saw before, or null.

    ``released_again``: an older revision that readers saw no more, as after a rollback, holds the same rows. ``rolled_back``: so it
    does, but was computed from nothing new, and that undoes no rollback. ``why``, ``remedy``: of a held period; without a remedy of its own
    it is that of the gate.
    """

    period: str
    status: Status
    release: str | None
    why: str = ""
    remedy: str = ""


@dataclass
class ReleaseReport:
    """What became of a run's periods. ``catalog``: the number that readers see now; ``moved``: whether this run moved it."""

    periods: list[PeriodReport] = field(default_factory=list)
    catalog: int = 0
    moved: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def release(deployment: Deployment, ledger: Ledger, plan: Plan, *, say: Say) -> ReleaseReport:
    """Release the plan's periods in order, up to the first that is held; then move the pointer once.

    A month is held, too, that would go on from one that stays rolled back: the plan may be older than the rollback, as of a step that is
    executed again. Raises Held, after releasing what may be, with the report in ``details``; Failed for a full disk or a folder that
    cannot be written, with nothing half done.
    """
    with exclusive(deployment, "release"):
        recover(deployment, ledger, say)
        standing = recorded_catalog(ledger.last("catalog"))
        periods = dict(standing.periods)
        made = last_computed(ledger)
        computed = {period: str(payload["release"]) for period, payload in made.items()}
        back = rolled_back(ledger)
        went_on = went_on_from(ledger)
        report = ReleaseReport(catalog=standing.catalog)
        held: PeriodReport | None = None
        try:
            for period in sorted(plan.periods):
                if held is None:
                    goes_on, before = None, add_months(period, -1)
                    if before in back:
                        goes_on = goes_on_from_unseen(period, max(plan.periods), back)
                    is_new = bool(what_is_new(made.get(period), _made_from(plan))) or (
                        period in went_on and went_on[period] != computed.get(before)
                    )
                    outcome = release_period(deployment, ledger, plan, period, periods.get(period), goes_on, is_new=is_new)
                else:
                    outcome = PeriodReport(period, "held", periods.get(period), f"{held.period} is held, and with it what comes after")
                report.periods.append(outcome)
                if outcome.status == "held":
                    held = held or outcome
                    say(f"release {period}: HELD, {outcome.why}")
                    continue
                if outcome.status == "rolled_back":
                    say(f"release {period}: rolled back, and nothing is new since; readers see {outcome.release or 'nothing of it'}")
                    continue
                assert outcome.release is not None
                back.pop(period, None)
                periods[period] = computed[period] = outcome.release
                say(
                    f"release {period}: {outcome.release}"
                    + ("" if outcome.status == "released" else f" ({outcome.status.replace('_', ' ')})")
                )
        finally:
            # What is recorded becomes visible even when a later period could not be written.
            if periods != standing.periods:
                catalog = publish_catalog(deployment, ledger, periods, {"kind": "run", "run_id": plan.run_id})
                report.catalog, report.moved = catalog.catalog, True
                say(f"catalog {catalog.catalog}: {counted(len(periods), 'period')}, newest {catalog.newest_period}")
        if held is not None:
            raise _hold(held, deployment.gates / held.period / plan.run_id, report)
        return report


def _hold(held: PeriodReport, keys: Path, report: ReleaseReport) -> Held:
    """The error that a release ends with. ``keys``: where a gate that has looked at the period leaves the failing keys."""
    where, remedy = "release", held.remedy
    if not remedy and keys.is_dir():
        where, remedy = str(keys), "look at the failing keys there, correct the data or the policy, and run again; docs/held-release.md"
    elif not remedy:
        remedy = f"have all models built, checked and released in one run: `tierhouse run --periods {held.period}`, or the job months"
    return Held(f"release of {held.period} is held: {held.why}", where, remedy, {"report": report.as_json()})


def release_period(
    deployment: Deployment,
    ledger: Ledger,
    plan: Plan,
    period: str,
    visible: str | None,
    goes_on: BadInput | None,
    *,
    is_new: bool,
) -> PeriodReport:
    """Release one period if its gate passed for exactly this candidate. ``visible``: the release that readers see; ``goes_on``: what holds
    it, if it is new, because the month before stays rolled back; ``is_new``: whether it was computed from anything that is new since it was
    computed last, the rows of the month before included."""
    problem = build_problem(ledger, plan.run_id) or gate_problem(ledger, plan.run_id, period)
    if problem:
        return PeriodReport(period, "held", visible, problem)
    earlier = held_before(ledger, period, deployment.config.first_period)
    if earlier:
        return PeriodReport(period, "held", visible, f"{earlier} is held, and with it what comes after")
    revisions = release_entries(ledger, period)
    name = f"{period}.r{len(revisions) + 1}"
    scratch = deployment.scratch / f"release-{name}"
    try:
        with storage_errors(deployment.data):
            return _write(deployment, ledger, plan, period, name, scratch, visible, goes_on, is_new=is_new)
    except duckdb.Error as err:
        raise Failed(f"the release cannot be written: {err}", str(scratch), "see the message; nothing was released") from err
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write(
    deployment: Deployment,
    ledger: Ledger,
    plan: Plan,
    period: str,
    name: str,
    scratch: Path,
    visible: str | None,
    goes_on: BadInput | None,
    *,
    is_new: bool,
) -> PeriodReport:
    gate = last_gate(ledger, period, plan.run_id)
    assert gate is not None
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    con = open_warehouse(deployment)
    try:
        tables = write_marts(con, scratch, period)
        candidate_hash = combined_hash({mart: table.pop("fingerprint") for mart, table in tables.items()})
        if candidate_hash != gate.payload["candidate_hash"]:
            return PeriodReport(period, "held", visible, "the gate looked at other rows than the candidate holds now")
        content_hash = combined_hash({mart: table["hash"] for mart, table in tables.items()})
        carries_levels = _carries_levels(con)
        if_new = PeriodReport(period, "held", visible, goes_on.what, goes_on.remedy) if goes_on and carries_levels else None
        # The newest first; an older one can only be equal after a rollback.
        for payload in reversed(release_entries(ledger, period)):
            if payload["content_hash"] != content_hash:
                continue
            is_seen = payload["release"] == visible
            if not is_seen and not is_new:
                _confirm(ledger, plan, payload)
                return PeriodReport(period, "rolled_back", visible)
            if not is_whole(deployment.releases / payload["release"], payload.get("manifest_hash")):
                # Readers would get what lies there, or nothing: the same rows make a revision of their own.
                break
            if not is_seen and if_new:
                return if_new
            _confirm(ledger, plan, payload, is_released_again=not is_seen)
            return PeriodReport(period, "unchanged" if is_seen else "released_again", payload["release"])
        if if_new:
            return if_new
        write_policies(con, scratch)
        policies = policies_of(con, scratch)
    finally:
        con.close()
    files = seal(scratch)
    failpoint("release.files_written")
    revisions = release_entries(ledger, period)
    everything = release_entries(ledger)
    manifest = {
        "release": name,
        "period": period,
        "revision": len(revisions) + 1,
        "deployment": deployment.name,
        "made_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "run_id": plan.run_id,
        "code_version": plan.code_version,
        "cutoff_seq": plan.cutoff_seq,
        "content_hash": content_hash,
        "policy_hash": plan.policy_hash,
        "policies": policies,
        "inputs_hash": plan.inputs_hash,
        "previous": revisions[-1]["release"] if revisions else None,
        "chain": everything[-1]["manifest_hash"] if everything else None,
        "tables": tables,
        "files": files,
        "gate": {"seq": gate.seq, "hash": gate.hash, "passed": True, "candidate_hash": candidate_hash, "checks": gate.payload["checks"]},
        "inputs": inputs(deployment, ledger, plan.cutoff_seq),
        "undelivered": plan.undelivered,
    }
    (scratch / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    seal_file(scratch / MANIFEST)
    sync_folder(scratch)
    failpoint("release.manifest_written")
    target = deployment.releases / name
    deployment.releases.mkdir(parents=True, exist_ok=True)
    scratch.rename(target)
    sync_folder(deployment.releases)
    failpoint("release.moved")
    ledger.append(
        "release",
        {
            **{key: manifest[key] for key in ("release", "period", "revision", "run_id", "code_version", "cutoff_seq", "content_hash")},
            **{key: manifest[key] for key in ("policy_hash", "policies", "inputs_hash", "undelivered", "previous", "chain")},
            "manifest_hash": sha256_file(target / MANIFEST),
            "carries_levels": carries_levels,
            "rows": {mart: table["rows"] for mart, table in tables.items()},
            "path": str(target.relative_to(deployment.data)),
        },
    )
    failpoint("release.recorded")
    return PeriodReport(period, "released", name)


def _carries_levels(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether a program is on that goes on from the month before: events carry no level."""
    query = f"select 1 from {WAREHOUSE}.policy.programs where enabled and clock is distinct from 'event' limit 1"
    return bool(con.execute(query).fetchall())


def _confirm(ledger: Ledger, plan: Plan, payload: dict[str, Any], *, is_released_again: bool = False) -> None:
    """Record that a revision was computed again, from what this run knew, and has the same rows: the one that readers see, one that was
    rolled back and stays so, or one that the next catalog brings back."""
    same = {key: payload[key] for key in ("release", "period", "content_hash")}
    how = {"run_id": plan.run_id, "cutoff_seq": plan.cutoff_seq, "is_released_again": is_released_again}
    ledger.append("confirmation", {**same, **_made_from(plan), **how})


def _made_from(plan: Plan) -> dict[str, Any]:
    return {key: getattr(plan, key) for key in ("inputs_hash", "policy_hash", "code_version", "undelivered")}


def inputs(deployment: Deployment, ledger: Ledger, cutoff_seq: int) -> list[dict[str, Any]]:
    """Every entry about a drop that is known at the cut-off, with what a recomputation reads of it: the landing parts that it became, and the
    list of the rows that it superseded (``superseded``: {path, sha256, rows}; null where there is none, or a later entry has undone it).
    """
    drops = landed(ledger, cutoff_seq)
    counting = {(drop["source"], drop["entity"], drop["file_id"]) for drop in with_lists(drops)}
    return [
        {
            **{key: drop[key] for key in ("source", "entity", "file", "file_id", "sha256")},
            "seq": seq,
            "parts": drop.get("parts", []),
            "superseded": _list_of(deployment, drop) if (drop["source"], drop["entity"], drop["file_id"]) in counting else None,
        }
        for seq, drop in drops
    ]


def _list_of(deployment: Deployment, drop: dict[str, Any]) -> dict[str, Any] | None:
    supersedes = drop["supersedes"]
    if not supersedes["path"]:
        return None
    # Of a list that an older version wrote the ledger has no hash: it is the one that lies there as the release is made.
    sha256 = supersedes.get("sha256") or sha256_file(deployment.data / supersedes["path"])
    return {"path": supersedes["path"], "sha256": sha256, "rows": supersedes["rows"]}
