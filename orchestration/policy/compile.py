"""Programs compiled to static SQL: one CASE per program version.

Programs are evaluated in one pass over the metrics; the compiled text shows every rule under its id. Typed literals come from
``sql``; nothing is interpreted when a month runs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from textwrap import indent

from orchestration.policy import inputs, sql
from orchestration.policy.inputs import lacking
from orchestration.policy.model import (
    NUMERIC,
    RANKED,
    Attribute,
    Condition,
    Level,
    Policies,
    Program,
    Rule,
    ScopeRule,
    Value,
    Version,
    attributes_of,
)
from orchestration.policy.operands import AMOUNT, SCORE, all_attributes, operands, scores
from orchestration.policy.profiles import band_of, condition_holds

# Column → type of what a compiled program yields.
DECISION_COLUMNS = {
    "program_id": "varchar", "subject_type": "varchar", "subject_id": "varchar", "period": "varchar", "policy_version": "varchar",
    "policy_hash": "varchar", "status": "varchar", "status_reason": "varchar", "matched_rule_id": "varchar", "qualified_level_id": "varchar",
    "qualified_rank": "integer", "evidence": "varchar", "next_level_id": "varchar", "missing_attribute": "varchar",
    "missing_amount": AMOUNT, "is_amount_enough": "boolean", "event_date": "date", "score": SCORE, "population_size": "bigint", "population_rank": "bigint",
    "rank_value": inputs.RANK_VALUE, "cap_id": "varchar", "cap_level_id": "varchar", "cap_rank": "integer",
}  # fmt: skip


def decisions(policies: Policies, periods: Collection[str] | None, missing: frozenset[str]) -> str:
    """The decisions of every enabled program, as :func:`orchestration.policy.fragments.compile_policies` is asked for them.

    BadInput if two versions of a program hold for one period.
    """
    parts: list[str] = []
    for program in policies.enabled():
        _refuse_overlap(program)
        versions = [v for v in program.versions if periods is None or any(v.covers(p) for p in periods)]
        parts += [_version(program, version, missing) for version in versions]
        if periods is None or any(program.version_for(p) is None for p in periods):
            parts.append(_no_version(program))
    return "\n\nunion all\n\n".join(parts) or sql.no_rows(DECISION_COLUMNS)


def _refuse_overlap(program: Program) -> None:
    for before, after in pairwise(program.versions):
        if before.valid_to is None or before.valid_to >= after.valid_from:
            raise after.row.bad(
                "valid_from_period",
                f"version {after.version!r} of {program.program_id} begins before version {before.version!r} ends",
                f"end version {before.version!r} in the month before (valid_to_period)",
            )


def _version(program: Program, version: Version, missing: frozenset[str]) -> str:
    needs = lacking(version, missing)
    if needs:
        rules = inputs.scope_rules_left(version, missing)
        return _not_evaluated(program, f"needs {', '.join(needs)}", inputs.in_force(version, "m"), version, rules)
    left = version.without(missing)
    return decided(program, left, inputs.relation(program, left))


def decided(program: Program, version: Version, rows: str) -> str:
    """Decisions over ``rows``, a relation with the columns of :func:`inputs.relation`."""
    title = f"-- program {program.program_id}, version {version.version}: {program.method}, hit policy {program.hit_policy}"
    with_gap = sql.select(["r.*", f"{_gap_case(program, version)} as gap"], matched(program, version, rows), "r")
    return f"{title}\n{sql.select(_select_list(program, version), with_gap, 'd')}"


def matched(program: Program, version: Version, rows: str) -> str:
    """``rows`` with scores, first_rule_id, rules_that_hold (under *unique*) and cap_id: what a rule table says of each row."""
    cases = [_match_case(program, version), f"{_cap_case(program, version)} as cap_id"]
    return sql.select(["b.*", *cases], _scored(version, rows), "b")


def _scored(version: Version, rows: str) -> str:
    """``rows`` with a column for each score, and why a subject has none although it must (refused_reason)."""
    of_version = scores(version.attributes)
    if not of_version:
        return rows
    reason = _case([f"    {line}" for a in of_version for line in inputs.refusals(a, "i")])
    columns = [*(f"{inputs.score(a, 'i')} as {sql.identifier(a.attribute_id)}" for a in of_version), f"{reason} as refused_reason"]
    return sql.select(["i.*", *columns], rows, "i")


def evaluation_order(program: Program, version: Version) -> list[Rule]:
    """Rules in the order in which the CASE asks them: under `priority` the highest level first."""
    if program.hit_policy == "priority":
        return sorted(version.rules, key=lambda r: (-program.level(r.level_id).rank, r.order))
    return list(version.rules)


def _match_case(program: Program, version: Version) -> str:
    lines = ["case", "    when b.out_reason is not null then null"]
    for item in evaluation_order(program, version):
        lines += [
            f"    -- {item.rule_id}: {item.level_id}",
            f"    when {sql.conditions(item.conditions, 'b')} then {sql.literal(item.rule_id)}",
        ]
    lines.append("end as first_rule_id")
    if program.hit_policy == "unique":
        holds = [f"case when {sql.conditions(item.conditions, 'b')} then 1 else 0 end" for item in version.rules]
        lines[-1] += ","
        lines.append("\n    + ".join(holds) + " as rules_that_hold")
    return "\n".join(lines)


def _cap_case(program: Program, version: Version) -> str:
    """The cap in force with the lowest level."""
    lines = ["    when b.out_reason is not null then null"]
    for cap in sorted(version.caps, key=lambda c: program.level(c.level_id).rank):
        lines += [
            f"    -- at most {cap.level_id}",
            f"    when {sql.conditions(cap.conditions, 'b')} then {sql.literal(cap.cap_id)}",
        ]
    return _case(lines if version.caps else [])


def _case(branches: Sequence[str], of: str = "", kind: str = "varchar") -> str:
    """A CASE of WHEN lines, over the expression ``of`` if one is given; null of type ``kind`` without any."""
    return "\n".join([f"case {of}".rstrip(), *branches, "end"]) if branches else f"cast(null as {kind})"


def _cap_level(program: Program, version: Version) -> tuple[str, str]:
    """Level and rank of the cap in force."""
    levels = {cap.cap_id: program.level(cap.level_id) for cap in version.caps}
    by_level = [f"    when {sql.literal(name)} then {sql.literal(level.level_id)}" for name, level in levels.items()]
    by_rank = [f"    when {sql.literal(name)} then {level.rank}" for name, level in levels.items()]
    if not levels:
        return "cast(null as varchar)", "cast(null as integer)"
    return f"cast({_case(by_level, 'd.cap_id')} as varchar)", f"cast({_case(by_rank, 'd.cap_id')} as integer)"


def _select_list(program: Program, version: Version) -> list[str]:
    of_version = scores(version.attributes)
    # What leaves a subject undecided though a rule holds: the condition, its opposite, and the reason.
    undecided = []
    if program.hit_policy == "unique":
        several = "d.rules_that_hold > 1"
        undecided.append((several, f"not {several}", "'several rules hold: unique allows one'"))
    if of_version:
        undecided.append(("d.refused_reason is not null", "d.refused_reason is null", "d.refused_reason"))

    def only_decided(expression: str) -> str:
        return f"case when {' or '.join(when for when, _, _ in undecided)} then null else {expression} end" if undecided else expression

    is_decided = " and ".join(["d.first_rule_id is not null", *(unless for _, unless, _ in undecided)])
    reasons = [("d.out_reason is not null", "d.out_reason"), *((when, why) for when, _, why in reversed(undecided))]
    reasons.append(("d.first_rule_id is null", "'no rule holds'"))
    levels = [(sql.literal(rule.rule_id), program.level(rule.level_id)) for rule in evaluation_order(program, version)]
    by_level = _case([f"    when {rule} then {sql.literal(level.level_id)}" for rule, level in levels], "d.first_rule_id")
    by_rank = _case([f"    when {rule} then {level.rank}" for rule, level in levels], "d.first_rule_id")
    cap_level, cap_rank = _cap_level(program, version)
    size, rank, value = inputs.rank_columns(version, "d")
    return [
        f"{sql.literal(program.program_id)} as program_id",
        f"{sql.literal(program.subject_type)} as subject_type",
        "d.subject_id",
        "d.period",
        f"{sql.literal(version.version)} as policy_version",
        f"{sql.literal(version.policy_hash)} as policy_hash",
        f"case when d.out_reason is not null then 'out_of_scope' when {is_decided} then 'decided' else 'not_evaluated' end as status",
        _case([f"    when {when} then {why}" for when, why in reasons]) + " as status_reason",
        f"{only_decided('d.first_rule_id')} as matched_rule_id",
        f"{only_decided(by_level)} as qualified_level_id",
        f"cast({only_decided(by_rank)} as integer) as qualified_rank",
        f"{sql.json_object(_evidence(version.attributes))} as evidence",
        f"{only_decided(_next_level(program, version))} as next_level_id",
        *(f"{only_decided(text)} as {name}" for name, text in _missing(program, version).items()),
        "d.event_date",
        f"{f'd.{of_version[0].attribute_id}' if of_version else f'cast(null as {SCORE})'} as score",
        *(
            f"case when d.out_reason is null then {text} end as {name}"
            for text, name in ((size, "population_size"), (rank, "population_rank"), (value, "rank_value"))
        ),
        "d.cap_id",
        f"{cap_level} as cap_level_id",
        f"{cap_rank} as cap_rank",
    ]


def _evidence(attributes: Sequence[Attribute]) -> list[tuple[str, str]]:
    """The operands with their values, then the scores and bands that follow from them: a decision can be made again from it."""
    pairs: dict[str, str] = {}
    for operand in operands(attributes):
        column = f"d.{sql.identifier(operand.name)}"
        pairs[operand.name] = f"cast({column} as varchar)" if operand.is_text_in_evidence else column
    for attribute in all_attributes(attributes):
        if attribute.kind == "score":
            pairs[attribute.attribute_id] = f"cast(d.{sql.identifier(attribute.attribute_id)} as varchar)"
        elif attribute.kind == "band":
            pairs[attribute.attribute_id] = sql.band(attribute, "d")
    return list(pairs.items())


def _steps(program: Program, version: Version) -> list[tuple[Level, Level]]:
    """Each level that the rules give with the next higher one that they give."""
    return list(pairwise(program.ladder(version)))


def _next_level(program: Program, version: Version) -> str:
    following = {lower.level_id: higher.level_id for lower, higher in _steps(program, version)}
    rules = [rule for rule in evaluation_order(program, version) if rule.level_id in following]
    return _case([f"    when {sql.literal(r.rule_id)} then {sql.literal(following[r.level_id])}" for r in rules], "d.first_rule_id")


def _can_be_raised(condition: Condition) -> bool:
    """Whether more of a number makes the condition hold."""
    attribute = condition.attribute
    return attribute.type in NUMERIC and attribute.kind not in RANKED and condition.operator in {">=", ">", "in range"}


def _gap_case(program: Program, version: Version) -> str:
    """What keeps a subject from the next level: the id of `<rule>/<condition>` that fails.

    The first number that is too low and with which alone a rule of the next level decides once it is high enough, by the rule that asks for
    the least of it. Else, with ``+`` at
    the end, the first of several numbers of a rule that are too low. Else, with ``-``, the first condition of the level's first rule
    that fails, those before that no number mends: no amount leads there.
    """
    lines: list[str] = []
    for lower, higher in _steps(program, version):
        from_rules = [r for r in version.rules if r.level_id == lower.level_id]
        to_rules = [r for r in evaluation_order(program, version) if r.level_id == higher.level_id]
        here = f"r.first_rule_id in ({', '.join(sql.literal(r.rule_id) for r in from_rules)})"
        inner: list[str] = []
        numbers = _lowest_bar_first([(t, n, c) for t in to_rules for n, c in enumerate(t.conditions) if _can_be_raised(c)])
        for mark in ("", "+"):
            for target, number, condition in numbers:
                wanted = _once_high_enough(program, version, target, condition, is_alone=not mark)
                if wanted is not None:
                    inner.append(f"    when {' and '.join(wanted)} then {sql.literal(_gap(target, number) + mark)}")
        first = to_rules[0]
        failing = sorted(enumerate(first.conditions), key=lambda numbered: _can_be_raised(numbered[1]))
        for number, condition in failing:
            asked = _lower_bound(condition) if _can_be_raised(condition) else condition
            inner.append(f"    when not coalesce({sql.condition(asked, 'r')}, false) then {sql.literal(_gap(first, number) + '-')}")
        if inner:
            case = _case(list(dict.fromkeys(inner)))
            lines += [f"    -- from {lower.level_id} to {higher.level_id}", f"    when {here} then", indent(case, "        ")]
    return _case(lines)


def _lowest_bar_first(numbers: list[tuple[Rule, int, Condition]]) -> list[tuple[Rule, int, Condition]]:
    """Attributes in the order of their first condition; of one, its bars from the lowest up, since less of it is enough."""
    names = list(dict.fromkeys(condition.attribute.attribute_id for _, _, condition in numbers))
    return sorted(numbers, key=lambda item: (names.index(item[2].attribute.attribute_id), item[2].values[0], item[2].operator == ">"))


def _once_high_enough(program: Program, version: Version, target: Rule, condition: Condition, *, is_alone: bool) -> list[str] | None:
    """Conditions on r under which ``target`` decides once the number of ``condition``, now too low, meets its bar; None where it never
    does. ``is_alone``: without a further number."""
    raised = _just_enough(condition)
    parts = [f"not coalesce({sql.condition(_lower_bound(condition), 'r')}, false)"]
    for other in target.conditions:
        if other is condition:
            continue
        if not is_alone and _can_be_raised(other):
            if not _only_rises(other.attribute, condition.attribute):
                return None
            continue
        holds = _once_raised(other, condition, raised, unsure="false")
        if holds == "false":
            return None
        parts += [holds] if holds != "true" else []
    if program.hit_policy == "first":
        rank = program.level(target.level_id).rank
        for rule in version.rules[: version.rules.index(target)]:
            if program.level(rule.level_id).rank < rank:
                asked = [_once_raised(c, condition, raised, unsure="true") for c in rule.conditions]
                if "false" in asked:
                    continue
                holds = " and ".join(text for text in asked if text != "true")
                if not holds:
                    return None
                parts.append(f"not coalesce({holds}, false)")
    return parts


def _once_raised(item: Condition, condition: Condition, raised: Value, *, unsure: str) -> str:
    """Whether a condition holds once the number of ``condition`` is ``raised``: ``true`` or ``false`` where it asks for that number.

    A condition on what that number is a part of, or shares a measure with, is ``unsure``; if it holds now and asks for more of what only
    rises with the number, it holds then too.
    """
    number = condition.attribute
    if item.attribute.attribute_id == number.attribute_id:
        return "true" if condition_holds(item, raised) else "false"
    if item.attribute.kind == "band" and item.attribute.of[0].attribute_id == number.attribute_id:
        return "true" if condition_holds(item, band_of(item.attribute, raised)) else "false"
    if not _is_moved_by(item.attribute, number):
        return sql.condition(item, "r")
    if unsure == "true" or not (item.operator in {">=", ">"} and _only_rises(item.attribute, number)):
        return unsure
    return sql.condition(item, "r")


def _is_moved_by(attribute: Attribute, number: Attribute) -> bool:
    """Whether an attribute may change with a number: it is made of it, or both of what is measured once."""
    return bool(_made_of(attribute) & _made_of(number))


def _made_of(attribute: Attribute) -> frozenset[str]:
    """What a number hangs on: its own name and those of its parts, and its measures, of months in service apart."""
    parts = all_attributes([attribute])
    measured = {metric.measure.measure_id for part in parts for metric in part.metrics if not metric.is_service}
    return frozenset({part.attribute_id for part in parts} | {f"measure {name}" for name in measured})


def _only_rises(attribute: Attribute, number: Attribute) -> bool:
    """Whether more of a number never makes less of an attribute that it moves."""
    if attribute.attribute_id == number.attribute_id or not _is_moved_by(attribute, number):
        return True
    if attribute.kind == "ratio":
        return attribute.divisor is None or f"measure {attribute.divisor.measure.measure_id}" not in _made_of(number)
    if attribute.kind == "first_known":
        return all(_only_rises(part, number) for part in attribute.of)
    if attribute.kind == "score":
        return all(
            _only_rises(d.attribute, number) and (d.is_rising or not _is_moved_by(d.attribute, number)) for d in attribute.dimensions
        )
    return attribute.kind in {"metric", "average"}


def _just_enough(condition: Condition) -> Value:
    """The least value that meets the lower bound of a condition on a number, or one so near to it that no bar lies between."""
    bar = condition.values[0]
    if condition.operator != ">":
        return bar
    return bar + 1 if isinstance(bar, int) else bar + Decimal("0.00000001")  # type: ignore[operator]


def _gap(rule: Rule, number: int) -> str:
    return f"{rule.rule_id}/{number + 1}"


def _lower_bound(condition: Condition) -> Condition:
    """Of a range only the bound from below: more of a number never mends the one from above."""
    if condition.operator != "in range":
        return condition
    return replace(condition, operator=">=", values=condition.values[:1])


def _missing(program: Program, version: Version) -> dict[str, str]:
    attributes: list[str] = []
    amounts: list[str] = []
    targets = {higher.level_id for _, higher in _steps(program, version)}
    for rule in version.rules:
        if rule.level_id not in targets:
            continue
        for number, condition in enumerate(rule.conditions):
            gap = _gap(rule, number)
            named = sql.literal(condition.attribute.attribute_id)
            attributes += [f"    when {sql.literal(gap + mark)} then {named}" for mark in ("", "+", "-")]
            if _can_be_raised(condition):
                amount = sql.missing_amount(_lower_bound(condition), "d")
                amounts += [f"    when {sql.literal(gap + mark)} then {amount}" for mark in ("", "+")]
    return {
        "missing_attribute": _case(attributes, "d.gap"),
        "missing_amount": _case(amounts, "d.gap", AMOUNT),
        "is_amount_enough": "right(d.gap, 1) not in ('+', '-')",
    }


def _not_evaluated(program: Program, reason: str, where: str, version: Version | None = None, scope_rules: Sequence[ScopeRule] = ()) -> str:
    """Nobody is decided. Whom ``scope_rules`` leave out is out of scope all the same; the evidence is what they ask for."""
    known = {
        "program_id": sql.literal(program.program_id),
        "subject_type": sql.literal(program.subject_type),
        "subject_id": "d.subject_id",
        "period": "d.period",
        "policy_version": sql.literal(version.version) if version else "",
        "policy_hash": sql.literal(version.policy_hash) if version else "",
        "status": "case when d.out_reason is not null then 'out_of_scope' else 'not_evaluated' end",
        "status_reason": f"coalesce(d.out_reason, {sql.literal(reason)})",
        "evidence": sql.json_object(_evidence(attributes_of(scope_rules))),
        "event_date": "d.event_date",
    }
    columns = [f"{known.get(name) or f'cast(null as {kind})'} as {name}" for name, kind in DECISION_COLUMNS.items()]
    title = f"-- program {program.program_id}" + (f", version {version.version}" if version else "") + ": not evaluated"
    return f"{title}\n{sql.select(columns, inputs.scope_relation(program, scope_rules, where), 'd')}"


def _no_version(program: Program) -> str:
    covered = " or ".join(f"({inputs.in_force(version, 'm')})" for version in program.versions)
    return _not_evaluated(program, "no policy version holds for the period", f"not ({covered})")
