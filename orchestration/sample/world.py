"""The sample company itself: customers, their numbers and what they spend, as arrays indexed by customer.

Everything is a function of the seed: each use of chance has a generator of its own, named by what it is for, so that
leaving an entity out changes no other entity. Months are counted from the first month of the sample (0); months before
it are negative. Nothing here writes files.
"""

from __future__ import annotations

import zlib
from functools import cached_property

import numpy as np
import polars as pl
import pyarrow as pa

from orchestration.periods import add_months, period_index, periods_between

NEVER = 10_000
"""Month number of what does not happen."""

BRANDS_ZH = ("全球通", "神州行", "动感地带", "")
GOTONE, EASYOWN, MZONE, NO_BRAND = range(4)
SEGMENTS = ("P", "B", "I", "T", "M")
CONSUMER, BUSINESS, INTERNAL, TEST, IOT = range(5)
REGIONS = ("east", "west", "north", "south", "centre", "harbour", "new_town", "county")
SEASON = (0.98, 1.12, 0.97, 0.98, 1.0, 1.01, 1.05, 1.06, 1.0, 1.04, 0.97, 1.02)

PLAN_PRICES: tuple[tuple[int, ...], ...] = ((58, 88, 128, 188, 288, 588), (9, 19, 29, 39, 59), (19, 29, 39, 59, 79), (9, 19, 29, 39, 59))
"""Monthly price by brand, yuan."""
PLAN_CODES = tuple(f"{brand}_{price}" for brand, row in zip(("gt", "eo", "mz", "old"), PLAN_PRICES, strict=True) for price in row)
_PLAN_START = np.cumsum([0] + [len(row) for row in PLAN_PRICES])
PLAN_PRICE = np.array([price for row in PLAN_PRICES for price in row], dtype=np.float64)
EXTRA_LINE_PLAN = "share_19"
OLD_BILLING_SHARE = 0.3
"""Share of customers whose bills the old billing system makes at the start; an eighth of them moves half-way."""
SILENT_SHARE = 0.02
"""Share of prepaid customers who at some time stop using their number and keep it."""
IntArray = np.ndarray[tuple[int], np.dtype[np.int64]]
FloatArray = np.ndarray[tuple[int], np.dtype[np.float64]]
BoolArray = np.ndarray[tuple[int], np.dtype[np.bool_]]
DateArray = np.ndarray[tuple[int], np.dtype[np.datetime64]]


def labels(codes: np.ndarray, names: tuple[str, ...] | list[str]) -> pl.Series:
    """``names[codes]`` as a dictionary-encoded text column; an empty name gives null."""
    distinct = [name for name in dict.fromkeys(names) if name]
    return pl.Series([name or None for name in names], dtype=pl.Enum(distinct)).gather(codes)


def decimals(units: np.ndarray, scale: int) -> pl.Series:
    """Exact decimals from integers: 123456 at scale 4 is 12.3456."""
    words = np.empty((len(units), 2), dtype=np.int64)
    words[:, 0] = units
    words[:, 1] = units >> 63
    array = pa.Array.from_buffers(pa.decimal128(18, scale), len(units), [None, pa.py_buffer(words)])
    return pl.Series("", pl.from_arrow(array))


def where(known: np.ndarray, values: pl.Series) -> pl.Series:
    """The values, null where they are not known."""
    return pl.select(pl.when(pl.Series(known)).then(values)).to_series()


def instants(times: np.ndarray) -> pl.Series:
    """A timestamp column from times of any resolution; whole seconds are kept."""
    return pl.Series(times.astype("datetime64[ms]"))


def numbered(prefix: str, numbers: np.ndarray, digits: int) -> pl.Series:
    """``prefix`` and the number with leading zeros: C, 7, 8 digits → C00000007."""
    text = pl.Series(numbers.astype(np.int64) + 10**digits).cast(pl.String).str.slice(1)
    return pl.select(pl.lit(prefix) + text).to_series() if prefix else text


