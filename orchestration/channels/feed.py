"""The SQL of a feed: released Parquet, joined with the vault for the personal columns that the contract lists.

A contract's values become typed literals and its names are looked up among what there is; no text of a seed becomes SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb

from orchestration.channels.contract import Column, Condition, Contract
from orchestration.errors import BadInput
from orchestration.sqltext import literal, quoted

VAULT = "vault"
ORDERINGS = frozenset({"<", "<=", ">", ">="})
COMPARISONS = ORDERINGS | {"=", "!="}
# A cell that begins with one of these is run as a formula by spreadsheets, unless it is a plain number.
FORMULA = r"^[=+\-@\t\r\n]"
PLAIN_NUMBER = r"^[+\-]?[0-9][0-9 ().\-]*$"


def make_subjects(con: duckdb.DuckDBPyConnection, release: Path, program_id: str) -> dict[str, str]:
    """View ``subjects``: one row per customer of the program, with what sources and audiences may name; name → type."""
    decisions = f"read_parquet({literal(str(release / 'fct_decisions.parquet'))})"
    con.execute(
        f"""create or replace view decided as
        select subject_id as customer_id, period as as_of_period, level_id, level_rank, status, movement
        from {decisions} where program_id = {literal(program_id)} and subject_type = 'customer'"""
    )
    levels = f"read_parquet({literal(str(release / 'dim_levels.parquet'))})"
    con.execute(
        f"""create or replace view named as
        select level_id, level_rank as rank_of_level, name_en as level_name_en, name_zh as level_name_zh from {levels} where program_id = {literal(program_id)}"""
    )
    tags = f"read_parquet({literal(str(release / 'fct_customer_tags.parquet'))})"
    con.execute(
        f"""create or replace view tagged as
        select customer_id, list(distinct tag_id order by tag_id) as tag_ids from {tags} group by customer_id"""
    )
    customers = release / "dim_customers.parquet"
    extra = ""
    if customers.is_file():
        con.execute(f"create or replace view attributes as select * from read_parquet({literal(str(customers))})")
        taken = {"customer_id", "as_of_period", "period", "level_id", "level_rank", "status", "movement"}
        names = [name for name, *_ in con.execute("select column_name from (describe attributes)").fetchall() if name not in taken]
        extra = "".join(f", attributes.{quoted(name)}" for name in names)
    con.execute(
        f"""create or replace view subjects as
        select
            decided.*,
            named.level_name_en,
            named.level_name_zh,
            coalesce(decided.level_rank, 0) as priority,
            coalesce(tagged.tag_ids, []) as tag_ids,
            array_to_string(coalesce(tagged.tag_ids, []), ';') as tags
            {extra}
        from decided
        left join named on named.level_id = decided.level_id
        left join tagged on tagged.customer_id = decided.customer_id
        {"left join attributes on attributes.customer_id = decided.customer_id" if extra else ""}"""
    )
    return dict(con.execute("select column_name, column_type from (describe subjects)").fetchall())


def audience_sql(con: duckdb.DuckDBPyConnection, condition: Condition, columns: Mapping[str, str]) -> str:
    """A condition of the audience as SQL over ``s``. A comparison with null is false."""
    if condition.attribute == "tag_id":
        return _tag_condition(condition)
    kind = columns.get(condition.attribute)
    if kind is None or condition.attribute in ("tag_ids", "tags"):
        known = ", ".join(sorted(name for name in columns if name not in ("tag_ids", "tags")))
        raise BadInput(f"unknown attribute {condition.attribute!r}", condition.where, f"write one of: tag_id, {known}")
    name = f"s.{quoted(condition.attribute)}"
    if condition.attribute == "level_id" and condition.operator in ORDERINGS:
        return _level_condition(con, condition)
    if condition.operator in ("is null", "is not null"):
        return f"{name} {condition.operator}"
    if condition.operator in COMPARISONS:
        return f"coalesce({name} {condition.operator} {_typed(con, condition, condition.value, kind)}, false)"
    if condition.operator in ("in", "not in"):
        values = ", ".join(_typed(con, condition, value, kind) for value in _several(condition))
        return f"coalesce({name} {condition.operator} ({values}), false)"
    if condition.operator == "in range":
        low, _, high = condition.value.partition("..")
        return f"coalesce({name} >= {_typed(con, condition, low, kind)} and {name} < {_typed(con, condition, high, kind)}, false)"
    raise BadInput(
        f"operator {condition.operator!r} cannot be used here",
        condition.where,
        "write =, !=, <, <=, >, >=, in, not in, in range, is null or is not null",
    )


def _level_condition(con: duckdb.DuckDBPyConnection, condition: Condition) -> str:
    """Levels are compared by the ranks of the release, whatever numbers these are."""
    level = condition.value.strip()
    if not con.execute(f"select 1 from named where level_id = {literal(level)}").fetchall():
        raise BadInput(
            f"the release has no level {level!r}",
            condition.where,
            "change the audience of the contract, or go to a catalog whose release has the level",
        )
    bar = f"(select rank_of_level from named where level_id = {literal(level)})"
    return f"coalesce(s.level_id in (select level_id from named where rank_of_level {condition.operator} {bar}), false)"


def _several(condition: Condition) -> list[str]:
    return [value.strip() for value in condition.value.split("|")]


def _tag_condition(condition: Condition) -> str:
    tags = ", ".join(literal(value) for value in _several(condition))
    if condition.operator in ("=", "in"):
        return f"list_has_any(s.tag_ids, [{tags}])"
    if condition.operator in ("!=", "not in"):
        return f"not list_has_any(s.tag_ids, [{tags}])"
    if condition.operator in ("is null", "is not null"):
        return f"len(s.tag_ids) {'=' if condition.operator == 'is null' else '>'} 0"
    raise BadInput(
        f"operator {condition.operator!r} cannot be used with tag_id", condition.where, "write =, !=, in, not in, is null or is not null"
    )


def _typed(con: duckdb.DuckDBPyConnection, condition: Condition, value: str, kind: str) -> str:
    con.execute(f"select try_cast(? as {kind}) is not null", [value.strip()])
    if not con.fetchall()[0][0]:
        raise BadInput(f"{value!r} is not a value of {condition.attribute} ({kind.lower()})", condition.where, "correct the value")
    return f"cast({literal(value.strip())} as {kind})"


def feed_sql(
    con: duckdb.DuckDBPyConnection, contract: Contract, columns: Mapping[str, str], catalog: int, stale_after_at: str, vault: Path
) -> str:
    """SELECT of the feed: the contract's columns in their order, text made safe for spreadsheets."""
    joins: dict[str, str] = {}
    select = []
    for column in contract.columns:
        expression, is_text = _source(con, column, contract, columns, catalog, stale_after_at, vault, joins)
        select.append(f"{safe_text(expression) if is_text else expression} as {quoted(column.name)}")
    where = " and ".join(audience_sql(con, condition, columns) for condition in contract.audience) or "true"
    names = {column.name for column in contract.columns}
    order = []
    for item in contract.order_by:
        name = item.removeprefix("-")
        if name not in names:
            raise BadInput(
                f"order_by names {name!r}, which is no column of the feed",
                f"channel {contract.channel_id}",
                f"columns: {', '.join(sorted(names))}",
            )
        order.append(f"{quoted(name)} {'desc' if item.startswith('-') else 'asc'} nulls last")
    # The subject last, so that the file is the same whenever it is written.
    order.append("_subject")
    inner = f"select {', '.join(select)}, s.customer_id as _subject from subjects s {' '.join(joins.values())} where {where}"
    return f"select * exclude (_subject) from ({inner}) order by {', '.join(order)}"


