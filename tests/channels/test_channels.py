"""Channels: only the contract's columns, only its audience, nothing that a spreadsheet runs, nothing of a candidate."""

from __future__ import annotations

import csv
import json
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from orchestration.channels import channel_ids, deliver, load_contracts, pending
from orchestration.channels.contract import Column, Condition, Contract
from orchestration.channels.delivery import write_feed
from orchestration.channels.feed import masked
from orchestration.deployment import PROJECT_ROOT, Deployment, load_deployment
from orchestration.errors import BadInput, Failed
from orchestration.gate import run_gate
from orchestration.ingest.files import sha256_file
from orchestration.ledger import Ledger
from orchestration.release import release
from tests.gate.fixture_warehouse import Plan, build_warehouse, contract, make_place, make_vault, record_build, silent

CUSTOMER = Column("customer_id", "customer_id", False, "none")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Deployment, Ledger]:
    """Two released periods of 60 customers and a vault with their phones."""
    deployment, ledger = make_place(tmp_path_factory.mktemp("channels"))
    build_warehouse(deployment, ["2026-05", "2026-06"])
    make_vault(deployment)
    plan = Plan("run1", ["2026-05", "2026-06"])
    record_build(ledger, "run1")
    for period in plan.periods:
        run_gate(deployment, ledger, plan, period, say=silent, problems={})
    release(deployment, ledger, plan, say=silent)
    return deployment, ledger


def feed(deployment: Deployment, given: Contract, tmp_path: Path) -> list[dict[str, str]]:
    target = tmp_path / "feed.csv"
    write_feed(deployment, given, deployment.releases / "2026-06.r1", 7, "2026-07-01T00:00:00Z", target)
    with target.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def audience(*rows: tuple[str, str, str]) -> list[Condition]:
    return [Condition(attribute, operator, value, "channel_audience.csv, row 2") for attribute, operator, value in rows]


def test_a_delivery_holds_the_newest_period_with_its_manifest(place: tuple[Deployment, Ledger]) -> None:
    deployment, ledger = place
    [delivery] = deliver(deployment, ledger, say=silent, contracts=[contract(order_by=("-priority", "customer_id"))])
    file = deployment.data / delivery.path
    assert file == deployment.channels / "hotline" / "hotline_1.csv"
    with file.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == ["customer_id", "phone", "level_id", "priority", "tags", "as_of_period", "catalog", "stale_after_at"]
    assert len(rows) == delivery.rows == 60
    assert {(row["as_of_period"], row["catalog"]) for row in rows} == {("2026-06", "1")}
    assert [int(row["priority"]) for row in rows] == sorted((int(row["priority"]) for row in rows), reverse=True)
    by_customer = {row["customer_id"]: row for row in rows}
    assert by_customer["c15"]["tags"] == "complaint_open;rent_ends"
    assert by_customer["c15"]["phone"] == "13800000015"
    assert by_customer["c1"]["tags"] == ""
    manifest = json.loads(file.with_suffix(".manifest.json").read_text())
    assert manifest["sha256"] == delivery.sha256 == sha256_file(file)
    assert manifest["rows"] == 60 and manifest["as_of_period"] == "2026-06" and manifest["stale_after_at"] == rows[0]["stale_after_at"]
    entry = ledger.last("delivery")
    assert entry is not None
    assert entry.payload == delivery.as_json()
    assert file.stat().st_mode & 0o007 == 0, "personal data is not for everyone on the machine"
    assert deliver(deployment, ledger, say=silent, contracts=[contract(order_by=("-priority", "customer_id"))]) == [], "applied once"
    assert list(deployment.scratch.iterdir()) == []


def test_a_feed_may_be_used_for_as_long_as_its_contract_says(place: tuple[Deployment, Ledger]) -> None:
    given = contract("weekly", columns=[CUSTOMER])
    [day, week] = deliver(*place, say=silent, contracts=[replace(given, channel_id="daily"), replace(given, staleness_hours=24 * 7)])
    until = [datetime.fromisoformat(delivery.stale_after_at) for delivery in (day, week)]
    assert until[1] - until[0] == timedelta(days=6)


