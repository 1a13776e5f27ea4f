"""The inputs of a policy version with the month before's replaced by this month's, one group after the other, as SQL: one row per mover and
step.

What was known and what is known come from the evidence of two decisions, bills of both windows from ``both_windows``. Who moved, and what the
rules make of these inputs, is for ``movement``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from textwrap import indent

from orchestration.policy import inputs, sql
from orchestration.policy.both_windows import WINDOWS, after_corrections, after_new_spend, is_idle, is_looked_up, is_windowed
from orchestration.policy.model import RANKED, Attribute, Dimension, Program, Rule, Version
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
    operands,
    operands_of,
    plain,
)

# The published order. The number of a step is its place from 1 on; 0 is the month before as it was released.
STEPS = (
    "attributes", "bill_corrections", "new_spend", "window_roll_off", "points", "population", "policy", "nomination", "cap", "validity",
)  # fmt: skip
AT = {name: number for number, name in enumerate(STEPS, 1)}
# The step from which an operand of a group is this month's.
_OF_GROUP = {
    ATTRIBUTES: AT["attributes"],
    BILLS: AT["window_roll_off"],
    POINTS: AT["points"],
    POPULATION: AT["population"],
    NOMINATION: AT["nomination"],
}
POLICY = AT["policy"]
# Steps after which the rules are asked; after the others the inputs are the same.
ASKED = range(AT["nomination"] + 1)


def of_placed_portions(version: Version) -> Version:
    """The version with its portions taken of amounts as they are placed among those of others: see :func:`_placed`."""

    def placed(attribute: Attribute) -> Attribute:
        if attribute.kind == "portion":
            amount = replace(attribute.of[0], kind="column", attribute_id=f"{attribute.attribute_id}__placed", of=())
            return replace(attribute, of=(amount,))
        return replace(attribute, of=tuple(map(placed, attribute.of)))

    def rule(item: Rule) -> Rule:
        return replace(item, conditions=tuple(replace(c, attribute=placed(c.attribute)) for c in item.conditions))

    return replace(version, rules=tuple(map(rule, version.rules)))


def inputs_at_steps(program: Program, version: Version) -> str:
    """The inputs of a version, as ``inputs.relation`` has them, with one row per mover and step that may change its level."""
    attributes = all_attributes(version.attributes)
    of_version = operands(version.attributes)
    places = {o.name: place for place, o in enumerate(of_version, 1)}
    computed = [column for a in attributes for column in _computed(a, attributes, places)]
    substituted = _substituted(program, version, of_version)
    if not computed:
        return substituted
    ctes = [sql.cte("substituted", substituted)]
    joined = ""
    for name, ranked in _ladders(attributes).items():
        ctes += [sql.cte(name, _ladder(ranked, _amounts_before(program, version, ranked, is_kept=name == "ladder_1")))]
        joined += f"\nleft join {name} on p.before_index = {name}.before_index and {_own(ranked)} = {name}.own_value"
    return "with " + ",\n\n".join(ctes) + f"\n\nselect\n    p.*,\n{sql.columns(computed)}\nfrom substituted as p{joined}"


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
    typed = ["e.subject_id", "e.period", "e.before_index", "e.period_index", "e.had_rules", "e.has_rules", "e.before_has", "e.has"]
    if of_version:
        typed += [f"{sql.struct(was)} as was", f"{sql.struct(becomes)} as becomes"]
    windowed = any(is_looked_up(program.subject_type, o) for o in of_version)
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
        columns += ["p.was", "p.becomes", "p.has as evidence__has"]
    columns += [f"{_at_step(program, o, n)} as {sql.identifier(o.name)}" for n, o in enumerate(of_version, 1) if not o.is_computed]
    placed = _placed(program, version, of_version)
    if placed:
        columns.append(f"{sql.struct(placed)} as placed")
    steps = ", ".join(f"({step})" for step in _steps(of_version))
    lines = [
        "select",
        sql.columns(columns),
        "from (",
        "    select",
        indent(sql.columns(typed), "    "),
        "    from (",
        "        select",
        indent(sql.columns(texts), "        "),
        "        from pairs as p",
        f"        where p.program_id = {sql.literal(program.program_id)} and (p.policy_version = {version_id} or ({same_rules}))",
        "    ) as e",
        ") as p",
        f"inner join (values {steps}) as k (step)",
        f"    on case when k.step < {POLICY} then p.had_rules when k.step = {POLICY} then p.has_rules and not p.had_rules else p.has_rules end",
    ]
    if windowed:
        keys_of = " and ".join(f"p.{name} = w.{name}" for name in ("subject_id", "before_index", "period_index"))
        lines.append(f"left join {WINDOWS[program.subject_type]} as w on {keys_of}")
    return "\n".join(lines)


def _steps(of_version: list[Operand]) -> list[int]:
    """The steps after which inputs of the version may differ from those before."""
    groups = {o.group for o in of_version}
    steps = {0, POLICY, *(_OF_GROUP[group] for group in groups)}
    if BILLS in groups:
        steps |= {AT["bill_corrections"], AT["new_spend"]}
    return [step for step in ASKED if step in steps]


def _at_step(program: Program, operand: Operand, number: int) -> str:
    """The value of an operand that is read, not computed, after a step."""
    name, is_known = sql.identifier(operand.name), f"p.has[{number}]"
    lines = [f"when k.step >= {_OF_GROUP[operand.group]} then p.becomes.{name}"]
    if operand.group == BILLS:
        if operand.metric and is_windowed(program.subject_type, operand):
            extended, corrected = (value(operand, operand.metric, is_known) for value in (after_new_spend, after_corrections))
            if operand.metric.window == "total":
                # Nothing rolls off it.
                lines[0] = f"when k.step >= {AT['new_spend']} then {extended}"
            else:
                lines.append(f"when k.step = {AT['new_spend']} then {extended}")
            lines.append(f"when k.step = {AT['bill_corrections']} then {corrected}")
        else:
            lines[0] = f"when k.step >= {AT['new_spend']} then p.becomes.{name}"
            if is_idle(operand):
                # The month before by the bills known now. Spend of longer ago than is looked up is told by this month, unless it has come since.
                since = "p.period_index - p.before_index"
                told = f"when p.becomes.{name} >= {since} then p.becomes.{name} - ({since}) when p.becomes.{name} is not null then p.was.{name}"
                by_now = f"case when not {is_known} then p.was.{name} {told} end"
                lines.append(f"when k.step >= {AT['bill_corrections']} then coalesce(w.idle_before, {by_now})")
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
            # Nothing rolls off a total.
            if operand.metric and operand.metric.window != "total" and is_windowed(program.subject_type, operand):
                is_known = f"p.has[{number}]"
                ends = f"{after_corrections(operand, operand.metric, is_known)}, p.becomes.{sql.identifier(operand.name)}"
                between = f"greatest(least({ends}), least({after_new_spend(operand, operand.metric, is_known)}, greatest({ends})))"
                value = f"case when k.step = {AT['new_spend']} then {between} else {value} end"
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


def _ladder(ranked: Attribute, amounts: str) -> str:
    """For each substituted amount: how many amounts of the month before stand above it, and their sum."""
    before = f"p.step < {AT['population']} and {_own(ranked)} > 0 and {_own(ranked)} is distinct from {_own(ranked, 'p.was')}"
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


def _computed(attribute: Attribute, attributes: Sequence[Attribute], places: Mapping[str, int]) -> Iterator[str]:
    """Operands that follow from others or from the population, at a step of p. ``places``: of operands in ``p.evidence__has``."""
    name = attribute.attribute_id
    if attribute.kind == "portion":
        now = _of_population(f"{name}__total_amount", places)
        yield f"{plain(attribute.of[0], 'p.placed')} as {name}__placed"
        yield f"case {now}.{name}__total_amount else {_total(attribute)} end as {name}__total_amount"
    elif attribute.kind in {"position", "share"}:
        yield from _place(attribute, _ladder_of(attribute, attributes), _of_population(f"{name}__above", places))
    for dimension in attribute.dimensions:
        column = dimension_column(attribute, dimension)
        if dimension.is_relative:
            yield f"case when p.step >= {AT['population']} or ({_is_substituted(dimension)}) then p.becomes.{column} else p.was.{column} end as {column}"
        else:
            yield f"{sql.from_millionths(inputs.scaled(dimension))} as {column}"


def _of_population(operand: str, places: Mapping[str, int]) -> str:
    """What others have is this month's from its step on; where other rules no longer count it, it stays that of the month before."""
    return f"when p.step >= {AT['population']} and p.evidence__has[{places[operand]}] then p.becomes"


def _total(attribute: Attribute) -> str:
    """The sum of positive amounts of the month before, with the own amount replaced."""
    name = attribute.attribute_id
    own, was = plain(attribute.of[0], "p.placed"), plain(attribute.of[0], "p.was")
    return f"p.was.{name}__total_amount - greatest(coalesce({was}, 0), 0) + greatest(coalesce({own}, 0), 0)"


def _place(attribute: Attribute, ladder: str, is_now: str) -> Iterator[str]:
    """Place and share of an own amount among the amounts of the month before. ``is_now``: see :func:`_of_population`."""
    name = attribute.attribute_id
    own, was = plain(attribute.of[0], "p.placed"), plain(attribute.of[0], "p.was")
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
        total = _total(attribute)
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
