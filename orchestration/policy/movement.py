"""Why shown levels changed, as SQL: inputs of the month before are replaced by those of this month, one group after the other.

What was known and what is known now are the evidence of two decisions about one subject. The rules are asked again after each
substitution; the first one after which the shown level is another than the month before is the cause. Only subjects whose level
changed are looked at. What the choices made here mean for a reader is in the description of int_movement_causes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from textwrap import indent

from orchestration.policy import inputs, sql
from orchestration.policy.compile import evaluation_order, matched
from orchestration.policy.model import RANKED, Attribute, Dimension, Metric, Policies, Program, Rule, Version
from orchestration.policy.operands import (
    ATTRIBUTES,
    BILLS,
    NOMINATION,
    POINTS,
    POPULATION,
    TOTAL,
    Operand,
    all_attributes,
    dimension_column,
    is_relative,
    operands,
    operands_of,
    plain,
)
from orchestration.policy.relations import TARGETS, member_months

# The published order. The number of a step is its place from 1 on; 0 is the month before as it was released.
STEPS = (
    "attributes", "bill_corrections", "new_spend", "window_roll_off", "points", "population", "policy", "nomination", "cap", "validity",
)  # fmt: skip
_AT = {name: number for number, name in enumerate(STEPS, 1)}
# The step from which an operand of a group is this month's.
_OF_GROUP = {
    ATTRIBUTES: _AT["attributes"],
    BILLS: _AT["window_roll_off"],
    POINTS: _AT["points"],
    POPULATION: _AT["population"],
    NOMINATION: _AT["nomination"],
}
POLICY = _AT["policy"]
# Steps after which the rules are asked; after the others the inputs are the same.
_ASKED = range(_AT["nomination"] + 1)
_WINDOWS = {"customer": "customer_windows", "group": "group_windows"}
# The month that showed a level last, of decisions d: the one before, or an earlier one of who was not evaluated in it.
_SHOWN_LAST = "coalesce(d.previous_period_index, d.period_index - 1)"
# How far back the month before's last spend is looked up in the bills known now.
_IDLE_MONTHS = 12

CAUSE_COLUMNS = {
    "program_id": "varchar", "subject_type": "varchar", "subject_id": "varchar", "period": "varchar", "movement_cause": "varchar",
    "previous_level_id": "varchar", "previous_level_rank": "integer", "level_id": "varchar", "level_rank": "integer",
    "start_level_rank": "integer", "qualified_level_rank": "integer", "end_qualified_rank": "integer", "step_ranks": "varchar",
    "evidence_before": "varchar", "evidence": "varchar",
}  # fmt: skip


def movement_causes(policies: Policies, periods: Collection[str] | None, missing: frozenset[str]) -> str:
    """One row per subject and target period whose shown level differs from the month before: the columns of CAUSE_COLUMNS."""
    # Whoever was not evaluated for a while is compared with a month of long ago, and that with a version of before.
    last = None if periods is None else max(periods, default="")
    graded = [
        (program, _rules_only(version.without(missing)))
        for program in policies.enabled()
        if program.row["clock"] != "event"
        for version in program.versions
        if (last is None or version.valid_from <= last) and not inputs.lacking(version, missing)
    ]
    if not graded:
        columns = ",\n".join(f"    cast(null as {kind}) as {name}" for name, kind in CAUSE_COLUMNS.items())
        return f"select\n{columns}\nwhere false"
    windows = []
    for kind, name in _WINDOWS.items():
        of_kind = [o for program, version in graded if program.subject_type == kind for o in operands(version.attributes)]
        if any(_is_looked_up(kind, o) for o in of_kind):
            windows.append(_cte(name, _window_relation(kind, _windowed(kind, of_kind), asks_idle=any(map(_is_idle, of_kind)))))
    parts = "\n\nunion all\n\n".join(_asked(program, version) for program, version in graded)
    names = {program.program_id: program for program, _ in graded}
    ctes = [_cte("pairs", _pairs(names)), *windows, _cte("asked", parts), _cte("told", _told()), _cte("covered", _covered())]
    return "with " + ",\n\n".join(ctes) + "\n\n" + _final()


def _rules_only(version: Version) -> Version:
    """Who is graded and what caps are in force is known from the decisions: only the rules are asked again."""
    return replace(version, scope_rules=(), caps=())


def _cte(name: str, body: str) -> str:
    return f"{name} as (\n{indent(body, '    ')}\n)"


def _list(columns: Iterable[str]) -> str:
    return indent(",\n".join(columns), "    ")


def _where_moved(program_ids: Iterable[str]) -> list[str]:
    """Lines of the WHERE of decisions d of this run that show another level than the one shown last."""
    known = ", ".join(sql.literal(name) for name in program_ids)
    return [
        f"where d.period in (select period from {TARGETS})",
        f"    and d.program_id in ({known})",
        "    and d.level_id <> d.previous_level_id",
    ]


def _pairs(program_ids: Iterable[str]) -> str:
    """Decisions whose level differs from the month before, with the decision of that month, or of the one that showed a level last.

    After months that were not evaluated, that one may have been run again since, and show another level or none: of what was known when it
    showed this one the level is left, and no more.
    """
    ranks = ("held_level_rank", "cap_level_rank", "at_least_level_rank", "set_level_rank")
    known = ("policy_version", "policy_hash", "evidence")
    # Ranks are compared with those of today, so that a level that was put between others moves nobody. A level that is gone has the one it had.
    levels = {name: name.removesuffix("_rank") for name in ranks}
    before = {name: f"coalesce(cast({level}.rank as integer), b.{name})" for name, level in levels.items()}
    # A level that is all that is known was held, for all that is known.
    before["held_level_rank"] = f"case when b.level_id is null then d.previous_level_rank else {before['held_level_rank']} end"
    columns = [
        "d.program_id",
        "d.subject_type",
        "d.subject_id",
        "d.period",
        "d.period_index",
        "d.level_id",
        "d.level_rank",
        "d.previous_level_id",
    ]
    columns += ["d.qualified_level_rank", f"{_SHOWN_LAST} as before_index", "d.previous_level_rank as before_level_rank"]
    columns += [f"d.{name}" for name in (*ranks, *known)]
    columns += [f"{value} as before_{name}" for name, value in before.items()]
    columns += [f"b.{name} as before_{name}" for name in known]
    columns += [f"coalesce({alias}.validity_months, 0) > 0 as {name}" for alias, name in (("v", "has_review"), ("w", "had_review"))]
    moved = _where_moved(program_ids)
    return "\n".join(
        [
            "select",
            _list(columns),
            f"from {sql.DECISIONS_PLACEHOLDER} as d",
            "left join (",
            f"    select * from {sql.DECISIONS_PLACEHOLDER}",
            # Of the months before, only those that are asked for are read.
            f"    where period_index in (select {_SHOWN_LAST} from {sql.DECISIONS_PLACEHOLDER} as d",
            *indent("\n".join(moved), "        ").splitlines(),
            "    )",
            ") as b",
            "    on d.program_id = b.program_id and d.subject_type = b.subject_type and d.subject_id = b.subject_id",
            f"        and {_SHOWN_LAST} = b.period_index and d.previous_level_id = b.level_id",
            "left join policy.policy_versions as v on d.program_id = v.program_id and d.policy_version = v.version",
            "left join policy.policy_versions as w on b.program_id = w.program_id and b.policy_version = w.version",
            *(
                f"left join policy.levels as {level} on b.program_id = {level}.program_id and b.{level}_id = {level}.level_id"
                for level in levels.values()
            ),
            *moved,
        ]
    )


def _windowed(kind: str, found: Iterable[Operand]) -> list[Metric]:
    """Metrics of bills that can be taken over other months than this month's window."""
    return list({o.metric.metric_id: o.metric for o in found if o.metric and _is_windowed(kind, o)}.values())


