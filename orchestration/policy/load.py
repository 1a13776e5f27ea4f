"""From seeds to policies: what rows of different seeds mean together, and whether they fit.

Every problem is a BadInput that names seed, row, column and remedy. Whether a table of rules is sound (gaps, overlaps, masked
rules) is for ``check``; SQL is for ``compile``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from orchestration.deployment import PROJECT_ROOT, Deployment
from orchestration.errors import BadInput
from orchestration.policy import cells
from orchestration.policy.cells import CellProblem
from orchestration.policy.model import (
    NUMERIC,
    ORDERED,
    Attribute,
    Condition,
    Level,
    Measure,
    Metric,
    Policies,
    Program,
    Rule,
    Value,
    Version,
    canonical_hash,
)
from orchestration.policy.reader import Row, Seed, check_references, close_match, load_schema, read_seed

CONTRACTS = PROJECT_ROOT / "orchestration" / "ingest" / "contracts"

# What the metrics row of a subject holds besides window metrics (models/intermediate/customers/int_customer_metrics.sql).
SUBJECT_COLUMNS: dict[str, tuple[str, ...]] = {
    "customer": (
        "brand", "plan", "region", "segment", "is_real_name", "credit_class", "joined_date", "left_date", "tenure_months",
        "is_in_service", "spend_amount", "net_amount", "first_bill_index", "last_bill_index",
    ),
}  # fmt: skip
FLAGS = ("is_in_service", "is_active")
TAKEN_NAMES = frozenset(
    {
        "customer_id",
        "period",
        "period_index",
        "net_amount",
        "bill_line_count",
        "is_in_scope",
        "scope_reason",
        "is_after_base",
        "service_mask",
    }
)
CHANNEL_SOURCES = (
    "customer_id", "level_id", "level_rank", "level_name_en", "level_name_zh", "priority", "tags", "as_of_period", "catalog", "stale_after_at",
)  # fmt: skip


def load_policies(deployment: Deployment) -> Policies:
    """The policies of a deployment: each seed from its policies folder, else the default one."""
    schema = load_schema()
    own = {path.stem: path for path in sorted(deployment.policies.glob("*.csv"))} if deployment.policies.is_dir() else {}
    for name, path in own.items():
        if name not in schema:
            raise BadInput(f"{path.name!r} is not a seed", str(path), close_match(name, schema))
    return build_policies({name: read_seed(name, own.get(name, deployment.seeds / f"{name}.csv")) for name in schema})


def load_policy_files(folder: Path) -> Policies:
    """The policies of one complete folder of seeds, for example that of a release."""
    return build_policies({name: read_seed(name, folder / f"{name}.csv") for name in load_schema()})


def write_policy_files(policies: Policies, folder: Path) -> None:
    """The seeds as used, byte for byte, so that :func:`load_policy_files` gives the same policies."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in policies.seeds.values():
        (folder / f"{seed.name}.csv").write_bytes(seed.content)


def build_policies(seeds: Mapping[str, Seed]) -> Policies:
    """Policies from all seeds, checked against each other."""
    check_references(seeds)
    spend = tuple(sorted(row["charge_type"] for row in seeds["charge_types"] if row["counts_as_spend"]))
    measures = {row["measure_id"]: _measure(row, seeds, spend) for row in seeds["measures"]}
    if "spend_amount" not in measures or measures["spend_amount"].aggregation != "sum":
        raise BadInput("measure 'spend_amount' is missing", seeds["measures"].file, "keep its row: marts and programs rest on it")
    metrics = {row["metric_id"]: _metric(row, measures) for row in seeds["metrics"]}
    attributes = {row["attribute_id"]: _attribute(row, metrics) for row in seeds["attributes"]}
    programs = _programs(seeds, attributes)
    _check_tags(seeds["tags"])
    _check_channels(seeds)
    content = {name: [dict(row.values) for row in seed] for name, seed in sorted(seeds.items())}
    return Policies(dict(seeds), measures, metrics, attributes, programs, spend, canonical_hash(content))


@cache
def _contract(entity: str) -> dict[str, Any]:
    columns: dict[str, Any] = yaml.safe_load((CONTRACTS / f"{entity}.yaml").read_text(encoding="utf-8"))["columns"]
    return columns


def closed_values(attribute: Attribute) -> tuple[str, ...]:
    """The only values that a category can have, where its contract says so; else nothing."""
    if attribute.type != "category" or not attribute.entity or not attribute.column_name:
        return ()
    return tuple(_contract(attribute.entity).get(attribute.column_name, {}).get("allowed", ()))


