"""Every planted defect is caught by ingest, under the reason that truth.json gives, and nothing else is."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest

from orchestration.deployment import Deployment, load_deployment
from orchestration.ingest import IngestReport, balance, ingest, landed_money, open_periods
from orchestration.ledger import Ledger
from orchestration.sample import write_sample
from orchestration.warehouse.landed import landed_at


class Sent(NamedTuple):
    """What was sent and what ingest made of it; ``opened``: the open periods between the two steps."""

    deployment: Deployment
    truth: dict[str, Any]
    first: IngestReport
    opened: dict[str, list[str]]
    second: IngestReport


def say(_: str) -> None:
    """Progress is of no interest here."""


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """The sample ingested in two steps: without the file that mends the control total, then with it."""
    folder = tmp_path_factory.mktemp("caught")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIERHOUSE_DATA", str(folder / "data"))
        patch.setenv("TIERHOUSE_DROPS", str(folder / "drops"))
        deployment = load_deployment()
    wanted = [
        "customers",
        "lines",
        "bill_lines",
        "subscriptions",
        "payments",
        "service_contacts",
        "complaints",
        "campaigns",
        "campaign_targets",
    ]
    truth = write_sample(deployment.drops, customers=1_500, months=6, seed=9, entities=wanted, say=say)
    mend = deployment.drops / truth["events"]["control_total"]["mended_by"]
    aside = mend.rename(folder / mend.name)
    ledger = Ledger(deployment.ledger)
    first = ingest(deployment, ledger, say=say)
    opened = {period: [str(problem) for problem in problems] for period, problems in open_periods(deployment, ledger).items()}
    aside.rename(mend)
    second = ingest(deployment, ledger, say=say)
    return Sent(deployment, truth, first, opened, second)


def test_quarantine_holds_exactly_the_planted_rows_with_their_reasons(sent: Sent) -> None:
    _, truth, first, _, second = sent
    planted: dict[str, Counter[str]] = {}
    for kind, entry in truth["defects"].items():
        for file, reasons in entry["files"].items():
            if kind != "control_total":
                planted.setdefault(file, Counter()).update(reasons)
    caught = {file.file: Counter(file.reasons) for file in [*first.files, *second.files] if file.reasons}
    assert caught == planted
    assert first.refused == second.refused == []
    assert first.bad_share == second.bad_share == []


def test_every_row_of_every_file_is_accounted_for(sent: Sent) -> None:
    _, truth, first, _, second = sent
    rows = {file.file: file.rows_in for file in [*first.files, *second.files]}
    assert rows == {name: entry["rows"] for name, entry in truth["files"].items() if "same_as" not in entry}
    assert all(file.rows_in == file.landed + file.quarantined + file.not_for_entity for file in [*first.files, *second.files])
    files = balance(Ledger(sent.deployment.ledger))
    cut = next(file for file in files if file["file"] == truth["events"]["control_total"]["file"])
    assert all(file["agrees"] for file in files)
    assert (cut["landed"], cut["superseded"]) == (0, cut["rows_in"] - cut["quarantined"])


def test_the_money_of_each_month_is_recorded_as_it_landed(sent: Sent) -> None:
    """With credit notes, a month that was corrected, and a file that was sent again."""
    ledger = Ledger(sent.deployment.ledger)
    landed = landed_at(sent.deployment, ledger, ledger.head()[0])
    rows = duckdb.sql(f"select bill_period, count(*), sum(net_amount) from ({landed.select('bill_lines')}) group by all").fetchall()
    assert len(rows) >= 6
    assert {period: landed_money(ledger, "bill_lines", period) for period, _, _ in rows} == {
        period: (n, money) for period, n, money in rows
    }
    assert landed_money(ledger, "bill_lines", "1999-01") == (0, 0)


def test_the_control_total_keeps_its_period_open_until_the_file_is_sent_again(sent: Sent) -> None:
    deployment, truth, _, opened, second = sent
    event = truth["events"]["control_total"]
    assert event["period"] in opened
    assert Path(event["file"]).name in json.dumps(opened[event["period"]])
    assert open_periods(deployment, Ledger(deployment.ledger)) == {}, (
        "of the points, which this sample leaves out, the promised files are there"
    )
    assert [file.file for file in second.files] == [event["mended_by"]]
    assert second.files[0].superseded > 0


def test_the_corrected_file_supersedes_and_the_repeated_one_is_known(sent: Sent) -> None:
    _, truth, first, _, _ = sent
    superseded = {file.file: file.superseded for file in first.files if file.superseded}
    correction = truth["events"]["corrected_file"]
    assert superseded[correction["file"]] == correction["rows"]
    assert truth["events"]["resent_file"]["file"] not in {file.file for file in first.files}


def test_a_sample_of_customers_and_bills_alone_leaves_no_month_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other sources promise every month is there without rows, and no bill names a number that nobody knows."""
    monkeypatch.setenv("TIERHOUSE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TIERHOUSE_DROPS", str(tmp_path / "drops"))
    deployment = load_deployment()
    truth = write_sample(deployment.drops, customers=300, months=3, seed=4, entities=["bill_lines", "customers"], say=say)
    report = ingest(deployment, Ledger(deployment.ledger), say=say)
    assert open_periods(deployment, Ledger(deployment.ledger)) == {}
    assert {file.source for file in report.files if file.rows_in} == {"billing_new", "crm"}
    assert sum(report.reasons.values()) == sum(kind["rows"] for kind in truth["defects"].values()) > 0
    assert {name: rows for name, rows in truth["rows"].items() if not rows} == {"lines": 0, "points": 0}