def _is_idle(operand: Operand) -> bool:
    """Whether the operand is the months since the last spend."""
    return operand.metric is None and operand.group == BILLS and operand.attribute.column_name == "months_since_active"


def _is_looked_up(kind: str, operand: Operand) -> bool:
    """Whether the bills are asked again for the operand."""
    return _is_windowed(kind, operand) or _is_idle(operand)


def _is_windowed(kind: str, operand: Operand) -> bool:
    metric = operand.metric
    if metric is None or operand.group != BILLS or not operand.is_delivered:
        return False
    # The months in service of a group's members are not one window, and of a customer's first months only so many are kept.
    if metric.is_service:
        return kind == "customer" and metric.window != "total"
    return kind in _WINDOWS


def _window_relation(kind: str, metrics: list[Metric], *, asks_idle: bool) -> str:
    """subject_id, before_index, period_index, and each metric over the window before (with the bills known now) and over both windows; of a
    total what came after.

    ``asks_idle``: also idle_before, the months from the last spend to the month before; null if it is not found within _IDLE_MONTHS.
    """
    of_months = [m for m in metrics if not m.is_service]
    service = [m for m in metrics if m.is_service]
    before, now = "t.before_index", "t.period_index"
    columns = ["t.subject_id", "t.before_index", "t.period_index"]
    for metric in of_months:
        if metric.window == "total":
            columns.append(sql.months_metric(metric, before, now, name=_added(metric)))
            continue
        columns.append(sql.window_metric(metric, before, name=_corrected(metric)))
        columns.append(sql.window_metric(metric, before, now, name=_extended(metric)))
    for metric in service:
        columns += [_served(metric, before, None, _corrected(metric)), _served(metric, before, now, _extended(metric))]
    if asks_idle:
        spent = "max(case when m.has_spend and m.period_index <= t.before_index then m.period_index end)"
        columns.append(f"cast(t.before_index - {spent} as integer) as idle_before")
    lines = [
        "select",
        _list(columns),
        f"from (select distinct subject_id, before_index, period_index from pairs where subject_type = {sql.literal(kind)}) as t",
    ]
    if of_months or asks_idle:
        months, key = _months(kind, of_months)
        reach = max([m.span.reach for m in of_months] + [_IDLE_MONTHS] * asks_idle)
        lines += [
            "left join (",
            indent(months, "    "),
            f") as m on t.subject_id = m.{key} and m.period_index between t.before_index + 1 - {reach} and t.period_index",
        ]
    if service:
        lines.append(f"left join {sql.METRICS_PLACEHOLDER} as s on t.subject_id = s.customer_id and t.period_index = s.period_index")
    return "\n".join([*lines, "group by t.subject_id, t.before_index, t.period_index"])


