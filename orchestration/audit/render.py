"""Puts an explanation into words, in English or Chinese. No look-ups and no arithmetic beyond what a line shows."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from orchestration.audit.explain import Explanation, Window
from orchestration.audit.landed import BillRow
from orchestration.audit.rules import RuleVerdict, Verdict
from orchestration.audit.texts import TEXTS, Lang, text
from orchestration.policy.model import Condition, Value, text_of
from orchestration.policy.reader import Row

# More lines than a screen takes; all of them are in the JSON.
MAX_ROWS = 120


def render(explanation: Explanation, lang: Lang = "en") -> str:
    """The whole explanation as text, one section after the other."""
    sections = [
        _head(explanation, lang),
        _why(explanation, lang),
        _above(explanation, lang),
        *(_window(window, explanation.unit, lang) for window in _in_order(explanation)),
        _bills(explanation, lang),
        _points(explanation, lang),
        _nominations(explanation, lang),
        _steps(explanation, lang),
        _movement(explanation, lang),
        _policy(explanation, lang),
        _deliveries(explanation, lang),
    ]
    return "\n\n".join("\n".join(section) for section in sections if section)


def _in_order(explanation: Explanation) -> list[Window]:
    """The windows that the matched rule looks at first."""
    attributes = [v.condition.attribute for v in explanation.matched.conditions] if explanation.matched else []
    decisive = {metric.metric_id for a in attributes for metric in (a.metric, a.months) if metric}
    return sorted(explanation.windows, key=lambda w: w.metric.metric_id not in decisive)


def amount(value: Decimal) -> str:
    """All digits that matter, with separators: ``1,930`` and ``79.995``, at least two places if any."""
    return f"{value:,.{_places([value])}f}"


def _places(values: Iterable[Decimal]) -> int:
    """Decimal places that show every value of a column in full: none for whole numbers, else at least two."""
    needed = max((-int(value.normalize().as_tuple().exponent) for value in values), default=0)
    return max(needed, 2) if needed > 0 else 0


def _name(item: Any, lang: Lang) -> str:
    """The name of a level, attribute, metric or program."""
    return _row_name(item.row, lang)


def _row_name(row: Row, lang: Lang) -> str:
    return str(row[f"name_{lang}"])


def _level(explanation: Explanation, level_id: str | None, lang: Lang) -> str:
    known = {level.level_id: level for level in explanation.program.levels}
    return _name(known[level_id], lang) if level_id in known else level_id or text(lang, "no_level")


def _description(verdict: RuleVerdict, lang: Lang) -> str:
    return verdict.rule.row[f"description_{lang}"] or ""


def _head(e: Explanation, lang: Lang) -> list[str]:
    lines = [
        text(
            lang,
            "title",
            customer=e.customer_id,
            level=_level(e, e.decision["level_id"], lang),
            program=_name(e.program, lang),
            period=e.period,
        ),
        text(lang, "released", release=e.release["release"], at=_time(e.release["released_at"]), cutoff=e.release["cutoff_seq"]),
    ]
    return lines if e.release["is_visible"] else [*lines, text(lang, "not_visible")]


def _why(e: Explanation, lang: Lang) -> list[str]:
    lines = [text(lang, "why")]
    if e.decision["status"] != "decided":
        return [*lines, "  " + text(lang, e.decision["status"], reason=e.decision["status_reason"] or "")]
    matched = e.matched
    if matched is None:
        return []
    lines.append(
        "  "
        + text(
            lang,
            "rule_matched",
            rule=matched.rule.rule_id,
            level=_level(e, matched.rule.level_id, lang),
            description=_description(matched, lang),
        )
    )
    lines += _conditions(matched, lang)
    before = sum(1 for v in e.rules if v.rule.order < matched.rule.order)
    return [*lines, "  " + text(lang, f"rule_{e.program.hit_policy}", before=before)]


def _above(e: Explanation, lang: Lang) -> list[str]:
    if e.decision["status"] != "decided":
        return []
    if not e.above:
        return [text(lang, "above_none")]
    lines = [text(lang, "above", level=_level(e, e.above[0].rule.level_id, lang))]
    for verdict in e.above:
        lines.append("  " + text(lang, "rule_failed", rule=verdict.rule.rule_id, description=_description(verdict, lang)))
        lines += _conditions(verdict, lang)
    return lines


def _conditions(verdict: RuleVerdict, lang: Lang) -> list[str]:
    if not verdict.conditions:
        return ["    " + text(lang, "rule_always")]
    return [f"    {text(lang, 'yes' if v.holds else 'no')} {_condition(v, lang)}" for v in verdict.conditions]


def _condition(v: Verdict, lang: Lang) -> str:
    c = v.condition
    shown: dict[str, Any] = {
        "name": _name(c.attribute, lang),
        "operator": TEXTS[f"op_{c.operator}"][lang] if f"op_{c.operator}" in TEXTS else c.operator,
        "value": _bar(c, lang),
    }
    if c.attribute.months is None:
        line = text(lang, "condition", found=_value(v.found, lang), **shown)
        return line + (text(lang, "missing", amount=amount(v.missing)) if v.missing is not None else "")
    if not v.months or not isinstance(v.found, Decimal):
        return text(lang, "condition_no_service", **shown)
    # Rounded to be read; what is compared is the sum.
    average = (v.found / v.months).quantize(Decimal("0.01"), ROUND_HALF_UP)
    shown |= {"found": amount(v.found), "months": v.months, "average": amount(average)}
    line = text(lang, "condition_average_range", **shown) if v.bar is None else text(lang, "condition_average", bar=amount(v.bar), **shown)
    return line + (text(lang, "missing_average", amount=amount(v.missing)) if v.missing is not None else "")


def _bar(condition: Condition, lang: Lang) -> str:
    """What a value is compared with, as the policy says it."""
    if condition.operator == "in range":
        return " .. ".join(_value(value, lang) for value in condition.values)
    return ", ".join([*(_value(value, lang) for value in condition.values), *([text(lang, "nothing")] if condition.with_null else [])])


def _value(value: Value | None, lang: Lang) -> str:
    if value is None:
        return text(lang, "nothing")
    if isinstance(value, bool):
        return text(lang, "true" if value else "false")
    return amount(Decimal(value)) if isinstance(value, int | Decimal) else text_of(value)


def _unit(unit: str, currency: str, lang: Lang) -> str:
    return text(lang, f"unit_{unit}") if f"unit_{unit}" in TEXTS else unit.replace("currency", currency)


def _time(at: str) -> str:
    """``2026-07-03 06:12:40``"""
    return at[:19].replace("T", " ")


def _window(w: Window, currency: str, lang: Lang) -> list[str]:
    value = text(lang, "nothing") if w.value is None else amount(w.value)
    if w.traced is None:
        return [text(lang, "window_untraced", name=_name(w.metric, lang), value=value, unit=_unit(w.metric.row["unit"], currency, lang))]
    places = _places(found for _, found, _ in w.by_period)
    head = text(
        lang,
        "window",
        name=_name(w.metric, lang),
        value=value,
        unit=_unit(w.metric.row["unit"], currency, lang),
        first=w.periods[0],
        last=w.periods[-1],
    )
    return [
        head,
        *("  " + text(lang, "window_period", period=p, value=f"{found:>14,.{places}f}", rows=rows) for p, found, rows in w.by_period),
        "  " + text(lang, "window_traced"),
    ]


def _bills(e: Explanation, lang: Lang) -> list[str]:
    if not e.bills:
        return []

    def kind(bill: BillRow) -> str:
        known = e.charge_types.get(bill.charge_type)
        shown = _row_name(known, lang) if known else bill.charge_type
        return shown + (f" ({text(lang, 'credit_note')})" if bill.is_credit_note else "")

    places = _places(b.amount for b in e.bills)
    rows = [
        [
            b.period,
            f"{b.amount:,.{places}f}",
            text(lang, "yes" if e.counts(b) else "no").strip(),
            kind(b),
            b.document_id,
            b.file,
            str(b.row),
        ]
        for b in e.bills[:MAX_ROWS]
    ]
    lines = [text(lang, "bills", rows=len(e.bills)), *_table(text(lang, "bills_head").split("\t"), rows, right=(1, 6))]
    return [*lines, "  " + text(lang, "bills_more", rows=len(e.bills) - MAX_ROWS)] if len(e.bills) > MAX_ROWS else lines


def _points(e: Explanation, lang: Lang) -> list[str]:
    if not e.points:
        return []
    wanted = [w.metric for w in e.windows if w.metric.measure.entity == "points"]
    rows = [
        [
            p.period,
            f"{p.points:,}",
            text(lang, "yes" if any(p.points_type in m.measure.filter_values for m in wanted) else "no").strip(),
            p.points_type,
            p.file,
            str(p.row),
        ]
        for p in e.points
    ]
    return [text(lang, "points", rows=len(rows)), *_table(text(lang, "points_head").split("\t"), rows, right=(1, 5))]


def _nominations(e: Explanation, lang: Lang) -> list[str]:
    if not e.nominations:
        return []
    lines = [text(lang, "nominations", rows=len(e.nominations))]
    for n in e.nominations:
        line = text(
            lang,
            "nomination",
            id=n.nomination_id,
            level=_level(e, n.level_id, lang),
            reason=n.reason,
            requester=n.requester_id,
            approver=n.approver_id or text(lang, "not_approved"),
            start=n.start_date,
            end=n.end_date,
            file=n.file,
            row=n.row,
            counts=text(lang, f"nomination_{n.standing(e.period)}"),
        )
        lines.append("  " + line)
    return lines


def _steps(e: Explanation, lang: Lang) -> list[str]:
    lines = [text(lang, "steps")]
    for step in e.steps:
        name = text(lang, f"step_{step['step']}") if f"step_{step['step']}" in TEXTS else step["step"]
        why = text(lang, f"why_{step['why']}") if f"why_{step['why']}" in TEXTS else step["why"]
        if step["to"] is None and step["from"] is None:
            lines.append("  " + text(lang, "step_only", step=name, why=why))
        else:
            before, after = _level(e, step["from"], lang), _level(e, step["to"], lang)
            lines.append("  " + text(lang, "step", step=name, before=before, after=after, why=why))
    return lines if e.steps else [*lines, "  " + text(lang, "step_none")]


def _movement(e: Explanation, lang: Lang) -> list[str]:
    d = e.decision
    line = text(lang, f"movement_{d['movement'] or 'none'}", previous=_level(e, d["previous_level_id"], lang))
    if d["held_since_period"]:
        line += " " + text(lang, "held_since", since=d["held_since_period"])
    if d["valid_until_period"]:
        line += " " + text(lang, "valid_until", until=d["valid_until_period"])
    return [text(lang, "movement"), "  " + line]


def _policy(e: Explanation, lang: Lang) -> list[str]:
    if e.version is None:
        return [text(lang, "policy"), "  " + text(lang, "policy_none")]
    v = e.version.row
    end = text(lang, "policy_end", end=v["valid_to_period"]) if v["valid_to_period"] else ""
    version = text(
        lang,
        "policy_version",
        version=v["version"],
        start=v["valid_from_period"],
        end=end,
        author=v["author"],
        approver=v["approver"],
        approved=v["approved_on"],
    )
    return [text(lang, "policy"), "  " + version, "  " + text(lang, "policy_hash", hash=e.version.policy_hash)]


def _deliveries(e: Explanation, lang: Lang) -> list[str]:
    release = text(lang, "release_code", run=e.release["run_id"], code=e.release["code_version"], manifest=e.release["manifest_hash"])
    lines = [text(lang, "release"), "  " + release, text(lang, "deliveries")]
    if not e.deliveries:
        return [*lines, "  " + text(lang, "deliveries_none")]
    return [
        *lines,
        *(
            "  " + text(lang, "delivery", channel=d["channel"], catalog=d["catalog"], at=_time(d["at"]), path=d["path"])
            for d in e.deliveries
        ),
    ]


def _width(cell: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in cell)


def _table(head: list[str], rows: list[list[str]], right: tuple[int, ...]) -> list[str]:
    """Aligned columns; Chinese characters take two places."""
    widths = [max(_width(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(row: list[str]) -> str:
        cells = []
        for i, cell in enumerate(row):
            space = " " * (widths[i] - _width(cell))
            cells.append(space + cell if i in right else cell + space)
        return ("  " + "  ".join(cells)).rstrip()

    return [line(head), *(line(row) for row in rows)]
