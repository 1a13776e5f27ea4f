"""The example hotel through the command line, against a computation of its own from the drops."""

from __future__ import annotations

import csv
import filecmp
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from orchestration.deployment import PROJECT_ROOT, load_deployment
from orchestration.policy import check_policies, load_policies
from tests.support import Cli, drops_of, released_example

HOTEL = PROJECT_ROOT / "examples" / "hotel"
PERIODS = ["2026-02", "2026-03", "2026-04"]
LAST_DAY = {"2026-02": "2026-02-28", "2026-03": "2026-03-31", "2026-04": "2026-04-30"}
RANK = {"C": 2, "B": 3, "A": 4, "VVIP": 5}
LEAD = {"room_assigned": 1440, "room_checked": 1440, "staff_in_place": 30, "arrival_call": 15, "room_door_opened": 10}
ITEMS = {"vvip": 5, "grade_a": 5, "grade_b": 4, "grade_c": 3}


@pytest.fixture(scope="module")
def hotel(shared_folder: Path) -> Cli:
    """February to April released, with one command."""
    return released_example(shared_folder, "hotel", PERIODS[0], PERIODS[-1])


class Drops:
    """The drops as plain values, and what the rules say about them: no SQL, nothing of the product."""

    def __init__(self, folder: Path) -> None:
        def lines(pattern: str, encoding: str) -> list[dict[str, str]]:
            return [row for path in sorted(folder.glob(pattern)) for row in csv.DictReader(path.open(encoding=encoding, newline=""))]

        self.notices = lines("sales/*.csv", "gb18030")
        # A later file tells of the same request again, with its answer.
        self.requests = {row["request_no"]: row for row in lines("office/*.csv", "utf-8")}

    def arrivals(self, period: str) -> dict[str, dict[str, str]]:
        """Newest notice, by the end of the period, of each reception that arrives in it on the hotel's clocks."""
        newest: dict[str, dict[str, str]] = {}
        for notice in self.notices:
            if notice["填写日期"] <= LAST_DAY[period]:
                known = newest.get(notice["单号"])
                if known is None or notice["填写日期"] > known["填写日期"]:
                    newest[notice["单号"]] = notice
        return {name: notice for name, notice in newest.items() if notice["抵店时间"][:7] == period}

    def approved(self, reception: str, period: str) -> str | None:
        """Highest grade asked for that someone else approved by the end of the period, in force on a day of it."""
        grades = [
            row["grade_asked"]
            for row in self.requests.values()
            if row["notice_no"] == reception
            and row["approved_by"]
            and row["approved_by"] != row["requested_by"]
            and row["approved_on"] <= LAST_DAY[period]
            and row["valid_from"] <= LAST_DAY[period]
            and row["valid_to"] >= f"{period}-01"
        ]
        return max(grades, key=RANK.__getitem__, default=None)

    def grade(self, notice: dict[str, str], period: str) -> str:
        approved = self.approved(notice["单号"], period)
        if approved == "VVIP" and (notice["职务"] in ("国家元首", "部长") or notice["身份"] == "知名人士"):
            return "vvip"
        if approved:
            return {"VVIP": "grade_a", "A": "grade_a", "B": "grade_b", "C": "grade_c"}[approved]
        backed = notice["职务"] in ("国家元首", "部长", "总裁") or notice["身份"] in ("知名人士", "长住客")
        return "grade_c" if backed else "ordinary"


@pytest.fixture(scope="module")
def drops(hotel: Cli) -> Drops:
    return Drops(hotel.drops)


def grades(hotel: Cli, period: str, revision: int = 1) -> dict[str, str]:
    return dict(hotel.released(period, "fct_decisions", "select subject_id, level_id from mart where status = 'decided'", revision))


@pytest.mark.parametrize("period", PERIODS)
def test_every_arrival_has_the_grade_of_a_computation_from_the_drops(hotel: Cli, drops: Drops, period: str) -> None:
    expected = {name: drops.grade(notice, period) for name, notice in drops.arrivals(period).items()}
    assert grades(hotel, period) == expected
    assert len(set(expected.values())) >= 4, "the drops hold more than a grade or two"


def test_receptions_on_the_edges(hotel: Cli) -> None:
    march = {name: level for name, level in grades(hotel, "2026-03").items() if name.startswith("R9")}
    assert march == {
        "R9001": "vvip",
        "R9003": "grade_c",
        "R9004": "grade_c",
        "R9005": "grade_b",
        "R9006": "ordinary",
        "R9007": "grade_a",
        "R9008": "ordinary",
        "R9009": "grade_c",
        "R9011": "grade_a",
        "R9012": "ordinary",
        "R9013": "grade_c",
    }
    assert grades(hotel, "2026-02")["R9002"] == "grade_b"
    assert [period for period in PERIODS if "R9010" in grades(hotel, period)] == ["2026-04"]


def test_an_arrival_of_half_past_midnight_is_in_the_month_of_the_hotels_clocks(hotel: Cli) -> None:
    query = "select cast(arrives_at as varchar), cast(arrives_local as varchar), period from mart where reception_id = 'R9001'"
    assert hotel.released("2026-03", "fct_receptions", query) == [("2026-02-28 16:30:00", "2026-03-01 00:30:00", "2026-03")]
    due = "select item_id, cast(due_at as varchar), cast(due_local as varchar), responsible_role from mart where reception_id = 'R9001' order by item_order"
    assert hotel.released("2026-03", "fct_reception_tasks", due) == [
        ("room_assigned", "2026-02-27 16:30:00", "2026-02-28 00:30:00", "reservations"),
        ("room_checked", "2026-02-27 16:30:00", "2026-02-28 00:30:00", "housekeeping"),
        ("staff_in_place", "2026-02-28 16:00:00", "2026-03-01 00:00:00", "general manager"),
        ("arrival_call", "2026-02-28 16:15:00", "2026-03-01 00:15:00", "airport representative"),
        ("room_door_opened", "2026-02-28 16:20:00", "2026-03-01 00:20:00", "floor attendant"),
    ]


