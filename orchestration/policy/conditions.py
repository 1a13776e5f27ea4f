"""Conditions from cells: one value typed by its attribute, one comparison checked against what can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from orchestration.policy import cells
from orchestration.policy.attributes import closed_values
from orchestration.policy.cells import CellProblem
from orchestration.policy.model import COMPARE, NUMERIC, ORDERED, Attribute, Condition, Level, Value
from orchestration.policy.reader import Row, close_match


def parse_value(text: str, attribute: Attribute, levels: Mapping[str, Level], point_may_group: bool = False) -> Value:
    """One value of a condition, typed by its attribute. ``point_may_group``: see :func:`cells.parse_decimal`."""
    value: Value
    if attribute.type in NUMERIC:
        value = cells.parse_integer(text) if attribute.type == "integer" else cells.parse_decimal(text, point_may_group=point_may_group)
        if side := cells.beyond(value, attribute.minimum, attribute.maximum):
            what = f"{text!r} is {side} what a rule may name of {attribute.attribute_id}"
            raise CellProblem(what, f"write {cells.shown_bounds(attribute.minimum, attribute.maximum)}")
        return value
    if attribute.type == "boolean":
        return cells.parse_boolean(text)
    if attribute.type == "date":
        return cells.parse_date(text)
    if attribute.type == "level":
        if text not in levels:
            raise CellProblem(f"{text!r} is not a level of the program", close_match(text, levels))
        return text
    known = attribute.allowed_values or closed_values(attribute)
    if known and text not in known:
        raise CellProblem(f"{text!r} is not a value of {attribute.attribute_id}", close_match(text, known))
    return text


def parse_condition(row: Row, attribute: Attribute, levels: Mapping[str, Level]) -> Condition:
    """A condition with its values typed; BadInput names the cell."""
    operator, text = row["operator"], row["value"]
    if operator in {"<", "<=", ">", ">=", "in range"} and attribute.type not in ORDERED:
        raise row.bad(
            "operator", f"{operator!r} needs an order, and {attribute.attribute_id} ({attribute.type}) has none", "use =, !=, in or not in"
        )
    if operator == "in range" and attribute.type == "level":
        raise row.bad("operator", "levels have no ranges", "use >= and <, each in a row of its own")
    if operator in {"is null", "is not null"}:
        if text:
            raise row.bad("value", f"{operator!r} takes no value", "leave the cell empty")
        return Condition(attribute, operator, (), False, row)
    if not text:
        raise row.bad("value", "is empty", "write the value; to find subjects without one use the operator `is null`")
    with_null = False
    try:
        if operator == "in range":
            parts = text.split("..")
            if len(parts) != 2:
                raise CellProblem(f"{text!r} is no range", "write low..high, for example 120..300 (120 included, 300 not)")
            values = tuple(parse_value(part.strip(), attribute, levels, row.point_may_group) for part in parts)
            if not values[0] < values[1]:  # type: ignore[operator]
                raise CellProblem(f"the range {text!r} holds nothing", "write the lower bound first")
        elif operator in {"in", "not in"}:
            texts = cells.parse_list(text)
            with_null = cells.NULL_WORD in texts
            values = tuple(parse_value(part, attribute, levels, row.point_may_group) for part in texts if part != cells.NULL_WORD)
            if len(set(values)) < len(values):
                raise CellProblem(f"{text!r} names a value twice", "name each value once")
        else:
            if text == cells.NULL_WORD:
                raise CellProblem("a comparison with null is false", "use the operator `is null` or `is not null`")
            values = (parse_value(text, attribute, levels, row.point_may_group),)
    except CellProblem as err:
        raise row.bad("value", err.what, err.remedy) from err
    condition = Condition(attribute, operator, values, with_null, row)
    if not condition.is_by_rank:
        return condition
    bar = levels[text].rank
    by_rank = sorted(levels.values(), key=lambda level: level.rank)
    return replace(condition, inside=tuple(level.level_id for level in by_rank if COMPARE[operator](level.rank, bar)))
