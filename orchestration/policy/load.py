"""From seeds to policies: what rows of different seeds mean together, and whether they fit.

Every problem is a BadInput that names seed, row, column and remedy. Whether a table of rules is sound (gaps, overlaps, masked
rules) is for ``check``; SQL is for ``compile``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from orchestration.deployment import Deployment
from orchestration.errors import BadInput, all_of
from orchestration.ingest.contracts import load_contracts
from orchestration.policy import cells
from orchestration.policy.attributes import build_attributes, refuse_misread
from orchestration.policy.channel_seeds import check_channels, refuse_other_keys
from orchestration.policy.look_alikes import refuse_look_alikes
from orchestration.policy.model import Attribute, Measure, Metric, Policies, canonical_hash
from orchestration.policy.programs import build_programs
from orchestration.policy.reader import Built, Row, Seed, check_references, close_match, load_schema, read_seed, shown_path
from orchestration.policy.sql import keywords
from orchestration.policy.subjects import BILL_LINE_WORDS, CUSTOMER_COLUMNS, MONTH_TABLES, SUBJECT_TYPES

# Rows that hold from a day on are counted in the month in which they begin.
_BEGINS = dict.fromkeys(("subscriptions", "devices", "group_members", "household_members"), "start_date")
# States of a month that the warehouse knows, and the entity that they are found in.
FLAGS = {"is_in_service": "lines", "is_active": "bill_lines"}
# Columns of compiled relations that are no operands.
_RESERVED = frozenset((
    "subject_id", "period", "period_index", "before_index", "event_date", "out_reason", "is_in_scope", "scope_reason", "first_rule_id",
    "rules_that_hold", "cap_id", "gap", "refused_reason", "step", "was", "becomes", "placed", "is_top", "place",
))  # fmt: skip
# Kinds that have a column of their own name in compiled SQL; the others have those of what they are made of.
_NAMED_KINDS = frozenset({"column", "metric", "months_since", "nomination", "application", "score", "band"})
# Columns of the tables that measures and window metrics are columns of.
_TAKEN_NAMES = frozenset((
    "customer_id", "subject_id", "period", "period_index", "period_date", "event_date", "net_amount", "bill_line_count", "is_in_scope",
    "scope_reason", "is_after_base", "service_mask",
))  # fmt: skip


def load_policies(deployment: Deployment) -> Policies:
    """The policies of a deployment: each seed from its policies folder, else the default one."""
    schema = load_schema()
    own = _own_files(deployment.policies)
    for name, path in own.items():
        if name not in schema:
            raise BadInput(f"{path.name!r} is not a seed", str(path), close_match(name, schema))
    seeds = _read({name: own.get(name, deployment.seeds / f"{name}.csv") for name in schema})
    # What programs a deployment has decides about the default channels, and these about what belongs to them.
    for owner, key in (("programs", "program_id"), ("channels", "channel_id")):
        seeds = {name: seed if name in own or name == owner else _of_known(seed, key, seeds[owner]) for name, seed in seeds.items()}
    policies = build_policies(seeds)
    refuse_mistaken(policies)
    return replace(policies, own_folder=shown_path(deployment.policies))


def _own_files(folder: Path) -> dict[str, Path]:
    """The seeds of a deployment's folder by name, whatever the case in which a spreadsheet wrote their ending."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() == ".csv":
            if path.stem in found:
                raise BadInput(f"{path.stem!r} is there twice, as {found[path.stem].name} too", str(path), "keep one of the two")
            found[path.stem] = path
    return found


def refuse_mistaken(policies: Policies) -> None:
    """BadInput for measures, metrics, attributes and channel columns that the SQL could not hold, or of which the warehouse would give
    another number than the seeds say.

    Not of a release's policies: what was released with such a name or number is explained with it.
    """
    refusals: list[Callable[[], None]] = [partial(_refuse_measure, measure) for measure in policies.measures.values()]
    refusals += [partial(_refuse_metric, metric) for metric in policies.metrics.values()]
    refusals += [partial(_refuse_attribute, attribute, policies) for attribute in policies.attributes.values()]
    all_of(lambda refuse: refuse(), refusals)
    # A program that is switched off promises nothing.
    for program in policies.enabled():
        subject = program.subject_type
        if program.monotone_in and program.monotone_in.subject_type != subject:
            what = f"{program.monotone_in.attribute_id!r} belongs to a {program.monotone_in.subject_type}, the program grades a {subject}"
            raise program.row.bad("monotone_in", what, f"name a number of a {subject}, or leave it empty")
    refuse_other_keys(policies.seeds["channel_columns"])
    refuse_look_alikes(policies)


def _refuse_measure(measure: Measure) -> None:
    _refuse_keyword(measure.row, "measure_id")
    name = measure.measure_id
    if measure.aggregation != "flag" and (name in _TAKEN_NAMES or name in FLAGS or name.startswith("total_")):
        raise _is_there(measure.row, "measure_id")
    if measure.entity == "bill_lines" and measure.filter_column not in (None, *BILL_LINE_WORDS):
        what = f"bill lines are added up without their {measure.filter_column!r}"
        raise measure.row.bad("filter_column", what, f"choose them by {', '.join(BILL_LINE_WORDS)}")


