"""What a delivery would refuse, `policy check` refuses: audiences, columns and order of feeds that a release cannot serve."""

from __future__ import annotations

import duckdb
import pytest

from orchestration.channels.contract import Condition
from orchestration.channels.feed import audience_sql, make_subjects
from orchestration.errors import BadInput
from orchestration.policy.channel_seeds import DECIDED, TAG, audience_columns
from orchestration.policy.load import refuse_mistaken


def refused(seeds, *parts: str) -> None:
    with pytest.raises(BadInput) as caught:
        seeds.load()
    for part in parts:
        assert part in str(caught.value), str(caught.value)
    assert caught.value.remedy


def audience(seeds, attribute: str, operator: str, value: str) -> None:
    seeds.write("channel_audience", [seeds.rows("channel_audience")[0], ["store_queue", "1", attribute, operator, value]])


@pytest.mark.parametrize(
    ("attribute", "operator", "value", "column", "message"),
    [
        ("levle_rank", ">=", "4", "attribute", "did you mean 'level_rank'?"),
        ("tag_ids", "=", "x", "attribute", "did you mean 'tag_id'?"),
        ("tags", "=", "x", "attribute", "nothing that an audience is chosen by"),
        ("period", "=", "2026-06", "attribute", "nothing that an audience is chosen by"),
        ("phone", "is null", "", "attribute", "nothing that an audience is chosen by"),
        ("level_rank", ">=", "4 or true", "value", "is not a value of level_rank (integer)"),
        ("level_rank", "in range", "2..x", "value", "'x' is not a value of level_rank (integer)"),
        ("level_rank", "in range", "2", "value", "is no range"),
        ("level_rank", ">=", "", "value", "is empty"),
        ("level_rank", "is null", "1", "value", "takes no value"),
        ("joined_date", "<", "31.12.2025", "value", "is not a value of joined_date (date)"),
        ("is_real_name", "=", "sure", "value", "is not a value of is_real_name (boolean)"),
        ("level_id", "in", "star_4|star_7", "value", "did you mean 'star_"),
        ("level_id", ">=", "star_7", "value", "did you mean 'star_"),
        ("level_id", "in range", "star_2..star_4", "operator", "levels have no ranges"),
        ("segment", "=", "consumers", "value", "did you mean 'consumer'?"),
        ("status", "=", "decidd", "value", "did you mean 'decided'?"),
        ("movement", "=", "up", "value", "'up' is not a value of movement"),
        ("tag_id", "in", "complaint_recent|complaint_recnt", "value", "did you mean 'complaint_recent'?"),
        ("tag_id", ">", "complaint_recent", "operator", "tags have none"),
    ],
)
def test_an_audience_that_no_delivery_could_choose_is_refused_in_its_cell(seeds, attribute, operator, value, column, message):
    audience(seeds, attribute, operator, value)
    refused(seeds, f"channel_audience.csv, row 2, column {column}", message)


@pytest.mark.parametrize(
    ("seed", "row", "column", "value", "message"),
    [
        ("channel_columns", 2, "source", "spend", "is not a source"),
        ("channel_columns", 3, "source", "vault.customer.phone", "did you mean 'customers'?"),
        ("channel_columns", 3, "source", "vault.customers.brand", "is not a personal column"),
        ("channel_columns", 3, "personal", "false", "is personal data"),
        ("channel_columns", 3, "column_name", "customer_id", "stands twice"),
        ("channels", 2, "order_by", "-priorty;customer_id", "did you mean 'priority'?"),
        ("channels", 2, "staleness_hours", "99999999999", "write a number from 1 to 87600"),
    ],
)
def test_a_feed_that_no_delivery_could_write_is_refused_in_its_cell(seeds, seed, row, column, value, message):
    seeds.set(seed, row, column, value)
    refused(seeds, f"{seed}.csv, row {row}, column {column}", message)


@pytest.mark.parametrize(("entity", "column", "key"), [("staff", "name", "staff_id"), ("lines", "number", "line_id")])
def test_a_column_that_the_vault_keeps_by_another_key_is_refused_and_what_was_released_with_it_is_read(seeds, entity, column, key):
    seeds.set("channel_columns", 3, "source", f"vault.{entity}.{column}")
    with pytest.raises(BadInput, match=f"row 3, column source: .* are kept by {key}, and a feed has a row a customer"):
        refuse_mistaken(seeds.load())