def _source(
    con: duckdb.DuckDBPyConnection,
    column: Column,
    contract: Contract,
    columns: Mapping[str, str],
    catalog: int,
    stale_after_at: str,
    vault: Path,
    joins: dict[str, str],
) -> tuple[str, bool]:
    """Expression of a column, and whether it is text."""
    where = f"channel {contract.channel_id}, column {column.name}"
    if column.source == "catalog":
        return f"cast({catalog} as bigint)", False
    if column.source == "stale_after_at":
        return literal(stale_after_at), True
    if not column.source.startswith(f"{VAULT}."):
        if column.source not in columns or column.source == "tag_ids":
            raise BadInput(f"unknown source {column.source!r}", where, "see channel_columns in seeds/schema.yaml")
        return f"s.{quoted(column.source)}", columns[column.source] == "VARCHAR"
    if not column.personal:
        raise BadInput(f"{column.source} comes from the vault but is not declared personal", where, "write true under `personal`")
    entity, _, name = column.source.removeprefix(f"{VAULT}.").partition(".")
    known = _vault_columns(con, vault, entity)
    if known is None:
        return "cast(null as varchar)", True
    if "customer_id" not in known or name not in known or name.startswith("_"):
        raise BadInput(
            f"the vault has no {name!r} of customers in {entity!r}", where, "name a personal column of an entity with a customer_id"
        )
    alias = f"v_{entity}"
    joins[entity] = f"left join {VAULT}.{quoted(entity)} {alias} on {alias}.customer_id = s.customer_id"
    return masked(f"cast({alias}.{quoted(name)} as varchar)", column.mask), True


def _vault_columns(con: duckdb.DuckDBPyConnection, vault: Path, entity: str) -> set[str] | None:
    """Columns of an entity in the vault; None where nothing personal of it ever landed."""
    if not vault.is_file():
        return None
    if not con.execute(f"select 1 from duckdb_databases() where database_name = '{VAULT}'").fetchall():
        con.execute(f"attach {literal(str(vault))} as {VAULT} (read_only)")
    con.execute("select column_name from duckdb_columns() where database_name = ? and table_name = ?", [VAULT, entity])
    return {name for (name,) in con.fetchall()} or None


def masked(expression: str, mask: str) -> str:
    """A personal value as the contract shows it."""
    if mask == "none":
        return expression
    if mask == "last4":
        return f"case when length({expression}) > 4 then repeat('*', length({expression}) - 4) || right({expression}, 4) else repeat('*', length({expression})) end"
    if mask == "initial":
        return (
            f"case when length({expression}) > 0 then left({expression}, 1) || repeat('*', length({expression}) - 1) else {expression} end"
        )
    raise BadInput(f"unknown mask {mask!r}", "channel_columns", "write none, last4 or initial")


def safe_text(expression: str) -> str:
    """Text that no spreadsheet runs: an apostrophe before what begins like a formula."""
    return (
        f"case when regexp_matches({expression}, {literal(FORMULA)}) and not regexp_full_match({expression}, {literal(PLAIN_NUMBER)}) "
        f"then '''' || {expression} else {expression} end"
    )
