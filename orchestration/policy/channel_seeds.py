"""What the seeds of channels say, checked against what a release holds: who is in a feed, its columns and their order.

A feed is written long after the policies are read, by `orchestration.channels`; what it would refuse then is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import duckdb
import yaml

from orchestration.deployment import PROJECT_ROOT
from orchestration.ingest.contracts import load_contracts
from orchestration.policy.model import Program
from orchestration.policy.reader import Row, Seed, close_match

CHANNEL_SOURCES = (
    "customer_id", "level_id", "level_rank", "level_name_en", "level_name_zh", "priority", "tags", "as_of_period", "catalog", "stale_after_at",
)  # fmt: skip
# What lets a channel see which month and catalog it has, and until when it may be used: in every feed, under any name.
ALWAYS = ("as_of_period", "catalog", "stale_after_at")
# What a decision says of a customer, with its type; a column of the same name in dim_customers does not count.
DECIDED = {
    "customer_id": "varchar", "as_of_period": "varchar", "level_id": "varchar", "level_rank": "integer", "status": "varchar", "movement": "varchar",
    "level_name_en": "varchar", "level_name_zh": "varchar", "priority": "integer",
}  # fmt: skip
STATUSES = ("decided", "out_of_scope", "not_evaluated")
MOVEMENTS = ("first", "joined", "rose", "fell", "same", "left")
TAG = "tag_id"
_CUSTOMERS = PROJECT_ROOT / "models" / "marts" / "customers" / "dim_customers.yml"


@cache
def audience_columns() -> Mapping[str, str]:
    """What an audience may name besides tags, with its type: the decision, and the columns of dim_customers."""
    model = yaml.safe_load(_CUSTOMERS.read_text(encoding="utf-8"))["models"][0]
    columns = {column["name"]: column["data_type"] for column in model["columns"] if column["name"] != "period"}
    return {**columns, **DECIDED}


def check_channels(seeds: Mapping[str, Seed], programs: Mapping[str, Program]) -> None:
    """BadInput for a row that a delivery would refuse, or that would leave a feed empty."""
    contracts = {(row["channel_id"], row["version"]): row for row in seeds["channels"]}
    for name in ("channel_audience", "channel_columns"):
        for row in seeds[name]:
            if (row["channel_id"], row["version"]) not in contracts:
                known = sorted(str(v) for c, v in contracts if c == row["channel_id"])
                raise row.bad("version", f"channel {row['channel_id']!r} has no version {row['version']}", f"known: {', '.join(known)}")
    columns: dict[tuple[str, int], list[str]] = {key: [] for key in contracts}
    sources: dict[tuple[str, int], set[str]] = {key: set() for key in contracts}
    for row in seeds["channel_columns"]:
        sources[row["channel_id"], row["version"]].add(row["source"])
        names = columns[row["channel_id"], row["version"]]
        if row["column_name"] in names:
            raise row.bad("column_name", f"{row['column_name']!r} stands twice in the channel", "give each column a name of its own")
        names.append(row["column_name"])
        _check_source(row)
    for key, row in contracts.items():
        _check_contract(row, programs, columns[key], seeds["channel_columns"].file)
        for source in ALWAYS:
            if source not in sources[key]:
                what = f"channel {row['channel_id']!r} version {row['version']} has no column from {source!r}, and every feed carries it"
                raise row.bad("channel_id", what, f"add it to {seeds['channel_columns'].file}")
    tags = [row["tag_id"] for row in seeds["tags"]]
    for row in seeds["channel_audience"]:
        program = programs[contracts[row["channel_id"], row["version"]]["program_id"]]
        levels = [level.level_id for level in program.levels]
        _check_audience(row, {TAG: tags, "status": STATUSES, "movement": MOVEMENTS, "level_id": levels})


def _check_contract(row: Row, programs: Mapping[str, Program], names: list[str], columns_file: str) -> None:
    program = programs[row["program_id"]]
    if program.subject_type != "customer":
        raise row.bad(
            "program_id",
            f"{program.program_id!r} grades {program.subject_type}, and a channel is fed with customers, their tags and personal columns",
            "name a program that grades customers; levels of other subjects are read from fct_decisions of the release",
        )
    if not names:
        raise row.bad("channel_id", f"channel {row['channel_id']!r} version {row['version']} has no columns", f"add them to {columns_file}")
    for part in (row["order_by"] or "").split(";"):
        name = part.strip().removeprefix("-")
        if name and name not in names:
            raise row.bad("order_by", f"{name!r} is no column of the feed", close_match(name, names))


def _check_source(row: Row) -> None:
    source = row["source"]
    if source in CHANNEL_SOURCES:
        if row["personal"] or row["mask"] != "none":
            raise row.bad("personal", f"{source!r} is not personal", "write personal false and mask none")
        return
    parts = source.split(".")
    if len(parts) != 3 or parts[0] != "vault":
        raise row.bad("source", f"{source!r} is not a source of channel columns", close_match(source, CHANNEL_SOURCES))
    entity, column = parts[1:]
    contracts = load_contracts()
    if entity not in contracts:
        raise row.bad("source", f"{entity!r} is not an entity", close_match(entity, sorted(contracts)))
    personal = contracts[entity].personal
    if column not in personal:
        raise row.bad("source", f"{column!r} is not a personal column of {entity}", close_match(column, personal))
    if not row["personal"]:
        raise row.bad("personal", f"{source!r} is personal data", "write true")


def refuse_other_keys(columns: Seed) -> None:
    """BadInput for a channel column of an entity whose personal columns the vault keeps by another key than the customer's."""
    for row in columns:
        prefix, _, rest = row["source"].partition(".")
        entity = rest.partition(".")[0]
        if prefix == "vault" and (key := load_contracts()[entity].subject_key) != ["customer_id"]:
            what = f"personal columns of {entity} are kept by {', '.join(key)}, and a feed has a row a customer"
            raise row.bad("source", what, "name an entity whose key is customer_id")


