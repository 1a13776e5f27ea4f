"""Rollback: readers see an earlier catalog again, the ledger says why, the channels are told; nothing is deleted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestration.audit.released import find_release
from orchestration.channels import deliver
from orchestration.cli.main import main
from orchestration.deployment import Deployment
from orchestration.errors import BadInput, Failed, Mismatch
from orchestration.gate import run_gate
from orchestration.ledger import Ledger, last_computed, rolled_back
from orchestration.ledger.readers import behind_the_month_before, what_is_new
from orchestration.release import ReleaseReport, check_pointer, current_catalog, is_there, list_catalogs, recover, release, rollback
from orchestration.release.catalog import publish_catalog
from orchestration.wiring.launch import PeriodOutcome, as_they_stand, outcome_of, visible_releases
from orchestration.wiring.resources import Run
from tests.gate.fixture_warehouse import Plan, build_warehouse, contract, make_place, record_build, silent

PERIOD = "2026-06"
OTHER_DROPS = {"inputs_hash": "other drops", "policy_hash": "policy", "code_version": "0.1.0", "undelivered": []}
ROOT = Path(__file__).parents[2]
KILLED = """
import sys
from pathlib import Path
from tests.gate.fixture_warehouse import contract, make_place, silent
from orchestration.channels import delivery
from orchestration.release import rollback
delivery.load_contracts = lambda _: [contract()]
rollback(*make_place(Path(sys.argv[1])), None, "wrong bar", "an.operator", say=silent)
"""


class InTenYears(datetime):
    """A clock that is ten years ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> InTenYears:
        return cls.fromtimestamp(datetime.now(UTC).timestamp(), tz) + timedelta(days=3650)