def _need(row: Row, column: str, why: str) -> Any:
    if row[column] in (None, ()):
        raise row.bad(column, f"is empty, but {why}", f"write {_describe(row, column)}")
    return row[column]


def _describe(row: Row, column: str) -> str:
    """The description of a column, for a remedy."""
    name = Path(row.file).stem
    schema = load_schema().get(name)
    return schema.columns[column].description if schema else column


def _measure(row: Row, seeds: Mapping[str, Seed], spend: tuple[str, ...]) -> Measure:
    name, entity, aggregation = row["measure_id"], row["entity"], row["aggregation"]
    if aggregation == "flag":
        if name not in FLAGS:
            raise row.bad("measure_id", f"{name!r} is not a flag that the warehouse knows", close_match(name, FLAGS))
        return Measure(name, entity, aggregation, None, None, (), "boolean", row)
    if name in TAKEN_NAMES or name in FLAGS or name.startswith("total_"):
        raise row.bad("measure_id", f"{name!r} is a column that the warehouse has already", "choose another name")
    if entity == "lines":
        raise row.bad("entity", "numbers are not added up", "take bill_lines or points, or a flag")
    contract = _contract(entity)
    column = row["column_name"]
    if aggregation == "sum":
        _need(row, "column_name", "a sum adds up a column")
        if column not in contract:
            raise row.bad("column_name", f"{column!r} is not a column of {entity}", close_match(column, contract))
        kind = str(contract[column]["type"])
        if not kind.startswith(("decimal", "integer")):
            raise row.bad("column_name", f"{column!r} is {kind}, which cannot be added up", "name a number column")
    expected = "integer" if aggregation == "count" or str(contract[column]["type"]) == "integer" else "decimal"
    if row["type"] != expected:
        raise row.bad("type", f"{row['type']!r} does not fit: the result is {expected}", f"write {expected}")
    values: tuple[str, ...] = row["filter_values"]
    if row["filter_column"] is not None:
        if row["filter_column"] not in contract:
            raise row.bad(
                "filter_column", f"{row['filter_column']!r} is not a column of {entity}", close_match(row["filter_column"], contract)
            )
        if contract[row["filter_column"]]["type"] != "text":
            raise row.bad("filter_column", f"{row['filter_column']!r} is not text", "name a text column")
        _need(row, "filter_values", "filter_column names a column")
        by_charge = row["filter_column"] == "charge_type"
        known = [r["charge_type"] for r in seeds["charge_types"]] if by_charge else contract[row["filter_column"]].get("allowed")
        for value in values:
            if value == cells.SPEND_WORD and by_charge:
                if not spend:
                    raise row.bad("filter_values", "no charge type counts as spend", "set counts_as_spend of a charge type to true")
            elif known is not None and value not in known:
                raise row.bad("filter_values", f"{value!r} is not a value of {row['filter_column']}", close_match(value, known))
        values = tuple(sorted({v for value in values for v in (spend if value == cells.SPEND_WORD else (value,))}))
    elif values:
        raise row.bad("filter_values", "there are values but no filter_column", "name the column, or leave both empty")
    return Measure(name, entity, aggregation, column if aggregation == "sum" else None, row["filter_column"], values, expected, row)


def _metric(row: Row, measures: Mapping[str, Measure]) -> Metric:
    measure = measures[row["measure_id"]]
    name = row["metric_id"]
    if name in TAKEN_NAMES or name in SUBJECT_COLUMNS["customer"]:
        raise row.bad("metric_id", f"{name!r} is a column that the warehouse has already", "choose another name")
    if (measure.aggregation == "flag") != (row["aggregation"] == "months"):
        what = "a flag is counted in months" if measure.aggregation == "flag" else "months are counted of a flag"
        raise row.bad(
            "aggregation",
            f"{row['aggregation']!r} does not fit {measure.measure_id!r}: {what}",
            "write months for a flag, sum for an amount or a count",
        )
    if measure.measure_id == "is_active" and row["window"] == "total":
        raise row.bad("window", "active months are not carried since joining", "choose a window of months, ytd or last_year")
    return Metric(name, measure, row["window"], row["aggregation"], row)