def test_nobody_else_reads_a_feed_while_it_is_written(place: tuple[Deployment, Ledger], monkeypatch: pytest.MonkeyPatch) -> None:
    deployment, ledger = place
    modes: dict[str, int] = {}

    def hashed(path: Path) -> str:
        modes.update({found.name: stat.S_IMODE(found.stat().st_mode) for found in (path, path.parent)})
        return sha256_file(path)

    monkeypatch.setattr("orchestration.channels.delivery.sha256_file", hashed)
    before = os.umask(0o022)
    try:
        [delivery] = deliver(deployment, ledger, say=silent, contracts=[contract("clinic")])
    finally:
        os.umask(before)
    assert modes == {"clinic_1.csv": 0o600, "channel-clinic_1": 0o700}
    file = deployment.data / delivery.path
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)] == [0o440, 0o755], (
        "who may read what is delivered is as before"
    )


def test_nothing_is_delivered_before_the_first_release(tmp_path: Path) -> None:
    deployment, ledger = make_place(tmp_path)
    build_warehouse(deployment, ["2026-06"])
    assert deliver(deployment, ledger, say=silent, contracts=[contract()]) == []
    assert pending(deployment, ledger) == []
    assert not deployment.channels.exists()


def test_a_changed_contract_is_delivered_again(place: tuple[Deployment, Ledger]) -> None:
    deployment, ledger = place
    contracts = [contract("app", columns=[CUSTOMER]), contract("app", columns=[CUSTOMER], audience=audience(("level_rank", ">=", "4")))]
    sent = [deliver(deployment, ledger, say=silent, contracts=[given]) for given in (*contracts, contracts[1], contracts[0])]
    assert [[delivery.path for delivery in found] for found in sent] == [
        ["channels/app/app_1.csv"],
        ["channels/app/app_1_2.csv"],
        [],
        ["channels/app/app_1_3.csv"],
    ]
    keys = [delivery.idempotency_key for [delivery] in (sent[0], sent[1], sent[3])]
    assert len(set(keys)) == 3, "who applies a key once applies what the contract says last"
    assert keys[2] == f"{keys[0]}:3"
    for [delivery] in (sent[0], sent[1], sent[3]):
        assert sha256_file(deployment.data / delivery.path) == delivery.sha256, "what was delivered is there to be looked at"


