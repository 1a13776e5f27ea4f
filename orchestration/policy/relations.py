"""Compiled relations about subjects: one row per subject and period with the columns and window metrics that programs use.

For customers the columns beyond their metrics row (``customer_extras``); for each other type of subject everything known of it.
Rows come from the landing's views, target periods from the run's control tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import indent

from orchestration.policy import sql
from orchestration.policy.attributes import contract_columns, history_column
from orchestration.policy.load import clock_of
from orchestration.policy.model import Attribute, Metric, Policies
from orchestration.policy.operands import all_attributes
from orchestration.policy.subjects import MONTH_TABLES, SUBJECT_TYPES, SubjectType

TARGETS = "ctl.target_periods"


def extra_column(attribute: Attribute) -> str:
    """Column of a relation that holds an attribute of another entity's newest row."""
    return f"{attribute.entity}__{attribute.column_name}"


def is_extra(attribute: Attribute) -> bool:
    """Whether a column attribute comes from the newest row of another entity than the subject's own."""
    subject = SUBJECT_TYPES[attribute.subject_type]
    return attribute.kind in {"column", "months_since"} and attribute.entity not in (None, subject.entity)


def is_month_metric(metric: Metric) -> bool:
    """Whether the month tables of customers hold the metric's measure."""
    return metric.measure.aggregation == "flag" or metric.measure.entity in MONTH_TABLES


def customer_extras(policies: Policies, missing: frozenset[str]) -> str:
    """customer_id, period, and what programs use of other entities; without such use a relation without rows."""
    used = _used(policies, "customer", missing)
    joins = _extra_joins(SUBJECT_TYPES["customer"], used, [m for m in _metrics(used) if not is_month_metric(m)])
    if not joins:
        return "select cast(null as varchar) as customer_id, cast(null as varchar) as period where false"
    keys = "\nunion\n".join(f"select customer_id, period from ({text}) as keys_{n}" for n, (text, _) in enumerate(joins))
    return _joined(f"({indent(keys, '    ')})", "customer_id", ["b.customer_id", "b.period"], joins)


def subject_relation(policies: Policies, kind: str, missing: frozenset[str]) -> str:
    """subject_id, period, is_in_scope, scope_reason, event_date, the entity's columns and what programs use of other entities.

    Only subjects that are there on a day of the period. Without an enabled program for them, or without rows of them: no rows.
    """
    subject = SUBJECT_TYPES[kind]
    used = _used(policies, kind, missing)
    graded = any(program.subject_type == kind for program in policies.enabled())
    columns = [name for name, body in contract_columns(subject.entity).items() if not body.get("personal") and name != subject.key]
    if not graded or subject.entity in missing:
        names = [f"cast(null as varchar) as {name}" for name in ("subject_id", "period", "scope_reason")]
        return f"select {', '.join(names)}, cast(null as integer) as period_index, cast(null as boolean) as is_in_scope, cast(null as date) as event_date where false"
    metrics = _metrics(used)
    joins = _extra_joins(subject, used, [m for m in metrics if not is_month_metric(m)])
    if kind == "group":
        joins += _group_months(metrics)
    base = _there(subject, columns)
    keep = ["b.subject_id", "b.period", "b.period_index", "true as is_in_scope", "cast(null as varchar) as scope_reason", "b.event_date"]
    return _joined(f"(\n{indent(base, '    ')}\n)", "subject_id", [*keep, *(f"b.{sql.identifier(c)}" for c in columns)], joins)


def _used(policies: Policies, kind: str, missing: frozenset[str]) -> list[Attribute]:
    return [
        a for a in all_attributes(a.without(missing) for a in policies.used_attributes) if a.subject_type == kind and not a.lacking(missing)
    ]


def _metrics(used: Iterable[Attribute]) -> list[Metric]:
    return list({m.metric_id: m for a in used for m in a.metrics}.values())