def _attribute(row: Row, metrics: Mapping[str, Metric]) -> Attribute:
    kind, type_ = row["kind"], row["type"]
    metric = metrics[row["metric_id"]] if row["metric_id"] else None
    months = metrics[row["months_metric_id"]] if row["months_metric_id"] else None
    if kind == "column":
        known = SUBJECT_COLUMNS.get(row["subject_type"], ())
        column = _need(row, "column_name", "the attribute is a column")
        if known and column not in known:
            raise row.bad("column_name", f"{column!r} is not a column of the {row['subject_type']}'s metrics", close_match(column, known))
    if kind in {"metric", "average"}:
        metric = metrics[_need(row, "metric_id", f"the attribute is of kind {kind}")]
        expected = "decimal" if kind == "average" else ("integer" if metric.aggregation == "months" else metric.measure.type)
        if type_ != expected:
            raise row.bad("type", f"{type_!r} does not fit: {metric.metric_id} gives {expected}", f"write {expected}")
    if kind == "average":
        months = metrics[_need(row, "months_metric_id", "an average divides by months")]
        if months.aggregation != "months" or (metric and metric.aggregation != "sum"):
            raise row.bad("months_metric_id", "an average divides a sum by months", "name a metric with aggregation months")
        if metric and months.window != metric.window:
            raise row.bad(
                "months_metric_id", f"the sum is over {metric.window}, the months over {months.window}", "name metrics of one window"
            )
        if not row["may_be_null"]:
            raise row.bad("may_be_null", "an average is null where the subject was in service in no month", "write true")
    if (kind == "nomination") != (type_ == "level"):
        raise row.bad("type", f"{type_!r} does not fit kind {kind!r}", "a nomination is of type level, and only a nomination")
    if type_ != "category" and row["allowed_values"]:
        raise row.bad("allowed_values", f"a {type_} has no list of values", "leave it empty; minimum and maximum bound numbers")
    low, high = row["minimum"], row["maximum"]
    if (low is not None or high is not None) and type_ not in NUMERIC:
        raise row.bad("minimum", f"a {type_} has no bounds", "leave minimum and maximum empty")
    if low is not None and high is not None and low > high:
        raise row.bad("minimum", f"{low} is above the maximum {high}", "exchange them")
    entity = row["entity"]
    if entity and not (CONTRACTS / f"{entity}.yaml").is_file():
        raise row.bad("entity", f"{entity!r} is not an entity", close_match(entity, (p.stem for p in CONTRACTS.glob("*.yaml"))))
    return Attribute(
        row["attribute_id"], row["subject_type"], kind, type_, row["unit"] or "", metric, months, row["column_name"], entity,
        row["allowed_values"], low, high, row["may_be_null"], row,
    )  # fmt: skip


def parse_value(text: str, attribute: Attribute, levels: Mapping[str, Level]) -> Value:
    """One value of a condition, typed by its attribute."""
    value: Value
    if attribute.type in NUMERIC:
        value = cells.parse_integer(text) if attribute.type == "integer" else cells.parse_decimal(text)
        for bound, side in ((attribute.minimum, "below"), (attribute.maximum, "above")):
            if bound is not None and (value < bound if side == "below" else value > bound):
                raise CellProblem(
                    f"{text!r} is {side} what {attribute.attribute_id} can be",
                    f"write a number from {attribute.minimum} to {attribute.maximum}",
                )
        return value
    if attribute.type == "boolean":
        return cells.parse_boolean(text)
    if attribute.type == "date":
        return cells.parse_date(text)
    if attribute.type == "level":
        if text not in levels:
            raise CellProblem(f"{text!r} is not a level of the program", close_match(text, levels))
        return text
    if attribute.allowed_values and text not in attribute.allowed_values:
        raise CellProblem(f"{text!r} is not a value of {attribute.attribute_id}", close_match(text, attribute.allowed_values))
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
            values = tuple(parse_value(part.strip(), attribute, levels) for part in parts)
            if not values[0] < values[1]:  # type: ignore[operator]
                raise CellProblem(f"the range {text!r} holds nothing", "write the lower bound first")
        elif operator in {"in", "not in"}:
            texts = cells.parse_list(text)
            with_null = cells.NULL_WORD in texts
            values = tuple(parse_value(part, attribute, levels) for part in texts if part != cells.NULL_WORD)
            if len(set(values)) < len(values):
                raise CellProblem(f"{text!r} names a value twice", "name each value once")
        else:
            if text == cells.NULL_WORD:
                raise CellProblem("a comparison with null is false", "use the operator `is null` or `is not null`")
            values = (parse_value(text, attribute, levels),)
    except CellProblem as err:
        raise row.bad("value", err.what, err.remedy) from err
    return Condition(attribute, operator, values, with_null, row)


@dataclass(frozen=True)
class _Group:
    """Rows of the rule seeds by the program version they belong to."""

    rules: dict[tuple[str, str], list[Row]]
    conditions: dict[tuple[str, str, str], list[Row]]


