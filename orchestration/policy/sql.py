"""SQL text of typed values, windows and conditions: the only place where a policy's value becomes SQL.

A value reaches SQL as a literal of its own type and nothing else; identifiers are those that the reader has checked
(lower-case letters, digits, underscores). What engines write differently stands here in one function each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

from orchestration.policy.cells import ID, WINDOW
from orchestration.policy.model import Attribute, Condition, Level, Measure, Metric, Rule, Value

METRICS_PLACEHOLDER = "__METRICS__"
NOMINATIONS_PLACEHOLDER = "__NOMINATIONS__"
AMOUNT = "decimal(18, 4)"


def identifier(name: str) -> str:
    """``name``, which must be one: a second line of defence behind the reader."""
    if not ID.fullmatch(name):
        raise ValueError(f"{name!r} is no identifier")
    return name


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
    for placeholder in (METRICS_PLACEHOLDER, NOMINATIONS_PLACEHOLDER):
        # A placeholder inside of a value is data: it must not be found by who replaces placeholders.
        text = text.replace(placeholder, placeholder[:3] + "' || '" + placeholder[3:])
    return f"('{text}')" if " || " in text and "' || '" in text else f"'{text}'"


def json_object(pairs: Sequence[tuple[str, str]]) -> str:
    """JSON text of keys and expressions, keys in order, nulls kept."""
    inner = ", ".join(f"{literal(key)}, {expression}" for key, expression in pairs)
    return f"cast(json_object({inner}) as varchar)" if inner else "'{}'"


def _month_range(window: str, index: str) -> tuple[str, str]:
    """First and last month index of a window that ends with month ``index``."""
    if window == "ytd":
        return f"{index} - {index} % 12", index
    if window == "last_year":
        return f"{index} - {index} % 12 - 12", f"{index} - {index} % 12 - 1"
    found = WINDOW.fullmatch(window)
    assert found and found[2]
    months = int(found[2])
    if found[1]:
        return f"{index} - {2 * months - 1}", f"{index} - {months}"
    return (f"{index} - {months - 1}", index) if months > 1 else (index, index)


def measure(item: Measure, alias: str) -> str:
    """``… as spend_amount`` over landed rows ``alias``."""
    chosen = ""
    if item.filter_column:
        chosen = f" filter (where {_counts(item, alias)})"
    if item.aggregation == "count":
        return f"cast(count(*){chosen} as bigint) as {identifier(item.measure_id)}"
    column = identifier(item.column_name or "")
    return f"cast(coalesce(sum({alias}.{column}){chosen}, 0) as {_result_type(item)}) as {identifier(item.measure_id)}"


def row_measure(item: Measure, alias: str) -> str:
    """``… as base_points`` of one landed row ``alias``: what it adds to the measure, null if nothing."""
    value = "1" if item.aggregation == "count" else f"{alias}.{identifier(item.column_name or '')}"
    chosen = _where(_counts(item, alias), value) if item.filter_column else value
    return f"cast({chosen} as {_result_type(item)}) as {identifier(item.measure_id)}"


def any_row(items: Sequence[Measure], alias: str) -> str:
    """The condition on landed rows ``alias`` that some measure counts."""
    if all(item.filter_column for item in items):
        return " or ".join(dict.fromkeys(_counts(item, alias) for item in items)) or "false"
    return "true"


def _counts(item: Measure, alias: str) -> str:
    return f"{alias}.{identifier(item.filter_column or '')} in ({', '.join(literal(v) for v in item.filter_values)})"


def or_zero(alias: str, name: str, result_type: str) -> str:
    """A column of an outer join, 0 where the other side has no row."""
    return f"coalesce({alias}.{identifier(name)}, cast(0 as {result_type})) as {identifier(name)}"


def result_type(item: Measure | Metric) -> str:
    """SQL type of a measure or metric."""
    if isinstance(item, Metric):
        return "bigint" if item.aggregation == "months" else _result_type(item.measure)
    return _result_type(item)


def _result_type(item: Measure) -> str:
    return AMOUNT if item.type == "decimal" else "bigint"


def _where(condition: str, value: str) -> str:
    """``value`` where ``condition`` holds. Over many windows at once a CASE is a third cheaper in DuckDB than FILTER."""
    return f"case when {condition} then {value} end"


def carried_total(item: Measure, name: str) -> str:
    """The total since joining, from the carried row and the months after it."""
    return f"cast(coalesce(sum({_where('m.is_after_base', f'm.{identifier(item.measure_id)}')}), 0) as {_result_type(item)}) as {identifier(name)}"


def window_metric(item: Metric) -> str:
    """``… as spend_6m_amount`` over month rows m and the target period t."""
    if item.window == "total":
        return carried_total(item.measure, item.metric_id)
    first, last = _month_range(item.window, "t.period_index")
    within = f"m.period_index between {first} and {last}"
    if item.aggregation == "months":
        return (
            f"cast(count({_where(f'm.{identifier(item.measure.measure_id)} and {within}', '1')}) as bigint) as {identifier(item.metric_id)}"
        )
    value = f"sum({_where(within, f'm.{identifier(item.measure.measure_id)}')})"
    return f"cast(coalesce({value}, 0) as {_result_type(item.measure)}) as {identifier(item.metric_id)}"


def service_metric(item: Metric) -> str:
    """Months in service, from the bits of s.service_mask (bit i: in service i months before the period)."""
    found = WINDOW.fullmatch(item.window)
    this_year = "cast(s.period_index % 12 + 1 as integer)"
    if item.window == "total":
        bits = "s.service_mask"
    elif item.window == "ytd":
        bits = f"s.service_mask & ((cast(1 as bigint) << {this_year}) - 1)"
    elif item.window == "last_year":
        bits = f"(s.service_mask >> {this_year}) & 4095"
    else:
        assert found and found[2]
        months = int(found[2])
        shifted = f"(s.service_mask >> {months})" if found[1] else "s.service_mask"
        bits = f"{shifted} & {2**months - 1}"
    return f"cast(bit_count({bits}) as bigint) as {identifier(item.metric_id)}"


def operand(attribute: Attribute, alias: str) -> str:
    """The column that holds an attribute (for an average: its sum; for a nomination: the level)."""
    if attribute.kind == "column":
        return f"{alias}.{identifier(attribute.column_name or '')}"
    if attribute.kind == "nomination":
        return f"{alias}.nominated_level_id"
    assert attribute.metric
    return f"{alias}.{identifier(attribute.metric.metric_id)}"


def months_of(attribute: Attribute, alias: str) -> str:
    """The column with the months that an average divides by."""
    assert attribute.months
    return f"{alias}.{identifier(attribute.months.metric_id)}"


def condition(item: Condition, alias: str, levels: Mapping[str, Level]) -> str:
    """A boolean expression; null or false where the condition does not hold."""
    attribute, operator = item.attribute, item.operator
    if attribute.kind == "average":
        return _average(item, alias)
    column = operand(attribute, alias)
    if operator in {"is null", "is not null"}:
        return f"{column} {operator}"
    if attribute.type == "level" and operator in {"<", "<=", ">", ">="}:
        rank = levels[str(item.values[0])].rank
        return f"{alias}.nominated_level_rank {operator} {rank}"
    values = [literal(v) for v in item.values]
    if operator == "in range":
        return f"({column} >= {values[0]} and {column} < {values[1]})"
    if operator == "in":
        inside = f"{column} in ({', '.join(values)})" if values else ""
        parts = [part for part in (inside, f"{column} is null" if item.with_null else "") if part]
        return f"({' or '.join(parts)})" if len(parts) > 1 else parts[0]
    if operator == "not in":
        return f"{column} not in ({', '.join(values)})" if values else f"{column} is not null"
    return f"{column} {'<>' if operator == '!=' else operator} {values[0]}"


def _average(item: Condition, alias: str) -> str:
    """Averages are compared as sums: ``sum >= bar * months``; a division would round."""
    total, months = operand(item.attribute, alias), months_of(item.attribute, alias)
    known, unknown = f"{months} > 0", f"coalesce({months}, 0) = 0"
    if item.operator == "is null":
        return unknown
    if item.operator == "is not null":
        return known
    bars = [f"{literal(v)} * {months}" for v in item.values]
    if item.operator == "in range":
        return f"({known} and {total} >= {bars[0]} and {total} < {bars[1]})"
    if item.operator == "in":
        inside = [f"({known} and ({' or '.join(f'{total} = {bar}' for bar in bars)}))"] if bars else []
        return f"({' or '.join([*inside, *([unknown] if item.with_null else [])])})"
    if item.operator == "not in":
        return "(" + " and ".join([known, *(f"{total} <> {bar}" for bar in bars)]) + ")"
    return f"({known} and {total} {'<>' if item.operator == '!=' else item.operator} {bars[0]})"


def rule(item: Rule, alias: str, levels: Mapping[str, Level]) -> str:
    """All conditions of a rule; ``true`` where there are none."""
    return " and ".join(condition(c, alias, levels) for c in item.conditions) or "true"


def missing_amount(item: Condition, alias: str) -> str:
    """How much more of a number meets the lower bound of ``item``, exactly; of an average: more of its sum over the window.

    Null for an average without months: no amount would mend it.
    """
    column = operand(item.attribute, alias)
    bar = literal(item.values[0])
    step = ""
    if item.operator == ">":
        step = " + 1" if item.attribute.type == "integer" else " + 0.0001"
    if item.attribute.kind != "average":
        return f"cast({bar} - {column}{step} as {AMOUNT})"
    months = months_of(item.attribute, alias)
    return f"case when {months} > 0 then cast({bar} * {months} - {column}{step} as {AMOUNT}) end"
