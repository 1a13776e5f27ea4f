"""SQL text of typed values, windows and conditions: the only place where a policy's value becomes SQL.

A value reaches SQL as a literal of its own type and nothing else; identifiers are those that the reader has checked
(lower-case letters, digits, underscores). What engines write differently stands here in one function each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import cache
from textwrap import indent

import duckdb

from orchestration.policy.model import RANKED, Attribute, Band, Condition, Measure, Metric, Value
from orchestration.policy.operands import AMOUNT, SCORE, SQL_TYPES, TOTAL, Quotient, plain, quotient
from orchestration.policy.subjects import SUBJECT_TYPES

# Names that the models replace by the relations they stand for.
METRICS_PLACEHOLDER = "__METRICS__"
NOMINATIONS_PLACEHOLDER = "__NOMINATIONS__"
EXTRAS_PLACEHOLDER = "__EXTRAS__"
APPLICATIONS_PLACEHOLDER = "__APPLICATIONS__"
MONTHS_PLACEHOLDER = "__MONTHS__"
POINTS_MONTHS_PLACEHOLDER = "__POINTS_MONTHS__"
DECISIONS_PLACEHOLDER = "__DECISIONS__"
SUBJECT_PLACEHOLDERS = {kind: f"__{kind.upper()}_SUBJECTS__" for kind in SUBJECT_TYPES if kind != "customer"}
PLACEHOLDERS = (
    METRICS_PLACEHOLDER, NOMINATIONS_PLACEHOLDER, EXTRAS_PLACEHOLDER, APPLICATIONS_PLACEHOLDER, MONTHS_PLACEHOLDER, POINTS_MONTHS_PLACEHOLDER,
    DECISIONS_PLACEHOLDER,
    *SUBJECT_PLACEHOLDERS.values(),
)  # fmt: skip


@cache
def keywords() -> frozenset[str]:
    """Words of SQL that are no names of columns, as DuckDB has them."""
    with duckdb.connect() as con:
        found = con.execute("select keyword_name from duckdb_keywords() where keyword_category = 'reserved'").fetchall()
    return frozenset(word for (word,) in found)


def identifier(name: str) -> str:
    """``name``, which must be one: a second line of defence behind the reader. What is made of an id, ``total_…``, may be longer than one."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"{name!r} is no identifier")
    return name


def cte(name: str, body: str) -> str:
    """``name as (…)``"""
    return f"{name} as (\n{indent(body, '    ')}\n)"


def columns(expressions: Iterable[str]) -> str:
    """A select list, one expression a line."""
    return indent(",\n".join(expressions), "    ")


def select(expressions: Iterable[str], rows: str, alias: str) -> str:
    """A select over a query."""
    return f"select\n{columns(expressions)}\nfrom (\n{indent(rows, '    ')}\n) as {alias}"


def no_rows(types: Mapping[str, str]) -> str:
    """A relation of columns with their types that has no rows."""
    return f"select\n{columns(f'cast(null as {kind}) as {name}' for name, kind in types.items())}\nwhere false"


