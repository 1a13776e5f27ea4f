"""What was released about one decision: the release and where it stands, the row, the deliveries. Names what was probably meant."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import duckdb

from orchestration.channels.feed import safe_text
from orchestration.deployment import Deployment
from orchestration.errors import BadInput, Failed, Mismatch
from orchestration.ingest.files import sha256_file
from orchestration.ledger import Ledger, rolled_back
from orchestration.periods import period_index, ranges
from orchestration.policy.model import Policies, Program
from orchestration.policy.reader import close_match
from orchestration.release import FROM_A_BACKUP, changed_files, current_catalog, read_manifest
from orchestration.sqltext import quoted

DECISIONS = "fct_decisions.parquet"


def find_release(deployment: Deployment, ledger: Ledger, period: str, release: str | None) -> dict[str, Any]:
    """Which release to explain, and where it stands: id, catalog, times, cut-off, hashes, and what was not delivered when it was made."""
    catalog = current_catalog(deployment)
    known = {entry.payload["release"]: entry for entry in ledger.entries("release")}
    if release is None:
        if catalog is None:
            raise BadInput("nothing is released yet", "--period", f"run `tierhouse run --periods {period}` first")
        release = catalog["periods"].get(period)
        if release is None:
            there = sorted(catalog["periods"])
            if period in (back := rolled_back(ledger)):
                raise BadInput(
                    f"{back[period][0]} was rolled back, and readers see nothing of {period}",
                    "--period",
                    f"add --release {back[period][0]}, to have explained what it said; `tierhouse releases` lists the catalogs",
                )
            raise BadInput(
                f"{period} is not released; released are {', '.join(ranges(there)) or 'none'}",
                "--period",
                f"{_nearest_period(period, there)}or run `tierhouse run --periods {period}`",
            )
    if release not in known:
        raise BadInput(f"there is no release {release!r}", "--release", f"{close_match(release, known)}; see `tierhouse releases`")
    entry = known[release]
    if entry.payload["period"] != period:
        raise BadInput(f"release {release} is of {entry.payload['period']}", "--release", f"write --period {entry.payload['period']}")
    manifest = read_manifest(deployment.releases / release)
    return {
        "release": release,
        "catalog": catalog["catalog"] if catalog else None,
        "is_visible": bool(catalog and catalog["periods"].get(period) == release),
        "released_at": entry.at,
        "ledger_seq": entry.seq,
        "cutoff_seq": manifest["cutoff_seq"],
        "manifest_hash": entry.payload.get("manifest_hash"),
        "policy_hash": manifest["policy_hash"],
        "code_version": manifest["code_version"],
        "run_id": manifest["run_id"],
        # A release made before this was recorded says nothing of it.
        "undelivered": manifest.get("undelivered", []),
    }


def check_untouched(deployment: Deployment, found: dict[str, Any]) -> None:
    """Mismatch if the files that an explanation rests on are not those that were released: the manifest's hash stands in the ledger,
    theirs in the manifest. Words, names and approvers are printed from them, which no judging from the landing finds changed.
    """
    folder = deployment.releases / found["release"]
    changed = changed_files(folder, found["manifest_hash"], lambda name: name == DECISIONS or name.startswith("policy/"))
    if changed:
        raise Mismatch(f"{found['release']} was changed after it was released: {', '.join(changed)}", str(folder), FROM_A_BACKUP)


def _nearest_period(period: str, there: list[str]) -> str:
    if not there:
        return ""
    nearest = min(there, key=lambda p: abs(period_index(p) - period_index(period)))
    return f"write --period {nearest}, the nearest, "


def find_program(policies: Policies, program_id: str | None) -> Program:
    """The program of that id; without one the first that is run."""
    enabled = [program.program_id for program in policies.enabled()]
    if program_id is None:
        if not enabled:
            raise BadInput("no program is enabled", "--program", "enable one in programs.csv, then run the period again")
        program_id = enabled[0]
    if program_id not in policies.programs:
        raise BadInput(f"there is no program {program_id!r}", "--program", close_match(program_id, policies.programs))
    if program_id not in enabled:
        raise BadInput(f"program {program_id!r} is not enabled in this release", "--program", f"choose one of {', '.join(enabled)}")
    return policies.programs[program_id]


def find_decision(deployment: Deployment, release: str, program: Program, subject_id: str, period: str) -> dict[str, Any]:
    """The released row, by column."""
    file = deployment.releases / release / DECISIONS
    if not file.exists():
        raise Failed("the released decisions are gone", str(file), FROM_A_BACKUP)
    try:
        with duckdb.connect() as con:
            rows = con.execute(
                "select * from read_parquet(?) where subject_id = ? and program_id = ? and period = ?",
                [str(file), subject_id, program.program_id, period],
            )
            names = [column[0] for column in rows.description or []]
            found = rows.fetchone()
            if found:
                return dict(zip(names, found, strict=True))
            raise _unknown(con, deployment, file, program, subject_id, period)
    except duckdb.Error as err:
        raise Failed(f"the released decisions cannot be read: {str(err).splitlines()[0]}", str(file.parent), FROM_A_BACKUP) from err


def _unknown(
    con: duckdb.DuckDBPyConnection, deployment: Deployment, file: Path, program: Program, subject_id: str, period: str
) -> BadInput:
    kind = program.subject_type
    catalog = current_catalog(deployment) or {"periods": {}}
    files = [str(deployment.releases / name / DECISIONS) for name in catalog["periods"].values()] or [str(file)]
    bind = [files, subject_id, program.program_id]
    others = con.execute(
        "select distinct period from read_parquet(?, union_by_name = true) where subject_id = ? and program_id = ? order by 1", bind
    ).fetchall()
    if others:
        return BadInput(
            f"{kind} {subject_id!r} has no decision in {program.program_id} for {period}; there is one for {', '.join(ranges([p for (p,) in others]))}",
            "SUBJECT",
            "choose one of these periods; a customer is graded in months with a day of service, an event in its own"
            if kind == "customer" or program.row["clock"] == "event"
            else f"choose one of these periods; a {kind} is graded in months in which it is there",
        )
    # The id may be right, and belong to something that another program grades.
    elsewhere = con.execute(
        "select program_id, subject_type, min(period) from read_parquet(?) where subject_id = ? group by all order by 1 limit 1",
        [str(file), subject_id],
    ).fetchone()
    if elsewhere:
        return BadInput(
            f"{subject_id!r} is a {elsewhere[1]}, and program {program.program_id!r} grades a {kind} or has no decision of it",
            "SUBJECT",
            f"write --program {elsewhere[0]}, or the id of a {kind}",
        )
    near = con.execute(
        """select subject_id from read_parquet(?) where program_id = ?
        order by levenshtein(lower(subject_id), lower(?)), subject_id limit 1""",
        [str(file), program.program_id, subject_id],
    ).fetchone()
    hint = f"did you mean {near[0]!r}?" if near else f"program {program.program_id!r} graded no {kind} in {period}"
    return BadInput(
        f"there is no {kind} {subject_id!r} in any release", "SUBJECT", f"{hint} The id is subject_id in {file.name} of the release"
    )


def read_steps(decision: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps of the decision, in order."""
    return list(json.loads(decision["steps"] or "[]"))