def _joined(base: str, key: str, columns: list[str], joins: list[tuple[str, list[str]]]) -> str:
    shown = [*columns, *(column for n, (_, names) in enumerate(joins) for column in (_or_zero(f"j{n}", name) for name in names))]
    lines = ["select", indent(",\n".join(shown), "    "), f"from {base} as b"]
    for n, (text, _) in enumerate(joins):
        lines += ["left join (", indent(text, "    "), f") as j{n} on b.{key} = j{n}.{key} and b.period = j{n}.period"]
    return "\n".join(lines)


def _or_zero(alias: str, name: str) -> str:
    """A metric of no rows is zero; a column of no row is null. Metrics are marked by a leading ``0 ``."""
    return f"coalesce({alias}.{name[2:]}, 0) as {name[2:]}" if name.startswith("0 ") else f"{alias}.{name}"


def _there(subject: SubjectType, columns: list[str]) -> str:
    """Newest row of each subject by the end of each target period, of those that are there in it."""
    history = history_column(subject.entity)
    begins = sql.month_index(f"r.{subject.from_column}") if subject.from_column else "r.first_index"
    arrival = sql.local_date(f"r.{subject.at_column}") if subject.at_column else "cast(null as date)"
    there = f"{sql.month_index(arrival)} = r.period_index" if subject.at_column else f"coalesce({begins}, r.first_index) <= r.period_index"
    if subject.to_column:
        there += f" and (r.{subject.to_column} is null or {sql.month_index(f'r.{subject.to_column}')} >= r.period_index)"
    listed = ", ".join(f"r.{sql.identifier(c)}" for c in columns)
    # An event that nobody had noted by the end of its month is judged by what was noted by the end of the month in which it came to light:
    # no later period would judge it.
    until = "greatest(t.last_day, last_day(l.first_day))" if subject.at_column else "t.last_day"
    newest = "\n".join(
        [
            f"select l.*, t.period, t.period_index, {sql.month_index('l.first_day')} as first_index,",
            f"    row_number() over (partition by l.{subject.key}, t.period_index order by l.{history} desc, l._source, l._file_id) as newest_first",
            f"from (select *, min({history}) over (partition by {subject.key}) as first_day from {sql.rows_of(subject.entity)}) as l",
            f"inner join {TARGETS} as t on l.{history} <= {until}",
        ]
    )
    return "\n".join(
        [
            f"select r.{subject.key} as subject_id, r.period, r.period_index, {arrival} as event_date, {listed}",
            "from (",
            indent(newest, "    "),
            ") as r",
            f"where r.newest_first = 1 and {there}",
        ]
    )


def _extra_joins(subject: SubjectType, used: list[Attribute], metrics: list[Metric]) -> list[tuple[str, list[str]]]:
    """(relation, its columns) for each other entity: the newest row's columns, and window metrics over its rows."""
    key = "customer_id" if subject.name == "customer" else "subject_id"
    found: list[tuple[str, list[str]]] = []
    columns: dict[str, dict[str, str]] = {}
    for attribute in used:
        if is_extra(attribute):
            assert attribute.entity and attribute.column_name
            columns.setdefault(attribute.entity, {})[extra_column(attribute)] = attribute.column_name
    for entity, names in columns.items():
        found.append((_newest(entity, subject.key, key, names), list(names)))
    by_entity: dict[str, list[Metric]] = {}
    for metric in metrics:
        by_entity.setdefault(metric.measure.entity, []).append(metric)
    for entity, some in by_entity.items():
        found.append((_windows(entity, subject.key, key, some), [f"0 {m.metric_id}" for m in some]))
    return found


