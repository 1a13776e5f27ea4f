"""Behaviour analysis: the numbers of a program's top subjects and of all others as SQL, and how far they differ."""

from __future__ import annotations

from textwrap import indent
from typing import Any

import pyarrow as pa

from orchestration.policy import inputs, sql
from orchestration.policy.model import Attribute, Policies, Program
from orchestration.policy.operands import plain, quotient
from orchestration.policy.relations import TARGETS

# A spread below this share of the numbers is what rounding leaves of equal ones: what is divided by it may be of any size.
NO_SPREAD = 1e-11
# Subjects of each side that are compared at most: effect sizes of larger sides hardly differ, and ranks of all would cost a sort.
SAMPLE = 20_000
COLUMNS = {
    "program_id": "varchar", "period": "varchar", "top_level_id": "varchar", "attribute_id": "varchar", "is_top": "boolean", "value": "double",
}  # fmt: skip

EFFECT_COLUMNS = {
    "program_id": "varchar", "period": "varchar", "top_level_id": "varchar", "attribute_id": "varchar", "top_subjects": "bigint",
    "other_subjects": "bigint", "top_mean": "double", "other_mean": "double", "top_median": "double", "other_median": "double",
    "cohens_d": "double", "cliffs_delta": "double", "p_value": "double",
}  # fmt: skip
_ARROW = {"varchar": pa.string(), "bigint": pa.int64(), "double": pa.float64()}


def feature_values(policies: Policies, missing: frozenset[str]) -> str:
    """One row per program, target period, attribute of behaviour_features and sampled subject: the columns of COLUMNS."""
    parts = []
    for program in policies.enabled():
        tops: dict[str, list[Attribute]] = {}
        for row in policies.seeds["behaviour_features"]:
            if row["program_id"] == program.program_id:
                attribute = policies.attributes[row["attribute"]].without(missing)
                if not attribute.lacking(missing):
                    tops.setdefault(row["top_level_id"], []).append(attribute)
        parts += [_values(program, top, attributes) for top, attributes in tops.items()]
    return "\n\nunion all\n\n".join(parts) or sql.no_rows(COLUMNS)


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


def effects_table(values: pa.Table) -> pa.Table:
    """One row per program, period and attribute with effect sizes of ``values`` (see COLUMNS), by name."""
    rows = []
    keys = ("program_id", "period", "top_level_id", "attribute_id")
    if values.num_rows:
        # scipy takes half a second to load: only where there is something to compare.
        import numpy as np

        # Numbers for names: hundreds of thousands of texts would take longer than the comparison.
        encoded = [values[name].combine_chunks().dictionary_encode() for name in keys]
        codes = np.zeros(values.num_rows, dtype=np.int64)
        for column in encoded:
            codes = codes * len(column.dictionary) + column.indices.to_numpy()
        order = np.argsort(codes, kind="stable")
        is_top = values["is_top"].to_numpy()[order].astype(bool)
        numbers = values["value"].to_numpy()[order].astype(float)
        starts = [int(start) for start in np.flatnonzero(np.diff(codes[order], prepend=-1))]
        firsts = values.take(order[starts]).select(keys).to_pylist()
        groups = sorted(zip(firsts, starts, [*starts[1:], len(order)], strict=True), key=lambda group: tuple(group[0].values()))
        for names, start, end in groups:
            some, top = numbers[start:end], is_top[start:end]
            known = ~np.isnan(some)
            rows.append(names | effects(some[top & known], some[~top & known]))
    return pa.Table.from_pylist(rows, schema=pa.schema([(name, _ARROW[kind]) for name, kind in EFFECT_COLUMNS.items()]))


def effects(top: Any, others: Any) -> dict[str, Any]:
    """Effect sizes of two samples (numpy arrays without nulls); null where a side is empty or nothing varies."""
    from scipy import stats

    found: dict[str, Any] = {"top_subjects": len(top), "other_subjects": len(others)}
    for name, side in (("top", top), ("other", others)):
        found |= {f"{name}_mean": float(side.mean()), f"{name}_median": float(stats.scoreatpercentile(side, 50))} if len(side) else {}
    if not len(top) or not len(others):
        return found
    freedom = len(top) + len(others) - 2
    pooled = ((((top - top.mean()) ** 2).sum() + ((others - others.mean()) ** 2).sum()) / freedom) ** 0.5 if freedom else 0
    varies = pooled > NO_SPREAD * max(abs(top).max(), abs(others).max())
    test = stats.mannwhitneyu(top, others, alternative="two-sided")
    return found | {
        "cohens_d": float((top.mean() - others.mean()) / pooled) if varies else None,
        "cliffs_delta": float(2 * test.statistic / (len(top) * len(others)) - 1),
        "p_value": float(test.pvalue),
    }
