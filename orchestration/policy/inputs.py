"""The inputs of a program version as SQL: who is graded, the operands of every condition, ranks and sums over the population.

Layers, each only where a version needs it: rows with their operands → who is out of scope and why → ranks among those in scope.
What a decision table makes of them is in ``compile``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from decimal import Decimal

from orchestration.policy import sql
from orchestration.policy.model import RANKED, Attribute, Dimension, Program, ScopeRule, Version, attributes_of
from orchestration.policy.operands import (
    TOTAL,
    Operand,
    all_attributes,
    dimension_column,
    operands,
    plain,
    quotient,
)
from orchestration.policy.relations import extra_column, is_extra, is_month_metric
from orchestration.policy.subjects import CUSTOMER_COLUMNS, SUBJECT_TYPES

RANK_VALUE = "decimal(24, 4)"
FULL_SCORE = 100 * 10**6


def lacking(version: Version, missing: Collection[str]) -> list[str]:
    """What the version needs of ``missing`` entities and columns, in order."""
    gone = frozenset(missing)
    return sorted({entity for attribute in version.attributes for entity in attribute.lacking(gone)})


def in_force(version: Version, alias: str) -> str:
    """Whether the version holds for the period of a row."""
    upper = f" and {alias}.period <= {sql.literal(version.valid_to)}" if version.valid_to else ""
    return f"{alias}.period >= {sql.literal(version.valid_from)}{upper}"


def relation(program: Program, version: Version) -> str:
    """subject_id, period, event_date, out_reason (null: in scope), and one column per operand."""
    rows = operand_rows(program, version.attributes, in_force(version, "m"))
    return _ranked(all_attributes(version.attributes), _scoped(version.scope_rules, version.attributes, rows))


def subjects_of(program: Program) -> tuple[str, str]:
    """The relation of the program's subjects, and its key."""
    if program.subject_type == "customer":
        return sql.METRICS_PLACEHOLDER, "customer_id"
    return sql.SUBJECT_PLACEHOLDERS[program.subject_type], "subject_id"


def operand_rows(program: Program, of_attributes: Collection[Attribute], where: str) -> str:
    """The program's subjects with the operands of attributes that are read, not computed. ``where``: which rows m."""
    relation_, key = subjects_of(program)
    attributes = all_attributes(of_attributes)
    raw = [o for o in operands(of_attributes) if not o.is_computed]
    needs_extras = any(_from_extras(program, o) and o.is_delivered for o in raw)
    by_application = program.row["event_entity"] == "applications"
    event = "a.event_date" if by_application else ("cast(null as date)" if program.subject_type == "customer" else "m.event_date")
    columns = [
        f"m.{key} as subject_id",
        "m.period",
        f"{event} as event_date",
        "m.is_in_scope",
        "m.scope_reason",
        *(f"{source(program, o)} as {sql.identifier(o.name)}" for o in raw),
    ]
    lines = ["select", sql.columns(columns), f"from {relation_} as m"]
    if needs_extras:
        lines += [f"left join {sql.EXTRAS_PLACEHOLDER} as x on m.customer_id = x.customer_id and m.period = x.period"]
    if any(a.kind == "nomination" for a in attributes):
        lines += [
            f"left join {sql.NOMINATIONS_PLACEHOLDER} as n",
            f"    on n.program_id = {sql.literal(program.program_id)} and n.subject_id = m.{key} and n.period = m.period",
        ]
    if by_application or any(a.kind == "application" for a in attributes):
        only = " and a.is_event" if by_application else ""
        lines += [
            f"{'inner' if by_application else 'left'} join {sql.APPLICATIONS_PLACEHOLDER} as a",
            f"    on a.program_id = {sql.literal(program.program_id)} and a.subject_id = m.{key} and a.period = m.period{only}",
        ]
    return "\n".join([*lines, f"where {where}"])


def _from_extras(program: Program, operand: Operand) -> bool:
    if program.subject_type != "customer":
        return False
    return is_extra(operand.attribute) if operand.metric is None else not is_month_metric(operand.metric)


