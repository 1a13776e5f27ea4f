"""Months as partitions, and what may be asked of a run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestration.deployment import Config, Deployment
from orchestration.errors import BadInput
from orchestration.wiring.partitions import checked_range, last_complete_period, monthly_partitions, range_tags

NOW = datetime(2026, 7, 15, tzinfo=UTC)


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    config = Config(
        name="shop", title="Shop", currency="CNY", timezone="Asia/Shanghai", first_period="2025-11", data="data", drops="drops"
    )  # fmt: skip
    return Deployment(tmp_path, config)


def test_partition_keys_are_periods_up_to_the_last_complete_month(deployment: Deployment) -> None:
    keys = monthly_partitions(deployment).get_partition_keys(current_time=NOW)
    assert keys[0] == "2025-11"
    assert keys[-1] == "2026-06"
    assert len(keys) == 8


def test_a_month_is_complete_when_it_is_over_in_the_deployments_zone(deployment: Deployment) -> None:
    # 16:30 on 30 June in London is half past midnight on 1 July in Shanghai.
    assert last_complete_period(deployment, datetime(2026, 6, 30, 16, 30, tzinfo=UTC)) == "2026-06"
    assert last_complete_period(deployment, datetime(2026, 6, 30, 15, 30, tzinfo=UTC)) == "2026-05"
    keys = monthly_partitions(deployment).get_partition_keys(current_time=datetime(2026, 6, 30, 16, 30, tzinfo=UTC))
    assert keys[-1] == "2026-06"


def test_periods_are_put_in_order(deployment: Deployment) -> None:
    assert checked_range(deployment, ["2026-03", "2026-01", "2026-02"], NOW) == ["2026-01", "2026-02", "2026-03"]


@pytest.mark.parametrize(
    ("periods", "names"),
    [
        ([], "no period"),
        (["2025-10"], "2025-11"),
        (["2026-07"], "2026-06 is the last complete month"),
        (["2026-01", "2026-03"], "2026-02 is missing"),
        (["2026-13"], "2026-13"),
    ],
)
def test_periods_that_cannot_be_run_are_refused_with_the_reason(deployment: Deployment, periods: list[str], names: str) -> None:
    with pytest.raises(BadInput, match=names):
        checked_range(deployment, periods, NOW)


def test_a_range_is_one_run_by_its_first_and_last_month() -> None:
    assert range_tags(["2026-01", "2026-02", "2026-03"]) == {
        "dagster/asset_partition_range_start": "2026-01",
        "dagster/asset_partition_range_end": "2026-03",
    }