def deliveries(
    deployment: Deployment, ledger: Ledger, release: str, policies: Policies, program_id: str, subject_id: str
) -> list[dict[str, Any]]:
    """Deliveries of levels of this program whose rows came from this release.

    ``is_changed``: whether the file that lies there is another than was delivered; null where there is none, or a later delivery has
    taken its place. ``has_subject``: whether the file that was sent has a row of the subject; null where that file is not there any
    more, or names no customers.
    """
    others = {row["channel_id"] for row in policies.seeds["channels"] if row["program_id"] != program_id}
    mine = {row["channel_id"] for row in policies.seeds["channels"] if row["program_id"] == program_id}
    entries = ledger.entries("delivery")
    # Before there was a name for each, a contract that changed sent the same catalog again under the same one.
    last = {entry.payload["path"]: entry.payload["sha256"] for entry in entries}
    columns = {(row["channel_id"], row["column_name"]) for row in policies.seeds["channel_columns"] if row["source"] == "customer_id"}
    hashes: dict[str, str | None] = {}
    looked: dict[tuple[str, frozenset[str]], bool | None] = {}
    found = []
    for entry in entries:
        sent = entry.payload
        if sent["release"] != release or sent["channel"] in others - mine:
            continue
        path, sha256 = sent["path"], sent["sha256"]
        feed = deployment.data / path
        if path not in hashes:
            hashes[path] = _hash_if_there(feed)
        is_changed = None if hashes[path] is None else hashes[path] != sha256
        if is_changed and last[path] != sha256:
            is_changed = None
        named = frozenset(column for channel, column in columns if channel == sent["channel"])
        if is_changed is False and (sha256, named) not in looked:
            looked[sha256, named] = _has_subject(feed, named, subject_id)
        found.append(
            {
                **{key: sent[key] for key in ("channel", "catalog", "as_of_period", "path", "sha256")},
                "at": entry.at,
                "is_changed": is_changed,
                "has_subject": looked[sha256, named] if is_changed is False else None,
            }
        )
    return found


def changed_deliveries(deployment: Deployment, found: Sequence[dict[str, Any]]) -> Mismatch | None:
    """What an explanation ends with where a delivered file is another than the ledger recorded; None where none is."""
    paths = sorted({delivery["path"] for delivery in found if delivery["is_changed"]})
    if not paths:
        return None
    # An auditor is promised what was delivered. The decision does not rest on these files, so that it is told; that what a channel got
    # can no longer be shown differs from the record all the same, and ends as every other difference does.
    return Mismatch(
        f"changed after it was delivered: {', '.join(paths)}",
        str(deployment.data),
        "restore the file from a backup, or ask the channel for the one that it got; its sha256 stands in `--json`",
    )


def _hash_if_there(file: Path) -> str | None:
    try:
        return sha256_file(file)
    except OSError:
        return None


def _has_subject(feed: Path, named: Collection[str], subject_id: str) -> bool | None:
    """Whether a feed has a row of the customer in one of the columns ``named``, written as feeds write text; null where it has no such
    column, or is no CSV."""
    # All that feeds are written with, so that nothing of it is guessed from the rows.
    rows = r"""read_csv($feed, header = true, all_varchar = true, delim = ',', quote = '"', escape = '"', new_line = '\n', comment = '', skip = 0)"""
    try:
        with duckdb.connect() as con:
            there = [
                name for name, *_ in con.execute(f"select * from {rows} limit 0", {"feed": str(feed)}).description or [] if name in named
            ]
            if not there:
                return None
            same = " or ".join(f"{quoted(name)} = {safe_text('cast($subject as varchar)')}" for name in there)
            query = f"select 1 from {rows} where {same} limit 1"
            return con.execute(query, {"feed": str(feed), "subject": subject_id}).fetchone() is not None
    except duckdb.Error:
        return None
