"""Cells that say another thing than they seem to: several values that would be read as one, and a null that would be read as a text.

Of a category with any value nothing else tells: a rule with such a cell would hold for nobody, in silence. Not asked of a release's
policies: they decided what they did.
"""

from __future__ import annotations

from collections import defaultdict

from orchestration.policy import cells
from orchestration.policy.channel_seeds import TAG
from orchestration.policy.model import Policies
from orchestration.policy.reader import Row

_AUDIENCE = "channel_audience"
_FOR_SEVERAL = {"=": "in", "!=": "not in"}


def refuse_look_alikes(policies: Policies) -> None:
    """BadInput for the first such cell."""
    listed: dict[str, set[str]] = defaultdict(set)
    for attribute in policies.attributes.values():
        # A rule names the attribute, an audience the column.
        for asked in {attribute.attribute_id, attribute.column_name or attribute.attribute_id}:
            listed[asked].update(attribute.allowed_values)
    for seed in policies.seeds.values():
        for name, column in seed.schema.columns.items():
            if column.type in {"value", "list"} or (seed.name, name) == (_AUDIENCE, "value"):
                for row in seed:
                    value = row[name] or ()
                    for part in value if isinstance(value, tuple) else value.split("|"):
                        _check_null(row, name, part.strip())
                        # A list in which a value stands says that it is one, bar and all.
                        if column.type != "list" and part.strip() not in listed[row["attribute"]]:
                            _check_bar(row, name, part.strip())
    for program in policies.programs.values():
        for version in program.versions:
            for item in (item for table in version.tables for item in table.conditions):
                if item.attribute.type == "category":
                    _check_single(item.row)
    for row in policies.seeds[_AUDIENCE]:
        if row["attribute"] != TAG:
            _check_single(row)


def _check_bar(row: Row, column: str, part: str) -> None:
    if cells.WIDE_BAR in part:
        what = f"{part!r} holds a full-width bar, which parts no values"
        raise row.bad(column, what, "join values with |; if it is one value, name it in allowed_values of the attribute")


def _check_null(row: Row, column: str, part: str) -> None:
    if part != cells.NULL_WORD and cells.narrow(part).strip().lower() == cells.NULL_WORD:
        raise row.bad(column, f"{part!r} is a text and no null", f"write {cells.NULL_WORD}")


def _check_single(row: Row) -> None:
    operator, value = row["operator"], row["value"]
    if operator in _FOR_SEVERAL and "|" in (value or ""):
        remedy = f"write {_FOR_SEVERAL[operator]}; if the bar is part of the value, let the mapping write another sign"
        raise row.bad("operator", f"{operator!r} compares with one value, and {value!r} holds several", remedy)
