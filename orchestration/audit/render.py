"""Puts an explanation into words, in English or Chinese: the sections in the order in which an auditor asks."""

from __future__ import annotations

from orchestration.audit.explain import Explanation
from orchestration.audit.sections import conditions, life, record, scores, sources
from orchestration.audit.texts import Lang


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
    return "\n\n".join("\n".join(section) for section in sections if section)