def test_a_delivery_that_is_killed_before_it_is_recorded_touches_none_that_is(place: tuple[Deployment, Ledger]) -> None:
    """As after a contract that changed: the catalog is the one that the channel has."""
    deployment, ledger = place
    [first] = deliver(deployment, ledger, say=silent, contracts=[contract("kiosk")])
    killed = """
import sys
from pathlib import Path
from tests.gate.fixture_warehouse import contract, make_place, silent
from orchestration.channels import deliver
deliver(*make_place(Path(sys.argv[1])), say=silent, contracts=[contract("kiosk", order_by=("-priority",))])
"""
    env = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT), "TIERHOUSE_FAILPOINT": "channels.file_written"}
    done = subprocess.run([sys.executable, "-c", killed, str(deployment.data.parent)], env=env, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr.decode()
    assert sha256_file(deployment.data / first.path) == first.sha256
    [again] = deliver(deployment, ledger, say=silent, contracts=[contract("kiosk", order_by=("-priority",))])
    assert again.path == "channels/kiosk/kiosk_1_2.csv" and sha256_file(deployment.data / again.path) == again.sha256


def test_a_channel_that_cannot_be_served_holds_up_no_other(place: tuple[Deployment, Ledger]) -> None:
    deployment, ledger = place
    (deployment.channels / "closed").write_text("a file where a folder must be", encoding="utf-8")
    unknown = contract("branch", columns=[CUSTOMER], audience=audience(("level_id", ">=", "star_9")))
    given = [unknown, contract("closed", columns=[CUSTOMER]), contract("desk", columns=[CUSTOMER])]
    said: list[str] = []
    for _ in range(2):
        # The one that may be served when it is tried again, though it is not the first.
        with pytest.raises(Failed, match="File exists"):
            deliver(deployment, ledger, say=said.append, contracts=given)
    assert [e.payload["channel"] for e in ledger.entries("delivery")][-1:] == ["desk"]
    assert [line.split(":")[0] for line in said] == ["channel branch", "channel closed", "channel desk", "channel branch", "channel closed"]
    told = "the release has no level 'star_9' (channel_audience.csv, row 2); to do: change the audience of the contract, or go to a catalog"
    assert told in said[0] and str(deployment.data) in said[1] and "to do: " in said[1]
    (deployment.channels / "closed").unlink()
    with pytest.raises(BadInput, match="the release has no level 'star_9'"):
        deliver(deployment, ledger, say=silent, contracts=given)
    assert [e.payload["channel"] for e in ledger.entries("delivery")][-2:] == ["desk", "closed"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("level_rank", ">=", "4")], 30),
        ([("level_id", "in", "star_1|star_2")], 20),
        ([("level_id", ">=", "star_4")], 30),
        ([("level_id", "<", "star_2")], 10),
        ([("level_id", "not in", "star_1|star_2")], 40),
        ([("brand", "=", "gotone")], 20),
        # c2, c5, … have no brand: a comparison with null is false, whichever way it is put.
        ([("brand", "!=", "gotone")], 20),
        ([("brand", "is null", "")], 20),
        ([("tag_id", "=", "rent_ends")], 1),
        ([("tag_id", "in", "rent_ends|complaint_open")], 6),
        ([("tag_id", "!=", "complaint_open")], 54),
        ([("tag_id", "not in", "rent_ends")], 59),
        ([("tag_id", "is null", "")], 54),
        ([("tag_id", "is not null", "")], 6),
        ([("level_rank", "in range", "2..4")], 20),
        ([("level_rank", "in range", "2..4"), ("tag_id", "=", "complaint_open")], 2),
        ([("region", "=", "south' or 'x' = 'x")], 0),
    ],
)
def test_the_audience_is_data(rows: list[tuple[str, str, str]], expected: int, place: tuple[Deployment, Ledger], tmp_path: Path) -> None:
    assert len(feed(place[0], contract(columns=[CUSTOMER], audience=audience(*rows)), tmp_path)) == expected


def test_a_feed_holds_the_program_of_its_channel_alone(place: tuple[Deployment, Ledger], tmp_path: Path) -> None:
    """Another program grades the same customers, and calls its levels alike in another order. Some are not decided."""
    whole, release = place[0].releases / "2026-06.r1", tmp_path / "release"
    release.mkdir()
    changed = {
        "fct_decisions": "'other' as program_id, 7 - level_rank as level_rank, 'star_' || (7 - level_rank) as level_id",
        "dim_levels": "'other' as program_id, 7 - level_rank as level_rank, 'Other ' || name_en as name_en",
    }
    for file in whole.glob("*.parquet"):
        both = f"from '{file}'" + (
            f" union all by name select * replace ({changed[file.stem]}) from '{file}'" if file.stem in changed else ""
        )
        if file.stem == "fct_decisions":
            undecided = "case when subject_id = 'c3' then null else {0} end as {0}"
            both = f"select * replace ({undecided.format('level_id')}, {undecided.format('level_rank')}) from ({both})"
        duckdb.sql(f"copy ({both}) to '{release / file.name}' (format parquet)")
    columns = [CUSTOMER, *(Column(name, name, False, "none") for name in ("level_id", "level_name_en", "priority"))]
    target = tmp_path / "feed.csv"
    given = contract(columns=columns, order_by=("-level_id",))
    write_feed(place[0], given, release, 7, "2026-07-01T00:00:00Z", target)
    with target.open(encoding="utf-8", newline="") as opened:
        rows = [tuple(row.values()) for row in csv.DictReader(opened)]
    levels = sorted(((1 + number % 6, f"c{number}") for number in range(1, 61) if number != 3), key=lambda pair: (-pair[0], pair[1]))
    expected = [(customer, f"star_{level}", f"{level} stars", str(level)) for level, customer in levels]
    assert rows == [*expected, ("c3", "", "", "0")], "who has no level comes last"
    assert write_feed(place[0], replace(given, audience=tuple(audience(("level_id", ">=", "star_6")))), release, 7, "", target) == 10


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("levle_rank", ">=", "4"), "unknown attribute"),
        (("level_rank", ">=", "4 or true"), "not a value"),
        (("level_id", ">=", "star_9"), "has no level"),
        (("level_rank", "like", "4"), "operator"),
        (("tag_id", ">", "x"), "operator"),
        (("tag_ids", "=", "x"), "unknown attribute"),
    ],
)
def test_a_mistake_in_an_audience_names_its_row(
    row: tuple[str, str, str], message: str, place: tuple[Deployment, Ledger], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        feed(place[0], contract(columns=[CUSTOMER], audience=audience(row)), tmp_path)
    assert "channel_audience.csv, row 2" in str(caught.value)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (Column("x", "spend", False, "none"), "unknown source"),
        (Column("x", "tag_ids", False, "none"), "unknown source"),
        (Column("phone", "vault.customers.phone", False, "none"), "not declared personal"),
        (Column("x", "vault.customers.salary", True, "none"), "vault has no"),
        (Column("x", "vault.customers._file_id", True, "none"), "vault has no"),
        (Column("x", "vault.customers.phone", True, "rot13"), "mask"),
    ],
)
def test_a_column_that_is_not_there_is_refused(column: Column, message: str, place: tuple[Deployment, Ledger], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message):
        feed(place[0], contract(columns=[CUSTOMER, column]), tmp_path)