def literal(value: Value) -> str:
    """A typed literal."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal):
        digits = str(value) if isinstance(value, int) else format(value, "f")
        return f"({digits})" if value < 0 else digits
    if isinstance(value, date):
        return f"date '{value.isoformat()}'"
    text = value.replace("'", "''")
    for placeholder in PLACEHOLDERS if "__" in text else ():
        # A placeholder inside of a value is data: it must not be found by who replaces placeholders.
        text = text.replace(placeholder, placeholder[:3] + "' || '" + placeholder[3:])
    return f"('{text}')" if " || " in text and "' || '" in text else f"'{text}'"


def json_object(pairs: Sequence[tuple[str, str]]) -> str:
    """JSON text of keys and expressions, keys in order, nulls kept."""
    inner = ", ".join(f"{literal(key)}, {expression}" for key, expression in pairs)
    return f"cast(json_object({inner}) as varchar)" if inner else "'{}'"


def json_texts(text: str, keys: Sequence[str]) -> str:
    """The values of keys of a JSON object as a list of texts, null where a key is null or not there; read once for all keys."""
    return f"json_extract_string({text}, [{', '.join(literal(f'$.{identifier(key)}') for key in keys)}])"


def json_has(text: str, keys: Sequence[str]) -> str:
    """Which keys a JSON object has, as a list of booleans."""
    return f"json_exists({text}, [{', '.join(literal(f'$.{identifier(key)}') for key in keys)}])"


def struct(pairs: Sequence[tuple[str, str]]) -> str:
    """A value with named fields."""
    return f"struct_pack({', '.join(f'{identifier(name)} := {expression}' for name, expression in pairs)})"


def measure(item: Measure, alias: str) -> str:
    """``… as spend_amount`` over landed rows ``alias``. `case` inside of the aggregates: DuckDB takes longer with `filter`."""
    name = identifier(item.measure_id)

    def chosen(value: str) -> str:
        return _where(counts(item, alias), value) if item.filter_column else value

    if item.aggregation == "count":
        return f"cast(count({chosen('1')}) as bigint) as {name}"
    if item.aggregation == "margin":
        # Known only where every line that counts has its cost.
        unknown = f"{counts(item, alias)} and {alias}.cost_amount is null" if item.filter_column else f"{alias}.cost_amount is null"
        margin = f"coalesce(sum({chosen(f'{alias}.net_amount - {alias}.cost_amount')}), 0)"
        return f"cast(case when count({_where(unknown, '1')}) = 0 then {margin} end as {AMOUNT}) as {name}"
    column = identifier(item.column_name or "")
    return f"cast(coalesce(sum({chosen(f'{alias}.{column}')}), 0) as {SQL_TYPES[item.type]}) as {name}"


def row_measure(item: Measure, alias: str) -> str:
    """``… as base_points`` of one landed row ``alias``: what it adds to the measure, null if nothing."""
    value = "1" if item.aggregation == "count" else f"{alias}.{identifier(item.column_name or '')}"
    chosen = _where(counts(item, alias), value) if item.filter_column else value
    return f"cast({chosen} as {SQL_TYPES[item.type]}) as {identifier(item.measure_id)}"


def any_row(items: Sequence[Measure], alias: str) -> str:
    """The condition on landed rows ``alias`` that some measure counts."""
    if all(item.filter_column for item in items):
        return " or ".join(dict.fromkeys(counts(item, alias) for item in items)) or "false"
    return "true"


def counts(item: Measure, alias: str) -> str:
    """The condition on landed rows ``alias`` that a measure with a filter counts."""
    return f"{alias}.{identifier(item.filter_column or '')} in ({', '.join(literal(v) for v in item.filter_values)})"


def or_zero(alias: str, name: str, item: Measure | Metric) -> str:
    """The column of a measure or metric after an outer join, 0 where the other side has no row."""
    return f"coalesce({alias}.{identifier(name)}, cast(0 as {SQL_TYPES[item.type]})) as {identifier(name)}"


def _where(condition: str, value: str) -> str:
    """``value`` where ``condition`` holds. Over many windows at once a CASE is a third cheaper in DuckDB than FILTER."""
    return f"case when {condition} then {value} end"


def carried_total(item: Measure, name: str) -> str:
    """The total since joining, from the carried row and the months after it."""
    return f"cast(coalesce(sum({_where('m.is_after_base', f'm.{identifier(item.measure_id)}')}), 0) as {SQL_TYPES[item.type]}) as {identifier(name)}"


def window_metric(item: Metric, index: str = "t.period_index", until: str | None = None, name: str | None = None) -> str:
    """``… as spend_6m_amount`` over month rows m and the target period t. ``index``, ``until``: see :meth:`Window.sql_range`."""
    name = identifier(name or item.metric_id)
    if item.window == "total":
        return carried_total(item.measure, name)
    first, last = item.span.sql_range(index, until)
    within = f"m.period_index between {first} and {last}"
    if item.aggregation == "months":
        return f"cast(count({_where(f'm.{identifier(item.measure.measure_id)} and {within}', '1')}) as bigint) as {name}"
    value = f"sum({_where(within, f'm.{identifier(item.measure.measure_id)}')})"
    if item.measure.aggregation == "margin":
        unknown = f"m.{identifier(item.measure.measure_id)} is null and m.bill_line_count is not null and {within}"
        known = f"count({_where(unknown, '1')}) = 0"
        return f"cast(case when {known} then coalesce({value}, 0) end as {AMOUNT}) as {name}"
    return f"cast(coalesce({value}, 0) as {SQL_TYPES[item.measure.type]}) as {name}"


def months_metric(item: Metric, after: str, until: str, name: str) -> str:
    """What the months after ``after``, until ``until``, add to a sum, over month rows m."""
    value = f"sum({_where(f'm.period_index > {after} and m.period_index <= {until}', f'm.{identifier(item.measure.measure_id)}')})"
    return f"cast(coalesce({value}, 0) as {SQL_TYPES[item.measure.type]}) as {identifier(name)}"


def service_metric(item: Metric) -> str:
    """Months in service, from the bits of s.service_mask (bit i: in service i months before the period)."""
    first, last = item.span.first, item.span.last
    bits = "s.service_mask"
    if last.of_january:
        bits = f"({bits} >> {_months_of_year(last.back)})"
    elif last.back:
        bits = f"({bits} >> {last.back})"
    if first and first.of_january and not last.of_january:
        bits = f"{bits} & ((cast(1 as bigint) << {_months_of_year(first.back + 1)}) - 1)"
    elif item.span.length:
        bits = f"{bits} & {2**item.span.length - 1}"
    return f"cast(bit_count({bits}) as bigint) as {identifier(item.metric_id)}"


def _months_of_year(more: int) -> str:
    """Months from January to the period, plus ``more`` less one."""
    return f"cast(s.period_index % 12 + {more} as integer)"


def condition(item: Condition, alias: str) -> str:
    """A boolean expression over input columns; null or false where the condition does not hold."""
    attribute, operator = item.attribute, item.operator
    if attribute.kind == "band":
        return _band(item, alias)
    ratio = quotient(attribute, alias)
    if ratio:
        return _quotient(item, ratio)
    column = plain(attribute, alias)
    if operator in {"is null", "is not null"}:
        return f"{column} {operator}"
    if item.is_by_rank:
        return f"{column} in ({', '.join(map(literal, item.inside))})" if item.inside else "false"
    values = [literal(v) for v in item.values]
    if operator == "in range":
        return f"({column} >= {values[0]} and {column} < {values[1]})"
    if operator == "in":
        inside_list = f"{column} in ({', '.join(values)})" if values else ""
        parts = [part for part in (inside_list, f"{column} is null" if item.with_null else "") if part]
        return f"({' or '.join(parts)})" if len(parts) > 1 else parts[0]
    if operator == "not in":
        return f"{column} not in ({', '.join(values)})" if values else f"{column} is not null"
    return f"{column} {'<>' if operator == '!=' else operator} {values[0]}"


def _quotient(item: Condition, ratio: Quotient) -> str:
    """Quotients are compared as products: ``sum >= bar * months``; a division would round."""
    if item.operator == "is null":
        return f"not coalesce({ratio.known}, false)"
    if item.operator == "is not null":
        return f"({ratio.known})"
    bars = [f"{literal(v)} * {ratio.denominator}" for v in item.values]
    if item.operator == "in range":
        return f"({ratio.known} and {ratio.left} >= {bars[0]} and {ratio.left} < {bars[1]})"
    if item.operator == "in":
        inside = [f"({ratio.known} and ({' or '.join(f'{ratio.left} = {bar}' for bar in bars)}))"] if bars else []
        return f"({' or '.join([*inside, *([f'not coalesce({ratio.known}, false)'] if item.with_null else [])])})"
    if item.operator == "not in":
        return "(" + " and ".join([ratio.known, *(f"{ratio.left} <> {bar}" for bar in bars)]) + ")"
    return f"({ratio.known} and {ratio.left} {'<>' if item.operator == '!=' else item.operator} {bars[0]})"


def _band(item: Condition, alias: str) -> str:
    """A band is compared as the range of numbers that it stands for."""
    attribute = item.attribute
    number = attribute.of[0]
    known = _known(number, alias)
    if item.operator == "is null":
        return f"not coalesce({known}, false)"
    if item.operator == "is not null":
        return f"({known})"
    wanted = {band.band_id for band in attribute.bands if (band.band_id in item.values) == (item.operator in {"=", "in"})}
    ranges = [f"({_within(attribute, band, alias)})" for band in attribute.bands if band.band_id in wanted]
    parts = ranges + ([f"not coalesce({known}, false)"] if item.with_null and item.operator == "in" else [])
    return f"({' or '.join(parts)})" if parts else "false"


def _known(number: Attribute, alias: str) -> str:
    ratio = quotient(number, alias)
    return ratio.known if ratio else f"{plain(number, alias)} is not null"


def _side(number: Attribute, alias: str, operator: str, bar: Decimal) -> str:
    ratio = quotient(number, alias)
    return f"{ratio.left} {operator} {literal(bar)} * {ratio.denominator}" if ratio else f"{plain(number, alias)} {operator} {literal(bar)}"


def _within(attribute: Attribute, band: Band, alias: str) -> str:
    number, place = attribute.of[0], attribute.bands.index(band)
    parts = [_known(number, alias)]
    before = attribute.bands[place - 1].below if place else None
    if before is not None:
        parts.append(_side(number, alias, ">=", before))
    if band.below is not None:
        parts.append(_side(number, alias, "<", band.below))
    return " and ".join(parts)


def band(attribute: Attribute, alias: str) -> str:
    """The id of the band that the attribute's number falls into; null where it is not known."""
    number = attribute.of[0]
    lines = [f"when not coalesce({_known(number, alias)}, false) then null"]
    lines += [
        f"when {_side(number, alias, '<', item.below)} then {literal(item.band_id)}" for item in attribute.bands if item.below is not None
    ]
    return "case " + " ".join(lines) + f" else {literal(attribute.bands[-1].band_id)} end"