@pytest.mark.parametrize("period", PERIODS)
def test_every_item_is_due_its_lead_time_before_the_arrival(hotel: Cli, drops: Drops, period: str) -> None:
    expected = set()
    for name, notice in drops.arrivals(period).items():
        arrives = datetime.fromisoformat(notice["抵店时间"])
        grade = drops.grade(notice, period)
        # An ordinary arrival has a room when it comes.
        leads = {"room_assigned": 0} if grade == "ordinary" else dict(list(LEAD.items())[: ITEMS[grade]])
        for item, minutes in leads.items():
            due = arrives - timedelta(minutes=minutes)
            expected.add((name, item, due, due - timedelta(hours=8)))
    tasks = hotel.released(period, "fct_reception_tasks", "select reception_id, item_id, due_local, due_at from mart")
    assert set(tasks) == expected and len(tasks) == len(expected) > 0


def test_the_register_says_what_became_of_each_request(hotel: Cli) -> None:
    query = (
        "select reception_id, request_state, asked_level_id, approved_by, is_approved_after_arrival from mart where reception_id like 'R9%'"
    )
    rows = {row[0]: row[1:] for row in hotel.released("2026-03", "fct_receptions", query)}
    assert rows["R9001"] == ("counted", "vvip", "G01", False)
    assert rows["R9003"] == ("self_approved", "vvip", "S01", False)
    assert rows["R9004"] == ("open", "vvip", None, False)
    assert rows["R9005"] == ("counted", "grade_b", "G01", True)
    assert rows["R9006"] == ("open", "grade_b", None, False)
    assert rows["R9008"] == ("ended", "grade_a", "G01", False)
    assert rows["R9011"] == ("counted", "grade_a", "G01", False)
    assert rows["R9012"] == ("none", None, None, False)


def test_names_of_guests_are_in_the_vault_and_in_no_release(hotel: Cli) -> None:
    with duckdb.connect(str(hotel.data / "vault.duckdb"), read_only=True) as con:
        assert con.execute("select count(*) from receptions where guest_name = 'Anna Berg'").fetchall()[0][0] > 0
    for path in (hotel.data / "releases").rglob("*.parquet"):
        with duckdb.connect() as con:
            shown = con.execute(f"select count(*) from read_parquet('{path}') as t where cast(t as varchar) like '%Anna Berg%'").fetchall()
        assert shown == [(0,)], path.name


@pytest.mark.slow
def test_receptions_noted_too_late_are_named_and_graded_when_their_months_run_again(hotel: Cli, make_cli: Callable[..., Cli]) -> None:
    place = make_cli(copy_of=hotel.folder, deployment=HOTEL)
    assert place.json("status")["late_inputs"] == {"periods": [], "commands": []}
    header = (place.drops / "sales" / "notices_2026-01.csv").read_text(encoding="gb18030").splitlines()[0]
    notices = [
        # A notice of February that the office hands in now.
        {"单号": "R9901", "填写日期": "2026-02-20", "抵店时间": "2026-02-25 15:00", "职务": "部长"},
        # Nobody had noted this one by the end of its month; a later month's notice of it comes too late.
        {"单号": "R9902", "填写日期": "2026-04-02", "抵店时间": "2026-03-31 23:45", "身份": "长住客", "房号": "901"},
        {"单号": "R9902", "填写日期": "2026-05-02", "抵店时间": "2026-03-31 23:45", "身份": "普通", "房号": "902"},
    ]
    with (place.drops / "sales" / "notices_2026-06_late.csv").open("w", encoding="gb18030", newline="") as file:
        writer = csv.DictWriter(file, header.split(","), restval="")
        writer.writeheader()
        writer.writerows({"填写人": "S01", **notice} for notice in notices)
    place("ingest")
    late = place.json("status")["late_inputs"]
    assert [(item["period"], item["rows"], item["earlier"]) for item in late["periods"]] == [
        ("2026-02", {"receptions": 1}, {}),
        ("2026-03", {"receptions": 1}, {}),
    ]
    assert late["commands"] == ["tierhouse run --periods 2026-02..2026-03"]
    assert "2026-02 (2026-02.r1): receptions 1" in place("status").stdout

    place("run", "--periods", "2026-02..2026-03", timeout=900)
    assert grades(place, "2026-02", 2) == {**grades(hotel, "2026-02"), "R9901": "grade_c"}
    assert grades(place, "2026-03", 2) == {**grades(hotel, "2026-03"), "R9902": "grade_c"}
    query = "select reception_id, noted_date, room from mart where reception_id like 'R99%'"
    assert place.released("2026-03", "fct_receptions", query, 2) == [("R9902", date(2026, 4, 2), "901")]
    place("explain", "R9902", "--program", "vip_reception", "--period", "2026-03")
    assert place.json("status")["late_inputs"]["periods"] == []


def test_the_policies_are_proven() -> None:
    assert check_policies(load_policies(load_deployment(HOTEL))) == []


def test_the_drops_are_the_same_every_time(tmp_path: Path) -> None:
    first, second = (drops_of("hotel")(tmp_path / folder) for folder in "ab")
    assert len(first) == 2 * 6
    assert all(filecmp.cmp(a, b, shallow=False) for a, b in zip(first, second, strict=True))