def test_masks(place: tuple[Deployment, Ledger], tmp_path: Path) -> None:
    columns = [CUSTOMER, Column("phone", "vault.customers.phone", True, "last4"), Column("name", "vault.customers.name", True, "initial")]
    row = next(row for row in feed(place[0], contract(columns=columns), tmp_path) if row["customer_id"] == "c15")
    assert (row["phone"], row["name"]) == ("*******0015", "Z*******")


@pytest.mark.parametrize(
    ("mask", "value", "shown"),
    [
        ("last4", "'1234'", "****"),
        ("last4", "'12345'", "*2345"),
        ("last4", "''", ""),
        ("last4", "null", None),
        ("initial", "'王小明'", "王**"),
        ("initial", "''", ""),
        ("initial", "null", None),
    ],
)
def test_a_mask_shows_no_short_value_whole(mask: str, value: str, shown: str | None) -> None:
    assert duckdb.sql(f"select {masked(f'cast({value} as varchar)', mask)}").fetchall() == [(shown,)]


def test_no_cell_is_run_by_a_spreadsheet(place: tuple[Deployment, Ledger], tmp_path: Path) -> None:
    deployment, _ = place
    planted = {
        "c1": "=cmd|' /C calc'!A0",
        "c2": "@SUM(1)",
        "c3": "+86 138",
        "c4": "-1+1|x",
        "c5": "\t=1",
        "c6": 'a "quoted", one\nline',
        "c7": "\r=2",
        "c8": "Ann",
    }
    with duckdb.connect(str(deployment.vault)) as con:
        for customer, name in planted.items():
            con.execute("update customers set name = ? where customer_id = ?", [name, customer])
    columns = [CUSTOMER, Column("name", "vault.customers.name", True, "none")]
    shown = {row["customer_id"]: row["name"] for row in feed(deployment, contract(columns=columns), tmp_path)}
    for customer in ("c1", "c2", "c4", "c5", "c7"):
        assert shown[customer].startswith("'"), customer
    assert shown["c3"] == "+86 138", "a number stays one that can be dialled"
    assert shown["c6"].replace("\r\n", "\n") == planted["c6"]
    assert shown["c8"] == "Ann"