def conditions(items: Sequence[Condition], alias: str) -> str:
    """All conditions; ``true`` where there are none."""
    return " and ".join(condition(c, alias) for c in items) or "true"


def missing_amount(item: Condition, alias: str) -> str:
    """How much more of a number meets the lower bound of ``item``, exactly; of a quotient: more of its numerator.

    Null for a quotient that is not known, and for positions and shares, which others move too: no amount would mend it.
    """
    attribute = item.attribute
    bar = literal(item.values[0])
    step = ""
    if item.operator == ">":
        step = " + 1" if attribute.type == "integer" else " + 0.0001"
    ratio = quotient(attribute, alias)
    if attribute.kind == "score":
        # A score has six decimals and an amount four: rounded up, so that what is missing is enough.
        return f"cast(ceil(({bar} - {plain(attribute, alias)}) * 10000) * 0.0001{step} as {AMOUNT})"
    if ratio is None:
        return f"cast({bar} - {plain(attribute, alias)}{step} as {AMOUNT})"
    if attribute.kind in RANKED:
        return f"cast(null as {AMOUNT})"
    # Rounded up to the last digit of an amount: what is missing is enough.
    short = f"({bar} * {ratio.denominator} - {ratio.left})"
    if ratio.scale != 1:
        short = f"ceil({short} * 100) * 0.0001"
    return f"case when {ratio.known} then cast({short}{step} as {AMOUNT}) end"


