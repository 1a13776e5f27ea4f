"""``policy check``: proof that the policies are sound, before anything runs.

Every finding says what is wrong, where, for which profile, and what would mend it. What a single cell can show (unknown
attribute, a value that does not parse) is refused by ``load`` already. The proofs of a table are in ``tables``, what hangs around
it in ``sanity``, changes of what released periods were decided with in ``past``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from itertools import pairwise
from pathlib import Path

from orchestration.errors import BadInput
from orchestration.people import same_person
from orchestration.periods import add_months
from orchestration.policy.finding import Finding, finding_at
from orchestration.policy.model import Policies, Program, Version
from orchestration.policy.past import Released, changed_past, declarations
from orchestration.policy.sanity import bands_and_dimensions, contact_targets, plans_and_checklists
from orchestration.policy.tables import Table
from orchestration.wording import counted

# What a spreadsheet's user writes for "open": no month comes after it.
_END_OF_TIME = "9999-12"


def check_policies(
    policies: Policies, released: Released | None = None, folders: Mapping[str, Path] | None = None, today: date | None = None
) -> list[Finding]:
    """Findings on every program that is enabled, errors first, in the order of the seeds.

    ``released``, ``folders``: what visible periods were decided with; see :func:`changed_past`. ``today``: the day after which
    nothing is approved yet (default: this machine's).
    """
    found = [*changed_past(policies, released or {}, folders), *declarations(policies)]
    for program in policies.enabled():
        found += check_program(policies, program, today or date.today())
        found += plans_and_checklists(policies, program)
        found += contact_targets(policies, program)
        found += bands_and_dimensions(policies, program)
    return sorted(found, key=lambda f: f.severity != "error")


def require_sound(
    policies: Policies, released: Released | None = None, folders: Mapping[str, Path] | None = None, today: date | None = None
) -> list[Finding]:
    """BadInput if there is a finding of severity error; else the warnings. See :func:`check_policies`."""
    found = check_policies(policies, released, folders, today)
    errors = [finding for finding in found if finding.severity == "error"]
    if errors:
        first = errors[0]
        more = f" (and {counted(len(errors) - 1, 'more finding')})" if len(errors) > 1 else ""
        raise BadInput(first.what + more, first.where, first.remedy, {"findings": [finding.as_json() for finding in errors]})
    return found


def check_program(policies: Policies, program: Program, today: date) -> Iterator[Finding]:
    """Findings on one program: approval and validity of its versions, then each table."""
    yield from _validity(program)
    for version in program.versions:
        yield from _approval(program, version, today)
        if len(version.rules) > 1 and not any(rule.conditions for rule in version.rules):
            # Every rule but the first would be masked: one finding says what is the matter with all of them.
            yield finding_at(
                version.rules[0].row, version.version, "error", "no_conditions",
                f"none of the {counted(len(version.rules), 'rule')} of {program.program_id} {version.version} has a condition: each of them holds for everyone",
                f"add the conditions to {policies.seeds['decision_conditions'].file}, or keep one rule",
            )  # fmt: skip
        else:
            yield from Table(program, version).findings()


def _approval(program: Program, version: Version, today: date) -> Iterator[Finding]:
    row = version.row

    def error(kind: str, what: str, remedy: str, column: str | None = None) -> Finding:
        return finding_at(row, version.version, "error", kind, what, remedy, column)

    name = f"version {version.version!r} of {program.program_id}"
    if not row["approver"]:
        yield error("no_approver", f"{name} has no approver", "have someone other than the author approve it and write who (approver)")
    elif same_person(row["approver"], row["author"]):
        yield error("self_approved", f"{name} is approved by its author, {row['author']}", "have someone else approve it")
    if row["approver"] and not row["approved_on"]:
        yield error("no_approval_day", f"{name} does not say when it was approved", "write the day (approved_on)")
    if row["approved_on"] and row["approved_on"] > today:
        what = f"{name} is approved on {row['approved_on']}, and today is {today}"
        yield error("approved_later", what, "write the day on which it was approved, or wait for it", "approved_on")


def _validity(program: Program) -> Iterator[Finding]:
    for before, after in pairwise(program.versions):
        if before.valid_to is None or before.valid_to >= after.valid_from:
            until = f"holds until {before.valid_to}" if before.valid_to else "has no end"
            ends = add_months(after.valid_from, -1)
            yield finding_at(after.row, after.version, "error", "validity_overlap",
                f"version {after.version!r} of {program.program_id} begins {after.valid_from}, while version {before.version!r} {until}",
                # Where both begin with one period, none is left to end the first in.
                f"end version {before.version!r} with {ends}" if ends >= before.valid_from else "begin one of the two with another period, or remove it",
            )  # fmt: skip
        elif add_months(before.valid_to, 1) != after.valid_from:
            yield finding_at(after.row, after.version, "error", "validity_gap",
                f"no version of {program.program_id} holds from {add_months(before.valid_to, 1)} to {add_months(after.valid_from, -1)}",
                f"begin version {after.version!r} with {add_months(before.valid_to, 1)}, or extend version {before.version!r}",
            )  # fmt: skip
    last = program.versions[-1]
    if last.valid_to is not None and last.valid_to < _END_OF_TIME:
        # A program may be wound up, so this is no error; one that was forgotten leaves every subject without a level.
        yield finding_at(last.row, last.version, "warning", "no_successor",
            f"no version of {program.program_id} follows {last.version!r}: from {add_months(last.valid_to, 1)} on its subjects are not evaluated",
            f"add a version from {add_months(last.valid_to, 1)} on, or leave valid_to_period empty; for a program that has ended there is nothing to do, but for the channels that it feeds: they need another one",
        )  # fmt: skip
