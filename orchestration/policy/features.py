"""What behaviour analysis compares, as SQL: the numbers of a program's top subjects and of all others."""

from __future__ import annotations

from textwrap import indent

from orchestration.policy import inputs, sql
from orchestration.policy.model import Attribute, Policies, Program
from orchestration.policy.operands import plain, quotient
from orchestration.policy.relations import TARGETS

# Subjects of each side that are compared at most: effect sizes of larger sides hardly differ, and ranks of all would cost a sort.
SAMPLE = 20_000
COLUMNS = {
    "program_id": "varchar", "period": "varchar", "top_level_id": "varchar", "attribute_id": "varchar", "is_top": "boolean", "value": "double",
}  # fmt: skip


def feature_values(policies: Policies, missing: frozenset[str]) -> str:
    """One row per program, target period, attribute of behaviour_features and sampled subject: the columns of COLUMNS."""
    parts = []
    for program in policies.enabled():
        tops: dict[str, list[Attribute]] = {}
        for row in policies.seeds["behaviour_features"]:
            if row["program_id"] == program.program_id:
                attribute = policies.attributes[row["attribute"]].without(missing)
                if not attribute.needs & missing:
                    tops.setdefault(row["top_level_id"], []).append(attribute)
        parts += [_values(program, top, attributes) for top, attributes in tops.items()]
    if not parts:
        columns = ",\n".join(f"    cast(null as {kind}) as {name}" for name, kind in COLUMNS.items())
        return f"select\n{columns}\nwhere false"
    return "\n\nunion all\n\n".join(parts)


def _values(program: Program, top_level_id: str, attributes: list[Attribute]) -> str:
    rows = inputs.operand_rows(program, attributes, f"m.period in (select period from {TARGETS})")
    numbers = ",\n".join(f"{_number(attribute)} as {sql.identifier(attribute.attribute_id)}" for attribute in attributes)
    names = ", ".join(sql.literal(a.attribute_id) for a in attributes)
    values = ", ".join(f"s.{sql.identifier(a.attribute_id)}" for a in attributes)
    return "\n".join(
        [
            f"-- program {program.program_id}: {top_level_id} or above against all others",
            "select",
            f"    {sql.literal(program.program_id)} as program_id,",
            "    s.period,",
            f"    {sql.literal(top_level_id)} as top_level_id,",
            f"    unnest([{names}]) as attribute_id,",
            "    s.is_top,",
            f"    unnest([{values}]) as value",
            "from (",
            "    select",
            "        p.period,",
            f"        d.level_rank >= {program.level(top_level_id).rank} as is_top,",
            # The hash is as good as chance, and the same subjects are taken whenever a month is run again.
            f"        row_number() over (partition by p.period, d.level_rank >= {program.level(top_level_id).rank} order by md5(p.subject_id), p.subject_id) as place,",
            indent(numbers, "        "),
            "    from (",
            indent(rows, "        "),
            "    ) as p",
            f"    inner join {sql.DECISIONS_PLACEHOLDER} as d",
            f"        on d.program_id = {sql.literal(program.program_id)} and p.subject_id = d.subject_id and p.period = d.period",
            "    where d.level_rank is not null",
            ") as s",
            f"where s.place <= {SAMPLE}",
        ]
    )


def _number(attribute: Attribute) -> str:
    ratio = quotient(attribute, "p")
    if ratio is None:
        return f"cast({plain(attribute, 'p')} as double)"
    return f"case when {ratio.known} then cast({ratio.left} as double) / cast({ratio.denominator} as double) end"