def millionths(attribute: Attribute, alias: str) -> str:
    """The value of a number in millionths as a HUGEINT; of a quotient cut off, not rounded. Exact under any order of rows."""
    # Of a wide type before it is multiplied: DuckDB keeps the product of two numbers of 18 digits in 18.
    ratio = quotient(attribute, alias)
    if ratio:
        top, bottom = (f"cast(cast({side} as {TOTAL}) * 10000 as hugeint)" for side in (ratio.numerator, ratio.denominator))
        return f"case when {ratio.known} then ({top} * {ratio.scale * 10**6}) // {bottom} end"
    return f"cast(cast({plain(attribute, alias)} as {TOTAL}) * 1000000 as hugeint)"


def from_millionths(expression: str, sql_type: str = SCORE) -> str:
    """A HUGEINT of millionths as a score, or as another decimal with six places."""
    return f"cast(cast({expression} as {sql_type.replace(', 6', ', 0')}) * 0.000001 as {sql_type})"


def rows_of(entity: str) -> str:
    """The staging model of an entity (models/staging/landing)."""
    return f"staging.stg_landing__{identifier(entity)}"


def month_index(day: str) -> str:
    """Year × 12 + month − 1 of a date."""
    return f"(cast(extract(year from {day}) as integer) * 12 + cast(extract(month from {day}) as integer) - 1)"


def period_index(period: str) -> str:
    """As :func:`month_index`, of a period text."""
    return f"(cast(substr({period}, 1, 4) as integer) * 12 + cast(substr({period}, 6, 2) as integer) - 1)"


def local_date(timestamp_utc: str) -> str:
    """The day of a UTC timestamp in the deployment's time zone."""
    return f"cast(({timestamp_utc} at time zone 'UTC') at time zone (select timezone from ctl.run) as date)"