def _months(kind: str, metrics: list[Metric]) -> tuple[str, str]:
    measures = list({m.measure.measure_id: None for m in metrics})
    if kind == "group":
        return member_months(sql.MONTHS_PLACEHOLDER, [*measures, "bill_line_count"]), "subject_id"
    columns = ["c.customer_id", "c.period_index", "c.bill_line_count", "c.spend_amount > 0 as has_spend"]
    columns += ["c.spend_amount > 0 as is_active" if name == "is_active" else f"c.{sql.identifier(name)}" for name in measures]
    return f"select {', '.join(columns)} from {sql.MONTHS_PLACEHOLDER} as c", "customer_id"


def _served(metric: Metric, index: str, until: str | None, name: str) -> str:
    """Months in service between two months, from the bits of this month's mask (bit i: in service i months before)."""
    first, last = metric.span.sql_range(index, until)
    shift, months = f"cast(t.period_index - ({last}) as integer)", f"cast(({last}) - ({first}) + 1 as integer)"
    bits = f"(coalesce(max(s.service_mask), 0) >> {shift}) & ((cast(1 as bigint) << {months}) - 1)"
    return f"cast(bit_count({bits}) as bigint) as {sql.identifier(name)}"


def _corrected(metric: Metric) -> str:
    return f"{metric.metric_id}__corrected"