def source(program: Program, operand: Operand) -> str:
    """Where an operand is read from: m metrics or subject row, x extras, n nominations, a applications; null if from nowhere."""
    attribute = operand.attribute
    if attribute.kind == "nomination":
        return "n.level_id"
    if attribute.kind == "application":
        return "a.state"
    if not operand.is_delivered:
        return f"cast(null as {operand.sql_type})"
    alias = "x" if _from_extras(program, operand) else "m"
    if operand.metric is not None:
        column = f"{alias}.{sql.identifier(operand.metric.metric_id)}"
        return f"coalesce({column}, 0)" if alias == "x" else column
    assert attribute.column_name
    name = extra_column(attribute) if is_extra(attribute) else attribute.column_name
    if name == SUBJECT_TYPES[program.subject_type].key:
        return f"{alias}.subject_id"
    column = f"{alias}.{sql.identifier(name)}"
    if attribute.kind == "months_since":
        return f"{sql.period_index('m.period')} - {sql.month_index(column)}"
    if alias == "m" and program.subject_type == "customer" and (attribute.type != "category" or CUSTOMER_COLUMNS[name] == "text"):
        return column
    return f"cast({column} as {operand.sql_type})"


def scope_relation(program: Program, rules: Sequence[ScopeRule], where: str) -> str:
    """As :func:`relation`, of subjects that cannot be evaluated: whom ``rules`` leave out, with the operands of these rules alone."""
    attributes = attributes_of(rules)
    return _scoped(rules, attributes, operand_rows(program, attributes, where))


def scope_rules_left(version: Version, missing: frozenset[str]) -> tuple[ScopeRule, ...]:
    """The scope rules that can be asked where ``missing`` entities and columns are not delivered."""
    rules = version.without(missing).scope_rules
    return tuple(rule for rule in rules if not any(c.attribute.lacking(missing) for c in rule.conditions))


def _scoped(rules: Sequence[ScopeRule], attributes: Collection[Attribute], rows: str) -> str:
    lines = ["case", "    when not s.is_in_scope then coalesce(s.scope_reason, 'out of scope')"]
    for rule in rules:
        lines.append(f"    when {sql.conditions(rule.conditions, 's')} then {sql.literal(rule.rule_id)}")
    columns = ["s.subject_id", "s.period", "s.event_date", "\n".join([*lines, "end as out_reason"])]
    columns += [f"s.{sql.identifier(o.name)}" for o in operands(attributes) if not o.is_computed]
    return sql.select(columns, rows, "s")


def _ranked(attributes: list[Attribute], rows: str) -> str:
    columns = [column for a in attributes for column in _over_population(a)]
    return sql.select(["p.*", *columns], rows, "p") if columns else rows


def _over_population(attribute: Attribute) -> Iterator[str]:
    """Columns of one attribute that depend on all subjects in scope of the period."""
    name = attribute.attribute_id
    if attribute.kind in RANKED:
        value = plain(attribute.of[0], "p")
        inside = "p.period, p.out_reason is null"
        positive = f"case when {value} > 0 then {value} else 0 end"
        # Of its type before it is added up: DuckDB 2.0 fails with an internal error where the sum over a window is cast.
        total = f"sum(cast({positive} as {TOTAL})) over (partition by {inside})"
        if attribute.kind == "portion":
            yield f"{total} as {name}__total_amount"
            return
        known = f"{value} is not null"
        order = f"partition by {inside}, {known} order by {value} desc"
        population = f"count({value}) over (partition by {inside})"
        # Amounts of zero or less come last, however many they are.
        yield f"case when {value} > 0 then rank() over ({order}) - 1 when {known} then {population} end as {name}__above"
        yield f"{population} as {name}__population"
        if attribute.kind == "share":
            with_equals = f"sum({positive}) over ({order} range between unbounded preceding and current row)"
            equals = f"count(*) over ({order} range between current row and current row) * {positive}"
            yield f"case when {value} > 0 then cast({with_equals} - {equals} as {TOTAL}) when {known} then {total} end as {name}__above_amount"
            yield f"{total} as {name}__total_amount"
    for dimension in attribute.dimensions:
        yield f"{sql.from_millionths(scaled(dimension))} as {dimension_column(attribute, dimension)}"


