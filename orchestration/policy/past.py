"""Changes of policy versions that released periods were decided with: refused unless declared as a restatement.

A period's policy is the version valid for it. A release records for each program which version decided and its hash; where the
policies of today say otherwise, a run would silently decide the past anew. ``seeds/restatements.csv`` declares such a change, for
one hash and no other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb

from orchestration.errors import BadInput
from orchestration.people import same_person
from orchestration.periods import add_months, ranges
from orchestration.policy.finding import Finding, finding_at
from orchestration.policy.model import Policies, Program, Version, canonical_hash
from orchestration.policy.operands import all_attributes
from orchestration.policy.reader import Row, read_seed

# Period → "program/version" → policy hash, as the visible release of the period records them.
Released = Mapping[str, Mapping[str, str]]


def changed_past(policies: Policies, released: Released, folders: Mapping[str, Path] | None = None) -> list[Finding]:
    """One finding for each program, version and hash of a released period that is another one today, and is not declared.

    A program that is new is no change. One that is switched off decides nothing any more, and its versions have another hash for it; one
    that is gone has none. ``folders``: period → the policies of its release: what they say is no change, however an older Tierhouse
    has reckoned its hash; the charge types that changed, and levels that are gone, are looked for in them. Whether an override gave
    such a level is asked of the release's decisions, in the folder around.
    """
    folders = folders or {}
    declared = {(row["program_id"], row["version"], row["policy_hash"]) for row in _valid_declarations(policies)}
    as_reckoned_now = _Reckoned(folders)
    gone: dict[str, list[str]] = defaultdict(list)
    changed: dict[tuple[str, str, str, str | None], list[str]] = defaultdict(list)
    reordered: dict[tuple[str, str, tuple[str, ...], tuple[str, ...]], list[str]] = defaultdict(list)
    lost: dict[tuple[str, str, str], list[str]] = defaultdict(list)

    def is_declared(now: Version, digest: str) -> bool:
        return (now.program_id, now.version, digest) in declared

    def is_as_decided(now: Version, period: str, name: str) -> bool:
        decided = released[period]
        return now.policy_hash == decided[name] or now.policy_hash == as_reckoned_now.hash(period, decided, name)

    for period, decided in sorted(released.items()):
        for name, policy_hash in sorted(decided.items()):
            program_id, _, version = name.partition("/")
            program = policies.programs.get(program_id)
            if program is None:
                gone[program_id].append(period)
                continue
            now = program.version_for(period)
            if now is None:
                changed[program_id, version, policy_hash, None].append(period)
            elif now.version != version or not is_as_decided(now, period, name):
                if not is_declared(now, now.policy_hash):
                    changed[program_id, version, policy_hash, now.version].append(period)
            else:
                before, after = _orders(program, folders.get(period))
                if is_declared(now, _hash_of_order(now, after)):
                    continue
                if before != after:
                    reordered[program_id, version, before, after].append(period)
                for level_id in _lost_levels(program, folders.get(period)):
                    lost[program_id, version, level_id].append(period)
    return [
        *(_gone(policies, program_id, periods) for program_id, periods in gone.items()),
        *(_changed(policies, program_id, version, was, periods, folders) for (program_id, version, was, _), periods in changed.items()),
        *(_reordered(policies, *of, periods) for of, periods in reordered.items()),
        *(_lost(policies, *of, periods, folders) for of, periods in lost.items()),
    ]


def _orders(program: Program, folder: Path | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The levels of a release that are there today, from the lowest up: as they were ordered then, and as they are.

    A version's hash holds the order of the levels that it gives. The others are given by overrides, which compare them with these.
    """
    ranks = _ranks(program, folder)
    today = tuple(level.level_id for level in program.levels if level.level_id in ranks)
    return tuple(sorted(today, key=ranks.__getitem__)), today


def _ranks(program: Program, folder: Path | None) -> dict[str, int]:
    """The levels of a release with their ranks; none where the release does not keep them."""
    file = folder / "levels.csv" if folder else None
    if file is None or not file.is_file():
        return {}
    return {row["level_id"]: row["rank"] for row in read_seed("levels", file) if row["program_id"] == program.program_id}