def _extended(metric: Metric) -> str:
    return f"{metric.metric_id}__extended"


def _added(metric: Metric) -> str:
    return f"{metric.metric_id}__added"


def _after_corrections(operand: Operand, metric: Metric) -> str:
    """The metric as the month before would have it with the bills known now. A total is carried: the new month is taken off."""
    if metric.window == "total":
        return f"p.becomes.{sql.identifier(operand.name)} - w.{_added(metric)}"
    return f"w.{_corrected(metric)}"


def _after_new_spend(operand: Operand, metric: Metric) -> str:
    """The metric over both windows; nothing rolls off a total."""
    return f"p.becomes.{sql.identifier(operand.name)}" if metric.window == "total" else f"w.{_extended(metric)}"


def _asked(program: Program, version: Version) -> str:
    """What the rules of one version say of its subjects' inputs after each substitution."""
    ranks = [
        f"    when {sql.literal(rule.rule_id)} then {program.level(rule.level_id).rank}" for rule in evaluation_order(program, version)
    ]
    undecided = ["    when b.rules_that_hold > 1 then null"] if program.hit_policy == "unique" else []
    if any(a.kind == "score" for a in all_attributes(version.attributes)):
        undecided.append("    when b.refused_reason is not null then null")
    rank = "\n".join(["case b.first_rule_id", *ranks, "end"]) if ranks else "null"
    if undecided:
        rank = "\n".join(["case", *undecided, "    else", indent(rank, "    "), "end"])
    return "\n".join(
        [
            f"-- program {program.program_id}, version {version.version}",
            "select",
            _list(
                [
                    f"{sql.literal(program.program_id)} as program_id",
                    "b.subject_id",
                    "b.period",
                    "b.step",
                    f"cast({rank} as integer) as qualified_rank",
                ]
            ),
            "from (",
            indent(matched(program, _of_placed_portions(version), _inputs(program, version)), "    "),
            ") as b",
        ]
    )


def _of_placed_portions(version: Version) -> Version:
    """The version with its portions taken of amounts as they are placed among those of others: see :func:`_placed`."""

    def placed(attribute: Attribute) -> Attribute:
        if attribute.kind == "portion":
            amount = replace(attribute.of[0], kind="column", attribute_id=f"{attribute.attribute_id}__placed", of=())
            return replace(attribute, of=(amount,))
        return replace(attribute, of=tuple(map(placed, attribute.of)))

    def rule(item: Rule) -> Rule:
        return replace(item, conditions=tuple(replace(c, attribute=placed(c.attribute)) for c in item.conditions))

    return replace(version, rules=tuple(map(rule, version.rules)))


def _inputs(program: Program, version: Version) -> str:
    """The inputs of a version, as ``inputs.relation`` has them, with one row per mover and step that may change its level."""
    attributes = all_attributes(version.attributes)
    of_version = operands(version.attributes)
    computed = [column for a in attributes for column in _computed(a, attributes)]
    substituted = _substituted(program, version, of_version)
    if not computed:
        return substituted
    ctes = [_cte("substituted", substituted)]
    joined = ""
    for name, ranked in _ladders(attributes).items():
        ctes += [_cte(name, _ladder(program, ranked, _amounts_before(program, version, ranked, is_kept=name == "ladder_1")))]
        joined += f"\nleft join {name} on p.before_index = {name}.before_index and {_own(ranked)} = {name}.own_value"
    return "with " + ",\n\n".join(ctes) + f"\n\nselect\n    p.*,\n{_list(computed)}\nfrom substituted as p{joined}"