def _check_audience(row: Row, known: Mapping[str, list[str] | tuple[str, ...]]) -> None:
    attribute, operator, text = row["attribute"], row["operator"], row["value"]
    columns = audience_columns()
    if attribute != TAG and attribute not in columns:
        raise row.bad("attribute", f"{attribute!r} is nothing that an audience is chosen by", close_match(attribute, [TAG, *columns]))
    if operator in {"is null", "is not null"}:
        if text:
            raise row.bad("value", f"{operator!r} takes no value", "leave the cell empty")
        return
    if attribute == TAG and operator not in {"=", "!=", "in", "not in"}:
        raise row.bad("operator", f"{operator!r} needs an order, and tags have none", "write =, !=, in, not in, is null or is not null")
    if attribute == "level_id" and operator == "in range":
        raise row.bad("operator", "levels have no ranges", "use >= and <, each in a row of its own")
    if not text:
        raise row.bad("value", "is empty", "write the value; to find customers without one use the operator `is null`")
    parts = [text]
    if operator in {"in", "not in"} or attribute == TAG:
        parts = text.split("|")
    elif operator == "in range":
        parts = text.split("..")
        if len(parts) != 2:
            raise row.bad("value", f"{text!r} is no range", "write low..high, for example 2..4 (2 included, 4 not)")
    column = load_contracts()["customers"].columns.get(attribute)
    allowed = known.get(attribute) or (column and column.allowed)
    for part in (part.strip() for part in parts):
        if allowed and (operator in {"=", "!=", "in", "not in"} or attribute == "level_id") and part not in allowed:
            raise row.bad("value", f"{part!r} is not a value of {attribute}", close_match(part, allowed))
        if attribute != TAG and not _can_be(part, columns[attribute]):
            raise row.bad("value", f"{part!r} is not a value of {attribute} ({columns[attribute]})", f"write a {columns[attribute]}")


def _can_be(text: str, sql_type: str) -> bool:
    """Whether a delivery could read a value as one of this type."""
    if sql_type == "varchar":
        return True
    with duckdb.connect() as con:
        found = con.execute(f"select try_cast(? as {sql_type}) is not null", [text]).fetchall()
    return bool(found[0][0])
