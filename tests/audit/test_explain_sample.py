"""Explanations of a real run: every one agrees with its decision, and every row it names is where it says."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path

import duckdb
import pytest

from orchestration.audit import explain, render
from orchestration.deployment import Deployment, load_deployment
from orchestration.ledger import Ledger
from tests.support import Cli


@pytest.fixture
def released(released_sample: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    monkeypatch.setenv("TIERHOUSE_DATA", str(released_sample.data))
    monkeypatch.setenv("TIERHOUSE_DROPS", str(released_sample.drops))
    yield load_deployment()


@cache
def _lines(file: Path) -> list[str]:
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    return content.decode("gb18030" if "billing_old" in str(file) else "utf-8").splitlines()


def _text_at(file: Path, row: int) -> str:
    """What stands at a line of a text file, or in a row of a Parquet file."""
    if file.suffix != ".parquet":
        return _lines(file)[row - 1]
    return str(duckdb.sql(f"select * from read_parquet('{file}') limit 1 offset {row - 1}").fetchall())


def test_a_tenth_of_the_customers_can_be_explained_and_their_bills_found(released: Deployment) -> None:
    ledger = Ledger(released.ledger)
    decisions = released.releases / "2026-06.r1" / "fct_decisions.parquet"
    customers = duckdb.sql(
        f"select subject_id from read_parquet('{decisions}') where program_id = 'six_star' order by md5(subject_id) limit 30"
    ).fetchall()
    found_rows = 0
    for (customer,) in customers:
        explanation = explain(released, ledger, customer, "six_star", "2026-06")
        assert customer in render(explanation, "en")
        assert customer in render(explanation, "zh")
        for bill in explanation.bills[:5]:
            text = _text_at(released.drops / bill.file, bill.row)
            amount = bill.amount.normalize()
            assert bill.document_id in text
            assert f"{amount:f}" in text or f"{bill.amount:f}" in text or f"{amount.quantize(Decimal('0.01')):f}" in text
            found_rows += 1
    assert found_rows > 50


def test_every_kind_of_rule_of_the_sample_can_be_explained(released: Deployment) -> None:
    decisions = released.releases / "2026-06.r1" / "fct_decisions.parquet"
    rules = duckdb.sql(f"select program_id, matched_rule_id, min(subject_id) from read_parquet('{decisions}') group by all").fetchall()
    assert len(rules) > 15
    for program, rule, subject in rules:
        explanation = explain(released, Ledger(released.ledger), subject, program, "2026-06")
        matched = explanation.matched
        assert (matched.item_id if matched else None) == rule


def test_a_delivered_file_that_was_changed_ends_with_exit_4_and_the_decision_is_told(
    released_sample: Cli, make_cli: Callable[..., Cli]
) -> None:
    cli = make_cli(copy_of=released_sample.folder)
    whom = duckdb.sql(
        f"select min(subject_id) from read_parquet('{cli.data}/releases/2026-06.r1/fct_decisions.parquet') where program_id = 'six_star'"
    ).fetchall()[0][0]
    asked = ("explain", whom, "--period", "2026-06")
    sent = cli.json(*asked)["deliveries"]
    assert sent and {delivery["is_changed"] for delivery in sent} == {False}
    assert None not in {delivery["has_subject"] for delivery in sent}
    feed = cli.data / sent[0]["path"]
    feed.chmod(0o600)
    feed.write_bytes(feed.read_bytes() + b"\xff\n")
    found = cli(*asked, expect=4)
    assert "Why this level" in found.stdout and "Changed after it was delivered" in found.stdout
    assert f"changed after it was delivered: {sent[0]['path']}" in found.stderr
    told = cli.json(*asked, expect=4)
    assert told["error"]["exit_code"] == 4 and told["deliveries"][0]["is_changed"] is True
