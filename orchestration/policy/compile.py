"""Policies compiled to static SQL: measures, window metrics and one CASE per program version.

The models of ``models/intermediate`` take the fragments by name. Programs are evaluated in one pass over the metrics; the
compiled text shows every rule under its id. Typed literals come from ``sql``; nothing is interpreted when a month runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from textwrap import indent

from orchestration.policy import sql
from orchestration.policy.model import NUMERIC, Attribute, Condition, Level, Metric, Policies, Program, Rule, Version
from orchestration.policy.used import used_metrics

DECISION_COLUMNS = (
    "program_id", "subject_type", "subject_id", "period", "policy_version", "policy_hash", "status", "status_reason", "matched_rule_id",
    "qualified_level_id", "qualified_rank", "evidence", "next_level_id", "missing_attribute", "missing_amount",
)  # fmt: skip


def compile_policies(
    policies: Policies,
    periods: Collection[str] | None = None,
    missing_entities: Collection[str] = frozenset(),
    metrics: Collection[Metric] | None = None,
) -> dict[str, str]:
    """Fragment name → SQL.

    ``periods``: leave out versions that hold for none of them. ``missing_entities``: entities that no source of the deployment
    delivers; a program that needs one is `not_evaluated` and says which. ``metrics``: those to compute (default: those used).

    BadInput if two versions of an enabled program hold for one period.
    """
    metrics = used_metrics(policies) if metrics is None else metrics
    measures = [m for m in policies.measures.values() if m.aggregation != "flag"]
    of_bills = [m for m in metrics if m.measure.entity == "bill_lines"]
    of_points = [m for m in metrics if m.measure.entity == "points"]
    bill_totals = [m for m in measures if m.entity == "bill_lines"]
    # A total of points reaches back to the first of them: it is carried only where a metric asks for it.
    points_totals = [m for m in measures if any(p.measure is m and p.window == "total" for p in of_points)]
    points_measures = [m for m in measures if any(p.measure is m for p in of_points)]
    return {
        "bill_line_measures": _list(sql.measure(m, "l") for m in bill_totals),
        "points_measures": _list(sql.row_measure(m, "p") for m in points_measures),
        "points_rows": sql.any_row(points_measures, "p"),
        "carried_totals": _list(sql.carried_total(m, f"total_{m.measure_id}") for m in bill_totals),
        "points_carried_totals": _list(sql.carried_total(m, f"total_{m.measure_id}") for m in points_totals),
        "window_metrics": _list(sql.window_metric(m) for m in of_bills),
        "points_window_metrics": _list(sql.window_metric(m) for m in of_points),
        "window_columns": _list(
            [
                *(sql.or_zero("b", m.metric_id, sql.result_type(m)) for m in of_bills),
                *(sql.or_zero("b", f"total_{m.measure_id}", sql.result_type(m)) for m in bill_totals),
                *(sql.or_zero("p", m.metric_id, sql.result_type(m)) for m in of_points),
                *(sql.or_zero("p", f"total_{m.measure_id}", sql.result_type(m)) for m in points_totals),
            ]
        ),
        "metric_columns": _list(f"s.{sql.identifier(m.metric_id)}" for m in [*of_bills, *of_points]),
        "service_metrics": _list(sql.service_metric(m) for m in metrics if m.is_service),
        "decisions": _decisions(policies, periods, frozenset(missing_entities)),
    }


def _list(columns: Iterable[str]) -> str:
    return ",\n".join(columns)


def _decisions(policies: Policies, periods: Collection[str] | None, missing: frozenset[str]) -> str:
    parts: list[str] = []
    for program in policies.enabled():
        if program.subject_type != "customer":
            continue
        _refuse_overlap(program)
        versions = [v for v in program.versions if periods is None or any(v.covers(p) for p in periods)]
        parts += [_version(program, version, missing) for version in versions]
        if periods is None or any(program.version_for(p) is None for p in periods):
            parts.append(_no_version(program))
    return "\n\nunion all\n\n".join(parts) or _nothing()


def _refuse_overlap(program: Program) -> None:
    for before, after in zip(program.versions, program.versions[1:], strict=False):
        if before.valid_to is None or before.valid_to >= after.valid_from:
            raise after.row.bad(
                "valid_from_period",
                f"version {after.version!r} of {program.program_id} begins before version {before.version!r} ends",
                f"end version {before.version!r} in the month before (valid_to_period)",
            )


def _range(version: Version, alias: str) -> str:
    upper = f" and {alias}.period <= {sql.literal(version.valid_to)}" if version.valid_to else ""
    return f"{alias}.period >= {sql.literal(version.valid_from)}{upper}"


def _version(program: Program, version: Version, missing: frozenset[str]) -> str:
    lacking = sorted({entity for attribute in version.attributes for entity in attribute.needs & missing})
    if lacking:
        return _not_evaluated(program, f"needs {', '.join(lacking)}", _range(version, "m"), version)
    levels = {level.level_id: level for level in program.levels}
    uses_nominations = any(a.kind == "nomination" for a in version.attributes)
    return "\n".join(
        [
            f"-- program {program.program_id}, version {version.version}: hit policy {program.hit_policy}",
            "select",
            indent(_select_list(program, version, levels), "    "),
            "from (",
            "    select",
            "        r.*,",
            indent(_gap_case(program, version, levels), "        ") + " as gap",
            "    from (",
            "        select",
            "            b.*,",
            indent(_match_case(program, version, levels), "            "),
            "        from (",
            indent(_base(program, version, uses_nominations), "            "),
            "        ) as b",
            "    ) as r",
            ") as d",
        ]
    )


def _base(program: Program, version: Version, uses_nominations: bool) -> str:
    if not uses_nominations:
        return f"select m.*\nfrom {sql.METRICS_PLACEHOLDER} as m\nwhere {_range(version, 'm')}"
    return "\n".join(
        [
            "select m.*, n.level_id as nominated_level_id, n.level_rank as nominated_level_rank",
            f"from {sql.METRICS_PLACEHOLDER} as m",
            f"left join {sql.NOMINATIONS_PLACEHOLDER} as n",
            f"    on n.program_id = {sql.literal(program.program_id)} and n.subject_id = m.customer_id and n.period = m.period",
            f"where {_range(version, 'm')}",
        ]
    )


def evaluation_order(program: Program, version: Version) -> list[Rule]:
    """Rules in the order in which the CASE asks them: under `priority` the highest level first."""
    if program.hit_policy == "priority":
        return sorted(version.rules, key=lambda r: (-program.level(r.level_id).rank, r.order))
    return list(version.rules)


def _match_case(program: Program, version: Version, levels: dict[str, Level]) -> str:
    lines = ["case", "    when not b.is_in_scope then null"]
    for item in evaluation_order(program, version):
        lines += [f"    -- {item.rule_id}: {item.level_id}", f"    when {sql.rule(item, 'b', levels)} then {sql.literal(item.rule_id)}"]
    lines.append("end as first_rule_id,")
    if program.hit_policy == "unique":
        holds = [f"case when {sql.rule(item, 'b', levels)} then 1 else 0 end" for item in version.rules]
        lines.append("\n    + ".join(holds) + " as rules_that_hold")
    else:
        lines[-1] = lines[-1].rstrip(",")
    return "\n".join(lines)


def _by_rule(program: Program, version: Version, value: str) -> str:
    """A CASE over the matched rule that gives its level or rank."""
    lines = ["case d.first_rule_id"]
    for item in evaluation_order(program, version):
        found = sql.literal(item.level_id) if value == "level" else str(program.level(item.level_id).rank)
        lines.append(f"    when {sql.literal(item.rule_id)} then {found}")
    return "\n".join([*lines, "end"])


def _select_list(program: Program, version: Version, levels: dict[str, Level]) -> str:
    several = "d.rules_that_hold > 1" if program.hit_policy == "unique" else ""
    decided = "d.first_rule_id is not null" + (f" and not {several}" if several else "")

    def only_decided(expression: str) -> str:
        return f"case when {several} then null else {expression} end" if several else expression

    reason = ["case", "    when not d.is_in_scope then d.scope_reason"]
    if several:
        reason.append(f"    when {several} then 'several rules hold: unique allows one'")
    reason += ["    when d.first_rule_id is null then 'no rule holds'", "end as status_reason"]
    return ",\n".join(
        [
            f"{sql.literal(program.program_id)} as program_id",
            f"{sql.literal(program.subject_type)} as subject_type",
            "d.customer_id as subject_id",
            "d.period",
            f"{sql.literal(version.version)} as policy_version",
            f"{sql.literal(version.policy_hash)} as policy_hash",
            f"case when not d.is_in_scope then 'out_of_scope' when {decided} then 'decided' else 'not_evaluated' end as status",
            "\n".join(reason),
            f"{only_decided('d.first_rule_id')} as matched_rule_id",
            f"{only_decided(_by_rule(program, version, 'level'))} as qualified_level_id",
            f"cast({only_decided(_by_rule(program, version, 'rank'))} as integer) as qualified_rank",
            f"{sql.json_object(_evidence(version.attributes))} as evidence",
            f"{only_decided(_next_level(program, version))} as next_level_id",
            *_missing(program, version, levels),
        ]
    )


def _evidence(attributes: Iterable[Attribute]) -> list[tuple[str, str]]:
    """Attributes that conditions use with their values; of an average the sum and the months, which decide, and no quotient."""
    pairs: dict[str, str] = {}
    for attribute in attributes:
        column = sql.operand(attribute, "d")
        # Amounts as text: a JSON number may be read as a float.
        shown = f"cast({column} as varchar)" if attribute.type in {"decimal", "date"} else column
        if attribute.kind == "average":
            assert attribute.metric and attribute.months
            pairs[attribute.metric.metric_id] = shown
            pairs[attribute.months.metric_id] = sql.months_of(attribute, "d")
        else:
            pairs[attribute.attribute_id] = shown
    return list(pairs.items())


def _steps(program: Program) -> list[tuple[Level, Level]]:
    """Each level with the next higher one."""
    return list(zip(program.levels, program.levels[1:], strict=False))


def _next_level(program: Program, version: Version) -> str:
    following = {lower.level_id: higher.level_id for lower, higher in _steps(program)}
    lines = ["case d.first_rule_id"]
    for item in evaluation_order(program, version):
        if item.level_id in following:
            lines.append(f"    when {sql.literal(item.rule_id)} then {sql.literal(following[item.level_id])}")
    return "\n".join([*lines, "end"]) if len(lines) > 1 else "cast(null as varchar)"


def _can_be_raised(condition: Condition) -> bool:
    """Whether more of a number makes the condition hold."""
    return condition.attribute.type in NUMERIC and condition.operator in {">=", ">", "in range"}


def _gap_case(program: Program, version: Version, levels: dict[str, Level]) -> str:
    """What keeps a subject from the next level: the id of `<rule>/<condition>` that fails.

    A rule of the next level is in reach if only numbers are too low; the first such rule, and its first number that is too low.
    If none is in reach: the first condition of the level's first rule that fails.
    """
    lines = ["case"]
    for lower, higher in _steps(program):
        from_rules = [r for r in version.rules if r.level_id == lower.level_id]
        to_rules = [r for r in evaluation_order(program, version) if r.level_id == higher.level_id]
        if not from_rules or not to_rules:
            continue
        here = f"r.first_rule_id in ({', '.join(sql.literal(r.rule_id) for r in from_rules)})"
        inner = ["case"]
        for target in to_rules:
            fixed = [sql.condition(c, "r", levels) for c in target.conditions if not _can_be_raised(c)]
            for number, condition in enumerate(target.conditions):
                if _can_be_raised(condition):
                    fails = f"not coalesce({sql.condition(_lower_bound(condition), 'r', levels)}, false)"
                    inner.append(f"    when {' and '.join([*fixed, fails])} then {sql.literal(_gap(target, number))}")
        for number, condition in enumerate(to_rules[0].conditions):
            asked = _lower_bound(condition) if _can_be_raised(condition) else condition
            inner.append(f"    when not coalesce({sql.condition(asked, 'r', levels)}, false) then {sql.literal(_gap(to_rules[0], number))}")
        if len(inner) > 1:
            inner = [*dict.fromkeys(inner), "end"]
            lines += [f"    -- from {lower.level_id} to {higher.level_id}", f"    when {here} then", indent("\n".join(inner), "        ")]
    return "\n".join([*lines, "end"]) if len(lines) > 1 else "cast(null as varchar)"


def _gap(rule: Rule, number: int) -> str:
    return f"{rule.rule_id}/{number + 1}"


def _lower_bound(condition: Condition) -> Condition:
    """Of a range only the bound from below: more of a number never mends the one from above."""
    if condition.operator != "in range":
        return condition
    return Condition(condition.attribute, ">=", condition.values[:1], False, condition.row)


def _missing(program: Program, version: Version, levels: dict[str, Level]) -> list[str]:
    attributes, amounts = ["case d.gap"], ["case d.gap"]
    targets = {higher.level_id for _, higher in _steps(program)}
    for rule in version.rules:
        if rule.level_id not in targets:
            continue
        for number, condition in enumerate(rule.conditions):
            when = f"    when {sql.literal(_gap(rule, number))} then "
            attributes.append(when + sql.literal(condition.attribute.attribute_id))
            if _can_be_raised(condition):
                amounts.append(when + sql.missing_amount(_lower_bound(condition), "d"))
    found = "\n".join([*attributes, "end"]) if len(attributes) > 1 else "cast(null as varchar)"
    amount = "\n".join([*amounts, "end"]) if len(amounts) > 1 else f"cast(null as {sql.AMOUNT})"
    return [f"{found} as missing_attribute", f"{amount} as missing_amount"]


def _not_evaluated(program: Program, reason: str, where: str, version: Version | None = None) -> str:
    hash_, name = (sql.literal(version.policy_hash), sql.literal(version.version)) if version else ("cast(null as varchar)",) * 2
    return "\n".join(
        [
            f"-- program {program.program_id}" + (f", version {version.version}" if version else "") + ": not evaluated",
            "select",
            f"    {sql.literal(program.program_id)} as program_id,",
            f"    {sql.literal(program.subject_type)} as subject_type,",
            "    m.customer_id as subject_id,",
            "    m.period,",
            f"    {name} as policy_version,",
            f"    {hash_} as policy_hash,",
            "    case when not m.is_in_scope then 'out_of_scope' else 'not_evaluated' end as status,",
            f"    case when not m.is_in_scope then m.scope_reason else {sql.literal(reason)} end as status_reason,",
            *(f"    cast(null as varchar) as {c}," for c in ("matched_rule_id", "qualified_level_id")),
            "    cast(null as integer) as qualified_rank,",
            "    '{}' as evidence,",
            *(f"    cast(null as varchar) as {c}," for c in ("next_level_id", "missing_attribute")),
            f"    cast(null as {sql.AMOUNT}) as missing_amount",
            f"from {sql.METRICS_PLACEHOLDER} as m",
            f"where {where}",
        ]
    )


def _no_version(program: Program) -> str:
    covered = " or ".join(f"({_range(version, 'm')})" for version in program.versions)
    return _not_evaluated(program, "no policy version holds for the period", f"not ({covered})")


def _nothing() -> str:
    """No program is enabled: the same columns, no rows."""
    types = {"qualified_rank": "integer", "missing_amount": sql.AMOUNT}
    columns = ",\n".join(f"    cast(null as {types.get(name, 'varchar')}) as {name}" for name in DECISION_COLUMNS)
    return f"select\n{columns}\nwhere false"