def _lost_levels(program: Program, folder: Path | None) -> list[str]:
    """Levels of a release that are there no more, and that an override named in it, or a nomination that counted: no rule's hash knows of
    them where the rules ask for no level of that name or order."""
    today = {level.level_id for level in program.levels}
    gone = {rank: level_id for level_id, rank in _ranks(program, folder).items() if level_id not in today}
    decisions = folder.parent / "fct_decisions.parquet" if folder else None
    if not gone or decisions is None or not decisions.is_file():
        return []
    asked = [str(decisions), program.program_id]
    by_override = "select distinct unnest([at_least_level_rank, set_level_rank]) from read_parquet(?) where program_id = ?"
    named = {gone[rank] for (rank,) in duckdb.execute(by_override, asked).fetchall() if rank in gone}
    nominations = {a.attribute_id for v in program.versions for a in all_attributes(v.attributes) if a.kind == "nomination"}
    for name in sorted(nominations):
        by_nomination = f"select distinct json_extract_string(evidence, '$.{name}') from read_parquet(?) where program_id = ?"
        named |= {level_id for (level_id,) in duckdb.execute(by_nomination, asked).fetchall() if level_id in gone.values()}
    return [level_id for _, level_id in sorted(gone.items()) if level_id in named]


def _hash_of_order(version: Version, order: tuple[str, ...]) -> str:
    """What a declaration of another order of levels names: the version's own hash is the same."""
    return canonical_hash({"version": version.policy_hash, "levels": order})


