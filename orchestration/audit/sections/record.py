"""On whose word and where it went: policy version, release, deliveries."""

from __future__ import annotations

from orchestration.audit.explain import Explanation
from orchestration.audit.sections import words
from orchestration.audit.texts import Lang, text


def policy(e: Explanation, lang: Lang) -> list[str]:
    """The version that held for the period, its author and approver, and its life cycle."""
    if e.version is None:
        return [text(lang, "policy"), "  " + text(lang, "policy_none")]
    v = e.version.row
    version = text(
        lang,
        "policy_version",
        version=v["version"],
        start=v["valid_from_period"],
        end=text(lang, "policy_end", end=v["valid_to_period"]) if v["valid_to_period"] else "",
        author=v["author"],
        approver=v["approver"],
        approved=v["approved_on"],
    )
    lines = [text(lang, "policy"), "  " + version]
    if e.version.validity_months:
        fall = text(lang, f"fall_{e.version.fall}")
        lines.append("  " + text(lang, "policy_life", validity=e.version.validity_months, grace=e.version.grace_months, fall=fall))
    return [*lines, "  " + text(lang, "policy_hash", hash=e.decision.get("policy_hash") or e.version.policy_hash)]


def release(e: Explanation, lang: Lang) -> list[str]:
    """The run that released it, and every delivery of the release: those that have a row of the subject, those that have none, and those
    of which nobody can tell any more."""
    code = text(lang, "release_code", run=e.release["run_id"], code=e.release["code_version"], manifest=e.release["manifest_hash"])
    lines = [text(lang, "release"), "  " + code]
    titles = {True: "deliveries", False: "deliveries_without", None: "deliveries_unknown"}
    under = [("deliveries_changed" if d["is_changed"] else titles[d["has_subject"]], d) for d in e.deliveries]
    # That it was sent to nobody is said only where every file that was sent is known.
    if all(title == "deliveries_without" for title, _ in under):
        lines += [text(lang, "deliveries"), "  " + text(lang, "deliveries_none")]
    for title in (*titles.values(), "deliveries_changed"):
        found = [d for key, d in under if key == title]
        if found:
            lines.append(text(lang, title))
        lines += [
            "  " + text(lang, "delivery", channel=d["channel"], catalog=d["catalog"], at=words.time(d["at"]), path=d["path"]) for d in found
        ]
    return lines