def _newest(entity: str, key: str, name: str, columns: dict[str, str]) -> str:
    history = history_column(entity)
    assert history
    listed = ", ".join(f"l.{sql.identifier(column)} as {sql.identifier(alias)}" for alias, column in columns.items())
    return "\n".join(
        [
            f"select {name}, period, {', '.join(columns)}",
            "from (",
            f"    select l.{key} as {name}, t.period, {listed},",
            f"        row_number() over (partition by l.{key}, t.period_index order by l.{history} desc, l._source, l._file_id) as newest_first",
            f"    from {sql.rows_of(entity)} as l",
            f"    inner join {TARGETS} as t on l.{history} <= t.last_day",
            ") as newest",
            "where newest_first = 1",
        ]
    )


def _month_of(entity: str, alias: str) -> str:
    """Month index of a row of an entity."""
    clock = clock_of(entity)
    assert clock
    kind = contract_columns(entity)[clock]["type"]
    column = f"{alias}.{sql.identifier(clock)}"
    if kind == "period":
        return sql.period_index(column)
    return sql.month_index(sql.local_date(column) if kind == "timestamp" else column)


def _windows(entity: str, key: str, name: str, metrics: list[Metric]) -> str:
    """Window metrics of rows: measures as of one row, added up by the window's months."""
    rows = [f"select l.{key} as {name}, {_month_of(entity, 'l')} as period_index"]
    measures = {m.measure.measure_id: m.measure for m in metrics}
    for measure in measures.values():
        chosen = "true"
        if measure.filter_column:
            chosen = f"l.{sql.identifier(measure.filter_column)} in ({', '.join(sql.literal(v) for v in measure.filter_values)})"
        value = "1" if measure.aggregation == "count" else f"l.{sql.identifier(measure.column_name or '')}"
        rows[-1] += f",\n        case when {chosen} then {value} else 0 end as {sql.identifier(measure.measure_id)}"
    reach = max(m.span.reach for m in metrics)
    return "\n".join(
        [
            f"select m.{name}, t.period,",
            indent(",\n".join(sql.window_metric(m) for m in metrics), "    "),
            "from (",
            indent(rows[0], "    "),
            f"    from {sql.rows_of(entity)} as l",
            ") as m",
            f"inner join {TARGETS} as t on m.period_index between t.period_index - {reach - 1} and t.period_index",
            f"group by m.{name}, t.period",
        ]
    )


def member_months(months: str, columns: Iterable[str]) -> str:
    """Months of the members of groups, each in the months of membership (any day of the month)."""
    # A customer who is in a group twice at a time counts once.
    members = "\n".join(
        [
            "select distinct g.group_id, k.customer_id, k.period_index",
            f"from {sql.rows_of('group_members')} as g",
            f"inner join {months} as k on g.customer_id = k.customer_id",
            f"    and k.period_index >= {sql.month_index('g.start_date')}",
            f"    and (g.end_date is null or k.period_index <= {sql.month_index('g.end_date')})",
        ]
    )
    return "\n".join(
        [
            f"select i.group_id as subject_id, c.period_index, {', '.join(f'c.{sql.identifier(name)}' for name in columns)}",
            "from (",
            indent(members, "    "),
            ") as i",
            f"inner join {months} as c on i.customer_id = c.customer_id and i.period_index = c.period_index",
        ]
    )


def _group_months(metrics: list[Metric]) -> list[tuple[str, list[str]]]:
    """Sums over the members of a group."""
    found = []
    for entity, months in (("bill_lines", sql.MONTHS_PLACEHOLDER), ("points", sql.POINTS_MONTHS_PLACEHOLDER)):
        some = [m for m in metrics if m.measure.entity == entity]
        if not some:
            continue
        measures = list({m.measure.measure_id: None for m in some})
        reach = max(m.span.reach for m in some)
        text = "\n".join(
            [
                "select m.subject_id, t.period,",
                indent(",\n".join(sql.window_metric(m) for m in some), "    "),
                "from (",
                indent(member_months(months, measures), "    "),
                ") as m",
                f"inner join {TARGETS} as t on m.period_index between t.period_index - {reach - 1} and t.period_index",
                "group by m.subject_id, t.period",
            ]
        )
        found.append((text, [f"0 {m.metric_id}" for m in some]))
    return found