def publish(deployment: Deployment, ledger: Ledger, run_id: str, rule: str, inputs_hash: str = "inputs") -> ReleaseReport:
    build_warehouse(
        deployment,
        [PERIOD],
        faults=[
            f"update marts.fct_decisions set matched_rule_id = '{rule}', qualified_level_id = 'star_{rule}', qualified_level_rank = {rule}",
            f"update marts.fct_decisions set level_id = 'star_{rule}', level_rank = {rule}, held_level_id = 'star_{rule}', held_level_rank = {rule}",
        ],
    )
    plan = Plan(run_id, [PERIOD], inputs_hash=inputs_hash)
    record_build(ledger, run_id)
    run_gate(deployment, ledger, plan, PERIOD, say=silent, problems={})
    return release(deployment, ledger, plan, say=silent)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three revisions of one period, in catalogs 1 to 3. Copied by each test."""
    folder = tmp_path_factory.mktemp("made")
    deployment, ledger = make_place(folder)
    for number in ("1", "2", "3"):
        publish(deployment, ledger, f"run{number}", number)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Deployment, Ledger]:
    monkeypatch.setattr("orchestration.channels.delivery.load_contracts", lambda _: [contract()])
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return make_place(tmp_path)


def test_rollback_goes_back_one_catalog_and_then_one_more(place: tuple[Deployment, Ledger]) -> None:
    deployment, ledger = place
    done = rollback(deployment, ledger, None, "wrong bar", "an.operator", say=silent)
    assert (done["catalog"], done["new_catalog"]) == (2, 4)
    assert current_catalog(deployment) == {"catalog": 4, "periods": {PERIOD: "2026-06.r2"}}
    assert list_catalogs(ledger)[-1]["cause"] == {
        "kind": "rollback",
        "to": 2,
        "from": 3,
        "reason": "wrong bar",
        "requested_by": "an.operator",
    }
    again = rollback(deployment, ledger, None, "still wrong", "an.operator", say=silent)
    assert (again["catalog"], again["new_catalog"]) == (1, 5)
    first_of_each = [(entry.payload["path"], entry.payload["idempotency_key"].count(":")) for entry in ledger.entries("delivery")]
    assert first_of_each == [("channels/hotline/hotline_4.csv", 3), ("channels/hotline/hotline_5.csv", 3)], (
        "none is a second one of its catalog"
    )
    assert (deployment.releases / "2026-06.r3" / "manifest.json").is_file()
    ledger.verify()


def test_status_names_what_was_rolled_back_until_something_is_released_in_its_place(
    place: tuple[Deployment, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, ledger = place
    monkeypatch.setenv("TIERHOUSE_DATA", str(deployment.data))
    rollback(deployment, ledger, None, "wrong bar", "an.operator", say=silent)
    said = json.loads(CliRunner().invoke(main, ["status", "--json"]).output)
    assert said["rolled_back"] == [{"period": PERIOD, "release": "2026-06.r3", "readers_see": "2026-06.r2"}]
    assert "rolled back: 2026-06.r3, readers see 2026-06.r2" in CliRunner().invoke(main, ["status"]).output
    publish(deployment, ledger, "run4", "1", "other drops")
    assert rolled_back(ledger) == {}


def test_who_asks_about_a_month_that_was_taken_back_is_told_so_and_how_to_read_it(place: tuple[Deployment, Ledger]) -> None:
    deployment, ledger = place
    publish_catalog(deployment, ledger, {}, {"kind": "rollback", "to": 0, "from": 3, "reason": "r", "requested_by": "x"})
    with pytest.raises(BadInput, match=f"2026-06.r3 was rolled back, and readers see nothing of {PERIOD}") as refused:
        find_release(deployment, ledger, PERIOD, None)
    assert "--release 2026-06.r3" in refused.value.remedy
    assert find_release(deployment, ledger, PERIOD, "2026-06.r3")["release"] == "2026-06.r3"


def test_the_catalogs_to_go_back_to_are_listed_with_what_made_them(
    place: tuple[Deployment, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, ledger = place
    # Brackets as in the markup of the library that draws the tables.
    rollback(deployment, ledger, 2, "wrong [/x] list :smile:", "[ops]", say=silent)
    monkeypatch.setenv("TIERHOUSE_DATA", str(deployment.data))
    listed = json.loads(CliRunner().invoke(main, ["releases", "--json"]).output)["catalogs"]
    assert [(c["catalog"], c["periods"], c["cause"]["kind"]) for c in listed] == [
        (1, {PERIOD: "2026-06.r1"}, "run"),
        (2, {PERIOD: "2026-06.r2"}, "run"),
        (3, {PERIOD: "2026-06.r3"}, "run"),
        (4, {PERIOD: "2026-06.r2"}, "rollback"),
    ]
    said = CliRunner().invoke(main, ["releases"])
    assert said.exit_code == 0 and "rollback to catalog 2, by [ops]: wrong [/x] list :smile:" in said.output
    assert CliRunner().invoke(main, ["ledger", "show"]).exit_code == 0


def test_a_pointer_that_shows_what_no_catalog_has_is_found(place: tuple[Deployment, Ledger]) -> None:
    deployment, ledger = place
    pointer = deployment.catalogs / "current.json"
    whole = pointer.read_text(encoding="utf-8")
    check_pointer(deployment, ledger)
    pointer.write_text('{"catalog": 2, "periods": {"2026-06": "2026-06.r2"}}', encoding="utf-8")
    check_pointer(deployment, ledger)  # a stopped run leaves an older one
    pointer.write_text(whole.replace(".r3", ".r1"), encoding="utf-8")
    with pytest.raises(Mismatch, match=r"of 2026-06 readers see 2026-06\.r1, and catalog 3 of the ledger has 2026-06\.r3"):
        check_pointer(deployment, ledger)


@pytest.mark.parametrize(
    ("pointer", "told"),
    [
        *(
            (text, "names no catalog: it was changed")
            for text in ("{", "[]", "3", '{"catalog": "3", "periods": {}}', '{"catalog": 3, "periods": []}')
        ),
        ('{"catalog": 3, "periods": {"2026-06": null}}', "names no catalog: it was changed"),
        ('{"catalog": 0, "periods": {}}', "readers see no catalog, and the ledger records"),
        (None, "readers see no catalog, and the ledger records"),
    ],
)
def test_a_pointer_that_is_none_or_gone_is_named_by_every_command_and_put_right_by_the_next_run(
    pointer: str | None, told: str, place: tuple[Deployment, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, ledger = place
    file = deployment.catalogs / "current.json"
    file.unlink() if pointer is None else file.write_text(pointer, encoding="utf-8")
    monkeypatch.setenv("TIERHOUSE_DATA", str(deployment.data))
    for command in (["status"], ["releases"], ["paths", "--period", PERIOD], ["explain", "c1", "--period", PERIOD], ["ledger", "verify"]):
        said = CliRunner().invoke(main, command)
        assert said.exit_code == 4 and told in said.output and str(file) in said.output and "puts the pointer right" in said.output, command
    recover(deployment, ledger, silent)
    assert current_catalog(deployment) == {"catalog": 3, "periods": {PERIOD: "2026-06.r3"}}


@pytest.mark.parametrize("later", [("delivery", {"channel": "hotline", "catalog": 1}), ("build_started", {"run_id": "run2"})])
def test_a_first_catalog_whose_pointer_was_never_moved_is_none_yet(later: tuple[str, dict[str, object]], tmp_path: Path) -> None:
    """As a run leaves it that is stopped in between; whoever comes after it has moved the pointer first, but for an ingest."""
    deployment, ledger = make_place(tmp_path)
    ledger.append("catalog", {"catalog": 1, "periods": {PERIOD: "2026-06.r1"}})
    assert current_catalog(deployment) is None
    ledger.append("drop_refused", {"file": "a.csv"})
    check_pointer(deployment, ledger)
    ledger.append(*later)
    with pytest.raises(Mismatch, match="the ledger records what was published"):
        current_catalog(deployment)


def test_rollback_sends_the_older_rows_to_the_channels(place: tuple[Deployment, Ledger]) -> None:
    deployment, ledger = place
    done = rollback(deployment, ledger, 1, "wrong bar", "an.operator", say=silent)
    [delivery] = done["deliveries"]
    assert (delivery["catalog"], delivery["release"]) == (4, "2026-06.r1")
    feed = (deployment.data / delivery["path"]).read_text().splitlines()
    assert {line.split(",")[2] for line in feed[1:]} == {"star_1"}


def test_a_rollback_does_not_make_an_old_release_fresh_again(place: tuple[Deployment, Ledger], monkeypatch: pytest.MonkeyPatch) -> None:
    deployment, ledger = place
    made = {entry.payload["release"]: datetime.fromisoformat(entry.at) for entry in ledger.entries("release")}
    sent = [delivery.as_json() for delivery in deliver(deployment, ledger, say=silent)]
    monkeypatch.setattr("orchestration.ledger.store.datetime", InTenYears)
    sent += rollback(deployment, ledger, 1, "wrong bar", "an.operator", say=silent)["deliveries"]
    sent += rollback(deployment, ledger, 3, "it was right", "an.operator", say=silent)["deliveries"]
    assert [delivery["release"] for delivery in sent] == ["2026-06.r3", "2026-06.r1", "2026-06.r3"]
    assert sent[0]["stale_after_at"] == sent[2]["stale_after_at"], "the same for every delivery of a release"
    for delivery in sent:
        limit = made[delivery["release"]].replace(microsecond=0) + timedelta(hours=24)
        assert datetime.fromisoformat(delivery["stale_after_at"]) == limit
        feed = (deployment.data / delivery["path"]).read_text().splitlines()
        assert {line.split(",")[-1] for line in feed[1:]} == {delivery["stale_after_at"]}


def test_the_next_run_with_the_same_rows_publishes_them_without_a_new_revision(place: tuple[Deployment, Ledger]) -> None:
    deployment, ledger = place
    rollback(deployment, ledger, 1, "a mistake", "an.operator", say=silent)
    publish(deployment, ledger, "run4", "3", "other drops")
    assert current_catalog(deployment) == {"catalog": 5, "periods": {PERIOD: "2026-06.r3"}}
    assert len(ledger.entries("release")) == 3


def test_what_is_published_again_is_called_so_and_settled(place: tuple[Deployment, Ledger]) -> None:
    deployment, ledger = place
    rollback(deployment, ledger, 1, "a mistake", "an.operator", say=silent)
    run, before, (head, _) = Run(deployment), visible_releases(deployment, [PERIOD]), ledger.head()
    report = publish(deployment, ledger, "run4", "2", "other drops")
    assert report.moved
    assert [(p.status, p.release) for p in report.periods] == [("released_again", "2026-06.r2")]
    found = outcome_of(run, [PERIOD], head, before, "run4")
    assert [(p.status, p.release) for p in found.periods] == [("released_again", "2026-06.r2")]
    computed = last_computed(ledger)[PERIOD]
    assert (computed["release"], computed["run_id"], computed["inputs_hash"]) == ("2026-06.r2", "run4", "other drops")
    assert what_is_new(computed, OTHER_DROPS) is None, "the same run again has nothing to do"

    before, (head, _) = visible_releases(deployment, [PERIOD]), ledger.head()
    assert [p.status for p in publish(deployment, ledger, "run5", "2").periods] == ["unchanged"]
    assert [p.status for p in outcome_of(run, [PERIOD], head, before, "run5").periods] == ["unchanged"]


@pytest.mark.parametrize("step", ["catalog.recorded", "catalog.pointer_moved", "channels.file_written", "channels.recorded"])
@pytest.mark.parametrize("to_catalog", [None, 2])
def test_a_rollback_that_is_killed_is_finished_by_the_same_command(
    step: str, to_catalog: int | None, place: tuple[Deployment, Ledger], tmp_path: Path
) -> None:
    deployment, ledger = place
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TIERHOUSE_FAILPOINT": step}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=env, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    seen = (
        {"catalog": 3, "periods": {PERIOD: "2026-06.r3"}}
        if step == "catalog.recorded"
        else {"catalog": 4, "periods": {PERIOD: "2026-06.r2"}}
    )
    assert current_catalog(deployment) == seen
    if step == "channels.recorded":
        with pytest.raises(BadInput, match="catalog 2 stands already"):
            rollback(deployment, ledger, 2, "wrong bar", "an.operator", say=silent)
    else:
        # A default that is asked again after it was stopped does not go back one more.
        done_again = rollback(deployment, ledger, to_catalog, "wrong bar", "an.operator", say=silent)
        assert (done_again["catalog"], done_again["new_catalog"], done_again["from_catalog"]) == (2, 4, 3)
    assert current_catalog(deployment) == {"catalog": 4, "periods": {PERIOD: "2026-06.r2"}}
    assert [entry.payload["catalog"] for entry in ledger.entries("delivery")] == [4]
    assert (deployment.channels / "hotline" / "hotline_4.csv").is_file() and list(deployment.scratch.iterdir()) == []
    ledger.verify()


def test_a_rollback_that_a_channel_has_not_got_stands_and_is_finished_whatever_the_reason_given_then(
    place: tuple[Deployment, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, ledger = place
    deployment.channels.write_text("a file where a folder must be", encoding="utf-8")
    stands = r"catalog 4 stands now, with what catalog 2 showed, and hotline has not got it: "
    for reason in ("wrong bar", "wrong bar, once more"):
        with pytest.raises(Failed, match=stands) as caught:
            rollback(deployment, ledger, None, reason, "an.operator", say=silent)
        assert str(deployment.data) in caught.value.where and "the same command then sends what is outstanding" in caught.value.remedy
        assert "to go further back name a catalog (--to)" in caught.value.remedy
        assert current_catalog(deployment) == {"catalog": 4, "periods": {PERIOD: "2026-06.r2"}}
    with pytest.raises(Failed, match="catalog 5 stands now, with what catalog 1 showed"):
        rollback(deployment, ledger, 1, "still wrong", "another.operator", say=silent)
    monkeypatch.setenv("TIERHOUSE_DATA", str(deployment.data))
    assert "channels that have not got the catalog: hotline; " in CliRunner().invoke(main, ["status"]).output
    deployment.channels.unlink()
    said: list[str] = []
    done = rollback(deployment, ledger, None, "try again", "an.operator", say=said.append)
    assert (done["catalog"], done["new_catalog"], done["from_catalog"]) == (1, 5, 4)
    assert (done["reason"], done["requested_by"]) == ("still wrong", "another.operator")
    assert done["finishes_earlier_one"]
    assert "asked for by another.operator (still wrong), was not finished, and is now" in said[0]
    assert current_catalog(deployment) == {"catalog": 5, "periods": {PERIOD: "2026-06.r1"}}
    assert json.loads(CliRunner().invoke(main, ["status", "--json"]).output)["channels_outstanding"] == []


def test_who_asks_for_a_rollback_is_told_where_it_finished_the_one_before_and_went_no_further_back(
    place: tuple[Deployment, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, _ = place
    monkeypatch.setenv("TIERHOUSE_DATA", str(deployment.data))

    def asked(who: str) -> Result:
        return CliRunner().invoke(main, ["rollback", "--reason", "wrong bar", "--by", who])

    deployment.channels.write_text("a file where a folder must be", encoding="utf-8")
    assert asked("one.operator").exit_code == 1
    deployment.channels.unlink()
    further = "the rollback that one.operator had asked for before (wrong bar), finished now: nothing went further back"
    for number, told in ((2, True), (1, False)):
        done = asked("another.operator")
        assert done.exit_code == 0 and f"readers see catalog {number} again" in done.stdout
        assert (further in done.stdout, "rollback --to N" in done.stdout) == (told, told)


def test_a_rollback_is_carried_out_though_the_policies_are_half_edited(
    place: tuple[Deployment, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, ledger = place

    def refused(_: Deployment) -> None:
        raise BadInput("no such column", "channels.csv", "correct it")

    monkeypatch.setattr("orchestration.channels.delivery.load_contracts", refused)
    for to_catalog, number in ((None, 4), (1, 5)):
        with pytest.raises(Failed, match=f"catalog {number} stands now, with what catalog .* showed, and the channels have not got it: "):
            rollback(deployment, ledger, to_catalog, "wrong bar", "an.operator", say=silent)
        assert (current_catalog(deployment) or {})["catalog"] == number


def test_a_channel_whose_contract_is_new_leaves_no_rollback_unfinished(
    place: tuple[Deployment, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, ledger = place
    rollback(deployment, ledger, None, "wrong bar", "an.operator", say=silent)
    monkeypatch.setattr("orchestration.channels.delivery.load_contracts", lambda _: [contract(order_by=("level_id",))])
    rollback(deployment, ledger, None, "another fault", "an.operator", say=silent)
    assert current_catalog(deployment) == {"catalog": 5, "periods": {PERIOD: "2026-06.r1"}}


def test_a_rollback_after_a_run_that_was_stopped_takes_back_what_that_run_has_recorded(
    place: tuple[Deployment, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, ledger = place
    rollback(deployment, ledger, None, "wrong bar", "an.operator", say=silent)

    def stopped(name: str) -> None:
        if name == "release.recorded":
            raise KeyboardInterrupt

    with monkeypatch.context() as while_it_runs, pytest.raises(KeyboardInterrupt):
        while_it_runs.setattr("orchestration.release.publish.failpoint", stopped)
        publish(deployment, ledger, "run4", "4")
    monkeypatch.setattr("orchestration.channels.pending", lambda *_: ["hotline"])
    done = rollback(deployment, ledger, None, "wrong bar", "an.operator", say=silent)
    assert (done["catalog"], done["new_catalog"], done["from_catalog"]) == (4, 6, 5), "the release of the run is catalog 5"
    assert current_catalog(deployment) == {"catalog": 6, "periods": {PERIOD: "2026-06.r2"}}


def test_a_run_that_finds_nothing_new_says_what_is_rolled_back(place: tuple[Deployment, Ledger]) -> None:
    deployment, ledger = place
    assert as_they_stand(deployment, ledger, [PERIOD]) == [PeriodOutcome(PERIOD, "unchanged", "2026-06.r3")]
    rollback(deployment, ledger, 1, "a mistake", "an.operator", say=silent)
    assert as_they_stand(deployment, ledger, [PERIOD]) == [PeriodOutcome(PERIOD, "rolled_back", "2026-06.r1")]


def test_what_a_stopped_run_has_released_again_is_published_with_what_it_has_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """June went on from the rows of May that are released again: readers see both, or neither."""
    monkeypatch.setattr("orchestration.channels.delivery.load_contracts", lambda _: [contract()])
    deployment, ledger = make_place(tmp_path)
    publish_months(deployment, ledger, "run1", "a", m05="1", m06="1")
    publish_months(deployment, ledger, "run2", "b", m05="2")
    rollback(deployment, ledger, 1, "a mistake", "an.operator", say=silent)

    def stopped(*_: object) -> None:
        raise OSError("stopped")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="stopped"):
        patched.setattr("orchestration.release.publish.publish_catalog", stopped)
        publish_months(deployment, ledger, "run3", "c", m05="2", m06="2")
    assert current_catalog(deployment) == {"catalog": 3, "periods": {"2026-05": "2026-05.r1", "2026-06": "2026-06.r1"}}
    recover(deployment, ledger, silent)
    assert current_catalog(deployment) == {"catalog": 4, "periods": {"2026-05": "2026-05.r2", "2026-06": "2026-06.r2"}}
    assert rolled_back(ledger) == {} and behind_the_month_before(ledger) == set()


def test_a_run_that_finds_nothing_new_undoes_no_rollback(place: tuple[Deployment, Ledger]) -> None:
    """As when the month is materialized in the Dagster UI, or after a drop of which no row landed."""
    deployment, ledger = place
    rollback(deployment, ledger, 1, "a mistake", "an.operator", say=silent)
    run, before, (head, _) = Run(deployment), visible_releases(deployment, [PERIOD]), ledger.head()
    said: list[str] = []
    plan = Plan("run4", [PERIOD])
    record_build(ledger, plan.run_id)
    run_gate(deployment, ledger, plan, PERIOD, say=silent, problems={})
    report = release(deployment, ledger, plan, say=said.append)
    assert (report.moved, [(p.status, p.release) for p in report.periods]) == (False, [("rolled_back", "2026-06.r1")])
    assert said == ["release 2026-06: rolled back, and nothing is new since; readers see 2026-06.r1"]
    assert current_catalog(deployment) == {"catalog": 4, "periods": {PERIOD: "2026-06.r1"}}
    assert outcome_of(run, [PERIOD], head, before, "run4").periods == [PeriodOutcome(PERIOD, "rolled_back", "2026-06.r1")]
    assert last_computed(ledger)[PERIOD]["run_id"] == "run4"


def test_a_release_step_that_is_done_again_undoes_no_rollback(place: tuple[Deployment, Ledger]) -> None:
    """As one that is re-executed from its failure in the Dagster UI: the plan of before the rollback knew of something new."""
    deployment, ledger = place
    rollback(deployment, ledger, 1, "a mistake", "an.operator", say=silent)
    report = release(deployment, ledger, Plan("run3", [PERIOD]), say=silent)
    assert [(p.status, p.release) for p in report.periods] == [("rolled_back", "2026-06.r1")]
    assert current_catalog(deployment) == {"catalog": 4, "periods": {PERIOD: "2026-06.r1"}}


def publish_months(deployment: Deployment, ledger: Ledger, run_id: str, inputs_hash: str, **rules: str) -> list[tuple[str, str | None]]:
    """Status and release of each month, of ``rules``: m05="1" gives everybody one star in May."""
    months = {f"2026-{month[1:]}": rule for month, rule in rules.items()}
    level = "update marts.fct_decisions set level_id = 'star_{1}', level_rank = {1}, held_level_id = 'star_{1}', held_level_rank = {1}, qualified_level_id = 'star_{1}', qualified_level_rank = {1} where period = '{0}'"
    build_warehouse(deployment, list(months), faults=[level.format(*month) for month in months.items()])
    plan = Plan(run_id, list(months), inputs_hash=inputs_hash)
    record_build(ledger, run_id)
    for month in months:
        run_gate(deployment, ledger, plan, month, say=silent, problems={})
    return [(p.status, p.release) for p in release(deployment, ledger, plan, say=silent).periods]


@pytest.mark.parametrize("is_range", [True, False])
def test_a_month_whose_month_before_has_its_older_rows_again_is_no_rollback(
    is_range: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """June was computed from the newest drops already; what is new for it are the levels of May."""
    monkeypatch.setattr("orchestration.channels.delivery.load_contracts", lambda _: [contract()])
    deployment, ledger = make_place(tmp_path)
    publish_months(deployment, ledger, "run1", "a", m05="1", m06="1")
    publish_months(deployment, ledger, "run2", "b", m05="2", m06="2")
    assert publish_months(deployment, ledger, "run3", "c", m06="2") == [("unchanged", "2026-06.r2")]
    assert behind_the_month_before(ledger) == set()
    may, june = ("released_again", "2026-05.r1"), ("released_again", "2026-06.r1")
    if is_range:
        assert publish_months(deployment, ledger, "run4", "c", m05="1", m06="1") == [may, june]
    else:
        assert publish_months(deployment, ledger, "run4", "c", m05="1") == [may]
        assert behind_the_month_before(ledger) == {"2026-06"}
        assert publish_months(deployment, ledger, "run5", "c", m06="1") == [june]
    assert current_catalog(deployment)["periods"] == {"2026-05": "2026-05.r1", "2026-06": "2026-06.r1"}
    assert behind_the_month_before(ledger) == set()


def test_a_month_that_went_on_from_what_readers_see_again_is_not_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of June that was told otherwise would be held: it would go on from the revision of May that was taken back."""
    monkeypatch.setattr("orchestration.channels.delivery.load_contracts", lambda _: [contract()])
    deployment, ledger = make_place(tmp_path)
    publish_months(deployment, ledger, "run1", "a", m05="1", m06="1")
    publish_months(deployment, ledger, "run2", "a", m05="2")
    assert behind_the_month_before(ledger) == {"2026-06"}
    rollback(deployment, ledger, 1, "a mistake", "an.operator", say=silent)
    assert behind_the_month_before(ledger) == set()
    assert publish_months(deployment, ledger, "run3", "b", m05="2") == [("released_again", "2026-05.r2")]
    assert behind_the_month_before(ledger) == {"2026-06"}