def _substituted(program: Program, version: Version, of_version: list[Operand]) -> str:
    """One row per mover and step: subject, period, what was known (``was``) and is (``becomes``), each operand at the step."""
    version_id, digest = sql.literal(version.version), sql.literal(version.policy_hash)
    keys = [o.name for o in of_version]
    same_rules = f"p.before_policy_version = {version_id} and p.before_policy_hash = {digest}"
    texts = [
        "p.subject_id", "p.period", "p.before_index", "p.period_index",
        f"coalesce({same_rules}, false) as had_rules", f"p.policy_version = {version_id} as has_rules",
        f"{sql.json_texts('p.before_evidence', keys)} as before_texts", f"{sql.json_has('p.before_evidence', keys)} as before_has",
        f"{sql.json_texts('p.evidence', keys)} as texts", f"{sql.json_has('p.evidence', keys)} as has",
    ]  # fmt: skip
    was = [(o.name, f"cast(e.before_texts[{n}] as {o.sql_type})") for n, o in enumerate(of_version, 1)]
    # What this month's evidence lacks, because other rules made it, stays what it was.
    becomes = [
        (o.name, f"cast(case when e.has[{n}] then e.texts[{n}] else e.before_texts[{n}] end as {o.sql_type})")
        for n, o in enumerate(of_version, 1)
    ]
    typed = ["e.subject_id", "e.period", "e.before_index", "e.period_index", "e.had_rules", "e.has_rules", "e.before_has"]
    if of_version:
        typed += [f"{sql.struct(was)} as was", f"{sql.struct(becomes)} as becomes"]
    windowed = any(_is_looked_up(program.subject_type, o) for o in of_version)
    columns = [
        "p.subject_id",
        "p.period",
        "p.before_index",
        "p.period_index",
        "k.step",
        "cast(null as date) as event_date",
        "cast(null as varchar) as out_reason",
    ]
    if of_version:
        columns += ["p.was", "p.becomes"]
    columns += [f"{_at_step(program, o, n)} as {sql.identifier(o.name)}" for n, o in enumerate(of_version, 1) if not o.is_computed]
    placed = _placed(program, version, of_version)
    if placed:
        columns.append(f"{sql.struct(placed)} as placed")
    steps = ", ".join(f"({step})" for step in _steps(of_version))
    lines = [
        "select",
        _list(columns),
        "from (",
        "    select",
        indent(_list(typed), "    "),
        "    from (",
        "        select",
        indent(_list(texts), "        "),
        "        from pairs as p",
        f"        where p.program_id = {sql.literal(program.program_id)} and (p.policy_version = {version_id} or ({same_rules}))",
        "    ) as e",
        ") as p",
        f"inner join (values {steps}) as k (step)",
        f"    on case when k.step < {POLICY} then p.had_rules when k.step = {POLICY} then p.has_rules and not p.had_rules else p.has_rules end",
    ]
    if windowed:
        keys_of = " and ".join(f"p.{name} = w.{name}" for name in ("subject_id", "before_index", "period_index"))
        lines.append(f"left join {_WINDOWS[program.subject_type]} as w on {keys_of}")
    return "\n".join(lines)


def _steps(of_version: list[Operand]) -> list[int]:
    """The steps after which inputs of the version may differ from those before."""
    groups = {o.group for o in of_version}
    steps = {0, POLICY, *(_OF_GROUP[group] for group in groups)}
    if BILLS in groups:
        steps |= {_AT["bill_corrections"], _AT["new_spend"]}
    return [step for step in _ASKED if step in steps]


