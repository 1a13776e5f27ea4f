"""The sample operator's mappings fit both ends: contracts on one side, the files as written on the other.

Expressions are evaluated here by DuckDB alone, with a stand-in for ``pseudonym``; what ingest makes of them is tested there.
"""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from orchestration.deployment import PROJECT_ROOT, load_deployment
from orchestration.policy import load_policies
from orchestration.sample import ENTITIES, write_sample

TELECOM = PROJECT_ROOT / "examples" / "telecom"
FEEDS: list[tuple[str, dict[str, Any]]] = [
    (path.stem, feed)
    for path in sorted((TELECOM / "sources").glob("*.yaml"))
    for feed in yaml.safe_load(path.read_text(encoding="utf-8"))["feeds"]
]

CHARGE_TYPES = {row["charge_type"] for row in load_policies(load_deployment(TELECOM)).seeds["charge_types"]}


def contract(entity: str) -> dict[str, Any]:
    path = PROJECT_ROOT / "orchestration" / "ingest" / "contracts" / f"{entity}.yaml"
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def drops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("drops")
    write_sample(out, customers=600, months=6, seed=4, defects=False, say=lambda _: None)
    return out


def test_the_deployment_loads() -> None:
    deployment = load_deployment(TELECOM)
    assert (deployment.name, deployment.config.currency, deployment.config.timezone) == ("telecom", "CNY", "Asia/Shanghai")


def test_every_entity_has_a_feed() -> None:
    assert {feed["entity"] for _, feed in FEEDS} == set(ENTITIES)


@pytest.mark.parametrize(("source", "feed"), FEEDS, ids=[f"{source}-{feed['entity']}" for source, feed in FEEDS])
def test_a_feed_names_only_contract_columns_and_all_required_ones(source: str, feed: dict[str, Any]) -> None:
    columns = contract(feed["entity"])["columns"]
    assert set(feed["columns"]) <= set(columns)
    assert {name for name, column in columns.items() if column["required"]} <= set(feed["columns"])


@pytest.mark.parametrize(("source", "feed"), FEEDS, ids=[f"{source}-{feed['entity']}" for source, feed in FEEDS])
def test_a_feeds_expressions_give_the_contracts_types_and_values(drops: Path, tmp_path: Path, source: str, feed: dict[str, Any]) -> None:
    path = sorted(drops.glob(feed["files"]))[0]
    con = duckdb.connect()
    con.execute("create macro pseudonym(x) as sha256(x)")
    con.execute(f"create table raw as {reader(path, feed, tmp_path)}")
    if "unpivot" in feed:
        pivot = feed["unpivot"]
        names = [row[0] for row in con.execute("describe raw").fetchall()]
        wide = pivot.get("columns") or [name for name in names if re.search(pivot["pattern"], name)]
        listed = ", ".join(f'"{name}"' for name in wide)
        con.execute(f"create or replace table raw as unpivot raw on {listed} into name {pivot['name']} value {pivot['value']}")
        if "pattern" in pivot:
            con.execute(f"update raw set {pivot['name']} = regexp_extract({pivot['name']}, '{pivot['pattern']}', 1)")
    expected = contract(feed["entity"])
    for name, expression in feed["columns"].items():
        column = expected["columns"][name]
        kind = {"text": "varchar", "integer": "bigint", "period": "varchar"}.get(column["type"], column["type"])
        missing, bad, total, values = con.execute(
            f"""select count(*) filter (where v is null), count(*) filter (where v is not null and try_cast(v as {kind}) is null),
                       count(*), list(distinct v::varchar) from (select ({expression}) as v from raw)"""
        ).fetchone() or (0, 0, 0, [])
        assert total > 0 and bad == 0, (name, bad)
        assert not (column["required"] and missing), (name, missing)
        if name == "charge_type":
            assert set(values or []) <= CHARGE_TYPES
        if "allowed" in column:
            assert set(values or []) - {None} <= set(column["allowed"]), name
        if column["type"] == "period":
            assert all(re.fullmatch(r"\d{4}-\d{2}", value) for value in values if value), name
    keys = ", ".join(f"({feed['columns'][name]})" for name in expected["key"])
    assert con.execute(
        f"select count(*) - count(distinct ({keys},)) from raw"
        if "," not in keys
        else f"select count(*) - count(distinct ({keys})) from raw"
    ).fetchone() == (0,)


def reader(path: Path, feed: dict[str, Any], tmp_path: Path) -> str:
    """A query over the drop; other encodings become UTF-8 in a temporary copy first."""
    if feed["format"] == "parquet":
        return f"select * from read_parquet('{path}')"
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    copy = tmp_path / "copy.txt"
    copy.write_text(data.decode(feed.get("encoding", "utf-8-sig")), encoding="utf-8")
    if feed["format"] == "jsonl":
        return f"select * from read_json('{copy}', format = 'newline_delimited')"
    return f"select * from read_csv('{copy}', all_varchar = true, header = true, delim = '{feed.get('delimiter', ',')}')"
