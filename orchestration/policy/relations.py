"""Compiled relations about subjects: one row per subject and period with the columns and window metrics that programs use.

For customers the columns beyond their metrics row (``customer_extras``); for each other type of subject everything known of it.
Rows come from the landing's views, target periods from the run's control tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import indent

from orchestration.ingest.contracts import load_contracts
from orchestration.policy import sql
from orchestration.policy.load import clock_of
from orchestration.policy.model import Attribute, Metric, Policies
from orchestration.policy.operands import all_attributes
from orchestration.policy.subjects import MONTH_TABLES, SUBJECT_TYPES, SubjectType

TARGETS = "ctl.target_periods"
_SUBJECT_COLUMNS = {
    "subject_id": "varchar", "period": "varchar", "period_index": "integer", "is_in_scope": "boolean", "scope_reason": "varchar",
    "event_date": "date",
}  # fmt: skip


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
    joins = _extra_joins(SUBJECT_TYPES["customer"], used)
    if not joins:
        return sql.no_rows({"customer_id": "varchar", "period": "varchar"})
    keys = "\nunion\n".join(f"select customer_id, period from ({join.relation}) as keys_{n}" for n, join in enumerate(joins))
    return _joined(f"({indent(keys, '    ')})", "customer_id", ["b.customer_id", "b.period"], joins)


def subject_relation(policies: Policies, kind: str, missing: frozenset[str]) -> str:
    """subject_id, period, is_in_scope, scope_reason, event_date, the entity's columns and what programs use of other entities.

    Only subjects that are there on a day of the period. Without an enabled program for them, or without rows of them: no rows.
    """
    subject = SUBJECT_TYPES[kind]
    used = _used(policies, kind, missing)
    graded = any(program.subject_type == kind for program in policies.enabled())
    columns = [name for name in load_contracts()[subject.entity].landed if name != subject.key]
    if not graded or subject.entity in missing:
        return sql.no_rows(_SUBJECT_COLUMNS)
    joins = _extra_joins(subject, used)
    if kind == "group":
        joins += _group_months(_metrics(used))
    base = _there(subject, columns)
    keep = ["b.subject_id", "b.period", "b.period_index", "true as is_in_scope", "cast(null as varchar) as scope_reason", "b.event_date"]
    return _joined(f"(\n{indent(base, '    ')}\n)", "subject_id", [*keep, *(f"b.{sql.identifier(c)}" for c in columns)], joins)


def _used(policies: Policies, kind: str, missing: frozenset[str]) -> list[Attribute]:
    return [
        a for a in all_attributes(a.without(missing) for a in policies.used_attributes) if a.subject_type == kind and not a.lacking(missing)
    ]


def _metrics(used: Iterable[Attribute]) -> list[Metric]:
    return list({m.metric_id: m for a in used for m in a.metrics}.values())


@dataclass(frozen=True)
class _Join:
    """A relation by subject and period. A column of no row is null, a metric of no rows is zero."""

    relation: str
    columns: Iterable[str] = ()
    metrics: Iterable[Metric] = ()


def _joined(base: str, key: str, columns: list[str], joins: list[_Join]) -> str:
    shown = list(columns)
    for n, join in enumerate(joins):
        shown += [f"j{n}.{name}" for name in join.columns]
        shown += [f"coalesce(j{n}.{m.metric_id}, 0) as {m.metric_id}" for m in join.metrics]
    lines = ["select", sql.columns(shown), f"from {base} as b"]
    for n, join in enumerate(joins):
        lines += ["left join (", indent(join.relation, "    "), f") as j{n} on b.{key} = j{n}.{key} and b.period = j{n}.period"]
    return "\n".join(lines)


def _there(subject: SubjectType, columns: list[str]) -> str:
    """Newest row of each subject by the end of each target period, of those that are there in it."""
    history = load_contracts()[subject.entity].history
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
            f"    row_number() over (partition by l.{subject.key}, t.period_index order by l.{history} desc, l._source desc, l._file_id desc) as newest_first",
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


def _extra_joins(subject: SubjectType, used: list[Attribute]) -> list[_Join]:
    """For each other entity the newest row's columns, and window metrics over its rows."""
    key = "customer_id" if subject.name == "customer" else "subject_id"
    columns: dict[str, dict[str, str]] = {}
    for attribute in used:
        if is_extra(attribute):
            assert attribute.entity and attribute.column_name
            columns.setdefault(attribute.entity, {})[extra_column(attribute)] = attribute.column_name
    by_entity: dict[str, list[Metric]] = {}
    for metric in _metrics(used):
        if not is_month_metric(metric):
            by_entity.setdefault(metric.measure.entity, []).append(metric)
    return [
        *(_Join(_newest(entity, subject.key, key, names), columns=names) for entity, names in columns.items()),
        *(_Join(_windows(entity, subject.key, key, some), metrics=some) for entity, some in by_entity.items()),
    ]