def _at_step(program: Program, operand: Operand, number: int) -> str:
    """The value of an operand that is read, not computed, after a step."""
    name = sql.identifier(operand.name)
    lines = [f"when k.step >= {_OF_GROUP[operand.group]} then p.becomes.{name}"]
    if operand.group == BILLS:
        if operand.metric and _is_windowed(program.subject_type, operand):
            lines += [
                f"when k.step = {_AT['new_spend']} then {_after_new_spend(operand, operand.metric)}",
                f"when k.step = {_AT['bill_corrections']} then {_after_corrections(operand, operand.metric)}",
            ]
        else:
            lines[0] = f"when k.step >= {_AT['new_spend']} then p.becomes.{name}"
            if _is_idle(operand):
                # The month before by the bills known now. Spend of longer ago than is looked up is told by this month, unless it has come since.
                since = "p.period_index - p.before_index"
                by_now = f"case when p.becomes.{name} >= {since} then p.becomes.{name} - ({since}) when p.becomes.{name} is not null then p.was.{name} end"
                lines.append(f"when k.step >= {_AT['bill_corrections']} then coalesce(w.idle_before, {by_now})")
    elif operand.group == NOMINATION:
        # New rules may ask for what nobody had to know before.
        lines.append(f"when k.step >= {POLICY} and not p.before_has[{number}] then p.becomes.{name}")
    return f"case {' '.join(lines)} else p.was.{name} end"


def _placed(program: Program, version: Version, of_version: list[Operand]) -> list[tuple[str, str]]:
    """Operands of amounts that are placed among those of the month before, as they are placed.

    An amount of more months than the others has no place among them. It counts as new spend as far as it lies between what the month
    before had and what this month has; the rest has rolled off.
    """
    ranked = [a.of[0] for a in all_attributes(version.attributes) if a.kind in RANKED]
    names = {o.name for amount in ranked for o in operands_of(amount)}
    found = []
    for number, operand in enumerate(of_version, 1):
        if operand.name in names:
            value = _at_step(program, operand, number)
            if operand.metric and _is_windowed(program.subject_type, operand):
                ends = f"{_after_corrections(operand, operand.metric)}, p.becomes.{sql.identifier(operand.name)}"
                between = f"greatest(least({ends}), least({_after_new_spend(operand, operand.metric)}, greatest({ends})))"
                value = f"case when k.step = {_AT['new_spend']} then {between} else {value} end"
            found.append((operand.name, value))
    return found


def _ladders(attributes: Sequence[Attribute]) -> dict[str, Attribute]:
    """``ladder_<n>`` → the first attribute that places the n-th ranked amount. Decisions keep the first amount as rank_value."""
    amounts: dict[str, Attribute] = {}
    for attribute in attributes:
        if attribute.kind in {"position", "share"}:
            amounts.setdefault(attribute.of[0].attribute_id, attribute)
    return {f"ladder_{n}": ranked for n, ranked in enumerate(amounts.values(), 1)}


def _ladder_of(ranked: Attribute, attributes: Sequence[Attribute]) -> str:
    """The name of the ladder on which an attribute is placed."""
    return next(name for name, first in _ladders(attributes).items() if first.of[0].attribute_id == ranked.of[0].attribute_id)


def _own(ranked: Attribute, alias: str = "p.placed") -> str:
    return f"cast({plain(ranked.of[0], alias)} as {inputs.RANK_VALUE})"


def _amounts_before(program: Program, version: Version, ranked: Attribute, *, is_kept: bool) -> str:
    """period_index and own_value of everybody who had a place in the month before; of amounts that no column keeps, from the evidence."""
    keys = list(operands_of(ranked.of[0]))
    values = [(o.name, f"cast(e.texts[{n}] as {o.sql_type})") for n, o in enumerate(keys, 1)]
    value = "d.rank_value" if is_kept else sql.json_texts("d.evidence", [o.name for o in keys])
    lines = [
        f"select d.period_index, {value} as {'own_value' if is_kept else 'texts'}",
        f"from {sql.DECISIONS_PLACEHOLDER} as d",
        f"where d.program_id = {sql.literal(program.program_id)} and d.status <> 'out_of_scope'",
    ]
    if is_kept:
        return "\n".join(lines)
    # Of another version the evidence is of other operands.
    lines[-1] += f" and d.policy_version = {sql.literal(version.version)} and d.policy_hash = {sql.literal(version.policy_hash)}"
    typed = f"select e.period_index, {sql.struct(values)} as was\nfrom (\n{indent(chr(10).join(lines), '    ')}\n) as e"
    return f"select b.period_index, {_own(ranked, 'b.was')} as own_value\nfrom (\n{indent(typed, '    ')}\n) as b"


