"""The life cycle of one decision: its steps in order, whether they follow from the policy and the landing, and what comes next."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestration.audit.landed import NominationRow
from orchestration.audit.mismatch import mismatch
from orchestration.audit.rules import TableVerdict, lowest_cap
from orchestration.periods import add_months
from orchestration.policy.model import Program


@dataclass(frozen=True)
class Outlook:
    """What becomes of a level that is held for a time, if nothing changes. ``review_period``: the first after the validity; ``effect``:
    renewed, one_level, to_qualified, or follows where a version without validity begins before and gives another level;
    ``effect_period``: when it shows, after any grace; ``level_id``: what is held then; ``policy_version``: that which holds then."""

    review_period: str
    effect: str
    effect_period: str
    level_id: str
    policy_version: str

    def as_json(self) -> dict[str, str]:
        """Shape of ``next_review``."""
        return dict(vars(self))


def outlook(decision: dict[str, Any], program: Program) -> Outlook | None:
    """What becomes of the held level; None where no level is held for a time, or no review comes: the program has ended by then, or its
    level follows the rules.

    Each month follows the version that then holds, as far as the release knows of it: whether there is still grace, and how far it falls.
    """
    until, held, qualified = decision["valid_until_period"], decision.get("held_level_id"), decision["qualified_level_id"]
    if not until or held is None or qualified is None:
        return None
    month = add_months(decision["period"], 1)
    due = max(add_months(until, 1), month)
    keeps = program.level(qualified).rank >= program.level(held).rank
    while (version := program.version_for(month)) is not None:
        name = version.version
        if not version.validity_months:
            return None if keeps else Outlook(due, "follows", month, qualified, name)
        if month > until and keeps:
            return Outlook(due, "renewed", due, held, name)
        if month > add_months(until, version.grace_months):
            if version.fall == "to_qualified":
                return Outlook(due, "to_qualified", month, qualified, name)
            # Another version may give no level below the one that is held; then its rules give another one than today's.
            lower = [level.level_id for level in program.ladder(version) if level.rank < program.level(held).rank]
            return Outlook(due, "one_level", month, (lower or [qualified])[-1], name)
        month = add_months(month, 1)
    return None


def overrides_in_force(rows: Sequence[NominationRow], program: Program, period: str) -> tuple[NominationRow | None, NominationRow | None]:
    """(at-least, set) overrides that count in the period: the highest at-least, the newest set."""
    known = {level.level_id: level.rank for level in program.levels}
    counting = [n for n in rows if n.level_id in known and n.standing(period) == "counts"]
    floors = sorted((n for n in counting if n.kind == "at_least"), key=lambda n: (-known[n.level_id], n.nomination_id))
    fixed = sorted((n for n in counting if n.kind == "set"), key=lambda n: (str(n.approved_date), n.nomination_id, known[n.level_id]))
    return (floors[0] if floors else None), (fixed[-1] if fixed else None)


def check_steps(
    decision: dict[str, Any],
    steps: Sequence[dict[str, Any]],
    program: Program,
    matched: TableVerdict | None,
    caps: Sequence[TableVerdict],
    nominations: Sequence[NominationRow],
    where: str,
) -> None:
    """Mismatch unless each step follows from the one before, from the caps and from the landed overrides, and the last gives the level."""
    if decision["status"] != "decided":
        return
    changing = [step for step in steps if step["to"] is not None]
    ranks = {level.level_id: level.rank for level in program.levels}
    if not changing or changing[0]["step"] != "qualified" or changing[-1]["to"] != decision["level_id"]:
        raise mismatch(f"the steps end at {changing[-1]['to'] if changing else None}, the decision holds {decision['level_id']}", where)
    for before, after in itertools.pairwise(changing):
        if after["from"] != before["to"]:
            raise mismatch(f"step {after['step']} begins at {after['from']}, the one before it ends at {before['to']}", where)
    named = {step["step"]: step for step in changing}
    if matched is not None and not named["qualified"]["to"] == matched.level_id == decision["qualified_level_id"]:
        raise mismatch(f"rule {matched.item_id} gives {matched.level_id}, the decision holds {decision['qualified_level_id']}", where)
    if "review" not in decision:
        # A release from before the life cycle: its steps end with the qualified level.
        return
    held = named["review"]["to"] if "review" in named else decision["qualified_level_id"]
    if held != decision["held_level_id"]:
        raise mismatch(f"the review gives {held}, the decision holds {decision['held_level_id']}", where)
    at = held
    cap = lowest_cap(caps, program)
    expected: dict[str, str] = {}
    if cap and ranks[str(cap.level_id)] < ranks[at]:
        expected["cap"] = at = str(cap.level_id)
    floor, fixed = overrides_in_force(nominations, program, decision["period"])
    if floor and ranks[floor.level_id] > ranks[at]:
        expected["at_least"] = at = floor.level_id
    if fixed:
        expected["set"] = fixed.level_id
    found = {name: named[name]["to"] for name in ("cap", "at_least", "set") if name in named}
    if found != expected:
        raise mismatch(f"policy and landing give the steps {expected or 'none'}, the decision holds {found or 'none'}", where)