def _group(seeds: Mapping[str, Seed]) -> _Group:
    versions: dict[str, set[str]] = defaultdict(set)
    for row in seeds["policy_versions"]:
        versions[row["program_id"]].add(row["version"])
    rules: dict[tuple[str, str], list[Row]] = defaultdict(list)
    names: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in seeds["decision_rules"]:
        program, version = row["program_id"], row["version"]
        if version not in versions[program]:
            raise row.bad("version", f"program {program!r} has no version {version!r}", close_match(version, sorted(versions[program])))
        rules[program, version].append(row)
        names[program, version].append(row["rule_id"])
    conditions: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in seeds["decision_conditions"]:
        program, version, rule = row["program_id"], row["version"], row["rule_id"]
        if version not in versions[program]:
            raise row.bad("version", f"program {program!r} has no version {version!r}", close_match(version, sorted(versions[program])))
        if rule not in names[program, version]:
            raise row.bad("rule_id", f"{program} {version} has no rule {rule!r}", close_match(rule, names[program, version]))
        conditions[program, version, rule].append(row)
    return _Group(rules, conditions)


def _programs(seeds: Mapping[str, Seed], attributes: Mapping[str, Attribute]) -> dict[str, Program]:
    grouped = _group(seeds)
    programs: dict[str, Program] = {}
    for row in seeds["programs"]:
        _once(row, "name_en", programs.values())
        _once(row, "name_zh", programs.values())
        programs[row["program_id"]] = _program(row, seeds, grouped, attributes)
    return programs


def _once(row: Row, column: str, others: Iterable[Program]) -> None:
    for other in others:
        if other.row[column] == row[column]:
            raise row.bad(
                column, f"{row[column]!r} is the name of program {other.program_id!r} already", "give each program a name of its own"
            )


def _program(row: Row, seeds: Mapping[str, Seed], grouped: _Group, attributes: Mapping[str, Attribute]) -> Program:
    program_id = row["program_id"]
    if row["enabled"] and row["subject_type"] != "customer":
        # Left in silence it would look as if it had run: only customers have metrics so far.
        raise row.bad(
            "subject_type",
            f"program {program_id!r} grades a {row['subject_type']}, and only customers can be graded yet",
            "set enabled to false",
        )
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
    versions = []
    for version_row in sorted(version_rows, key=lambda r: str(r["valid_from_period"])):
        if version_row["valid_to_period"] and version_row["valid_to_period"] < version_row["valid_from_period"]:
            raise version_row.bad("valid_to_period", "ends before it begins", "exchange the two periods")
        rules = _rules(version_row, row, levels, grouped, attributes)
        digest = canonical_hash(_content(row, ordered, rules, version_row["version"]))
        versions.append(
            Version(
                program_id,
                version_row["version"],
                version_row["valid_from_period"],
                version_row["valid_to_period"],
                rules,
                digest,
                version_row,
            )
        )
    return Program(
        program_id, row["subject_type"], row["method"], row["hit_policy"], monotone, row["enabled"], ordered, tuple(versions), row
    )  # fmt: skip


def _rules(
    version: Row, program: Row, levels: Mapping[str, Level], grouped: _Group, attributes: Mapping[str, Attribute]
) -> tuple[Rule, ...]:
    program_id, name = version["program_id"], version["version"]
    rows = grouped.rules.get((program_id, name), [])
    if not rows:
        raise version.bad("version", f"{program_id} {name} has no rules", "add them to decision_rules")
    orders: dict[int, str] = {}
    rules = []
    for row in rows:
        if row["level_id"] not in levels:
            raise row.bad("level_id", f"{row['level_id']!r} is not a level of {program_id}", close_match(row["level_id"], levels))
        if row["rule_order"] in orders:
            raise row.bad(
                "rule_order",
                f"{row['rule_order']} is the place of rule {orders[row['rule_order']]!r} already",
                "give each rule a place of its own",
            )
        orders[row["rule_order"]] = row["rule_id"]
        conditions = []
        for condition_row in grouped.conditions.get((program_id, name, row["rule_id"]), []):
            attribute = attributes[condition_row["attribute"]]
            if attribute.subject_type != program["subject_type"]:
                own = [a for a, known in attributes.items() if known.subject_type == program["subject_type"]]
                raise condition_row.bad(
                    "attribute", f"{attribute.attribute_id!r} belongs to a {attribute.subject_type}, the program grades a {program['subject_type']}",
                    close_match(attribute.attribute_id, own),
                )  # fmt: skip
            conditions.append(parse_condition(condition_row, attribute, levels))
        rules.append(Rule(row["rule_id"], row["rule_order"], row["level_id"], tuple(conditions), row))
    return tuple(sorted(rules, key=lambda r: r.order))