def test_no_personal_value_reaches_an_error(place: tuple[Deployment, Ledger], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment, ledger = place

    def fail(*_: object) -> int:
        raise duckdb.ConversionException("Could not convert string '13800000015'")

    monkeypatch.setattr("orchestration.channels.delivery.write_feed", fail)
    with pytest.raises(Failed) as caught:
        deliver(deployment, ledger, say=silent, contracts=[contract("phone_manager")])
    assert "1380000" not in str(caught.value)
    assert list(deployment.scratch.iterdir()) == []


def test_without_a_vault_personal_columns_are_empty(place: tuple[Deployment, Ledger], tmp_path: Path) -> None:
    deployment, ledger = make_place(tmp_path / "bare")
    build_warehouse(deployment, ["2026-06"])
    record_build(ledger, "run1")
    plan = Plan("run1", ["2026-06"])
    run_gate(deployment, ledger, plan, "2026-06", say=silent, problems={})
    release(deployment, ledger, plan, say=silent)
    assert {row["phone"] for row in feed(deployment, contract(), tmp_path)} == {""}


def test_without_the_vault_in_which_rows_have_landed_nothing_personal_is_delivered(tmp_path: Path) -> None:
    deployment, ledger = make_place(tmp_path / "lost")
    build_warehouse(deployment, ["2026-06"])
    record_build(ledger, "run1")
    plan = Plan("run1", ["2026-06"])
    run_gate(deployment, ledger, plan, "2026-06", say=silent, problems={})
    release(deployment, ledger, plan, say=silent)
    nothing = {"path": None, "periods": []}
    ledger.append("drop_landed", {"source": "crm", "entity": "customers", "file_id": "f1", "parts": [], "supersedes": nothing})
    given = [contract("app", columns=[CUSTOMER]), contract("hotline")]
    for lost in (lambda: None, deployment.vault.touch):
        lost()
        with pytest.raises(Failed, match="the vault is gone, and with it the personal columns of customers"):
            deliver(deployment, ledger, say=silent, contracts=given)
        assert [e.payload["channel"] for e in ledger.entries("delivery")] == ["app"], "what lists no personal column is delivered"
    deployment.vault.unlink()
    make_vault(deployment)
    assert [delivery.channel for delivery in deliver(deployment, ledger, say=silent, contracts=given)] == ["hotline"]


def test_of_a_channel_the_newest_version_is_in_force_with_the_rows_of_its_own(tmp_path: Path) -> None:
    """The rows of the seeds stand in any order."""
    deployment, _ = make_place(tmp_path)
    seeds = deployment.folder / deployment.config.policies
    shutil.copytree(PROJECT_ROOT / "seeds", seeds, ignore=shutil.ignore_patterns("*.yaml", "boundaries"))
    [head, *rows] = [line.split(",") for line in (seeds / "channels.csv").read_text(encoding="utf-8").splitlines()]
    hotline = next(row for row in rows if row[0] == "hotline")
    versions = [[hotline[0], version, *hotline[2:]] for version in ("2", "10", "9")]
    columns = [line.split(",") for line in (seeds / "channel_columns.csv").read_text(encoding="utf-8").splitlines()]
    needed = [row for row in columns if row[0] == "hotline" and row[4] != "vault.customers.phone"]
    own = {"2": needed, "10": list(reversed(needed)), "9": needed}
    audience = [["hotline", "2", "level_rank", ">=", "3"], ["hotline", "10", "level_rank", ">=", "5"]]
    tables = {
        "channels": [head, *versions],
        "channel_columns": [columns[0], *([row[0], version, *row[2:]] for version, rows in own.items() for row in rows)],
        "channel_audience": [["channel_id", "version", "attribute", "operator", "value"], *audience],
    }
    for name, lines in tables.items():
        (seeds / f"{name}.csv").write_text("".join(",".join(line) + "\n" for line in lines), encoding="utf-8")
    [found] = load_contracts(deployment)
    assert found.version == 10
    assert [column.name for column in found.columns] == [row[3] for row in needed]
    assert [condition.value for condition in found.audience] == ["5"]


def test_the_default_seeds_are_contracts() -> None:
    assert channel_ids(load_deployment()) == ["hotline", "store_queue"]
