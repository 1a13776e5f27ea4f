"""Late input: which released periods would be computed from other rows now, told from what landed after them."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from orchestration.errors import Failed
from orchestration.memory import query_memory
from orchestration.warehouse.landed import landed_at
from orchestration.warehouse.late import late_inputs

LINES: dict[str, Any] = {
    "entity": "lines",
    "files": "lines_*.csv",
    "format": "csv",
    "columns": {"line_id": "id", "customer_id": "cust", "number": "number", "start_date": "since", "end_date": "until", "plan": "plan"},
}
RECEPTIONS: dict[str, Any] = {
    "entity": "receptions",
    "files": "notices_*.csv",
    "format": "csv",
    "timezone": "Asia/Shanghai",
    "columns": {"reception_id": "id", "noted_date": "noted", "arrives_at": "arrives", "room": "room"},
}
COMPLAINTS: dict[str, Any] = {
    "entity": "complaints",
    "files": "complaints_*.csv",
    "format": "csv",
    "columns": {"complaint_id": "id", "customer_id": "cust", "opened_at": "opened", "closed_at": "closed", "state": "state"},
}
SUBSCRIPTIONS: dict[str, Any] = {
    "entity": "subscriptions",
    "files": "subscriptions_*.csv",
    "format": "csv",
    "columns": {"subscription_id": "id", "customer_id": "cust", "kind": "'service_fee'", "start_date": "since", "end_date": "until"},
}
CUSTOMERS: dict[str, Any] = {
    "entity": "customers",
    "files": "customers_*.csv",
    "format": "csv",
    "columns": {"customer_id": "id", "valid_from_date": "since", "brand": "brand", "joined_date": "joined", "left_date": "gone"},
}
NOMINATIONS: dict[str, Any] = {
    "entity": "nominations",
    "files": "nominations_*.csv",
    "format": "csv",
    "columns": {
        "nomination_id": "id", "program_id": "'vip'", "subject_id": "subject", "kind": "'nominate'", "level_id": "level", "reason": "'r'",
        "requester_id": "'a.one'", "approver_id": "approver", "approved_date": "approved", "start_date": "since", "end_date": "until",
    },
}  # fmt: skip
HEADS = {
    "customers": "id,since,brand,joined,gone",
    "lines": "id,cust,number,since,until,plan",
    "notices": "id,noted,arrives,room",
    "complaints": "id,cust,opened,closed,state",
    "subscriptions": "id,cust,since,until",
    "nominations": "id,subject,level,approver,approved,since,until",
}
JANUARY = "a,d1,c1,2025-01,voice,1,CNY"


class Shop:
    """A company whose bills, lines and receptions land; months count as released when the test says so."""

    def __init__(self, company: Any, bills: dict[str, Any]) -> None:
        self.company = company
        company.config["max_bad_share"] = 1
        company.map(bills, LINES, RECEPTIONS, COMPLAINTS, CUSTOMERS, SUBSCRIPTIONS, NOMINATIONS)
        self.periods: dict[str, str] = {}

    def land(self, *bills: str, **others: tuple[str, ...]) -> None:
        """Bills, and rows of the files of :data:`HEADS` by name."""
        number = len(list(self.company.drops.iterdir()))
        if bills:
            self.company.bills(f"bills_{number}.csv", *bills)
        for name, rows in others.items():
            self.company.drop(f"{name}_{number}.csv", "\n".join((HEADS[name], *rows, "")))
        assert not self.company.ingest().refused

    def release(self, *periods: str) -> None:
        """One run that releases the periods, each as its next revision."""
        ledger = self.company.ledger
        cutoff, _ = ledger.head()
        for period in periods:
            before = int(self.periods.get(period, "r0").rpartition("r")[2])
            self.periods[period] = f"{period}.r{before + 1}"
            payload = {"release": self.periods[period], "period": period, "run_id": f"run{cutoff}", "cutoff_seq": cutoff}
            ledger.append("release", payload)
        ledger.append("catalog", {"catalog": 1, "periods": self.periods})

    def late(self) -> dict[str, tuple[dict[str, int], dict[str, int]]]:
        """Period → rows of its own, rows of months before, by entity."""
        return {item.period: (item.rows, item.earlier) for item in late_inputs(self.company.deployment, self.company.ledger)}

    def behind(self) -> list[str]:
        return [item.period for item in late_inputs(self.company.deployment, self.company.ledger) if item.is_behind]


@pytest.fixture
def shop(company: Any, bills_feed: dict[str, Any]) -> Shop:
    """January to March are released, each after its own bills, lines and notices had come."""
    made = Shop(company, bills_feed)
    made.land(JANUARY, lines=("l1,c1,138,2025-01-01,,basic",), notices=("R1,2025-01-05,2025-01-20 12:00,801",))
    made.release("2025-01")
    made.land("b,d2,c1,2025-02,voice,2,CNY", notices=("R2,2025-02-05,2025-03-20 12:00,",))
    made.release("2025-02")
    made.land("c,d3,c1,2025-03,voice,3,CNY", notices=("R2,2025-03-10,2025-03-20 12:00,802",))
    made.release("2025-03")
    return made


def test_months_that_land_in_their_turn_are_not_late(shop: Shop) -> None:
    assert shop.late() == {}
    shop.land("d,d4,c1,2025-04,voice,4,CNY", lines=("l2,c1,139,2025-04-01,,basic",), notices=("R3,2025-04-01,2025-04-20 12:00,",))
    assert shop.late() == {}


def test_a_late_bill_is_late_for_its_month_and_for_those_that_read_it(shop: Shop) -> None:
    shop.land("z,d9,c1,2025-02,voice,5,CNY")
    assert shop.late() == {"2025-02": ({"bill_lines": 1}, {}), "2025-03": ({}, {"bill_lines": 1})}
    shop.release("2025-02")
    assert shop.late() == {"2025-03": ({}, {"bill_lines": 1})}
    shop.release("2025-03")
    assert shop.late() == {}


def test_a_correction_is_late_from_the_earlier_of_its_two_months_and_a_repetition_is_not(shop: Shop) -> None:
    shop.land(f"{JANUARY}\nb,d2,c1,2025-02,voice,2,CNY")
    assert shop.late() == {}, "the same rows again"
    shop.land("b,d2,c1,2025-03,voice,2,CNY")
    assert shop.late() == {"2025-02": ({"bill_lines": 1}, {}), "2025-03": ({}, {"bill_lines": 1})}
    shop.land("b,d2,c1,2025-03,voice,2.50,CNY")
    assert shop.late()["2025-03"] == ({}, {"bill_lines": 1}), "it is one row that differs"
    shop.land("b,d2,c1,2025-02,voice,2.00,CNY")
    assert shop.late() == {}, "changed back"


@pytest.mark.parametrize("changes", [True, False])
def test_files_landed_anew_are_late_where_their_rows_change(shop: Shop, bills_feed: dict[str, Any], changes: bool) -> None:
    """The correction and the row that it corrects land anew one after the other."""
    shop.land("b,d2,c1,2025-02,voice,7,CNY")
    shop.release("2025-02", "2025-03")
    bills_feed["columns"]["net_amount"] = "case when id = 'b' then '9' else amount end" if changes else "trim(amount)"
    shop.company.map(bills_feed, LINES, RECEPTIONS, COMPLAINTS)
    assert shop.company.ingest(again=True).new_files == 4
    assert shop.late() == ({"2025-02": ({"bill_lines": 1}, {}), "2025-03": ({}, {"bill_lines": 1})} if changes else {})


def test_a_replaced_file_is_late_where_its_rows_stood_and_where_they_give_way(shop: Shop, bills_feed: dict[str, Any]) -> None:
    control = {"files": "control_*.csv", "columns": {"file": "file", "rows": "n", "replaces": "instead"}}
    shop.company.map({**bills_feed, "control": control}, LINES, RECEPTIONS, COMPLAINTS)
    shop.company.bills("bills_wrong.csv", "b,d2,c1,2025-02,voice,7,CNY", "z,d9,c1,2025-03,voice,9,CNY", "c,d3,c1,2025-03,voice,4,CNY")
    shop.company.ingest()
    shop.release("2025-02", "2025-03")
    shop.company.bills("bills_wrong_r1.csv", "c,d3,c1,2025-03,voice,4,CNY")
    shop.company.drop("control_1.csv", "file,n,instead\nbills_wrong_r1.csv,1,bills_wrong.csv\n")
    shop.company.ingest()
    assert shop.late() == {"2025-02": ({"bill_lines": 1}, {}), "2025-03": ({"bill_lines": 1}, {"bill_lines": 1})}


def test_rows_that_wait_again_are_late_where_they_stood_and_the_others_of_their_file_are_not(
    shop: Shop, bills_feed: dict[str, Any]
) -> None:
    control = {"files": "control_*.csv", "columns": {"file": "file", "rows": "n", "replaces": "instead"}}
    whose = {f"{name}_id": f"case when {sign}starts_with(cust, 'l') then cust end" for name, sign in (("customer", "not "), ("line", ""))}
    shop.company.map({**bills_feed, "columns": bills_feed["columns"] | whose}, {**LINES, "control": control}, RECEPTIONS, COMPLAINTS)
    shop.company.drop("lines_x1.csv", f"{HEADS['lines']}\nl9,c1,139,2025-02-03,,basic\n")
    shop.land("y,d9,l9,2025-02,voice,7,CNY", "z,d9,c1,2025-03,voice,9,CNY")
    shop.release("2025-02", "2025-03")
    shop.company.drop("lines_x2.csv", f"{HEADS['lines']}\nl8,c1,139,2025-05-01,,basic\n")
    shop.company.drop("control_1.csv", "file,n,instead\nlines_x2.csv,1,lines_x1.csv\n")
    assert list(shop.company.ingest().set_aside.values()) == [1]
    gone = {"bill_lines": 1, "lines": 1}
    assert shop.late() == {"2025-02": (gone, {}), "2025-03": ({}, gone)}
    shop.release("2025-02", "2025-03")
    shop.land(lines=("l9,c1,139,2025-02-03,,basic",))
    assert shop.late() == {"2025-02": (gone, {}), "2025-03": ({}, gone)}


@pytest.mark.parametrize("own", ["", "y,d8,c1,2025-03,voice,7,CNY"], ids=["no row of its own", "a row of its own"])
def test_a_row_that_stands_again_after_a_correction_of_a_correction_is_late(shop: Shop, bills_feed: dict[str, Any], own: str) -> None:
    control = {"files": "control_*.csv", "columns": {"file": "file", "rows": "n", "replaces": "instead"}}
    shop.company.map({**bills_feed, "control": control}, LINES, RECEPTIONS, COMPLAINTS)
    for number, (rows, other) in enumerate(
        ((["b,d2,c1,2025-02,voice,7,CNY"], ""), (["b,d2,c1,2025-02,voice,8,CNY"], "bills_x0.csv"), ([own] * bool(own), "bills_x1.csv"))
    ):
        shop.company.bills(f"bills_x{number}.csv", *rows)
        shop.company.drop(f"control_{number}.csv", f"file,n,instead\nbills_x{number}.csv,{len(rows)},{other}\n")
        shop.company.ingest()
        late = shop.late()
        shop.release("2025-02", "2025-03")
    assert late == {"2025-02": ({"bill_lines": 1}, {}), "2025-03": ({"bill_lines": 1} if own else {}, {"bill_lines": 1})}
    assert shop.late() == {}


@pytest.mark.parametrize(
    ("row", "first"),
    [
        ("c1,2025-03-05,gotone,2024-06-01,", "2025-03"),
        ("c1,2025-03-05,,2024-06-01,2025-03-05", "2025-03"),
        ("c1,2025-03-05,,2024-06-01,2025-02-20", "2025-02"),
        ("c1,2025-03-05,,2025-01-20,", "2024-06"),
        ("c1,2025-03-05,,,", "0001-01"),
        ("c2,2025-03-05,,2025-02-01,", "2025-02"),
        ("c3,2025-03-05,,2025-03-01,", "2025-03"),
        ("c3,2025-03-05,,2025-02-10,", "2025-02"),
        ("c3,2025-03-05,,2025-01-10,", "2025-01"),
        ("c3,2025-03-05,,2024-01-01,", "2025-01"),
    ],
    ids=[
        "brand",
        "left",
        "left before",
        "joined later",
        "joined nobody knows when",
        "new, joined before",
        "come back",
        "come back before",
        "come back on the day of leaving",
        "not left after all",
    ],
)
def test_days_of_joining_and_leaving_count_for_the_months_before_the_row_that_says_them(shop: Shop, row: str, first: str) -> None:
    """A row of March, when January to March are released; of c1 and of c3, who had left in January, rows had landed."""
    shop.land(customers=("c1,2024-06-01,,2024-06-01,", "c3,2024-01-01,,2024-01-01,2025-01-10"))
    shop.release("2025-01", "2025-02", "2025-03")
    shop.land(customers=(row,))
    months = [month for month in ("2025-01", "2025-02", "2025-03") if month >= first]
    one = {"customers": 1}
    assert shop.late() == {month: (one, {}) if month == first else ({}, one) for month in months}


def test_a_number_that_is_given_up_counts_from_that_day_and_a_corrected_plan_from_its_own(shop: Shop) -> None:
    shop.land(lines=("l1,c1,138,2025-01-01,2025-04-05,basic",))
    assert shop.late() == {}, "it was held all the time until April"
    shop.land(lines=("l1,c1,138,2025-01-01,2025-03-05,basic",))
    assert shop.late() == {"2025-03": ({"lines": 1}, {})}
    shop.land(lines=("l1,c1,138,2025-01-01,2025-03-05,premium",))
    assert shop.late()["2025-01"] == ({"lines": 1}, {})


def test_a_row_corrected_in_a_day_and_in_another_column_counts_from_the_earlier_of_both(shop: Shop) -> None:
    shop.land(lines=("l1,c1,138,2025-01-01,2025-03-05,premium",))
    assert shop.late() == {"2025-01": ({"lines": 1}, {}), "2025-02": ({}, {"lines": 1}), "2025-03": ({}, {"lines": 1})}


def test_a_complaint_that_is_closed_counts_from_that_day_and_one_that_is_answered_from_its_own(shop: Shop) -> None:
    """Closing changes day and state together; of an answer there is no day, so that no month can do without it."""
    shop.land(complaints=("k1,c1,2025-01-10 12:00,,open", "k2,c1,2025-01-10 12:00,,open"))
    shop.release("2025-01", "2025-02", "2025-03")
    shop.land(complaints=("k1,c1,2025-01-10 12:00,2025-03-05 12:00,closed",))
    assert shop.late() == {"2025-03": ({"complaints": 1}, {})}
    shop.land(complaints=("k2,c1,2025-01-10 12:00,,answered",))
    assert shop.late()["2025-01"] == ({"complaints": 1}, {})


def test_the_end_of_a_subscription_counts_from_the_month_before_which_announces_it(shop: Shop) -> None:
    shop.land(subscriptions=("s1,c1,2024-06-01,",))
    shop.release("2025-01", "2025-02", "2025-03")
    shop.land(subscriptions=("s1,c1,2024-06-01,2025-03-31",))
    assert shop.late() == {"2025-02": ({"subscriptions": 1}, {}), "2025-03": ({}, {"subscriptions": 1})}
    shop.land(subscriptions=("s1,c1,2024-06-01,2025-04-30",))
    assert shop.late() == {"2025-03": ({"subscriptions": 1}, {})}


def test_a_nomination_counts_from_its_first_day_and_its_approval_from_that_day(shop: Shop) -> None:
    """A reception shows what was asked for it, approved or not."""
    shop.land(nominations=("n1,R1,vvip,,,2025-01-15,2025-12-31",))
    assert shop.late() == {"2025-01": ({"nominations": 1}, {}), **{p: ({}, {"nominations": 1}) for p in ("2025-02", "2025-03")}}
    shop.release("2025-01", "2025-02", "2025-03")
    shop.land(nominations=("n1,R1,vvip,b.two,2025-02-10,2025-01-15,2025-12-31",))
    assert shop.late() == {"2025-02": ({"nominations": 1}, {}), "2025-03": ({}, {"nominations": 1})}
    shop.release("2025-02", "2025-03")
    shop.land(nominations=("n1,R1,a,b.two,2025-02-10,2025-01-15,2025-12-31", "n2,R1,a,b.two,2025-02-10,2025-03-01,2025-12-31"))
    assert {period: rows for period, (rows, _) in shop.late().items()} == {
        "2025-01": {"nominations": 1},
        "2025-02": {},
        "2025-03": {"nominations": 1},
    }


def test_a_number_that_is_taken_back_is_late_from_its_own_first_day_and_once(shop: Shop) -> None:
    shop.land(lines=("l2,c1,139,2025-02-01,,basic",))
    shop.release("2025-01", "2025-02", "2025-03")
    shop.land(lines=("l2,c1,139,2025-02-01,2025-01-31,basic",))
    assert shop.late() == {"2025-02": ({"lines": 1}, {}), "2025-03": ({}, {"lines": 1})}
    shop.release("2025-01", "2025-02", "2025-03")
    shop.land(lines=("l2,c1,139,2025-02-01,2025-01-30,basic",))
    assert shop.late() == {}, "it was taken back before"


@pytest.mark.parametrize(
    ("notice", "late"),
    [
        pytest.param("R9,2025-01-10,2025-01-15 12:00,", ["2025-01"], id="lands late"),
        pytest.param("R9,2025-02-03,2025-01-31 23:30,", ["2025-01"], id="first noted in the month after, on the local clock"),
        pytest.param("R1,2025-01-10,2025-02-15 12:00,", ["2025-01", "2025-02"], id="moves to another month"),
        pytest.param("R1,2025-02-02,2025-01-20 12:00,802", [], id="a further notice after the month"),
        pytest.param("R2,2025-03-10,2025-03-20 12:00,803", ["2025-03"], id="a corrected notice"),
        pytest.param("R9,2025-03-31,2025-04-02 12:00,", [], id="of a month to come"),
    ],
)
def test_a_late_notice_concerns_the_months_of_the_arrival_alone(shop: Shop, notice: str, late: list[str]) -> None:
    shop.land(notices=(notice,))
    assert shop.late() == {period: ({"receptions": 1}, {}) for period in late}


def test_a_run_that_found_the_same_rows_settles_it(shop: Shop) -> None:
    shop.land("z,d9,c1,2025-03,voice,5,CNY")
    assert list(shop.late()) == ["2025-03"]
    ledger = shop.company.ledger
    ledger.append("confirmation", {"release": "2025-03.r1", "period": "2025-03", "cutoff_seq": ledger.head()[0]})
    assert shop.late() == {}


def test_months_that_went_on_from_what_was_released_anew_are_named_up_to_the_newest(shop: Shop) -> None:
    """The run of March has read the late bill of January, and the run of January comes after it: what is new for February are its levels."""
    shop.land("z,d9,c1,2025-01,voice,5,CNY")
    shop.release("2025-02", "2025-03")
    assert shop.behind() == []
    shop.release("2025-01")
    assert shop.behind() == ["2025-02", "2025-03"]
    assert shop.late() == {"2025-02": ({}, {}), "2025-03": ({}, {})}
    shop.release("2025-02", "2025-03")
    assert shop.late() == {}


def test_it_spills_into_the_deployment_within_the_memory_of_a_release(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = duckdb.connect
    asked = "select current_setting('temp_directory'), current_setting('memory_limit')"
    found: list[tuple[str, str]] = []

    def connect(*args: Any, **kwargs: Any) -> duckdb.DuckDBPyConnection:
        con = usual(*args, **kwargs)
        found.extend(con.execute(asked).fetchall())
        return con

    with usual(config={"temp_directory": str(shop.company.deployment.scratch), "memory_limit": query_memory()}) as con:
        expected = con.execute(asked).fetchall()
    shop.land("z,d9,c1,2025-03,voice,5,CNY")
    monkeypatch.setattr("orchestration.warehouse.late.duckdb.connect", connect)
    assert list(shop.late()) == ["2025-03"]
    assert set(found) == set(expected)


def test_a_landed_file_that_is_gone_is_named(shop: Shop) -> None:
    shop.land("z,d9,c1,2025-03,voice,5,CNY")
    for part in (shop.company.deployment.landing / "bill_lines").rglob("*.parquet"):
        part.unlink()
    with pytest.raises(Failed, match="the landing cannot be read"):
        late_inputs(shop.company.deployment, shop.company.ledger)


def test_a_landed_file_that_is_gone_is_named_where_its_rows_say_which_months_there_are(shop: Shop) -> None:
    deployment, ledger = shop.company.deployment, shop.company.ledger
    landed = landed_at(deployment, ledger, ledger.head()[0])
    assert landed.periods_of({"reception"}, "Asia/Shanghai", "2025-04-02T00:00:00+00:00")[0] == "2025-01"
    for part in (deployment.landing / "receptions").rglob("*.parquet"):
        part.unlink()
    with pytest.raises(Failed, match="the landing cannot be read"):
        landed.periods_of({"reception"}, "Asia/Shanghai", "2025-04-02T00:00:00+00:00")


def test_nothing_released_is_not_late(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    company.bills("bills_1.csv", JANUARY)
    company.ingest()
    assert late_inputs(company.deployment, company.ledger) == []