def _ladder(program: Program, ranked: Attribute, amounts: str) -> str:
    """For each substituted amount: how many amounts of the month before stand above it, and their sum."""
    before = f"p.step < {_AT['population']} and {_own(ranked)} > 0 and {_own(ranked)} is distinct from {_own(ranked, 'p.was')}"
    return "\n".join(
        [
            "select",
            "    before_index,",
            "    own_value,",
            "    coalesce(sum(subjects) over above, 0) as above,",
            "    coalesce(sum(amount) over above, 0) as above_amount",
            "from (",
            "    select before_index, own_value, sum(subjects) as subjects, sum(amount) as amount",
            "    from (",
            "        select a.period_index as before_index, a.own_value, 1 as subjects, a.own_value as amount",
            "        from (",
            indent(amounts, "            "),
            "        ) as a",
            f"        where a.own_value > 0 and a.period_index in (select p.before_index from substituted as p where {before})",
            "        union all",
            f"        select p.before_index, {_own(ranked)} as own_value, 0 as subjects, 0 as amount",
            "        from substituted as p",
            f"        where {before}",
            "    ) as amounts",
            "    group by before_index, own_value",
            ") as steps",
            "window above as (partition by before_index order by own_value desc rows between unbounded preceding and 1 preceding)",
        ]
    )


def _computed(attribute: Attribute, attributes: Sequence[Attribute]) -> Iterator[str]:
    """Operands that follow from others or from the population, at a step of p."""
    name = attribute.attribute_id
    now = f"when p.step >= {_AT['population']} then p.becomes"
    if attribute.kind == "portion":
        yield f"{plain(attribute.of[0], 'p.placed')} as {name}__placed"
        yield f"case {now}.{name}__total_amount else {_total(attribute, 'p.placed')} end as {name}__total_amount"
    elif attribute.kind in {"position", "share"}:
        yield from _place(attribute, _ladder_of(attribute, attributes))
    for dimension in attribute.dimensions:
        column = dimension_column(attribute, dimension)
        if is_relative(dimension):
            yield f"case when p.step >= {_AT['population']} or ({_is_substituted(dimension)}) then p.becomes.{column} else p.was.{column} end as {column}"
        else:
            yield f"{sql.from_millionths(inputs.scaled(dimension))} as {column}"


def _total(attribute: Attribute, alias: str) -> str:
    """The sum of positive amounts of the month before, with the own amount replaced."""
    name = attribute.attribute_id
    own, was = plain(attribute.of[0], alias), plain(attribute.of[0], "p.was")
    return f"p.was.{name}__total_amount - greatest(coalesce({was}, 0), 0) + greatest(coalesce({own}, 0), 0)"


def _place(attribute: Attribute, ladder: str) -> Iterator[str]:
    """Place and share of an own amount among the amounts of the month before."""
    name = attribute.attribute_id
    own, was = plain(attribute.of[0], "p.placed"), plain(attribute.of[0], "p.was")
    is_now = f"when p.step >= {_AT['population']} then p.becomes"
    same = f"when {own} is not distinct from {was} then p.was"
    # The subject itself is no longer where it stood.
    population = f"p.was.{name}__population - case when {was} is null then 0 else 1 end + case when {own} is null then 0 else 1 end"
    left = f"case when {was} > {own} then 1 else 0 end"
    yield (
        f"cast(case {is_now}.{name}__above {same}.{name}__above when {own} > 0 then {ladder}.above - {left} "
        f"when {own} is not null then {population} end as bigint) as {name}__above"
    )
    yield f"cast(case {is_now}.{name}__population else {population} end as bigint) as {name}__population"
    if attribute.kind == "share":
        total = _total(attribute, "p.placed")
        amount_left = f"case when {was} > {own} then {was} else 0 end"
        yield (
            f"cast(case {is_now}.{name}__above_amount {same}.{name}__above_amount when {own} > 0 then {ladder}.above_amount - {amount_left} "
            f"when {own} is not null then {total} end as {TOTAL}) as {name}__above_amount"
        )
        yield f"cast(case {is_now}.{name}__total_amount else {total} end as {TOTAL}) as {name}__total_amount"