def _content(program: Row, levels: tuple[Level, ...], rules: tuple[Rule, ...], version: str) -> dict[str, Any]:
    """What decides, and nothing else: names, texts, approvals and validity may change without changing a decision."""
    used = {c.attribute.attribute_id: c.attribute for rule in rules for c in rule.conditions}
    metrics = {m.metric_id: m for a in used.values() for m in (a.metric, a.months) if m}
    measures = {m.measure.measure_id: m.measure for m in metrics.values()}
    return {
        "program": [program["program_id"], version, program["subject_type"], program["method"], program["hit_policy"]],
        "levels": [[level.level_id, level.rank] for level in levels],
        "rules": [
            [r.rule_id, r.level_id, sorted([c.attribute.attribute_id, c.operator, list(map(str, sorted(map(_sortable, c.values)))), c.with_null] for c in r.conditions)]
            for r in rules
        ],
        "attributes": {a.attribute_id: [a.kind, a.type, a.metric and a.metric.metric_id, a.months and a.months.metric_id, a.column_name] for a in used.values()},
        "metrics": {m.metric_id: [m.measure.measure_id, m.window, m.aggregation] for m in metrics.values()},
        "measures": {m.measure_id: [m.entity, m.aggregation, m.column_name, m.filter_column, list(m.filter_values)] for m in measures.values()},
    }  # fmt: skip


def _sortable(value: Value) -> Any:
    return value.normalize() + 0 if isinstance(value, Decimal) else value


def _check_tags(seed: Seed) -> None:
    needs = {
        "subscription_ends": ("subscription_kind",),
        "complaint_recent": ("window_months",),
        "complaint_serial": ("window_months", "minimum_count"),
    }
    for row in seed:
        for column in ("subscription_kind", "window_months", "minimum_count"):
            if column in needs[row["evidence"]]:
                _need(row, column, f"the evidence is {row['evidence']}")
            elif row[column] is not None:
                raise row.bad(column, f"{row['evidence']} does not use it", "leave it empty")


def _check_channels(seeds: Mapping[str, Seed]) -> None:
    contracts = {(row["channel_id"], row["version"]) for row in seeds["channels"]}
    for name in ("channel_audience", "channel_columns"):
        for row in seeds[name]:
            if (row["channel_id"], row["version"]) not in contracts:
                known = sorted(str(v) for c, v in contracts if c == row["channel_id"])
                raise row.bad("version", f"channel {row['channel_id']!r} has no version {row['version']}", f"known: {', '.join(known)}")
    names: set[tuple[str, int, str]] = set()
    for row in seeds["channel_columns"]:
        key = (row["channel_id"], row["version"], row["column_name"])
        if key in names:
            raise row.bad("column_name", f"{row['column_name']!r} stands twice in the channel", "give each column a name of its own")
        names.add(key)
        source = row["source"]
        if source in CHANNEL_SOURCES:
            if row["personal"] or row["mask"] != "none":
                raise row.bad("personal", f"{source!r} is not personal", "write personal false and mask none")
            continue
        parts = source.split(".")
        if len(parts) != 3 or parts[0] != "vault":
            raise row.bad("source", f"{source!r} is not a source of channel columns", close_match(source, CHANNEL_SOURCES))
        if not cells.ID.fullmatch(parts[1]) or not (CONTRACTS / f"{parts[1]}.yaml").is_file():
            raise row.bad("source", f"{parts[1]!r} is not an entity", close_match(parts[1], (p.stem for p in CONTRACTS.glob("*.yaml"))))
        personal = [column for column, body in _contract(parts[1]).items() if body.get("personal")]
        if parts[2] not in personal:
            raise row.bad("source", f"{parts[2]!r} is not a personal column of {parts[1]}", close_match(parts[2], personal))
        if not row["personal"]:
            raise row.bad("personal", f"{source!r} is personal data", "write true")
    for contract in contracts:
        if not any((row["channel_id"], row["version"]) == contract for row in seeds["channel_columns"]):
            row = next(r for r in seeds["channels"] if (r["channel_id"], r["version"]) == contract)
            raise row.bad(
                "channel_id",
                f"channel {contract[0]!r} version {contract[1]} has no columns",
                f"add them to {seeds['channel_columns'].file}",
            )