def scaled(dimension: Dimension) -> str:
    """A dimension's number from 0 to 100 in millionths, cut off; null where the number is missing."""
    value = sql.millionths(dimension.attribute, "p")
    inside = "p.period, p.out_reason is null"
    if dimension.scaling == "percentile_rank":
        # A plain number is ranked as it is: as a HUGEINT it would take twice as long to sort.
        ranked = value if quotient(dimension.attribute, "p") else plain(dimension.attribute, "p")
        known = f"({ranked}) is not null"
        others = f"count({ranked}) over (partition by {inside}) - 1"
        below = f"rank() over (partition by {inside}, {known} order by {ranked}) - 1"
        # BIGINT holds the product for ninety thousand million subjects.
        return f"case when {known} then case when {others} = 0 then {FULL_SCORE} else ({below}) * {FULL_SCORE} // ({others}) end end"
    if dimension.scaling == "bands":
        lines = [f"when ({value}) is null then null"]
        lines += [f"when {value} < {_millionths(below)} then {_millionths(score)}" for below, score in dimension.bands if below is not None]
        return "case " + " ".join(lines) + f" else {_millionths(dimension.bands[-1][1])} end"
    low = _millionths(dimension.low) if dimension.low is not None else f"min({value}) over (partition by {inside})"
    high = _millionths(dimension.high) if dimension.high is not None else f"max({value}) over (partition by {inside})"
    part = f"(({value}) - {low}) * {FULL_SCORE} // nullif({high} - {low}, 0)"
    # The whole population may lie beyond the one bound that is given.
    beyond = ""
    if dimension.high is not None:
        beyond = f"when ({value}) >= {high} then {FULL_SCORE} "
    elif dimension.low is not None:
        beyond = f"when ({value}) <= {low} then 0 "
    return f"case when ({value}) is null then null {beyond}else greatest(0, least({FULL_SCORE}, coalesce({part}, 0))) end"


def _millionths(value: object) -> str:
    assert isinstance(value, Decimal)
    return f"({int(value * 10**6)})"


def score(attribute: Attribute, alias: str) -> str:
    """The weighted mean of the dimensions, cut off after six decimals; null where no dimension is left or one is refused."""
    tops, weights = [], []
    for dimension in attribute.dimensions:
        weight = int(dimension.weight * 100)
        column = f"{alias}.{dimension_column(attribute, dimension)}"
        # At most 100 millions, times weights that add up to 100.00.
        millionths = f"cast({column} * 1000000 as bigint)"
        if dimension.missing == "leave_out":
            tops.append(f"coalesce({millionths}, 0) * {weight}")
            weights.append(f"case when {column} is null then 0 else {weight} end")
        else:
            instead = {"zero": "coalesce({0}, 0)", "middle": f"coalesce({{0}}, {FULL_SCORE // 2})"}.get(dimension.missing, "{0}")
            tops.append(f"{instead.format(millionths)} * {weight}")
            weights.append(str(weight))
    return sql.from_millionths(f"({' + '.join(tops)}) // nullif({' + '.join(weights)}, 0)")


def refusals(attribute: Attribute, alias: str) -> Iterator[str]:
    """WHEN branches that say which dimension keeps a subject from being evaluated."""
    for dimension in attribute.dimensions:
        if dimension.missing == "refuse":
            column = f"{alias}.{dimension_column(attribute, dimension)}"
            yield f"when {alias}.out_reason is null and {column} is null then {sql.literal(f'needs {dimension.attribute.attribute_id}')}"


def rank_columns(version: Version, alias: str) -> tuple[str, str, str]:
    """(population size, rank, ranked value) of the first position or share that a version rests on; nulls without one."""
    ranked = next((a for a in all_attributes(version.attributes) if a.kind in {"position", "share"}), None)
    if ranked is None:
        return "cast(null as bigint)", "cast(null as bigint)", f"cast(null as {RANK_VALUE})"
    name = f"{alias}.{ranked.attribute_id}"
    return (
        f"cast({name}__population as bigint)",
        f"cast(least({name}__above + 1, {name}__population) as bigint)",
        f"cast({plain(ranked.of[0], alias)} as {RANK_VALUE})",
    )
