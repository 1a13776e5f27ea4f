"""Puts an explanation into words, in English or Chinese: the sections in the order in which an auditor asks."""

from __future__ import annotations

from orchestration.audit.explain import Explanation
from orchestration.audit.sections import conditions, life, record, scores, sources
from orchestration.audit.texts import Lang
from orchestration.wording import one_line


def render(explanation: Explanation, lang: Lang = "en") -> str:
    """The whole explanation as text."""
    sections = [
        conditions.head(explanation, lang),
        conditions.why(explanation, lang),
        conditions.above(explanation, lang),
        scores.scores(explanation, lang),
        conditions.caps(explanation, lang),
        life.steps(explanation, lang),
        life.movement(explanation, lang),
        life.nominations(explanation, lang),
        life.applications(explanation, lang),
        *sources.windows(explanation, lang),
        sources.departures(explanation, lang),
        sources.columns(explanation, lang),
        sources.bills(explanation, lang),
        sources.points(explanation, lang),
        record.policy(explanation, lang),
        record.release(explanation, lang),
    ]
    # Reasons, ids and names of files are what sources wrote: none of them may begin a line of the explanation, or speak to the terminal.
    return "\n\n".join("\n".join(map(one_line, section)) for section in sections if section)