@pytest.mark.parametrize(
    ("to_catalog", "reason", "by", "message"),
    [(9, "x", "y", "no catalog 9"), (3, "x", "y", "stands already"), (1, " ", "y", "needs a reason"), (1, "x", "", "needs a reason")],
)
def test_a_rollback_that_makes_no_sense_is_refused(
    place: tuple[Deployment, Ledger], to_catalog: int, reason: str, by: str, message: str
) -> None:
    deployment, ledger = place
    before = ledger.head()
    with pytest.raises(BadInput, match=message):
        rollback(deployment, ledger, to_catalog, reason, by, say=silent)
    assert ledger.head() == before


def test_a_rollback_to_a_release_that_is_gone_is_refused(place: tuple[Deployment, Ledger]) -> None:
    deployment, ledger = place
    shutil.rmtree(deployment.releases / "2026-06.r1")
    with pytest.raises(Failed, match=r"2026-06\.r1"):
        rollback(deployment, ledger, 1, "x", "y", say=silent)
    assert current_catalog(deployment) == {"catalog": 3, "periods": {PERIOD: "2026-06.r3"}}


def test_a_release_that_readers_see_anyway_refuses_no_rollback(place: tuple[Deployment, Ledger]) -> None:
    deployment, ledger = place
    seen = {"2026-05": "2026-06.r2", PERIOD: "2026-06.r3"}
    publish_catalog(deployment, ledger, seen, {"kind": "run", "run_id": "run4"})
    (deployment.releases / "2026-06.r2" / "manifest.json").unlink()
    assert rollback(deployment, ledger, 2, "a mistake", "an.operator", say=silent)["periods"] == {PERIOD: "2026-06.r2"}