def _is_substituted(dimension: Dimension) -> str:
    """Whether the number of a dimension has changed, and is this month's already."""
    names = [sql.identifier(o.name) for o in operands_of(dimension.attribute)]
    changed = " or ".join(f"p.was.{name} is distinct from p.becomes.{name}" for name in names)
    done = " and ".join(f"p.{name} is not distinct from p.becomes.{name}" for name in names)
    return f"({changed}) and {done}"


def _told() -> str:
    """One row per mover with the qualified rank after each step; where no rule decides a mixture, that of the step before."""
    asked = [f"max(case when a.step = {step} then a.qualified_rank end) as q{step}" for step in _ASKED]
    carried = [f"coalesce({', '.join(f's.q{earlier}' for earlier in range(step, -1, -1))}) as q{step}" for step in _ASKED]
    return "\n".join(
        [
            "select",
            "    p.*,",
            _list(carried),
            "from pairs as p",
            "left join (",
            "    select a.program_id, a.subject_id, a.period,",
            indent(_list(asked), "    "),
            "    from asked as a",
            "    group by a.program_id, a.subject_id, a.period",
            ") as s on p.program_id = s.program_id and p.subject_id = s.subject_id and p.period = s.period",
        ]
    )


def _covered() -> str:
    """The rank of the shown level after each step."""
    columns = []
    for step in (0, *_AT.values()):
        if step == _AT["validity"]:
            columns.append(f"t.level_rank as l{step}")
            continue
        qualified = f"t.q{min(step, _AT['nomination'])}"
        # Without the rules of the month before, nothing is known to have moved before the new policy.
        unknown = "t.q0 is null" if step < POLICY else f"{qualified} is null"
        reviewed = "t.had_review" if step < POLICY else "t.has_review"
        override = "" if step >= _AT["nomination"] else "before_"
        cap = "" if step >= _AT["cap"] else "before_"
        held = f"case when {reviewed} then greatest({qualified}, t.before_held_level_rank) else {qualified} end"
        shown = f"coalesce(t.{override}set_level_rank, greatest(least({held}, t.{cap}cap_level_rank), t.{override}at_least_level_rank))"
        columns.append(f"case when {unknown} then t.before_level_rank else {shown} end as l{step}")
    return "\n".join(["select", "    t.*,", _list(columns), "from told as t"])


def _final() -> str:
    changed = [f"    when c.l{number} <> c.before_level_rank then {sql.literal(name)}" for name, number in _AT.items()]
    ranks = sql.json_object([("before", "c.l0"), *((name, f"c.l{number}") for name, number in _AT.items())])
    # A level that goes by another name at the same rank was renamed by its policy.
    cause = "\n".join(["case", *changed, f"    else {sql.literal('policy')}", "end"])
    columns = [
        "c.program_id", "c.subject_type", "c.subject_id", "c.period", f"cast({cause} as varchar) as movement_cause",
        "c.previous_level_id", "c.before_level_rank as previous_level_rank", "c.level_id", "c.level_rank", "case when c.q0 is not null then c.l0 end as start_level_rank",
        "c.qualified_level_rank", f"c.q{_AT['nomination']} as end_qualified_rank", f"{ranks} as step_ranks", "c.before_evidence as evidence_before", "c.evidence",
    ]  # fmt: skip
    return "\n".join(["select", _list(columns), "from covered as c"])
