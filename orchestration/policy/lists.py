"""Compiled relation of the numbers by which target lists are ordered. Who is on a list, and in which place, is for the marts."""

from __future__ import annotations

from textwrap import indent

from orchestration.policy import sql
from orchestration.policy.inputs import source, subjects_of
from orchestration.policy.model import Attribute, Policies, Program
from orchestration.policy.operands import operands

# Room for any amount, with the six decimals of a score.
_ORDER_VALUE = "decimal(24, 6)"
_COLUMNS = {
    **dict.fromkeys(("subject_type", "subject_id", "period", "attribute_id"), "varchar"),
    "order_value": _ORDER_VALUE,
}


def order_values(policies: Policies, missing: frozenset[str]) -> str:
    """subject_type, subject_id, period, attribute_id, order_value: of every attribute that orders a list of an enabled program.

    An attribute that needs one of the ``missing`` entities has no rows.
    """
    found: dict[str, str] = {}
    for row in policies.seeds["target_lists"]:
        program, attribute = policies.programs[row["program_id"]], policies.attributes[row["order_attribute"]].without(missing)
        if program.enabled and not attribute.lacking(missing):
            found.setdefault(attribute.attribute_id, _values(program, attribute))
    return "\n\nunion all\n\n".join(found.values()) or sql.no_rows(_COLUMNS)


def _values(program: Program, attribute: Attribute) -> str:
    relation, key = subjects_of(program)
    columns = [f"m.{key} as subject_id", "m.period", *(f"{source(program, o)} as {sql.identifier(o.name)}" for o in operands([attribute]))]
    extras = f"\nleft join {sql.EXTRAS_PLACEHOLDER} as x on m.customer_id = x.customer_id and m.period = x.period"
    inner = f"select\n{sql.columns(columns)}\nfrom {relation} as m"
    inner += extras if program.subject_type == "customer" else ""
    return "\n".join(
        [
            f"select {sql.literal(program.subject_type)} as subject_type, v.subject_id, v.period,",
            f"    {sql.literal(attribute.attribute_id)} as attribute_id,",
            f"    {sql.from_millionths(sql.millionths(attribute, 'v'), _ORDER_VALUE)} as order_value",
            "from (",
            indent(inner, "    "),
            ") as v",
        ]
    )
