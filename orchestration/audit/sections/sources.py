"""Where the values come from: windows month by month, members of groups, and rows with file and line."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from orchestration.audit.explain import Explanation
from orchestration.audit.landed import BillRow, EntityRow, PointsRow
from orchestration.audit.numbers import total
from orchestration.audit.sections import words
from orchestration.audit.texts import Lang, of_count, text
from orchestration.audit.windows import Window
from orchestration.policy.load import clock_of


def windows(e: Explanation, lang: Lang) -> list[list[str]]:
    """A section for each metric, those that the matched rule looks at first. Rows that two metrics share are listed once."""
    attributes = [v.condition.attribute for v in e.matched.conditions] if e.matched else []
    decisive = {metric.metric_id for a in attributes for metric in a.metrics}
    sections = []
    listed: set[tuple[tuple[str, int], ...]] = set()
    for w in sorted(e.windows, key=lambda w: w.metric.metric_id not in decisive):
        lines = _window(e, w, lang)
        places = tuple((row.file, row.row) for row in w.rows)
        if places and places not in listed:
            listed.add(places)
            lines += _rows(w, lang)
        sections.append(lines)
    return sections


def _window(e: Explanation, w: Window, lang: Lang) -> list[str]:
    value = text(lang, "found_none") if w.value is None else words.amount(w.value)
    unit = "" if w.value is None else words.unit(w.metric.row["unit"], e.unit, lang, w.value)
    shown = {"name": words.name(w.metric, lang), "value": value, "unit": unit}
    if not w.is_traced or not w.periods:
        return [text(lang, "window_untraced", **shown)]
    lines = [text(lang, "window", first=w.periods[0], last=w.periods[-1], **shown)]
    with_rows = [month for month in w.months if month.rows]
    digits = words.places(month.value for month in with_rows if month.value is not None)
    for month in with_rows:
        found = text(lang, "found_none") if month.value is None else f"{month.value:>14,.{digits}f}"
        lines.append("  " + text(lang, "window_month", period=month.period, value=found, rows=f"{month.rows:,}"))
    if len(with_rows) < len(w.months):
        lines.append("  " + text(lang, "window_empty" if with_rows else "window_all_empty"))
    key = "window_active" if w.metric.aggregation == "months" else "window_unknown" if w.traced is None else "window_traced"
    lines.append("  " + text(lang, key))
    return lines + _members(w, lang) if w.members else lines


def _members(w: Window, lang: Lang) -> list[str]:
    ordered = sorted(w.members, key=lambda m: (-m.value, m.customer_id))
    digits = words.places(m.value for m in ordered)
    rows = [[m.customer_id, m.roles, str(len(m.periods)), f"{m.value:,.{digits}f}", f"{m.rows:,}"] for m in ordered[: words.MAX_LISTED]]
    whole = f"{total([m.value for m in ordered]):,.{digits}f}"
    rows.append([text(lang, "members_total"), "", "", whole, f"{sum(m.rows for m in ordered):,}"])
    lines = ["  " + text(lang, "members", members=f"{len(ordered):,}")]
    lines += words.table(lang, "members_head", rows, right=(2, 3, 4))
    return words.limited(lines, len(ordered), words.MAX_LISTED, lang)


def _rows(w: Window, lang: Lang) -> list[str]:
    measure = w.metric.measure
    clock = str(clock_of(measure.entity))
    rows = [[str(r.values[clock])[:19], _shown(r, measure.column_name), r.file, str(r.row)] for r in w.rows[: words.MAX_LISTED]]
    lines = ["  " + text(lang, "rows", entity=measure.entity, rows=f"{len(w.rows):,}")]
    lines += words.table(lang, "rows_head", rows, right=(1, 3))
    return words.limited(lines, len(w.rows), words.MAX_LISTED, lang)


def _shown(row: EntityRow, column: str | None) -> str:
    """The value that is added up; of a count, one."""
    value = Decimal(1) if column is None else row.values[column]
    return "" if value is None else words.amount(Decimal(value))


def columns(e: Explanation, lang: Lang) -> list[str]:
    """Values that one landed row gives, with that row."""
    if not e.columns:
        return []
    rows = []
    for c in e.columns:
        shown = words.value_of(c.attribute, c.value, lang, e)
        place = [c.row.file, str(c.row.row)] if c.row else [text(lang, "column_no_row"), ""]
        rows.append([words.name(c.attribute, lang), shown, c.entity, str(c.attribute.column_name), *place])
    return [text(lang, "columns"), *words.table(lang, "columns_head", rows, right=(5,))]


def departures(e: Explanation, lang: Lang) -> list[str]:
    """Of a subject that has left: the landed rows that state its last days."""
    if not e.departures:
        return []
    rows = [[d.day.isoformat(), d.entity, d.column, d.row.file, str(d.row.row)] for d in e.departures]
    return [text(lang, "departures"), *words.table(lang, "departures_head", rows, right=(4,))]


def bills(e: Explanation, lang: Lang) -> list[str]:
    """Bill lines of all windows, each once."""
    if not e.bills:
        return []

    def kind(bill: BillRow) -> str:
        known = e.charge_types.get(bill.charge_type)
        shown = str(known[f"name_{lang}"]) if known else bill.charge_type
        return shown + (f" ({text(lang, 'credit_note')})" if bill.is_credit_note else "")

    counted = [b.amount for b in e.bills if e.counts(b)]
    listed = e.bills[: words.MAX_ROWS]
    digits = words.places(b.amount for b in listed)
    rows = [
        [
            b.period,
            f"{b.amount:,.{digits}f}",
            text(lang, "yes" if e.counts(b) else "no").strip(),
            kind(b),
            b.document_id,
            b.file,
            str(b.row),
        ]
        for b in listed
    ]
    key = of_count("bills", len(counted))
    title = text(lang, key, rows=f"{len(e.bills):,}", counted=f"{len(counted):,}", total=words.amount(total(counted)))
    lines = [title, *_of_members(e, lang, "bills_head", listed, rows, right=(1, 6))]
    return words.limited(lines, len(e.bills), words.MAX_ROWS, lang)


def points(e: Explanation, lang: Lang) -> list[str]:
    """Points of all windows, each once."""
    if not e.points:
        return []
    wanted = [w.metric.measure for w in e.windows if w.metric.measure.entity == "points"]

    def counts(points_type: str) -> str:
        counted = any(not m.filter_values or points_type in m.filter_values for m in wanted)
        return text(lang, "yes" if counted else "no").strip()

    listed = e.points[: words.MAX_ROWS]
    rows = [[p.period, f"{p.points:,}", counts(p.points_type), p.points_type, p.file, str(p.row)] for p in listed]
    lines = [text(lang, "points", rows=f"{len(e.points):,}"), *_of_members(e, lang, "points_head", listed, rows, right=(1, 5))]
    return words.limited(lines, len(e.points), words.MAX_ROWS, lang)


def _of_members(
    e: Explanation, lang: Lang, key: str, listed: Sequence[BillRow | PointsRow], rows: list[list[str]], right: tuple[int, ...]
) -> list[str]:
    """A table of rows; of a group with the member that each is of."""
    if e.program.subject_type != "group":
        return words.table(lang, key, rows, right)
    named = [[item.customer_id, *row] for item, row in zip(listed, rows, strict=True)]
    return words.table(lang, key, named, tuple(place + 1 for place in right), before=[text(lang, "of_customer")])