@pytest.mark.parametrize("file", ["fct_decisions.parquet", "tierhouse.duckdb", "policy/policy_versions.csv", "manifest.json"])
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_rollback_to_a_release_that_was_damaged_is_refused(damage: str, file: str, place: tuple[Deployment, Ledger]) -> None:
    deployment, ledger = place
    victim = deployment.releases / "2026-06.r1" / file
    victim.chmod(0o644)
    victim.unlink() if damage == "gone" else victim.write_bytes(victim.read_bytes() + b"\n")
    with pytest.raises((Failed, Mismatch), match=r"2026-06\.r1") as caught:
        rollback(deployment, ledger, 1, "x", "y", say=silent)
    assert file in caught.value.what or file == "manifest.json"
    assert current_catalog(deployment) == {"catalog": 3, "periods": {PERIOD: "2026-06.r3"}}
    assert rollback(deployment, ledger, 2, "x", "y", say=silent)["catalog"] == 2, "what is not brought back is not asked"


def test_nothing_to_go_back_to(tmp_path: Path) -> None:
    deployment, ledger = make_place(tmp_path)
    with pytest.raises(BadInput, match="nothing was published"):
        rollback(deployment, ledger, None, "x", "y", say=silent)


def changed(file: Path) -> None:
    file.chmod(0o644)
    file.write_bytes(file.read_bytes() + b"\n")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda releases: changed(releases / "2026-06.r3" / "fct_decisions.parquet"), "2026-06.r3 was changed after it was released"),
        (lambda releases: changed(releases / "2026-06.r1" / "tierhouse.duckdb"), "2026-06.r1 was changed after it was released"),
        (lambda releases: changed(releases / "2026-06.r2" / "manifest.json"), "2026-06.r2 was changed after it was released"),
        (lambda releases: (releases / "2026-06.r1" / "manifest.json").unlink(), "release 2026-06.r1 is not there any more"),
        (lambda releases: shutil.rmtree(releases / "2026-06.r3"), "release 2026-06.r3 is not there any more"),
        (lambda releases: shutil.rmtree(releases / "2026-06.r1"), None),
    ],
)
def test_verifying_the_ledger_finds_released_files_that_are_others_than_were_released(
    damage: Callable[[Path], None], told: str | None, place: tuple[Deployment, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What readers see no more may be taken away to save space; what is there must be what was released."""
    deployment, _ = place
    monkeypatch.setenv("TIERHOUSE_DATA", str(deployment.data))
    assert CliRunner().invoke(main, ["ledger", "verify"]).exit_code == 0
    damage(deployment.releases)
    said = CliRunner().invoke(main, ["ledger", "verify"])
    assert said.exit_code == (4 if told else 0) and (told or "chain intact") in said.output


def test_verifying_a_ledger_that_was_written_anew_from_an_entry_on_is_a_mismatch(
    place: tuple[Deployment, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its chain has no fault; that the releases passed gates of another one shows it."""
    deployment, ledger = place
    entries = ledger.entries()
    ledger.path.unlink()
    for entry in entries:
        ledger.append(entry.kind, entry.payload | {"ok": True} if entry.kind == "build" else entry.payload)
    monkeypatch.setenv("TIERHOUSE_DATA", str(deployment.data))
    assert ledger.verify() == len(entries)
    said = CliRunner().invoke(main, ["ledger", "verify"])
    assert said.exit_code == 4 and "2026-06.r1 passed a gate, entry 2, that the ledger does not record" in said.output


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_readers_are_not_sent_to_a_release_whose_files_are_damaged(damage: str, place: tuple[Deployment, Ledger]) -> None:
    """The same rows make a revision of their own, whether the damaged one is to be released again or is the one that readers see."""
    deployment, ledger = place
    for release_id in ("2026-06.r1", "2026-06.r3"):
        changed(deployment.releases / release_id / "fct_decisions.parquet")
        if damage == "gone":
            shutil.rmtree(deployment.releases / release_id)
    assert [(p.status, p.release) for p in publish(deployment, ledger, "run4", "1", "other").periods] == [("released", "2026-06.r4")]
    assert [(p.status, p.release) for p in publish(deployment, ledger, "run5", "3", "more").periods] == [("released", "2026-06.r5")]
    shutil.rmtree(deployment.releases / "2026-06.r5")
    assert not is_there(deployment, "2026-06.r5")
    assert [(p.status, p.release) for p in publish(deployment, ledger, "run6", "3", "more").periods] == [("released", "2026-06.r6")]
    assert [p.status for p in publish(deployment, ledger, "run7", "3", "more").periods] == ["unchanged"]