@pytest.mark.parametrize("source", ["as_of_period", "catalog", "stale_after_at"])
def test_a_feed_carries_its_month_its_catalog_and_its_limit(seeds, source):
    header, *rows = seeds.rows("channel_columns")
    place = header.index("source")
    seeds.write("channel_columns", [header, *(row for row in rows if not (row[0] == "hotline" and row[place] == source))])
    refused(seeds, "channels.csv, row 3, column channel_id", f"has no column from '{source}'", "channel_columns.csv")


SOUND = [
    ("level_rank", ">=", "4"), ("level_rank", "in range", "2..4"), ("level_id", "in", "star_1|star_2"), ("level_id", ">=", "star_4"), ("brand", "!=", "gotone"), ("brand", "is null", ""),
    ("joined_date", "<", "2026-01-01"), ("is_real_name", "=", "true"), ("tenure_months", "in", "1|2"), ("tag_id", "is not null", ""),
    ("tag_id", "not in", "complaint_recent|complaint_serial"), ("status", "=", "decided"), ("movement", "in", "first|joined|rose|fell|same|left"), ("priority", "<", "3"),
]  # fmt: skip


@pytest.mark.parametrize(("attribute", "operator", "value"), SOUND, ids=map(" ".join, SOUND))
def test_what_is_accepted_a_delivery_reads(seeds, tmp_path, attribute, operator, value):
    audience(seeds, attribute, operator, value)
    seeds.load()
    con = duckdb.connect()
    columns = {**audience_columns()}
    con.execute(
        f"create table s as select [''] as tag_ids, {', '.join(f'cast(null as {kind}) as {name}' for name, kind in columns.items())}"
    )
    con.execute("create table named as select 'star_4' as level_id, 4 as rank_of_level")
    con.execute(f"select * from s where {audience_sql(con, Condition(attribute, operator, value), {**columns, 'tag_ids': 'VARCHAR[]'})}")


def test_an_audience_may_name_what_a_release_holds(tmp_path):
    """The columns of the decision are those of the view that feeds are written from; the others are those of dim_customers."""
    con = duckdb.connect()
    con.execute(
        f"""copy (select 'c1' as subject_id, '2026-06' as period, 'star_1' as level_id, 1::integer as level_rank, 'decided' as status,
        'rose' as movement, 'six_star' as program_id, 'customer' as subject_type) to '{tmp_path}/fct_decisions.parquet'"""
    )
    con.execute(
        f"copy (select 'star_1' as level_id, 1 as level_rank, 'One' as name_en, '一' as name_zh, 'six_star' as program_id) to '{tmp_path}/dim_levels.parquet'"
    )
    con.execute(f"copy (select 'c1' as customer_id, 't' as tag_id) to '{tmp_path}/fct_customer_tags.parquet'")
    of_customers = {name: kind for name, kind in audience_columns().items() if name not in DECIDED}
    columns = ", ".join(f"cast(null as {kind}) as {name}" for name, kind in of_customers.items())
    con.execute(f"copy (select 'c1' as customer_id, '2026-06' as period, {columns}) to '{tmp_path}/dim_customers.parquet'")
    held = make_subjects(con, tmp_path, "six_star")
    assert {name: kind.lower() for name, kind in held.items() if name not in {"tag_ids", "tags"}} == dict(audience_columns())
    assert TAG not in held


def test_a_level_that_is_put_between_others_changes_no_audience_that_names_a_level(tmp_path):
    """Ranks are numbers that move with a new level; names of levels sort otherwise than the levels."""
    for ranks in ({"bronze": 1, "silver": 2, "gold": 3}, {"bronze": 1, "bronze_plus": 2, "silver": 3, "gold": 4}):
        con = duckdb.connect()
        levels = ", ".join(f"('vip', '{name}', {rank}, '', '')" for name, rank in ranks.items())
        con.execute(
            f"copy (from (values {levels}) t (program_id, level_id, level_rank, name_en, name_zh)) to '{tmp_path}/dim_levels.parquet'"
        )
        decisions = ", ".join(
            f"('{name}', '2026-06', '{name}', {rank}, 'decided', 'same', 'vip', 'customer')" for name, rank in ranks.items()
        )
        con.execute(
            f"copy (from (values {decisions}) t (subject_id, period, level_id, level_rank, status, movement, program_id, subject_type)) to '{tmp_path}/fct_decisions.parquet'"
        )
        con.execute(f"copy (select '' as customer_id, '' as tag_id) to '{tmp_path}/fct_customer_tags.parquet'")
        columns = make_subjects(con, tmp_path, "vip")
        chosen = audience_sql(con, Condition("level_id", ">=", "silver"), columns)
        assert set(con.execute(f"select customer_id from subjects s where {chosen}").fetchall()) == {("silver",), ("gold",)}
