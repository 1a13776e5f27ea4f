"""What hangs around a decision table and cannot be seen in one cell: plans and checklists that leave a level out, bands and
dimensions that decide nothing. Warnings all: they stop no run."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise

from orchestration.policy.facts import HUNDRED, bounds
from orchestration.policy.finding import Finding, finding_at
from orchestration.policy.model import Attribute, Dimension, Policies, Program, Version
from orchestration.policy.profiles import condition_holds, may_be_null
from orchestration.policy.programs import used_attributes
from orchestration.policy.reader import Row

# Score of a number that is not known, by `missing`; where the others share the weight there is none.
_MISSING = {"zero": Decimal(0), "middle": Decimal(50)}


def _warning(row: Row, version: Version, kind: str, what: str, remedy: str, column: str | None = None) -> Finding:
    return finding_at(row, version.version, "warning", kind, what, remedy, column)


def plans_and_checklists(policies: Policies, program: Program) -> Iterator[Finding]:
    """Levels that a version of a program with contact plans or checklists gives, and has none for."""
    for name, what in (("contact_plans", "contact plan"), ("checklists", "checklist")):
        rows = [row for row in policies.seeds[name] if row["program_id"] == program.program_id]
        for version in program.versions if rows else ():
            own = [row for row in rows if row["version"] == version.version]
            planned = {row["level_id"] for row in own}
            lacking = [level.level_id for level in program.levels if level.level_id in version.given_levels - planned]
            if lacking:
                told = f"{program.program_id} {version.version} has no {what} for {', '.join(lacking)}"
                yield _warning(
                    own[-1] if own else version.row, version, f"no_{name[:-1]}", told, f"add rows to {policies.seeds[name].file}"
                )


def contact_targets(policies: Policies, program: Program) -> Iterator[Finding]:
    """Targets of contact plans that nothing is compared with, and groups with more than one: the highest would count."""
    for version in program.versions:
        rows = [r for r in policies.seeds["contact_plans"] if (r["program_id"], r["version"]) == (program.program_id, version.version)]
        of = f"of {program.program_id} {version.version}"
        for row in rows:
            for column in ("share_target_pct", "reach_target_pct"):
                if row[column] is not None and row["contact_group"] is None:
                    what = f"level {row['level_id']!r} {of} has a {column} and no contact group, of which shares and reach are reckoned"
                    yield _warning(row, version, "contact_target", what, "name its contact_group, or leave it empty", column)
            if row["reach_target_pct"] is not None and not row["is_priority"]:
                what = f"level {row['level_id']!r} {of} has a reach_target_pct, and its subjects are no priority subjects"
                remedy = "write true for is_priority, or leave it empty"
                yield _warning(row, version, "contact_target", what, remedy, "reach_target_pct")
        for column, counting in (("share_target_pct", rows), ("reach_target_pct", [row for row in rows if row["is_priority"]])):
            first: dict[str, Row] = {}
            for row in counting:
                if row["contact_group"] is None or row[column] is None:
                    continue
                other = first.setdefault(row["contact_group"], row)
                if other[column] != row[column]:
                    what = (
                        f"contact group {row['contact_group']!r} {of} has a {column} of {other[column]:f} in row {other.line} "
                        f"and of {row[column]:f} here: the higher one counts"
                    )
                    yield _warning(row, version, "contact_target", what, "give the group one target", column)


def bands_and_dimensions(policies: Policies, program: Program) -> Iterator[Finding]:
    """Bands and dimensions of each version that no rule uses, or that change nothing."""
    for version in program.versions:
        used = _used(policies, version)
        for name, what in (("bands", "bands"), ("score_dimensions", "dimensions")):
            rows = [r for r in policies.seeds[name] if (r["program_id"], r["version"]) == (program.program_id, version.version)]
            for attribute_id in dict.fromkeys(r["attribute_id"] for r in rows):
                if attribute_id not in used:
                    row = next(r for r in rows if r["attribute_id"] == attribute_id)
                    told = f"no rule of {program.program_id} {version.version} uses the {what} of {attribute_id!r}"
                    yield _warning(row, version, "unused", told, "use them in a rule, or remove their rows")
        for attribute in used.values():
            yield from _alike_bands(program, version, attribute)
            yield from (f for d in attribute.dimensions for f in _idle(version, attribute, d))


def _used(policies: Policies, version: Version) -> dict[str, Attribute]:
    """The attributes of a version's conditions with their parts; those that lists order by too."""
    of_version = (version.program_id, version.version)
    lists = (row for row in policies.seeds["target_lists"] if (row["program_id"], row["version"]) == of_version)
    return used_attributes(version, (policies.attributes[row["order_attribute"]] for row in lists))


def _alike_bands(program: Program, version: Version, attribute: Attribute) -> Iterator[Finding]:
    conditions = [c for table in version.tables for c in table.conditions if c.attribute.attribute_id == attribute.attribute_id]
    for lower, upper in pairwise(attribute.bands):
        if all(condition_holds(c, lower.band_id) == condition_holds(c, upper.band_id) for c in conditions):
            of = f"{attribute.attribute_id} {upper.band_id!r} from {lower.band_id!r}, the band below it"
            what = f"no rule of {program.program_id} {version.version} tells {of}"
            yield _warning(upper.row, version, "idle_band", what, "name one of them in a rule, or make them one band")


def _idle(version: Version, score: Attribute, dimension: Dimension) -> Iterator[Finding]:
    """A dimension that gives every subject the same score."""
    scores = _scores(dimension)
    if scores is None or len(scores) > 1:
        return
    (constant,) = scores
    known = "every subject" if not may_be_null(dimension.attribute) else "every subject that has it"
    if may_be_null(dimension.attribute) and _MISSING.get(dimension.missing) != constant:
        what = f"gives {known} {constant:f}, so that it tells only who has none"
    else:
        what = f"gives {known} {constant:f}, so that it changes no order"
    told = f"dimension {dimension.dimension_id!r} of {score.attribute_id} {what}"
    remedy = f"correct its bounds or bands: {dimension.attribute.attribute_id} {_range(dimension.attribute)}, or remove it"
    yield _warning(dimension.row, version, "idle_dimension", told, remedy)


def _range(attribute: Attribute) -> str:
    low, high = bounds(attribute)
    if low is None and high is None:
        return "has no bounds"
    return f"is {'any number' if low is None else f'{low:f}'} to {'any number' if high is None else f'{high:f}'}"


def _scores(dimension: Dimension) -> set[Decimal] | None:
    """The scores that a known number can get; None for many."""
    lowest, highest = bounds(dimension.attribute)
    if dimension.scaling == "min_max":
        if dimension.high is not None and lowest is not None and lowest >= dimension.high:
            return {HUNDRED}
        return {Decimal(0)} if dimension.low is not None and highest is not None and highest <= dimension.low else None
    if dimension.scaling != "bands":
        return None
    found: set[Decimal] = set()
    start: Decimal | None = None
    for below, score in dimension.bands:
        reached = (start is None or highest is None or start <= highest) and (below is None or lowest is None or lowest < below)
        found |= {score} if reached else set()
        start = below
    return found
