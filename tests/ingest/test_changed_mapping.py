"""A mapping that changed: said plainly, landed anew only when asked, all files of the feed in their old order."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from orchestration.errors import BadInput
from orchestration.ingest import balance, new_drops
from orchestration.ingest.checking import settings_used
from orchestration.ingest.mapping import load_mappings
from orchestration.ingest.parts import Landed
from orchestration.ingest.relanding import under_older_mapping
from orchestration.policy import load_policies
from orchestration.warehouse import plan_run
from tests.ingest.conftest import in_a_process


@pytest.fixture
def shop(company: Any, bills_feed: dict[str, Any]) -> Any:
    """Two files of bills, the second corrects a row of the first; then the mapping is changed."""
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY", "b,d1,c1,2025-01,voice,2,CNY", "c,d1,c1,2025-01,voice,x,CNY")
    company.bills("bills_2.csv", "b,d1,c1,2025-01,voice,3,CNY")
    company.ingest()
    bills_feed["columns"]["net_amount"] = "cast(amount as decimal(18,4)) * 10"
    company.map(bills_feed)
    return company


AMOUNTS = [("a", 10), ("b", 30)]


def amounts(shop: Any) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = shop.in_force("bill_lines", "_key, net_amount", "_key")
    return rows


def test_nothing_lands_anew_unasked_and_the_files_are_named(shop: Any) -> None:
    report = shop.ingest()
    assert report.older_mapping == {"shop__bill_lines": ["bills_1.csv", "bills_2.csv"]}
    assert amounts(shop) == [("a", 1), ("b", 3)]
    assert new_drops(shop.deployment, shop.ledger) == []


def test_asked_again_all_files_land_in_their_old_order_and_stand_once_in_the_balance(shop: Any) -> None:
    shop.bills("bills_3.csv", "a,d1,c1,2025-02,voice,5,CNY")
    report = shop.ingest(again=True)
    assert (report.new_files, report.older_mapping) == (3, {})
    assert amounts(shop) == [("a", 50), ("b", 30)]
    account = balance(shop.ledger)
    assert [(a["file"], a["rows_in"], a["landed"], a["quarantined"], a["superseded"]) for a in account] == [
        ("bills_1.csv", 3, 0, 1, 2),
        ("bills_2.csv", 1, 1, 0, 0),
        ("bills_3.csv", 1, 1, 0, 0),
    ]
    assert all(a["agrees"] for a in account)
    head = shop.ledger.head()
    assert shop.ingest(again=True).new_files == 0 and shop.ledger.head() == head


def test_a_row_that_the_new_mapping_does_not_give_is_gone(shop: Any, bills_feed: dict[str, Any]) -> None:
    shop.map({**bills_feed, "where": "id <> 'a'"})
    shop.ingest(again=True)
    assert amounts(shop) == [("b", 30)]
    assert all(a["agrees"] for a in balance(shop.ledger))


def test_a_file_that_is_no_longer_there_stops_it_before_anything_is_landed(shop: Any) -> None:
    (shop.drops / "bills_1.csv").unlink()
    head = shop.ledger.head()
    with pytest.raises(BadInput, match=r"bills_1\.csv"):
        shop.ingest(again=True)
    assert shop.ledger.head() == head


def test_a_file_under_another_name_is_found_by_its_bytes(shop: Any) -> None:
    (shop.drops / "bills_1.csv").rename(shop.drops / "bills_0.csv")
    shop.ingest(again=True)
    assert amounts(shop) == AMOUNTS


def test_a_mapping_that_does_not_fit_the_landed_files_stops_it(shop: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed["columns"]["net_amount"] = "amounts"
    shop.map(bills_feed)
    head = shop.ledger.head()
    with pytest.raises(BadInput, match="did you mean 'amount'"):
        shop.ingest(again=True)
    assert shop.ledger.head() == head


KILLED_AT = ("ingest.again_recorded", "ingest.landing_written", "ingest.file_recorded", "ingest.file_recorded:2")


@pytest.mark.parametrize("is_asked_once_more", [False, True])
@pytest.mark.parametrize("point", KILLED_AT)
def test_killed_half_way_the_next_ingest_goes_on_with_it(shop: Any, point: str, is_asked_once_more: bool) -> None:
    assert in_a_process(shop, again=True, TIERHOUSE_FAILPOINT=point).returncode == -signal.SIGKILL
    report = shop.ingest(again=is_asked_once_more)
    assert len({file.file for file in report.files}) == report.new_files, "no file lands twice"
    assert amounts(shop) == AMOUNTS
    assert [(a["file"], a["landed"]) for a in balance(shop.ledger)] == [("bills_1.csv", 1), ("bills_2.csv", 1)]
    assert shop.ingest(again=True).new_files == 0


def test_killed_twice_the_files_land_in_their_first_order(shop: Any, bills_feed: dict[str, Any]) -> None:
    """The second one came before the first, and the amount that it corrects stood again."""
    assert in_a_process(shop, again=True, TIERHOUSE_FAILPOINT="ingest.file_recorded").returncode == -signal.SIGKILL
    bills_feed["columns"]["net_amount"] = "cast(amount as decimal(18,4)) * 20 / 2"
    shop.map(bills_feed)
    assert in_a_process(shop, again=True, TIERHOUSE_FAILPOINT="ingest.again_recorded").returncode == -signal.SIGKILL
    shop.ingest()
    assert amounts(shop) == AMOUNTS


def test_a_run_finds_an_unfinished_one_to_go_on_with(shop: Any) -> None:
    assert in_a_process(shop, again=True, TIERHOUSE_FAILPOINT="ingest.again_recorded").returncode == -signal.SIGKILL
    assert [path.name for path in new_drops(shop.deployment, shop.ledger)] == ["bills_1.csv", "bills_2.csv"]


def test_a_file_that_goes_when_it_is_half_done_is_asked_for_and_no_way_round_is_told(shop: Any) -> None:
    assert in_a_process(shop, again=True, TIERHOUSE_FAILPOINT="ingest.file_recorded").returncode == -signal.SIGKILL
    gone = shop.drops / "bills_2.csv"
    content = gone.read_bytes()
    gone.unlink()
    for again in (False, True):
        with pytest.raises(BadInput) as caught:
            shop.ingest(again=again)
        assert "put the file back" in caught.value.remedy and "without --again" not in caught.value.remedy
    gone.write_bytes(content)
    shop.ingest()
    assert amounts(shop) == AMOUNTS


def test_the_months_landed_anew_twice_keep_every_landing_apart(shop: Any, bills_feed: dict[str, Any]) -> None:
    shop.ingest(again=True)
    bills_feed["columns"]["net_amount"] = "cast(amount as decimal(18,4)) * 100"
    shop.map(bills_feed)
    shop.ingest(again=True)
    assert amounts(shop) == [("a", 100), ("b", 300)]
    ids = [entry.payload["file_id"] for entry in shop.ledger.entries("drop_landed")]
    assert len(set(ids)) == len(ids) == 6


def test_without_keys_an_overlap_is_known_though_a_column_was_added_to_the_mapping(company: Any, bills_feed: dict[str, Any]) -> None:
    """The rows that both files hold count once, as often as the one that holds them most often has them."""
    del bills_feed["columns"]["bill_line_id"]
    company.map(bills_feed)
    same, other = ",d1,c1,2025-01,voice,1,CNY", ",d2,c1,2025-01,voice,2,CNY"
    company.bills("bills_1.csv", same, same, same, other, ",d0,c1,2025-01,voice,3,CNY")
    company.ingest()
    bills_feed["columns"] |= {"product": "kind", "quantity": "1"}
    company.map(bills_feed)
    company.bills("bills_2.csv", same, same, other)
    company.ingest()
    found = sorted(company.in_force("bill_lines", "document_id, coalesce(product, '')"))
    assert found == [("d0", ""), ("d1", ""), ("d1", "voice"), ("d1", "voice"), ("d2", "voice")]
    assert [(a["landed"], a["superseded"]) for a in balance(company.ledger)] == [(2, 3), (3, 0)]
    company.ingest(again=True)
    assert sorted(company.in_force("bill_lines", "document_id, product")) == [
        (document, "voice") for document in ("d0", "d1", "d1", "d1", "d2")
    ]


def test_lines_that_have_keys_from_now_on_are_known_in_an_overlap(company: Any, bills_feed: dict[str, Any]) -> None:
    line, other = ",d1,c1,2025-01,voice,1,CNY", ",d2,c1,2025-01,voice,2,CNY"
    columns = bills_feed["columns"]
    company.map({**bills_feed, "columns": {name: columns[name] for name in columns if name != "bill_line_id"}})
    company.bills("bills_1.csv", line, line, other)
    company.ingest()
    company.map(bills_feed)
    company.bills("bills_2.csv", f"a{line}", f"b{line}")
    company.ingest()
    assert company.in_force("bill_lines", "document_id, bill_line_id", "document_id, _key") == [("d1", "a"), ("d1", "b"), ("d2", None)]
    assert [(a["landed"], a["superseded"], a["identical"]) for a in balance(company.ledger)] == [(1, 2, 0), (2, 0, 0)]


def test_rows_that_a_wrong_currency_of_the_deployment_rejected_land_when_asked(company: Any, bills_feed: dict[str, Any]) -> None:
    company.config |= {"currency": "EUR", "max_bad_share": 1}
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.ingest()
    company.config["currency"] = "CNY"
    assert company.ingest().older_mapping == {"shop__bill_lines": ["bills_1.csv"]}
    assert company.ingest(again=True).older_mapping == {}
    assert amounts(company) == [("a", 1)]


def test_months_follow_the_time_zone_of_the_deployment_when_asked(
    company: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any]
) -> None:
    company.config["timezone"] = "UTC"
    del bills_feed["columns"]["bill_period"]
    bills_feed["columns"]["billed_at"] = "month"
    company.map(bills_feed, customers_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01-31 20:00:00,voice,1,CNY")
    company.drop("customers_1.csv", "id,since,name,brand\nc1,2025-01-31T16:00:00Z,Ann,\n")
    company.ingest()
    company.config["timezone"] = "Asia/Shanghai"
    older = company.ingest().older_mapping
    assert older == {"shop__customers": ["customers_1.csv"], "shop__bill_lines": ["bills_1.csv"]}
    company.ingest(again=True)
    assert company.in_force("bill_lines", "bill_period") == [("2025-02",)]
    assert [str(day) for (day,) in company.in_force("customers", "valid_from_date")] == ["2025-02-01"]


@pytest.mark.parametrize("settings", [{}, None])
def test_days_that_landed_before_their_zone_was_recorded_stand(
    company: Any, customers_feed: dict[str, Any], settings: dict[str, str] | None
) -> None:
    """Else every file with days would be told as read by an older mapping after an update."""
    company.map(customers_feed)
    company.drop("customers_1.csv", "id,since,name,brand\nc1,2025-01-31,Ann,\n")
    company.ingest()
    known = Landed(company.deployment, company.ledger).load()
    for drop in known.drops:
        assert drop.pop("settings") == {"timezone": company.config["timezone"]}
        if settings is not None:
            drop["settings"] = settings
    assert under_older_mapping(company.deployment, known, load_mappings(company.deployment)[0].feeds) == {}


def test_amounts_of_two_currencies_are_never_added_up(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.ingest()
    company.config |= {"currency": "EUR", "max_bad_share": 1}
    company.bills("bills_2.csv", "b,d1,c1,2025-01,voice,2,EUR")
    head = company.ledger.head()
    with pytest.raises(BadInput, match=r"rows in CNY have landed, the first in bills_1\.csv"):
        company.ingest()
    with pytest.raises(BadInput, match="rows in CNY have landed"):
        plan_run(company.deployment, company.ledger, ["2025-01"], load_policies(company.deployment))
    assert company.ledger.head() == head
    assert in_a_process(company, again=True, TIERHOUSE_FAILPOINT="ingest.again_recorded").returncode == -signal.SIGKILL
    company.ingest()
    assert amounts(company) == [("b", 2)]


def test_files_that_a_version_before_landed_without_their_settings_can_be_landed_anew(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.ingest()
    known = Landed(company.deployment, company.ledger).load()
    feeds = load_mappings(company.deployment)[0].feeds
    assert under_older_mapping(company.deployment, known, feeds) == {}
    for drop in known.drops:
        del drop["settings"]
    assert under_older_mapping(company.deployment, known, feeds) == {"shop__bill_lines": ["bills_1.csv"]}


@pytest.mark.parametrize(
    ("own_zone", "format_", "columns", "hangs_on_the_zone"),
    [
        (None, "parquet", {"valid_from_date": "since"}, True),
        (None, "csv", {"valid_from_date": "since"}, True),
        (None, "csv", {"valid_from_date": "cast(cast(since as timestamptz) as date)"}, True),
        ("UTC", "parquet", {"valid_from_date": "since"}, False),
        ("UTC", "csv", {"valid_from_date": "since"}, False),
    ],
)
def test_days_hang_on_the_zone_where_the_file_may_hold_moments(
    company: Any, customers_feed: dict[str, Any], own_zone: str | None, format_: str, columns: dict[str, str], hangs_on_the_zone: bool
) -> None:
    customers_feed |= {"format": format_, "columns": {"customer_id": "id", **columns}} | ({"timezone": own_zone} if own_zone else {})
    company.map(customers_feed)
    feed = load_mappings(company.deployment)[0].feeds[0]
    assert ("timezone" in settings_used(feed, company.deployment.config)) is hangs_on_the_zone


def test_who_takes_the_mapping_of_other_money_away_is_told_how_to_go_on(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed, source="old")
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    company.ingest()
    (company.folder / "sources" / "old.yaml").unlink()
    company.map({**bills_feed, "files": "new_*.csv"})
    company.config["currency"] = "EUR"
    with pytest.raises(BadInput) as refused:
        company.ingest(again=True)
    assert "a mapping of bill_lines of old, also where it has been taken away" in refused.value.remedy


def test_a_credit_note_follows_a_bill_that_comes_again_under_another_key(company: Any, bills_feed: dict[str, Any]) -> None:
    columns = bills_feed["columns"]
    del columns["bill_line_id"], columns["bill_period"]
    columns |= {"billed_at": "id", "is_credit_note": "kind = 'credit'", "refers_to_document_id": "nullif(ref, '')"}
    head = "id,doc,cust,month,kind,amount,currency,ref\n"
    bill, note = "2025-01-31 10:00:00,D1,c1,2025-02,voice,100,CNY,\n", "2025-03-05 10:00:00,N1,c1,2025-03,credit,-5,CNY,D1\n"
    company.map(bills_feed)
    company.drop("bills_1.csv", head + bill)
    company.ingest()
    assert company.in_force("bill_lines", "document_id, bill_period") == [("D1", "2025-01")]
    columns["bill_period"] = "month"
    company.map(bills_feed)
    company.drop("bills_2.csv", head + bill + note)
    company.ingest()
    assert company.in_force("bill_lines", "document_id, bill_period", "1") == [("D1", "2025-02"), ("N1", "2025-02")]