def _refuse_metric(metric: Metric) -> None:
    _refuse_keyword(metric.row, "metric_id")
    name, of = metric.metric_id, metric.subject_type
    own = () if of == "customer" else load_contracts()[SUBJECT_TYPES[of].entity].columns
    # What is carried since joining is named total_<measure>, and what paces are reckoned of <measure>__recent, in the same table.
    if name in _TAKEN_NAMES or name in CUSTOMER_COLUMNS or name in own or name.startswith("total_") or name.endswith("__recent"):
        raise _is_there(metric.row, "metric_id")
    if metric.is_service and metric.window == "total":
        # Who has been there for longer would be divided by too few months.
        what = f"months in service are known of the last {cells.MAX_WINDOW_MONTHS} months"
        raise metric.row.bad("window", what, "choose a window of months, ytd or last_year")


def _refuse_attribute(attribute: Attribute, policies: Policies) -> None:
    name, found = attribute.attribute_id, attribute.metric
    if name in _RESERVED or "__" in name:
        raise attribute.row.bad("attribute_id", f"{name!r} is a name that the compiled SQL uses itself", "choose another name")
    _refuse_keyword(attribute.row, "attribute_id")
    refuse_misread(attribute)
    if attribute.kind in _NAMED_KINDS and name in policies.metrics and (found is None or found.metric_id != name):
        what = f"{name!r} is the name of a metric, and averages and ratios of it would be taken of this one"
        raise attribute.row.bad("attribute_id", what, "choose another name")


def _refuse_keyword(row: Row, column: str) -> None:
    """BadInput if the name in a cell, which becomes that of a column, is a word of SQL."""
    if row[column] in keywords():
        raise row.bad(
            column, f"{row[column]!r} is a word of SQL and cannot name a column", f"choose another name, for example {row[column]}_value"
        )


def _is_there(row: Row, column: str) -> BadInput:
    return row.bad(column, f"{row[column]!r} is a column that the warehouse has already", "choose another name")


def _of_known(seed: Seed, key: str, owner: Seed) -> Seed:
    """A default seed without the rows of default programs (or channels) that the deployment does not have."""
    if key not in seed.schema.columns:
        return seed
    known = {row[key] for row in owner}
    return replace(seed, rows=tuple(row for row in seed.rows if row[key] in known))


def load_policy_files(folder: Path) -> Policies:
    """The policies of one complete folder of seeds, for example that of a release."""
    return build_policies(_read({name: folder / f"{name}.csv" for name in load_schema()}))


def _read(files: Mapping[str, Path]) -> dict[str, Seed]:
    return {seed.name: seed for seed in all_of(lambda name: read_seed(name, files[name]), files)}


def build_policies(seeds: Mapping[str, Seed]) -> Policies:
    """Policies from all seeds, checked against each other."""
    check_references(seeds)
    for row in seeds["charge_types"]:
        if row["charge_type"] == cells.SPEND_WORD or {"|", cells.WIDE_BAR} & set(row["charge_type"]):
            raise row.bad(
                "charge_type", f"{row['charge_type']!r} cannot be named in filter_values", "have the mapping give it another name"
            )
    spend = tuple(sorted(row["charge_type"] for row in seeds["charge_types"] if row["counts_as_spend"]))
    measures = Built(seeds["measures"], "measure_id", lambda row: _measure(row, seeds, spend))
    metrics = Built(seeds["metrics"], "metric_id", lambda row: _metric(row, measures))
    attributes = build_attributes(seeds["attributes"], metrics)
    numbers: tuple[Built[Any], ...] = (measures, metrics, attributes)
    all_of(lambda built: all_of(built.__getitem__, built), numbers)
    if "spend_amount" not in measures or measures["spend_amount"].aggregation != "sum":
        raise BadInput("measure 'spend_amount' is missing", seeds["measures"].file, "keep its row: marts and programs rest on it")
    programs = build_programs(seeds, attributes, spend)
    _check_tags(seeds["tags"])
    check_channels(seeds, programs)
    content = {name: [dict(row.values) for row in seed] for name, seed in sorted(seeds.items())}
    return Policies(dict(seeds), dict(measures), dict(metrics), dict(attributes), programs, spend, canonical_hash(content))