class World:
    """The company over ``months`` months that end with ``last_period``."""

    def __init__(self, customers: int, months: int, seed: int, last_period: str, old_billing_share: float = OLD_BILLING_SHARE) -> None:
        self.n = customers
        self.months = months
        self.seed = seed
        self.old_billing_share = old_billing_share
        self.periods = periods_between(add_months(last_period, 1 - months), last_period)
        self._first_month = np.datetime64(self.periods[0], "M")
        self._make_customers()
        self._make_lines()
        self._make_silent()

    def rng(self, *purpose: str | int) -> np.random.Generator:
        """A generator that depends on the seed and on what it is for, and on nothing else."""
        name = "/".join(str(part) for part in purpose)
        return np.random.default_rng(np.random.SeedSequence([self.seed, zlib.crc32(name.encode())]))

    def period(self, month: int) -> str:
        """Period of a month number, e.g. 0 → 2025-01; negative months too."""
        return add_months(self.periods[0], month)

    def day(self, month: np.ndarray | int, day: np.ndarray | int) -> DateArray:
        """Date of the ``day``-th day (1 … 28) of a month number."""
        start = (self._first_month + np.asarray(month).astype("timedelta64[M]")).astype("datetime64[D]")
        return np.asarray(start + (np.asarray(day) - 1).astype("timedelta64[D]"))

    def month_end(self, month: int) -> DateArray:
        """Last day of a month number."""
        return np.asarray(self.day(month + 1, 1) - np.timedelta64(1, "D"))

    def times(self, month: int, count: int, rng: np.random.Generator, first_hour: int = 8, last_hour: int = 21) -> np.ndarray:
        """``count`` sorted local times in the month, within business hours (datetime64[s])."""
        days = int((self.month_end(month) - self.day(month, 1)) / np.timedelta64(1, "D")) + 1
        seconds = rng.integers(0, days, count) * 86_400 + rng.integers(first_hour * 3600, last_hour * 3600, count)
        return np.asarray(self.day(month, 1).astype("datetime64[s]") + np.sort(seconds).astype("timedelta64[s]"))

    def _make_customers(self) -> None:
        rng, n, months = self.rng("customers"), self.n, self.months
        joins_late = rng.random(n) < 0.01 * months / (1 + 0.01 * months)
        self.join_month = np.where(joins_late, rng.integers(0, months, n), -1 - np.minimum(rng.geometric(0.02, n), 150))
        self.join_date = self.day(self.join_month, rng.integers(1, 29, n))
        life = rng.geometric(0.008, n)
        left = np.maximum(self.join_month, 0) + 1 + life
        self.left_month = np.where(left < months, left, NEVER)
        self.left_date = self.day(np.where(self.left_month == NEVER, 0, self.left_month), rng.integers(1, 29, n))
        self.brand_first = rng.choice(4, n, p=[0.27, 0.47, 0.22, 0.04])
        self.segment = rng.choice(5, n, p=[0.90, 0.075, 0.01, 0.005, 0.01])
        self.region = rng.choice(len(REGIONS), n, p=[0.2, 0.1, 0.12, 0.18, 0.2, 0.08, 0.07, 0.05])
        median = np.array([185.0, 58.0, 78.0, 55.0])[self.brand_first]
        sigma = np.array([0.62, 0.60, 0.50, 0.60])[self.brand_first]
        base = median * np.exp(sigma * rng.standard_normal(n))
        self.base_amount = np.where(self.segment == IOT, 6.0, np.clip(base, 8.0, 3000.0))
        self.drift = rng.normal(0.0, 0.012, n)
        turns = rng.random(n) < 0.25
        self.turn_factor = np.clip(np.exp(rng.normal(0.0, 0.7, n)), 0.2, 5.0)
        turn = np.maximum(self.join_month, 0) + 2 + rng.integers(0, max(1, months), n)
        self.turn_month = np.where(turns & (turn < np.minimum(self.left_month, months)), turn, NEVER)
        moves_up = (self.turn_factor > 1.4) & (self.brand_first != GOTONE) & (rng.random(n) < 0.3)
        self.brand_second = np.where(moves_up, GOTONE, self.brand_first)
        self.plan_first = _plan_for(self.brand_first, self.base_amount)
        self.plan_second = _plan_for(self.brand_second, self.base_amount * self.turn_factor)
        self.change_day = rng.integers(2, 28, n)
        real = rng.random(n)
        self.real_name = np.where(real < 0.955, 1, np.where(real < 0.99, 0, -1))
        verified = np.maximum(self.join_month, 0) + 1 + rng.integers(0, 2 * months, n)
        verifies = (self.real_name == 0) & (rng.random(n) < 0.5) & (verified < np.minimum(self.left_month, months))
        self.verified_month = np.where(verifies, verified, NEVER)
        self.is_late_payer = rng.random(n) < 0.04
        self.on_old_billing = rng.random(n) < self.old_billing_share
        self.migration_month = np.where(rng.random(n) < 0.12, max(2, months // 2), NEVER)
        self.staff_count = max(12, n // 400)
        managed = (self.base_amount > 260) & (self.brand_first == GOTONE)
        self.manager = np.where(managed, rng.integers(0, max(4, self.staff_count // 3), n), -1)

    def _make_lines(self) -> None:
        rng, n, months = self.rng("lines"), self.n, self.months
        extras = np.where(self.segment == CONSUMER, rng.choice(3, n, p=[0.83, 0.15, 0.02]), 0)
        second, third = np.flatnonzero(extras >= 1), np.flatnonzero(extras == 2)
        extra_customer = np.concatenate([second, third])
        self.line_customer = np.concatenate([np.arange(n), extra_customer])
        count = len(self.line_customer)
        delay = np.where(rng.random(len(extra_customer)) < 0.3, rng.integers(1, max(2, months), len(extra_customer)), 0)
        start = self.join_month[extra_customer] + delay
        start = np.where(start < np.minimum(self.left_month[extra_customer], months), start, self.join_month[extra_customer])
        end = np.where(
            rng.random(len(extra_customer)) < 0.2, np.maximum(start, 0) + rng.integers(2, 2 + months, len(extra_customer)), NEVER
        )
        owner_left = self.left_month[extra_customer]
        end = np.where((end >= months) | (end >= owner_left), owner_left, end)
        self.line_start_month = np.concatenate([self.join_month, start])
        self.line_end_month = np.concatenate([self.left_month, end])
        extra_start = np.where(
            start == self.join_month[extra_customer], self.join_date[extra_customer], self.day(start, rng.integers(1, 29, len(start)))
        )
        extra_end = np.where(
            end == owner_left, self.left_date[extra_customer], self.day(np.where(end == NEVER, 0, end), rng.integers(1, 29, len(end)))
        )
        self.line_start = np.concatenate([self.join_date, extra_start.astype("datetime64[D]")])
        self.line_end = np.concatenate([self.left_date, extra_end.astype("datetime64[D]")])
        # A prime modulus makes the numbers distinct without a draw that could repeat.
        self.number = 13_000_000_000 + (np.arange(count, dtype=np.int64) * 618_033_989 + self.seed * 7_919) % 999_999_937
        self.second_line = np.full(n, -1)
        self.second_line[second] = n + np.arange(len(second))
        self.third_line = np.full(n, -1)
        self.third_line[third] = n + len(second) + np.arange(len(third))
        self._recycle()

    def _recycle(self) -> None:
        """Give numbers that fell free to customers who join four or more months later."""
        freed = np.flatnonzero(self.line_end_month < self.months)
        taken = np.flatnonzero((self.line_start_month >= 4) & (np.arange(len(self.number)) < self.n))
        freed = freed[np.argsort(self.line_end_month[freed], kind="stable")]
        taken = taken[np.argsort(self.line_start_month[taken], kind="stable")][::2]
        pairs = min(len(freed), len(taken))
        fits = self.line_end_month[freed[:pairs]] + 4 <= self.line_start_month[taken[:pairs]]
        self.number[taken[:pairs][fits]] = self.number[freed[:pairs][fits]]
        self.recycled_numbers = int(fits.sum())

    def _make_silent(self) -> None:
        """Prepaid customers who keep their number and stop using it; a few never begin."""
        rng = self.rng("silence")
        silent = (rng.random(self.n) < SILENT_SHARE) & (self.brand_first == EASYOWN) & (self.brand_second == EASYOWN)
        silent &= self.segment == CONSUMER
        since = np.maximum(self.join_month, 0) + rng.integers(0, max(1, self.months), self.n)
        self.silent_month = np.where(silent, since, NEVER)

    @cached_property
    def customer_ids(self) -> pl.Series:
        """Text ids by customer: C00000001 …"""
        return numbered("C", np.arange(1, self.n + 1), 8)

    @cached_property
    def numbers(self) -> pl.Series:
        """Numbers by line, as text of 11 digits."""
        return pl.Series(self.number).cast(pl.String)

    def ids(self, customers: np.ndarray) -> pl.Series:
        """Text ids of these customers."""
        return self.customer_ids.gather(customers)

    def staff_ids(self, staff: np.ndarray) -> pl.Series:
        """Text ids of these staff members; -1 gives null."""
        text = numbered("E", np.maximum(staff, 0) + 1, 5)
        return where(staff >= 0, text)

    def in_service(self, month: int) -> BoolArray:
        """Who is a customer on any day of the month."""
        return np.asarray((self.join_month <= month) & (month <= self.left_month))

    def uses(self, month: int) -> BoolArray:
        """Who is a customer in the month and has not stopped using what they hold."""
        return np.asarray(self.in_service(month) & (month < self.silent_month))

    def brand(self, month: int) -> IntArray:
        """Brand code by customer in the month."""
        return np.where(month >= self.turn_month, self.brand_second, self.brand_first)

    def plan(self, month: int) -> IntArray:
        """Plan code by customer in the month."""
        return np.where(month >= self.turn_month, self.plan_second, self.plan_first)

    def spend(self, month: int) -> FloatArray:
        """What each customer's use in the month is worth, yuan net of tax (billing splits it into lines)."""
        season = SEASON[period_index(self.period(month)) % 12]
        noise = self.rng("spend", month).standard_normal(self.n, dtype=np.float32)
        turned = np.where(month >= self.turn_month, self.turn_factor, 1.0)
        return np.asarray(self.base_amount * turned * season * np.exp(self.drift * month + 0.22 * noise))

    @cached_property
    def arrears(self) -> tuple[np.ndarray, np.ndarray]:
        """Late payers (customer numbers) and whether each is suspended in each month: (k), (k, months) bool."""
        late = np.flatnonzero(self.is_late_payer)
        hit = self.rng("arrears").random((len(late), self.months)) < 0.16
        month = np.arange(self.months)
        served = (self.join_month[late, None] < month) & (month < self.left_month[late, None])
        return late, hit & served

    @cached_property
    def credit_months(self) -> tuple[IntArray, IntArray]:
        """Month from which each customer's credit class is watch, and bad (NEVER if not)."""
        late, suspended = self.arrears
        total = suspended.cumsum(axis=1)
        watch, bad = np.full(self.n, NEVER), np.full(self.n, NEVER)
        for bar, target in ((1, watch), (3, bad)):
            reached = total >= bar
            when = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, NEVER)
            target[late] = np.where(when < np.minimum(self.left_month[late], self.months), when, NEVER)
        return watch, bad


def _plan_for(brand: np.ndarray, amount: np.ndarray) -> IntArray:
    """The dearest plan of the brand that takes at most six tenths of the amount, else its cheapest."""
    plan = np.zeros(len(brand), dtype=np.int64)
    for code, prices in enumerate(PLAN_PRICES):
        rows = brand == code
        position = np.searchsorted(np.array(prices, dtype=np.float64), amount[rows] * 0.6, side="right") - 1
        plan[rows] = _PLAN_START[code] + np.maximum(position, 0)
    return plan
