"""The life cycle in sentences: nominations and overrides, dated applications, each step of the decision, movement, the next review."""

from __future__ import annotations

from datetime import date
from typing import Any

from orchestration.audit.explain import Explanation
from orchestration.audit.life import overrides_in_force
from orchestration.audit.rules import compare
from orchestration.audit.sections import words
from orchestration.audit.sources import highest_nominated
from orchestration.audit.texts import Lang, text, text_if_any
from orchestration.periods import add_months, last_day


def nominations(e: Explanation, lang: Lang) -> list[str]:
    """Every nomination and override of the subject in the program, whether or not it counts."""
    if not e.nominations:
        return []
    lines = [text(lang, "nominations", rows=len(e.nominations))]
    for n in e.nominations:
        line = text(
            lang,
            "nomination",
            id=n.nomination_id,
            kind=text(lang, f"nomination_{n.kind}"),
            level=words.level(e, n.level_id, lang),
            reason=n.reason,
            requester=n.requester_id,
            approver=n.approver_id or text(lang, "not_approved"),
            approved=text(lang, "nomination_approved", day=n.approved_date) if n.approved_date else "",
            start=n.start_date,
            end=n.end_date,
            file=n.file,
            row=n.row,
            counts=text(lang, f"standing_{n.standing(e.period)}"),
        )
        lines.append("  " + line)
    return lines


def applications(e: Explanation, lang: Lang) -> list[str]:
    """The dated steps of each application; those after the period are shown as such."""
    lines: list[str] = []
    for name in dict.fromkeys(step.application_id for step in e.applications):
        rows = []
        for step in (s for s in e.applications if s.application_id == name):
            shown = text(lang, f"app_{step.step}")
            if step.step_date > last_day(e.period):
                shown = text(lang, "application_later", step=shown)
            outcome = text(lang, f"state_{step.outcome}") if step.outcome else ""
            rows.append([step.step_date.isoformat(), shown, step.decided_by or "", outcome, step.file, str(step.row)])
        lines += [text(lang, "applications", id=name), *words.table(lang, "application_head", rows, right=(5,))]
    return lines


def steps(e: Explanation, lang: Lang) -> list[str]:
    """Each step as a sentence, in order, and what comes at the next review."""
    lines = [text(lang, "steps"), *("  " + _step(e, step, lang) for step in e.steps)]
    held = e.decision.get("held_level_id")
    if e.decision["status"] == "decided" and held and held != e.decision["level_id"]:
        lines.append("  " + text(lang, "covered", held=words.level(e, held, lang)))
    if e.next_review:
        n = e.next_review
        title = words.level(e, n.level_id, lang)
        said = [text(lang, f"next_{n.effect}", due=n.review_period, level=title, falls=n.effect_period)]
        if n.effect == "renewed" and (end := _nomination_ends(e, n.review_period)):
            said.append(text(lang, "next_nomination_ends", end=end))
        if e.version and n.policy_version != e.version.version:
            said.append(text(lang, "next_version", version=n.policy_version))
        lines.append("  " + words.sentences(said, lang))
    return lines


def _nomination_ends(e: Explanation, review_period: str) -> date | None:
    """Last day of the nominations on which the matched rule rests, where it does not hold any more by those in force at the review."""
    asked = [v.condition for v in e.matched.conditions if v.condition.attribute.kind == "nomination"] if e.matched else []

    def holds(level_id: str | None) -> bool:
        return all(compare(condition, level_id, e.program) for condition in asked)

    if not asked or holds(highest_nominated(e.nominations, e.program, review_period)):
        return None
    counting = [n for n in e.nominations if n.kind == "nominate" and n.standing(e.period) == "counts"]
    return max((n.end_date for n in counting if holds(n.level_id)), default=None)


def _step(e: Explanation, step: dict[str, Any], lang: Lang) -> str:
    shown = {"before": words.level(e, step["from"], lang), "after": words.level(e, step["to"], lang), "why": step["why"]}
    kind = step["step"]
    if kind == "scope":
        out = e.decision["status"] == "out_of_scope"
        return text(lang, "step_scope_out", why=words.reason(e, lang)) if out else text(lang, "step_scope")
    if kind == "qualified":
        if step["to"] is not None:
            return text(lang, "step_qualified", **shown)
        if e.decision["status"] == "out_of_scope":
            return text(lang, "step_not_in_scope")
        return text(lang, "step_not_qualified", why=words.reason(e, lang))
    if kind == "review":
        until = e.decision["valid_until_period"]
        grace = add_months(until, e.version.grace_months) if until and e.version else until
        return text(lang, f"review_{e.decision['review']}", until=until, grace=grace, **shown)
    if kind == "cap":
        cap = e.cap
        return text(lang, "step_cap", description=cap.row[f"description_{lang}"] if cap else "", **shown)
    floor, fixed = overrides_in_force(e.nominations, e.program, e.period)
    row = floor if kind == "at_least" else fixed
    description = ""
    if row:
        description = text(
            lang,
            "override",
            reason=row.reason,
            requester=row.requester_id,
            approver=row.approver_id,
            start=row.start_date,
            end=row.end_date,
        )
    return text(lang, f"step_{kind}", description=description, **shown)


def movement(e: Explanation, lang: Lang) -> list[str]:
    """How the level compares with the period before, why, and until when it is held."""
    d = e.decision
    key = str(d["movement"] or "none")
    if key == "first" and e.program.row["clock"] == "event":
        key = "event"
    if key == "same" and d["level_id"] != d["previous_level_id"]:
        key = "renamed"
    said = [text(lang, f"movement_{key}", previous=words.level(e, d["previous_level_id"], lang))]
    if d.get("movement_cause"):
        said.append(text(lang, "cause", cause=text_if_any(lang, f"cause_{d['movement_cause']}", d["movement_cause"])))
    # What an event decides is held for no time.
    if d["held_since_period"] and key != "event":
        said.append(text(lang, "held_since", since=d["held_since_period"]))
    # In grace the validity is over; the step says until when. A version without validity may end it before.
    is_ended = e.next_review is not None and e.next_review.effect == "follows"
    if d["valid_until_period"] and d["valid_until_period"] >= e.period and not is_ended:
        said.append(text(lang, "held_until", until=d["valid_until_period"]))
    return [text(lang, "movement"), "  " + words.sentences(said, lang)]