def _measure(row: Row, seeds: Mapping[str, Seed], spend: tuple[str, ...]) -> Measure:
    name, entity, aggregation = row["measure_id"], row["entity"], row["aggregation"]
    if aggregation == "flag":
        _check_flag(row)
        # A month is active when its spend is above zero.
        is_active = name == "is_active"
        return Measure(name, entity, aggregation, None, "charge_type" if is_active else None, spend if is_active else (), "boolean", row)
    row.one_of("entity", sorted(load_contracts()), "an entity")
    if clock_of(entity) is None:
        raise row.bad("entity", f"rows of {entity!r} have no day or period of their own", "take an entity whose rows do, or a flag")
    contract = load_contracts()[entity].columns
    column = row["column_name"]
    if aggregation == "margin" and entity != "bill_lines":
        raise row.bad("entity", f"{entity!r} has no cost", "a margin is of bill_lines")
    if aggregation != "sum" and column is not None:
        raise row.bad("column_name", f"a {aggregation} adds up no column of its own choice", "leave it empty")
    if aggregation == "sum":
        row.need("column_name", "a sum adds up a column")
        row.one_of("column_name", contract, f"a column of {entity}")
        kind = contract[column].type
        if not kind.startswith(("decimal", "integer")):
            raise row.bad("column_name", f"{column!r} is {kind}, which cannot be added up", "name a number column")
    is_whole = aggregation == "count" or (aggregation == "sum" and contract[column].type == "integer")
    expected = "integer" if is_whole else "decimal"
    if row["type"] != expected:
        raise row.bad("type", f"{row['type']!r} does not fit: the result is {expected}", f"write {expected}")
    values: tuple[str, ...] = row["filter_values"]
    if row["filter_column"] is not None:
        row.one_of("filter_column", contract, f"a column of {entity}")
        if contract[row["filter_column"]].type != "text":
            raise row.bad("filter_column", f"{row['filter_column']!r} is not text", "name a text column")
        row.need("filter_values", "filter_column names a column")
        by_charge = row["filter_column"] == "charge_type"
        known = [r["charge_type"] for r in seeds["charge_types"]] if by_charge else contract[row["filter_column"]].allowed
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


def _check_flag(row: Row) -> None:
    """The warehouse finds a flag in its own way, so a seed may not seem to say another."""
    name = row["measure_id"]
    row.one_of("measure_id", FLAGS, "a flag that the warehouse knows")
    for column, only in (("entity", FLAGS[name]), ("type", "boolean")):
        if row[column] != only:
            raise row.bad(column, f"{row[column]!r} does not fit: the {column} of {name} is {only}", f"write {only}")
    for column in ("column_name", "filter_column", "filter_values"):
        if row[column] not in (None, ()):
            raise row.bad(column, f"the warehouse finds {name} by itself and would not ask for it", "leave it empty")


def clock_of(entity: str) -> str | None:
    """The column that says in which period a row counts; None for entities that are no happenings."""
    return {**_BEGINS, "campaign_targets": "targeted_date"}.get(entity) or load_contracts()[entity].period_from


def _metric(row: Row, measures: Mapping[str, Measure]) -> Metric:
    measure = measures[row["measure_id"]]
    name, subject = row["metric_id"], row["subject_type"] or "customer"
    if (measure.aggregation == "flag") != (row["aggregation"] == "months"):
        what = "a flag is counted in months" if measure.aggregation == "flag" else "months are counted of a flag"
        raise row.bad(
            "aggregation",
            f"{row['aggregation']!r} does not fit {measure.measure_id!r}: {what}",
            "write months for a flag, sum for an amount or a count",
        )
    if measure.measure_id == "is_active" and row["window"] == "total":
        raise row.bad("window", "active months are not carried since joining", "choose a window of months, ytd or last_year")
    in_month_table = measure.aggregation == "flag" or measure.entity in MONTH_TABLES
    if row["window"] == "total" and not (in_month_table and measure.aggregation != "margin" and subject == "customer"):
        raise row.bad("window", f"{measure.measure_id!r} is not carried since joining", "choose a window of months, ytd or last_year")
    if subject == "group":
        if measure.aggregation in {"flag", "margin"} or measure.entity not in MONTH_TABLES:
            raise row.bad(
                "measure_id",
                f"{measure.measure_id!r} is not added up over the members of a group",
                "name a sum or count of bill_lines or points",
            )
    elif subject != "customer" and in_month_table:
        raise row.bad("subject_type", f"{measure.measure_id!r} is of customers", "name a measure of an entity that names the subject")
    elif not in_month_table and SUBJECT_TYPES[subject].key not in load_contracts()[measure.entity].columns:
        raise row.bad(
            "measure_id", f"rows of {measure.entity} name no {subject}", f"name a measure of an entity with {SUBJECT_TYPES[subject].key}"
        )
    return Metric(name, measure, row["window"], row["aggregation"], subject, row)


def _check_tags(seed: Seed) -> None:
    needs = {
        "subscription_ends": ("subscription_kind",),
        "complaint_recent": ("window_months",),
        "complaint_serial": ("window_months", "minimum_count"),
    }
    for row in seed:
        for column in ("subscription_kind", "window_months", "minimum_count"):
            if column in needs[row["evidence"]]:
                row.need(column, f"the evidence is {row['evidence']}")
            elif row[column] is not None:
                raise row.bad(column, f"{row['evidence']} does not use it", "leave it empty")
