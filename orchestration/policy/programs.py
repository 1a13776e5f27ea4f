"""Programs from seeds: their levels, and for each version its rules, scope rules and caps, checked against each other."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from orchestration.errors import all_of
from orchestration.policy.attributes import VersionParts, resolved
from orchestration.policy.conditions import parse_condition
from orchestration.policy.model import (
    NUMERIC,
    Attribute,
    Cap,
    Condition,
    Level,
    Program,
    Rule,
    ScopeRule,
    Value,
    Version,
    attributes_of,
    canonical_hash,
)
from orchestration.policy.operands import all_attributes, scores
from orchestration.policy.reader import Row, Seed, close_match
from orchestration.policy.subjects import SUBJECT_TYPES
from orchestration.wording import counted

HASH = re.compile(r"[0-9a-f]{64}")
# Seeds whose rows belong to one version of a program.
VERSIONED = ("bands", "score_dimensions", "score_bands", "scope_rules", "caps", "contact_plans", "target_lists", "checklists")
# What follows from a level: the columns that say who does how much, when and in which order. The others are texts, which may be corrected.
_ACTIONS = {
    "contact_plans": (
        "level_id", "contacts_min", "contacts_max", "contact_group", "share_target_pct", "is_priority", "reach_target_pct",
    ),
    "target_lists": ("list_id", "level_id", "list_order", "order_attribute", "per_owner"),
    "checklists": ("level_id", "item_id", "item_order", "lead_minutes", "responsible_role"),
}  # fmt: skip
# What the decision table of a method must rest on: kinds, and how many attributes of them.
_METHODS: dict[str, tuple[frozenset[str], int]] = {
    "percentile": (frozenset({"position", "share"}), 1),
    "weighted_score": (frozenset({"score"}), 1),
    "grid": (frozenset({"band"}), 2),
    "eligibility": (frozenset({"application"}), 1),
    "nomination": (frozenset({"nomination"}), 1),
}


@dataclass(frozen=True)
class _Rows:
    """Rows of the seeds by the program version they belong to."""

    rules: Mapping[tuple[str, str], list[Row]]
    conditions: Mapping[tuple[str, str, str], list[Row]]
    scope: Mapping[tuple[str, str], list[Row]]
    caps: Mapping[tuple[str, str], list[Row]]
    parts: VersionParts
    spend: tuple[str, ...]
    actions: Mapping[str, Mapping[tuple[str, str], list[Row]]]

    @classmethod
    def of(cls, seeds: Mapping[str, Seed], attributes: Mapping[str, Attribute], spend: tuple[str, ...]) -> _Rows:
        """Grouped; a row of a version or rule that is not there is refused."""
        versions: dict[str, set[str]] = defaultdict(set)
        for row in seeds["policy_versions"]:
            versions[row["program_id"]].add(row["version"])

        def known(row: Row) -> tuple[str, str]:
            program, version = row["program_id"], row["version"]
            if version not in versions[program]:
                raise row.bad("version", f"program {program!r} has no version {version!r}", close_match(version, sorted(versions[program])))
            return program, version

        def by_version(name: str) -> dict[tuple[str, str], list[Row]]:
            found: dict[tuple[str, str], list[Row]] = defaultdict(list)
            for row in seeds[name]:
                found[known(row)].append(row)
            return found

        rules = by_version("decision_rules")
        conditions: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
        for row in seeds["decision_conditions"]:
            names = [rule["rule_id"] for rule in rules.get(known(row), [])]
            if row["rule_id"] not in names:
                raise row.bad(
                    "rule_id", f"{row['program_id']} {row['version']} has no rule {row['rule_id']!r}", close_match(row["rule_id"], names)
                )
            conditions[row["program_id"], row["version"], row["rule_id"]].append(row)
        versioned = {name: by_version(name) for name in VERSIONED}
        for row in seeds["restatements"]:
            known(row)
            if not HASH.fullmatch(row["policy_hash"]):
                raise row.bad(
                    "policy_hash",
                    f"{row['policy_hash']!r} is no hash of a policy version",
                    "write all 64 digits, as `tierhouse policy check` names them where the change is refused, or with --json",
                )
        actions = {name: versioned[name] for name in _ACTIONS}
        return cls(rules, conditions, versioned["scope_rules"], versioned["caps"], VersionParts.of(seeds, attributes), spend, actions)


def build_programs(seeds: Mapping[str, Seed], attributes: Mapping[str, Attribute], spend: tuple[str, ...]) -> dict[str, Program]:
    """Program by id, in the order of the seed. ``spend``: the charge types that count as spend."""
    rows = _Rows.of(seeds, attributes, spend)
    programs: dict[str, Program] = {}

    def add(row: Row) -> None:
        _once(row, "name_en", programs.values())
        _once(row, "name_zh", programs.values())
        programs[row["program_id"]] = _program(row, seeds, rows, attributes)

    all_of(add, seeds["programs"])
    _check_levels_of(seeds, programs)
    _check_numbers(seeds, programs, attributes)
    return programs


def _once(row: Row, column: str, others: Iterable[Program]) -> None:
    for other in others:
        if other.row[column] == row[column]:
            raise row.bad(
                column, f"{row[column]!r} is the name of program {other.program_id!r} already", "give each program a name of its own"
            )


def _check_levels_of(seeds: Mapping[str, Seed], programs: Mapping[str, Program]) -> None:
    """Plans, lists, checklists and features name levels of their program."""
    for name, column in (
        ("contact_plans", "level_id"),
        ("target_lists", "level_id"),
        ("checklists", "level_id"),
        ("behaviour_features", "top_level_id"),
    ):
        for row in seeds[name]:
            row.one_of(column, (level.level_id for level in programs[row["program_id"]].levels), f"a level of {row['program_id']}")
    for row in seeds["contact_plans"]:
        if row["contacts_min"] > row["contacts_max"]:
            raise row.bad("contacts_min", f"{row['contacts_min']} is above contacts_max, {row['contacts_max']}", "exchange them")


def _check_numbers(seeds: Mapping[str, Seed], programs: Mapping[str, Program], attributes: Mapping[str, Attribute]) -> None:
    """A list is ordered by a number of the subject that its program grades, and a feature is one."""
    allowed = {"column", "metric", "average", "ratio", "months_since", "first_known"}
    for name, column, what in (
        ("target_lists", "order_attribute", "orders no list"),
        ("behaviour_features", "attribute", "is no feature"),
    ):
        for row in seeds[name]:
            program, attribute = programs[row["program_id"]], attributes[row[column]]
            if attribute.type not in NUMERIC or attribute.kind not in allowed or attribute.subject_type != program.subject_type:
                raise row.bad(
                    column,
                    f"{attribute.attribute_id!r} is a {attribute.kind} of a {attribute.subject_type}, which {what} of {row['program_id']}",
                    f"name a number of a {program.subject_type} of kind {', '.join(sorted(allowed))}",
                )


def _program(row: Row, seeds: Mapping[str, Seed], rows: _Rows, attributes: Mapping[str, Attribute]) -> Program:
    program_id = row["program_id"]
    _check_clock(row)
    levels: dict[str, Level] = {}
    ranks: dict[int, Level] = {}
    for level_row in (r for r in seeds["levels"] if r["program_id"] == program_id):
        level = Level(level_row["level_id"], level_row["rank"], level_row)
        if level.rank in ranks:
            raise level_row.bad(
                "rank", f"rank {level.rank} is that of level {ranks[level.rank].level_id!r} already", "give each level a rank of its own"
            )
        levels[level.level_id] = ranks[level.rank] = level
    if not levels:
        raise row.bad("program_id", f"program {program_id!r} has no levels", f"add them to {seeds['levels'].file}")
    monotone = attributes[row["monotone_in"]] if row["monotone_in"] else None
    if monotone and monotone.type not in NUMERIC:
        raise row.bad("monotone_in", f"{monotone.attribute_id!r} is no number", "name a number, or leave it empty")
    ordered = tuple(ranks[rank] for rank in sorted(ranks))
    version_rows = [r for r in seeds["policy_versions"] if r["program_id"] == program_id]
    if not version_rows:
        raise row.bad("program_id", f"program {program_id!r} has no policy version", f"add one to {seeds['policy_versions'].file}")
    by_begin = sorted(version_rows, key=lambda r: str(r["valid_from_period"]))
    versions = tuple(all_of(lambda version_row: _version(version_row, row, levels, ordered, rows, attributes), by_begin))
    if monotone:
        monotone = resolved(monotone, program_id, versions[-1].version, rows.parts, attributes, row)
    return Program(program_id, row["subject_type"], row["method"], row["hit_policy"], monotone, row["enabled"], ordered, versions, row)


def _check_clock(row: Row) -> None:
    subject = SUBJECT_TYPES[row["subject_type"]]
    if row["clock"] == "event":
        entity = row.need("event_entity", "the clock is an event")
        if (entity == "receptions") != (subject.name == "reception"):
            raise row.bad(
                "event_entity",
                f"a {subject.name} has no event in {entity}",
                "receptions are the events of receptions, applications those of all others",
            )
    elif row["event_entity"]:
        raise row.bad("event_entity", "a program on the clock of months has no event", "leave it empty, or write event as clock")
    elif subject.at_column:
        raise row.bad("clock", f"a {subject.name} is there in one period only", "write event as clock")


def _version(
    row: Row, program: Row, levels: Mapping[str, Level], ordered: tuple[Level, ...], rows: _Rows, attributes: Mapping[str, Attribute]
) -> Version:
    if row["valid_to_period"] and row["valid_to_period"] < row["valid_from_period"]:
        raise row.bad("valid_to_period", "ends before it begins", "exchange the two periods")
    _check_life_cycle(row, program)
    key = (row["program_id"], row["version"])

    def condition(of: Row) -> Condition:
        attribute = attributes[of["attribute"]]
        if attribute.subject_type != program["subject_type"]:
            own = [a for a, known in attributes.items() if known.subject_type == program["subject_type"]]
            raise of.bad(
                "attribute", f"{attribute.attribute_id!r} belongs to a {attribute.subject_type}, the program grades a {program['subject_type']}",
                close_match(attribute.attribute_id, own),
            )  # fmt: skip
        return parse_condition(of, resolved(attribute, *key, rows.parts, attributes, of), levels)

    # Every cell is read before any table is built, so that all that cannot be read are told together.
    of_rules = (r for rule in rows.rules.get(key, []) for r in rows.conditions.get((*key, rule["rule_id"]), []))
    all_of(condition, [*of_rules, *rows.scope.get(key, []), *rows.caps.get(key, [])])
    rules = _rules(row, levels, rows, condition)
    scope_rules = tuple(
        ScopeRule(name, tuple(condition(r) for r in group), group[0])
        for name, group in _grouped(rows.scope.get(key, []), "rule_id").items()
    )
    for scope in scope_rules:
        for item in scope.conditions:
            if item.attribute.is_ranked:
                raise item.row.bad(
                    "attribute", f"{item.attribute.attribute_id!r} depends on who is in scope", "name an attribute of the subject alone"
                )
            if scores([item.attribute]):
                raise item.row.bad(
                    "attribute",
                    f"{item.attribute.attribute_id!r} is a score, which is given to those in scope",
                    "name what the score is made of",
                )
    caps = tuple(_cap(name, group, levels, condition) for name, group in _grouped(rows.caps.get(key, []), "cap_id").items())
    _check_method(row, program, rules)
    version = Version(*key, row["valid_from_period"], row["valid_to_period"], rules, scope_rules, caps, "", row)
    actions = {name: rows.actions[name].get(key, []) for name in _ACTIONS}
    return replace(version, policy_hash=canonical_hash(_content(program, ordered, version, rows.spend, actions, attributes)))


def _check_life_cycle(row: Row, program: Row) -> None:
    if not row["validity_months"]:
        for column in ("grace_months", "fall"):
            if row[column]:
                raise row.bad(column, "there is no validity, so that there is no review", "write validity_months, or leave it empty")
    elif program["clock"] == "event":
        raise row.bad("validity_months", "a program on the clock of events has no review", "leave it empty")


def _grouped(rows: list[Row], column: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row[column], []).append(row)
    return found


def _cap(name: str, group: list[Row], levels: Mapping[str, Level], condition: Any) -> Cap:
    first = group[0]
    for row in group:
        row.one_of("level_id", levels, f"a level of {row['program_id']}")
        if row["level_id"] != first["level_id"]:
            raise row.bad("level_id", f"cap {name!r} has level {first['level_id']!r} in row {first.line}", "give one cap one level")
    return Cap(name, first["level_id"], tuple(condition(row) for row in group), first)


def _rules(version: Row, levels: Mapping[str, Level], rows: _Rows, condition: Any) -> tuple[Rule, ...]:
    program_id, name = version["program_id"], version["version"]
    found = rows.rules.get((program_id, name), [])
    if not found:
        raise version.bad("version", f"{program_id} {name} has no rules", "add them to decision_rules")
    orders: dict[int, str] = {}
    rules = []
    for row in found:
        row.one_of("level_id", levels, f"a level of {program_id}")
        if row["rule_order"] in orders:
            raise row.bad(
                "rule_order",
                f"{row['rule_order']} is the place of rule {orders[row['rule_order']]!r} already",
                "give each rule a place of its own",
            )
        orders[row["rule_order"]] = row["rule_id"]
        conditions = tuple(condition(r) for r in rows.conditions.get((program_id, name, row["rule_id"]), []))
        rules.append(Rule(row["rule_id"], row["rule_order"], row["level_id"], conditions, row))
    return tuple(sorted(rules, key=lambda r: r.order))


def _check_method(version: Row, program: Row, rules: tuple[Rule, ...]) -> None:
    if program["method"] not in _METHODS:
        return
    kinds, count = _METHODS[program["method"]]
    if not any(rule.conditions for rule in rules):
        what = f"none of the rules of {version['program_id']} {version['version']} has a condition, and {program['method']} rests on them"
        raise version.bad("version", what, "add them to decision_conditions")
    used = [a for a in all_attributes(attributes_of(rules)) if a.kind in kinds]
    if len(used) < count:
        wanted = " or ".join(sorted(kinds))
        raise program.bad(
            "method", f"{program['method']} rests on {counted(count, 'attribute')} of kind {wanted}, and the rules of {version['version']} use {len(used)}",
            f"use one in the rules ({wanted}), or write decision_table",
        )  # fmt: skip


def _content(
    program: Row,
    levels: tuple[Level, ...],
    version: Version,
    spend: tuple[str, ...],
    actions: Mapping[str, list[Row]],
    attributes: Mapping[str, Attribute],
) -> dict[str, Any]:
    """What decides, and nothing else: names, texts, approvals and validity may change without changing a decision.

    Of the levels the order of those that the version gives: levels have no versions, and one that only a later version gives, or
    another number for the same rank, changes nothing of this one.
    """
    used = used_attributes(version, [attributes[row["order_attribute"]] for row in actions["target_lists"]])
    metrics = {m.metric_id: m for a in used.values() for m in a.metrics}
    measures = {m.measure.measure_id: m.measure for m in metrics.values()}
    content: dict[str, Any] = {
        "program": [program["program_id"], version.version, program["subject_type"], program["method"], program["hit_policy"]],
        "clock": [program["clock"], program["event_entity"]],
        "levels": [level.level_id for level in levels if level.level_id in version.given_levels],
        "rules": [[r.rule_id, r.level_id, _conditions(r.conditions)] for r in version.rules],
        "scope": [[r.rule_id, _conditions(r.conditions)] for r in version.scope_rules],
        "caps": [[c.cap_id, c.level_id, _conditions(c.conditions)] for c in version.caps],
        "life_cycle": [version.validity_months, version.grace_months, version.fall],
        "attributes": {name: _attribute_content(a) for name, a in used.items()},
        "metrics": {m.metric_id: [m.measure.measure_id, m.window, m.aggregation, m.subject_type] for m in metrics.values()},
        "measures": {
            m.measure_id: [m.entity, m.aggregation, m.column_name, m.filter_column, list(m.filter_values)] for m in measures.values()
        },
        "actions": {
            name: sorted(([_cell(row[column]) for column in _ACTIONS[name]] for row in rows), key=str)
            for name, rows in actions.items()
            if rows
        },
    }
    if any(a.kind in {"column", "months_since"} and a.counts_spend for a in used.values()):
        # A measure names its charge types; a column of the customer's row that follows from spend does not.
        content["spend"] = list(spend)
    if not program["enabled"]:
        # A program that is switched off decides nothing: not what it decided when it was on.
        content["enabled"] = False
    return content


def used_attributes(version: Version, of_lists: Iterable[Attribute]) -> dict[str, Attribute]:
    """The attributes that a version's conditions use, with the bands and dimensions that it gives them, then those that order its lists; each
    with what it is made of."""
    return {a.attribute_id: a for a in all_attributes([*version.attributes, *of_lists])}


def _cell(value: Value | None) -> Any:
    return _sortable(value) if value is not None else None


def _attribute_content(a: Attribute) -> list[Any]:
    metrics = [m and m.metric_id for m in (a.metric, a.months, a.divisor)]
    bands = [[band.band_id, band.below] for band in a.bands]
    dimensions = [
        [d.dimension_id, d.attribute.attribute_id, d.scaling, d.weight, d.low, d.high, d.missing, [list(b) for b in d.bands]]
        for d in a.dimensions
    ]
    return [a.kind, a.type, metrics, a.column_name, a.entity, [part.attribute_id for part in a.of], bands, dimensions]


def _conditions(conditions: tuple[Condition, ...]) -> list[Any]:
    """What each compares; where levels are compared by their order, with all levels that it holds for."""
    return sorted(
        [c.attribute.attribute_id, c.operator, list(map(str, sorted(map(_sortable, c.inside if c.is_by_rank else c.values)))), c.with_null]
        for c in conditions
    )


def _sortable(value: Value) -> Any:
    return value.normalize() + 0 if isinstance(value, Decimal) else value