class _Reckoned:
    """Hashes of what releases keep of their policies, as they are reckoned today; each set of policies is read once."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = folders
        self._known: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}

    def hash(self, period: str, decided: Mapping[str, str], name: str) -> str | None:
        """Of the version ``name`` (program/version); None where the release does not keep it, or it cannot be read any more."""
        key = tuple(sorted(decided.items()))
        if key not in self._known:
            self._known[key] = self._read(self._folders.get(period))
        return self._known[key].get(name)

    def _read(self, folder: Path | None) -> dict[str, str]:
        # Here, because loading a folder needs what is checked here.
        from orchestration.policy.load import load_policy_files

        if folder is None or not folder.is_dir():
            return {}
        try:
            programs = load_policy_files(folder).programs.values()
        except BadInput:
            # Written for rules of seeds that hold no longer: the recorded hash alone tells.
            return {}
        return {f"{program.program_id}/{version.version}": version.policy_hash for program in programs for version in program.versions}


def _gone(policies: Policies, program_id: str, periods: list[str]) -> Finding:
    seed = policies.seeds["programs"]
    return Finding(
        "error", "changed_past", program_id, "", seed.file, 1, None,
        f"program {program_id} is gone, and {_shown(periods)} {_were(periods)} with it: "
        "run again, they would lose its decisions",
        "bring its rows back, and switch it off instead (enabled), with a declaration for each of its versions",
    )  # fmt: skip


def _switched_off(policies: Policies, program: Program, now: Version, periods: list[str]) -> Finding:
    return finding_at(
        program.row, now.version, "error", "changed_past",
        f"program {program.program_id} is switched off, and {_shown(periods)} {_were(periods)} with its version "
        f"{now.version!r}: run again, they would lose its decisions",
        f"switch it on (to end it after {max(periods)}, write that as valid_to_period of its last version), {_declare(policies, program, now)}",
        "enabled",
    )  # fmt: skip


def _changed(policies: Policies, program_id: str, version: str, was: str, periods: list[str], folders: Mapping[str, Path]) -> Finding:
    """The finding on periods that were decided with a version and hash, and would be with others today."""
    program = policies.programs[program_id]
    now = program.version_for(periods[0])
    of, last = _shown(periods), max(periods)
    it = "it" if len(periods) == 1 else "them"
    if now is None:
        return finding_at(
            program.versions[0].row, version, "error", "changed_past",
            f"no version of {program_id} holds for {of} any more, which {_were(periods)} with {program_id} {version} (hash {was})",
            f"let version {version!r} hold for {it} again (valid_from_period, valid_to_period)",
        )  # fmt: skip
    if not program.enabled:
        return _switched_off(policies, program, now, periods)
    declare = _declare(policies, program, now)
    if now.version != version:
        return finding_at(
            now.row, now.version, "error", "changed_past",
            f"{of} of {program_id} {_were(periods)} with version {version!r} (hash {was}), "
            f"and now version {now.version!r} (hash {now.policy_hash}) holds for {it}",
            f"begin version {now.version!r} with {add_months(last, 1)} and end version {version!r} with {last}, {declare}",
        )  # fmt: skip
    charges = _changed_charges(policies, now, folders.get(periods[0]))
    later = f"take the change back and make it in a new version that begins with {add_months(last, 1)} or later"
    if charges:
        later += ", with a measure that names its charge types (filter_values): charge types have no versions"
    return finding_at(
        now.row, now.version, "error", "changed_past",
        f"version {version!r} of {program_id} was changed after {of} {_were(periods)} with it: "
        f"its hash was {was}, and is now {now.policy_hash}" + (f" ({'; '.join(charges)})" if charges else ""),
        f"{later}, {declare}",
    )  # fmt: skip


def _declare(policies: Policies, program: Program, now: Version, digest: str = "") -> str:
    return (
        f"or declare the restatement in {_declared_in(policies)}: program_id {program.program_id}, version {now.version}, "
        f"policy_hash {digest or now.policy_hash}, and an approver other than the author"
    )


def _reordered(
    policies: Policies, program_id: str, version: str, before: tuple[str, ...], after: tuple[str, ...], periods: list[str]
) -> Finding:
    program = policies.programs[program_id]
    now = next(v for v in program.versions if v.version == version)
    moved = next(
        level for level in program.levels if level.level_id in after and after.index(level.level_id) != before.index(level.level_id)
    )
    return finding_at(
        moved.row, version, "error", "changed_past",
        f"the levels of {program_id} are ordered {' < '.join(after)}, and were {' < '.join(before)} when {_shown(periods)} "
        f"{_were(periods)} with {version!r}: its rules give the same levels, but overrides compare them otherwise",
        f"give the levels their order back, {_declare(policies, program, now, _hash_of_order(now, after))}", "rank",
    )  # fmt: skip


def _lost(policies: Policies, program_id: str, version: str, level_id: str, periods: list[str], folders: Mapping[str, Path]) -> Finding:
    program = policies.programs[program_id]
    now = next(v for v in program.versions if v.version == version)
    order = _orders(program, folders.get(periods[0]))[1]
    return Finding(
        "error", "changed_past", program_id, version, policies.seeds["levels"].file, 1, None,
        f"level {level_id!r} of {program_id} is gone, and nominations or overrides name it in {_shown(periods)}, released with {version!r}: run again, "
        "they would count for nothing there",
        f"bring its row back, {_declare(policies, program, now, _hash_of_order(now, order))}",
    )  # fmt: skip


def _changed_charges(policies: Policies, version: Version, folder: Path | None) -> list[str]:
    """Charge types that count otherwise than in the policies of a release, if the version hangs on them: the seed has no versions."""
    file = folder / "charge_types.csv" if folder else None
    # Releases were made before they kept their policies, and an old one may have been removed.
    if file is None or not file.is_file() or not any(a.counts_spend for a in version.attributes):
        return []
    before = {row["charge_type"] for row in read_seed("charge_types", file) if row["counts_as_spend"]}
    rows = {row["charge_type"]: row for row in policies.seeds["charge_types"]}
    now = set(policies.spend_charge_types)
    found = [f"{rows[name].where()}: {name} counts as spend now" for name in rows if name in now - before]
    found += [f"{rows[name].where()}: {name} does not count as spend any more" for name in rows if name in before - now]
    return found + [f"{policies.seeds['charge_types'].file}: {name} has no row any more" for name in sorted(before - rows.keys())]


def _declared_in(policies: Policies) -> str:
    """The file in which the deployment declares a restatement: its own, or the one to be made."""
    shared = policies.seeds["restatements"].file
    own = str(Path(policies.own_folder) / "restatements.csv") if policies.own_folder else shared
    return shared if shared == own else f"{own} (not there yet: begin with a copy of {shared})"


def _shown(periods: list[str]) -> str:
    """``2026-01 to 2026-03, 2026-05``"""
    return ", ".join(ranges(periods)).replace("..", " to ")


def _were(periods: list[str]) -> str:
    return "was released" if len(periods) == 1 else "were released"


def _valid_declarations(policies: Policies) -> Iterator[Row]:
    return (row for row in policies.seeds["restatements"] if not same_person(row["author"], row["approver"]))


def declarations(policies: Policies) -> list[Finding]:
    """Declared restatements that their author approved: these declare nothing."""
    valid = list(_valid_declarations(policies))
    return [
        finding_at(
            row, row["version"], "error", "self_approved",
            f"the restatement of {row['program_id']} {row['version']} is approved by its author, {row['author']}", "have someone else approve it",
        )
        for row in policies.seeds["restatements"]
        if row not in valid
    ]  # fmt: skip
