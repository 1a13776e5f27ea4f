"""Why this level, why not the one above, why not in scope, and the caps: conditions with the values found."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal

from orchestration.audit.explain import SEVERAL_HOLD, Explanation
from orchestration.audit.readings import Reading, bounds
from orchestration.audit.rules import TableVerdict, Verdict
from orchestration.audit.sections import words
from orchestration.audit.texts import Lang, of_count, text
from orchestration.policy.model import QUOTIENTS, RANKED, Attribute, Band, Condition


def head(e: Explanation, lang: Lang) -> list[str]:
    """Subject, level, release and method."""
    lines = [
        text(
            lang,
            "title",
            kind=text(lang, f"kind_{e.program.subject_type}"),
            subject=e.subject_id,
            level=words.level(e, e.decision["level_id"], lang),
            program=words.name(e.program, lang),
            period=e.period,
        ),
        text(lang, "released", release=e.release["release"], at=words.time(e.release["released_at"]), cutoff=e.release["cutoff_seq"]),
        text(lang, f"method_{e.program.method}"),
    ]
    if e.decision.get("event_date"):
        lines[-1] = words.sentences([lines[-1], text(lang, "event", day=e.decision["event_date"])], lang)
    return lines if e.release["is_visible"] else [*lines, text(lang, "not_visible")]


def why(e: Explanation, lang: Lang) -> list[str]:
    """The matched rule with its conditions, or why there is none."""
    is_shown = e.decision["status"] != "decided" or e.decision["level_id"] == e.decision["qualified_level_id"]
    lines = [text(lang, "why" if is_shown else "why_rules")]
    if e.decision["status"] == "out_of_scope":
        lines.append("  " + text(lang, "out_of_scope", reason=words.reason(e, lang)))
        for verdict in (v for v in e.tables.scope if v.item_id == e.decision["status_reason"]):
            lines += _rule(e, verdict, lang, "scope_rule")
        return lines
    if e.decision["status"] != "decided":
        lines.append("  " + text(lang, "not_evaluated", reason=words.reason(e, lang)))
        # Of a subject that lacks a number no rule was asked.
        for verdict in (v for v in e.rules if v.holds and e.decision["status_reason"] == SEVERAL_HOLD):
            lines += _rule(e, verdict, lang)
        return lines
    matched = e.matched
    if matched is None:
        return []
    lines += _rule(e, matched, lang, "rule_matched")
    before = sum(1 for v in e.rules if v.order < matched.order)
    is_top = e.program.hit_policy == "first" and not before
    lines.append("  " + text(lang, "rule_top" if is_top else f"rule_{e.program.hit_policy}", before=before))
    return lines if is_shown else [*lines, "  " + text(lang, "why_other", level=words.level(e, e.decision["level_id"], lang))]


def above(e: Explanation, lang: Lang) -> list[str]:
    """Every rule of the next level with what fails, and how much is missing."""
    if e.decision["status"] != "decided":
        return []
    if e.level_above is None:
        # What an override gives may be above all that the rules give.
        rank = max(e.decision["qualified_level_rank"], e.decision["level_rank"] or 0)
        by_override = [words.name(level, lang) for level in e.program.levels if level.rank > rank]
        if not by_override:
            return [text(lang, "above_none")]
        return [text(lang, "above", level=by_override[0]), "  " + text(lang, "above_no_rule", level=by_override[0])]
    # A level that is held, or that an override gives, may be this one or a higher one.
    is_above = (e.decision["level_rank"] or 0) < e.level_above.rank
    lines = [text(lang, "above" if is_above else "above_rules", level=words.name(e.level_above, lang))]
    for verdict in e.above:
        lines += _rule(e, verdict, lang)
        if verdict.holds and e.matched:
            lines.append("    " + text(lang, "rule_not_reached", rule=e.matched.item_id))
    return lines + _to_next(e, lang)


def _to_next(e: Explanation, lang: Lang) -> list[str]:
    attributes = {r.attribute.attribute_id: r.attribute for r in e.readings}
    attribute = attributes.get(e.decision["missing_attribute"] or "")
    if attribute is None or not e.decision["next_level_id"]:
        return []
    title, shown = words.level(e, e.decision["next_level_id"], lang), words.name(attribute, lang)
    missing = e.decision["missing_amount"]
    if missing is None:
        number = attribute.of[0] if attribute.kind == "band" else attribute
        key = "to_next_place" if number.kind in RANKED else "to_next_band" if attribute.kind == "band" else "to_next_other"
        return ["  " + text(lang, key, level=title, name=shown)]
    # Of a quotient more of its numerator is meant, by its own name and in its unit: an average lacks less than the sum of its window.
    unit = attribute.unit
    if attribute.kind in {"average", "ratio"} and attribute.metric:
        shown, unit = words.name(attribute.metric, lang), attribute.metric.row["unit"]
    amount = Decimal(missing)
    shown_unit = words.unit(unit, e.unit, lang, amount)
    key = "to_next" if e.is_amount_enough else "to_next_part"
    said = [text(lang, key, level=title, amount=words.amount(amount), unit=shown_unit, name=shown)]
    if _stays_covered(e):
        said.append(text(lang, "to_next_covered", level=words.level(e, e.decision["level_id"], lang)))
    return ["  " + words.sentences(said, lang)]


def _stays_covered(e: Explanation) -> bool:
    """Whether the level shown is the same where the rules give the next one: a higher one is held, a cap is in force or an override."""
    rank = max(e.program.level(e.decision["next_level_id"]).rank, e.decision.get("held_level_rank") or 0)
    cap, floor, fixed = (e.decision.get(f"{name}_level_rank") for name in ("cap", "at_least", "set"))
    shown = max(min(rank, cap or rank), floor or 0) if fixed is None else fixed
    return bool(shown == e.decision["level_rank"])


def caps(e: Explanation, lang: Lang) -> list[str]:
    """Every cap with its conditions, in force or not."""
    if e.decision["status"] != "decided" or not e.tables.caps:
        return []
    lines = [text(lang, "caps")]
    for verdict in e.tables.caps:
        lines += _rule(e, verdict, lang, "cap_holds" if verdict.holds else "cap_rests", is_aim=False)
    return lines


def _rule(e: Explanation, verdict: TableVerdict, lang: Lang, key: str = "rule_failed", *, is_aim: bool = True) -> list[str]:
    """A rule, scope rule or cap in the words of ``key``, then its conditions."""
    said = {"level": words.level(e, verdict.level_id, lang), "description": verdict.row[f"description_{lang}"] or ""}
    return ["  " + text(lang, key, rule=verdict.item_id, cap=verdict.item_id, **said), *conditions(e, verdict, lang, is_aim=is_aim)]


def conditions(e: Explanation, verdict: TableVerdict, lang: Lang, *, is_aim: bool = True) -> list[str]:
    """One line a condition: whether it holds, and the values; ``is_aim``: and what is missing for it to hold."""
    if not verdict.conditions:
        return ["    " + text(lang, "rule_always")]
    return [f"    {text(lang, 'yes' if v.holds else 'no')} {_condition(e, v, lang, is_aim)}" for v in verdict.conditions]


def _condition(e: Explanation, v: Verdict, lang: Lang, is_aim: bool) -> str:
    c = v.condition
    shown = words.name(c.attribute, lang)
    found = found_text(e, v.reading, lang, [Decimal(bar) for bar in c.values if isinstance(bar, int | Decimal)])
    if c.operator in ("is null", "is not null"):
        return text(lang, "condition_plain", name=shown, operator=words.operator(c.operator, lang), found=found)
    line = text(lang, "condition", name=shown, operator=words.operator(c.operator, lang), value=_bar(e, c, lang), found=found)
    number = v.reading.number
    is_quotient = number is not None and c.attribute.kind in QUOTIENTS
    if number is not None and is_quotient and len(v.bars) == 1:
        pieces = {
            "value": words.amount(Decimal(str(c.values[0]))),
            "bottom": words.amount(number.bottom),
            "bar": words.amount(v.bars[0]),
        }
        if number.scale == 1:
            line += text(lang, "bar", **pieces)
        else:
            line += text(lang, "bar_scaled", top=words.amount(number.top), scale=number.scale, left=words.amount(number.left), **pieces)
    if v.missing is not None and is_aim:
        line += text(lang, "missing_top" if is_quotient else "missing", amount=words.amount(v.missing))
    return line


def _bar(e: Explanation, c: Condition, lang: Lang) -> str:
    """What a value is compared with, as the policy says it."""
    if c.operator == "in range":
        return " .. ".join(words.value_of(c.attribute, value, lang, e) for value in c.values)
    if c.attribute.kind == "band":
        shown = [
            f"{words.name(band, lang)} ({band_bounds(c.attribute, band, lang)})" for band in c.attribute.bands if band.band_id in c.values
        ]
    else:
        shown = [words.value_of(c.attribute, value, lang, e) for value in c.values]
    return ", ".join([*shown, *([text(lang, "nothing")] if c.with_null else [])])


def band_bounds(attribute: Attribute, band: Band, lang: Lang) -> str:
    """Both bounds of a band in words. The last band of per cents ends at 100, included."""
    low, high = bounds(attribute, band)
    if high is not None:
        return (
            text(lang, "bounds_below", high=words.amount(high))
            if low is None
            else text(lang, "bounds", low=words.amount(low), high=words.amount(high))
        )
    if low is None:
        return text(lang, "bounds_all")
    if attribute.of[0].kind in {"position", "share"}:
        return text(lang, "bounds_last", low=words.amount(low), high=100)
    return text(lang, "bounds_from", low=words.amount(low))


def found_text(e: Explanation, reading: Reading, lang: Lang, bars: Collection[Decimal] = ()) -> str:
    """What was found of an attribute, with what it is made of. ``bars``: what the number is compared with."""
    a, number, operands = reading.attribute, reading.number, reading.operands
    if reading.value is None:
        return _unknown(reading, lang)
    if a.kind == "band" and reading.band is not None:
        inner = found_text(e, reading.parts[0], lang, [band.below for band in a.bands if band.below is not None])
        return text(lang, "found_band", band=words.name(reading.band, lang), bounds=band_bounds(a, reading.band, lang), found=inner)
    if a.kind == "score" and number is not None:
        return text(lang, "found_score", value=words.amount(number.top))
    if a.kind == "first_known":
        chosen = next(part for part in reading.parts if part.attribute.attribute_id == reading.chosen)
        shown = words.value_of(a, reading.value, lang, e)
        shown_unit = words.unit(a.unit, e.unit, lang, number.value if number else None)
        return text(lang, "found_first_known", value=shown, unit=shown_unit, name=words.name(chosen.attribute, lang))
    if number is None or a.kind not in QUOTIENTS:
        shown_unit = words.unit(a.unit, e.unit, lang, number.value) if number is not None else ""
        return text(lang, "found", value=words.value_of(a, reading.value, lang, e), unit=shown_unit)
    top, bottom, value = words.amount(number.top), words.amount(number.bottom), words.rounded(number, bars)
    if a.kind == "average" and a.months is not None:
        if a.months.is_service:
            return text(lang, of_count("found_average", number.bottom), top=top, bottom=bottom, value=value)
        return text(lang, "found_average_count", top=top, bottom=bottom, value=value, count=words.name(a.months, lang))
    if a.kind == "ratio" and a.metric is not None and a.divisor is not None:
        names = {"numerator": words.name(a.metric, lang), "denominator": words.name(a.divisor, lang)}
        return text(lang, "found_ratio", top=top, bottom=bottom, value=value, **names)
    counts = {key: words.amount(operands[key]) for key in ("above", "population") if key in operands}
    return text(lang, of_count(f"found_{a.kind}", operands.get("population")), top=top, bottom=bottom, value=value, **counts)


def _unknown(reading: Reading, lang: Lang) -> str:
    a = reading.attribute
    if a.kind == "band":
        return _unknown(reading.parts[0], lang)
    divisor = a.months if a.kind == "average" else a.divisor
    if divisor is not None and not (reading.operands[divisor.metric_id] or 0) > 0:
        return text(lang, "found_no_service") if divisor.is_service else text(lang, "found_no_divisor", name=words.name(divisor, lang))
    if a.metric is not None and a.metric.measure.aggregation == "margin":
        return text(lang, "found_no_cost")
    if a.kind in {"nomination", "application"}:
        return text(lang, "found_absent")
    return text(lang, "found_none")