def _newest(entity: str, key: str, name: str, columns: dict[str, str]) -> str:
    history = load_contracts()[entity].history
    assert history
    listed = ", ".join(f"l.{sql.identifier(column)} as {sql.identifier(alias)}" for alias, column in columns.items())
    return "\n".join(
        [
            f"select {name}, period, {', '.join(columns)}",
            "from (",
            f"    select l.{key} as {name}, t.period, {listed},",
            f"        row_number() over (partition by l.{key}, t.period_index order by l.{history} desc, l._source desc, l._file_id desc) as newest_first",
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
    kind = load_contracts()[entity].columns[clock].type
    column = f"{alias}.{sql.identifier(clock)}"
    if kind == "period":
        return sql.period_index(column)
    return sql.month_index(sql.local_date(column) if kind == "timestamp" else column)


def _windows(entity: str, key: str, name: str, metrics: list[Metric]) -> str:
    """Window metrics of rows: measures as of one row, added up by the window's months."""
    columns = [f"l.{key} as {name}", f"{_month_of(entity, 'l')} as period_index"]
    for measure in {m.measure.measure_id: m.measure for m in metrics}.values():
        chosen = sql.counts(measure, "l") if measure.filter_column else "true"
        value = "1" if measure.aggregation == "count" else f"l.{sql.identifier(measure.column_name or '')}"
        columns.append(f"case when {chosen} then {value} else 0 end as {sql.identifier(measure.measure_id)}")
    return _over_months(f"select\n{sql.columns(columns)}\nfrom {sql.rows_of(entity)} as l", name, metrics)


def _over_months(months: str, name: str, metrics: list[Metric]) -> str:
    """Window metrics over ``months``, rows of the subject ``name`` with their period_index."""
    reach = max(m.span.reach for m in metrics)
    return "\n".join(
        [
            f"select m.{name}, t.period,",
            sql.columns(sql.window_metric(m) for m in metrics),
            "from (",
            indent(months, "    "),
            ") as m",
            f"inner join {TARGETS} as t on m.period_index between t.period_index - {reach - 1} and t.period_index",
            f"group by m.{name}, t.period",
        ]
    )


def member_months(months: str, columns: Iterable[str], of_groups: str = "true") -> str:
    """Months of the members of groups, each in the months of membership (any day of the month). ``of_groups``: which rows g of group_members."""
    # A customer who is in a group twice at a time counts once.
    members = "\n".join(
        [
            "select distinct g.group_id, k.customer_id, k.period_index",
            f"from {sql.rows_of('group_members')} as g",
            f"inner join {months} as k on g.customer_id = k.customer_id",
            f"    and k.period_index >= {sql.month_index('g.start_date')}",
            f"    and (g.end_date is null or k.period_index <= {sql.month_index('g.end_date')})",
            f"where {of_groups}",
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


def _group_months(metrics: list[Metric]) -> list[_Join]:
    """Sums over the members of a group."""
    found = []
    for entity, months in (("bill_lines", sql.MONTHS_PLACEHOLDER), ("points", sql.POINTS_MONTHS_PLACEHOLDER)):
        some = [m for m in metrics if m.measure.entity == entity]
        if not some:
            continue
        measures = dict.fromkeys(m.measure.measure_id for m in some)
        found.append(_Join(_over_months(member_months(months, measures), "subject_id", some), metrics=some))
    return found
