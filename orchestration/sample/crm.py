"""Customer relationship management: customers, numbers, households, groups, subscriptions, devices, nominations, staff.

The first month's files hold the whole stock; later ones what began, changed or ended in their month.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from orchestration.sample.drops import CRM, Drops, dates
from orchestration.sample.world import (
    BRANDS_ZH,
    BUSINESS,
    EXTRA_LINE_PLAN,
    GOTONE,
    NEVER,
    PLAN_CODES,
    REGIONS,
    SEGMENTS,
    World,
    decimals,
    labels,
    numbered,
)

SURNAMES = list("王李张刘陈杨黄赵周吴徐孙马胡朱郭何林罗高")
GIVEN = [*"伟芳娜敏静丽强磊军洋勇艳杰涛明超", "秀英", "建国", "晓东", "志强", "雪梅", "文博", "子涵", "欣怡"]
STREETS = ["人民路", "解放街", "建设大道", "中山路", "和平里", "青年路", "滨江道", "新华街"]
CREDIT_CLASSES = ["GOOD", "WATCH", "BAD"]
SUBSCRIPTION_KINDS = ["MONTHLY_RENT", "INSTALMENT_CREDIT", "SERVICE_FEE", "VALUE_ADDED"]
SUBSCRIPTION_PRODUCTS = ["rent_saver", "handset_24", "broadband", "music", "video_pack", "cloud_disk", "ring_tone", "roam_pass"]
MAKERS = ["Huanyu", "Xinghe", "Lanhai", "Pear", "Mountain"]
MODELS = ["One", "One Pro", "Note", "Fold", "Lite", "S", "S Max"]
TRADES = ["manufacturing", "retail", "education", "health", "finance", "logistics", "government", "none"]
STAFF_ROLES = ["ACCOUNT_MANAGER", "PHONE_MANAGER", "HOTLINE", "STORE"]
REASONS = ["member of the city council", "well-known artist", "head of a hospital", "national champion", "leads a trade association"]


@dataclass
class _Subscriptions:
    """One batch of subscriptions; arrays of one length."""

    key: pl.Series
    customer: np.ndarray
    kind: np.ndarray
    product: np.ndarray
    start: np.ndarray
    end: np.ndarray
    is_open: np.ndarray
    cents: np.ndarray

    def frame(self, world: World, chosen: np.ndarray, end: np.ndarray, is_open: np.ndarray) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "SUB_ID": self.key.gather(chosen),
                "CUST_ID": world.ids(self.customer[chosen]),
                "MSISDN": world.numbers.gather(self.customer[chosen]),
                "KIND": labels(self.kind[chosen], SUBSCRIPTION_KINDS),
                "PRODUCT": labels(self.product[chosen], SUBSCRIPTION_PRODUCTS),
                "START_DATE": dates(self.start[chosen]),
                "END_DATE": dates(end, ~is_open),
                "MONTHLY_FEE": decimals(self.cents[chosen], 2),
            }
        )


@dataclass
class Crm:
    """Writes the CRM's files month by month."""

    world: World
    drops: Drops
    _open_nominations: pl.DataFrame | None = None

    _files = (
        *("staff", "customers", "lines", "households", "household_members", "groups", "group_members", "subscriptions"),
        *("devices", "nominations", "applications"),
    )
    entities = frozenset(_files)

    def month(self, month: int) -> None:
        """Write the month's file of every wanted entity."""
        for entity in self._files:
            if entity in self.drops.wanted | self.drops.empty:
                frame, stem = getattr(self, f"_{entity}")(month), f"crm/{entity}_{self.world.period(month)}"
                self.drops.write(entity, stem, frame, CRM, month=month, even_if_empty=entity in ("customers", "lines"))

    def _customers(self, month: int) -> pl.DataFrame:
        world = self.world
        watch, bad = world.credit_months
        leaves = world.left_month == month
        changes = np.zeros(world.n, dtype=np.bool_)
        differs = (world.brand_first != world.brand_second) | (world.plan_first != world.plan_second)
        for when in (np.where(differs, world.turn_month, NEVER), watch, bad, world.verified_month):
            changes |= when == month
        joins = world.join_month == month
        who = np.flatnonzero(world.join_month <= 0) if month == 0 else np.flatnonzero(joins | leaves | (changes & world.in_service(month)))
        change_date = world.day(month, world.change_day[who])
        holds_from = np.where(leaves[who], world.left_date[who], change_date)
        first = world.join_month[who] == month if month else np.ones(len(who), dtype=np.bool_)
        holds_from = np.where(first, world.join_date[who], holds_from)
        credit = np.where(month >= bad[who], 2, np.where(month >= watch[who], 1, 0))
        verified = np.where(month >= world.verified_month[who], 1, world.real_name[who])
        chance = world.rng("people")
        surname, given, street = (chance.integers(0, len(names), world.n)[who] for names in (SURNAMES, GIVEN, STREETS))
        door = chance.integers(1, 999, world.n)[who]
        birth = chance.integers(-12_000, 13_500, world.n)[who]
        return pl.DataFrame(
            {
                "CUST_ID": world.ids(who),
                "EFF_DATE": dates(holds_from),
                "CUST_NAME": pl.select(pl.concat_str(_text(surname, SURNAMES), _text(given, GIVEN))).to_series(),
                "MSISDN": world.numbers.gather(who),
                # 99 is no province: such a number belongs to nobody.
                "CERT_NO": numbered("99", (who * 48_271 + 11) % 10**16, 16),
                "ADDR": pl.select(
                    pl.concat_str(
                        _text(world.region[who], REGIONS),
                        pl.lit(" "),
                        _text(street, STREETS),
                        pl.Series(door).cast(pl.String),
                        pl.lit("号"),
                    )
                ).to_series(),
                "BIRTH_DATE": dates(birth),
                "BRAND": labels(world.brand(month)[who], BRANDS_ZH),
                "PLAN_CODE": labels(world.plan(month)[who], PLAN_CODES),
                "REGION": labels(world.region[who], REGIONS),
                "SEGMENT": labels(world.segment[who], SEGMENTS),
                "REAL_NAME": labels(verified, ["N", "Y", ""]),
                "CREDIT_CLASS": labels(credit, CREDIT_CLASSES),
                "JOIN_DATE": dates(world.join_date[who]),
                "LEAVE_DATE": dates(world.left_date[who], leaves[who]),
                "MANAGER_ID": world.staff_ids(world.manager[who]),
            }
        )

    def _lines(self, month: int) -> pl.DataFrame:
        world = self.world
        starts = world.line_start_month <= 0 if month == 0 else world.line_start_month == month
        ends = world.line_end_month == month
        chosen = np.flatnonzero(starts | (ends & (world.line_start_month <= month)))
        owner = world.line_customer[chosen]
        is_primary = chosen < world.n
        plans = [*PLAN_CODES, EXTRA_LINE_PLAN]
        plan = np.where(is_primary, world.plan(month)[owner], len(PLAN_CODES))
        return pl.DataFrame(
            {
                "MSISDN": world.numbers.gather(chosen),
                "CUST_ID": world.ids(owner),
                "START_DATE": dates(world.line_start[chosen]),
                "END_DATE": dates(world.line_end[chosen], ends[chosen]),
                "IS_PRIMARY": labels(is_primary.astype(np.int64), ["N", "Y"]),
                "PLAN_CODE": labels(plan, plans),
            }
        )

    @cached_property
    def _household_of(self) -> tuple[np.ndarray, np.ndarray]:
        """Customers who live in a household, three in each, and its number."""
        rng = self.world.rng("households")
        people = np.flatnonzero(self.world.segment == 0)
        people = rng.permutation(people)[: int(len(people) * 0.3)]
        return people, np.arange(len(people)) // 3

    def _households(self, month: int) -> pl.DataFrame:
        people, _ = self._household_of
        first = people[::3] if month == 0 else people[:0]
        number = np.arange(len(first))
        return pl.DataFrame(
            {
                "HOUSEHOLD_ID": numbered("H", number + 1, 7),
                "REGION": labels(self.world.region[first], REGIONS),
                "FORMED_DATE": dates(np.datetime64("2012-01-01", "D") + (number * 37 % 4_000).astype("timedelta64[D]")),
            }
        )

    def _membership(self, month: int, customer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of these members a month's file speaks of, and who of them ends."""
        joins, leaves = self.world.join_month[customer], self.world.left_month[customer]
        begins = joins <= 0 if month == 0 else joins == month
        return np.flatnonzero(begins | (leaves == month)), leaves == month

    def _household_members(self, month: int) -> pl.DataFrame:
        people, household = self._household_of
        chosen, ends = self._membership(month, people)
        role = np.where(chosen % 3 == 0, 0, np.where(people[chosen] % 5 == 0, 2, 1))
        return self._members(
            "HOUSEHOLD_ID", numbered("H", household[chosen] + 1, 7), people[chosen], role, ["HEAD", "MEMBER", "STUDENT"], ends[chosen]
        )

    def _members(self, column: str, keys: pl.Series, who: np.ndarray, role: np.ndarray, roles: list[str], ends: np.ndarray) -> pl.DataFrame:
        return pl.DataFrame(
            {
                column: keys,
                "CUST_ID": self.world.ids(who),
                "ROLE": labels(role, roles),
                "START_DATE": dates(self.world.join_date[who]),
                "END_DATE": dates(self.world.left_date[who], ends),
            }
        )

    @cached_property
    def _group_of(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Members of groups, ordered by group: customer, group, place within the group; and how many groups."""
        rng = self.world.rng("groups")
        groups = max(2, self.world.n // 120)
        is_member = (self.world.segment == BUSINESS) | ((self.world.segment == 0) & (rng.random(self.world.n) < 0.04))
        people = np.flatnonzero(is_member)
        # Squaring makes a few groups large.
        group = (rng.random(len(people)) ** 2 * groups).astype(np.int64)
        order = np.argsort(group, kind="stable")
        people, group = people[order], group[order]
        place = np.arange(len(group)) - np.searchsorted(group, group)
        return people, group, place, groups

    def _groups(self, month: int) -> pl.DataFrame:
        groups = self._group_of[3]
        # The last ones have no member yet: no trade, only hope of it.
        number = np.arange(groups + max(1, groups // 12))
        strategic = number % 40 == 3
        changes = (number % 97 == month) & (month > 0)
        chosen = number if month == 0 else np.flatnonzero(changes)
        manager = chosen % max(4, self.world.staff_count // 3)
        return pl.DataFrame(
            {
                "GROUP_ID": numbered("G", chosen + 1, 6),
                "EFF_DATE": dates(np.full(len(chosen), self.world.day(month, 1) if month else np.datetime64("2020-01-01", "D"))),
                "GROUP_NAME": pl.select(
                    pl.concat_str(_text(chosen % len(STREETS), STREETS), numbered("", chosen + 1, 4), pl.lit("有限公司"))
                ).to_series(),
                "TRADE": labels(chosen % len(TRADES), TRADES),
                "REGION": labels(chosen % len(REGIONS), REGIONS),
                "MANAGER_ID": self.world.staff_ids(manager),
                "MANAGER_PHONE": numbered("020", 55_000_000 + manager, 8),
                "STRATEGIC": labels((strategic[chosen] | ((month > 0) & (chosen % 4 == 0))).astype(np.int64), ["N", "Y"]),
            }
        )

    def _group_members(self, month: int) -> pl.DataFrame:
        people, group, place, _ = self._group_of
        chosen, ends = self._membership(month, people)
        role = np.minimum(place[chosen], 4)
        roles = ["LEADER", "CONTACT", "KEY_PERSON", "KEY_PERSON", "MEMBER"]
        return self._members("GROUP_ID", numbered("G", group[chosen] + 1, 6), people[chosen], role, roles, ends[chosen])

    def _new_subscriptions(self, name: str, customer: np.ndarray, first_start: int, first_end: int) -> _Subscriptions:
        """Subscriptions that end within 24 months from ``first_end``, or stay open; none starts before its customer joined."""
        world, rng, n = self.world, self.world.rng("subscriptions", name), len(customer)
        kind = rng.integers(0, 4, n)
        end_month = first_end + rng.integers(0, 24, n)
        start = np.maximum(world.join_date[customer], world.day(np.maximum(end_month - 24, first_start), rng.integers(1, 29, n)))
        product = np.where(kind < 3, kind, 3 + rng.integers(0, len(SUBSCRIPTION_PRODUCTS) - 3, n))
        end = np.maximum(world.day(end_month, rng.integers(1, 29, n)), start)
        key = numbered(f"S{name}", np.arange(1, n + 1), 8)
        return _Subscriptions(key, customer, kind, product, start, end, (kind == 3) & (rng.random(n) < 0.6), rng.integers(300, 30_000, n))

    @cached_property
    def _stock(self) -> tuple[_Subscriptions, np.ndarray]:
        """Subscriptions at the start and the month in which each is cancelled early (NEVER for most)."""
        world, rng = self.world, self.world.rng("subscription_stock")
        here = np.flatnonzero(world.join_month < 0)
        customer = np.sort(np.concatenate([here[rng.random(len(here)) < share] for share in (0.55, 0.25, 0.12)]))
        cancelled = np.where(rng.random(len(customer)) < 0.04, 1 + rng.integers(0, 2 * world.months, len(customer)), NEVER)
        return self._new_subscriptions("A", customer, -36, 0), cancelled

    def _subscriptions(self, month: int) -> pl.DataFrame:
        world = self.world
        stock, cancelled = self._stock
        rng = world.rng("new_subscriptions", month)
        period = world.period(month).replace("-", "")
        buyers = np.flatnonzero(world.in_service(month) & (world.join_month < month) & (rng.random(world.n) < 0.04))
        fresh = self._new_subscriptions(period, buyers, month, month + 1)
        fresh.start = np.maximum(world.day(month, 1 + buyers % 28), world.join_date[buyers])
        frame = fresh.frame(world, np.arange(len(buyers)), fresh.end, fresh.is_open)
        if month == 0:
            everything = stock.frame(world, np.arange(len(stock.customer)), stock.end, stock.is_open)
            return pl.concat([everything, frame])
        last_day = world.day(month, 20)
        gone = np.flatnonzero((cancelled == month) & (stock.is_open | (stock.end > last_day)))
        return pl.concat([stock.frame(world, gone, np.full(len(gone), last_day), np.zeros(len(gone), dtype=np.bool_)), frame])

    def _devices(self, month: int) -> pl.DataFrame:
        world, rng = self.world, self.world.rng("devices", month)
        if month == 0:
            who = np.flatnonzero(world.join_month <= 0)
            start = np.maximum(world.join_date[who], world.day(0, 1) - rng.integers(1, 1_400, len(who)).astype("timedelta64[D]"))
        else:
            changes = world.in_service(month) & (world.left_month > month) & (world.join_month < month) & (rng.random(world.n) < 0.022)
            who = np.flatnonzero(changes | (world.join_month == month))
            start = np.maximum(world.day(month, rng.integers(1, 29, len(who))), world.join_date[who])
        model = rng.integers(0, len(MODELS), len(who))
        return pl.DataFrame(
            {
                "CUST_ID": world.ids(who),
                "FIRST_SEEN": dates(start),
                "MAKER": labels(rng.integers(0, len(MAKERS), len(who)), MAKERS),
                "MODEL": labels(model, MODELS),
                "NETWORK": labels((rng.random(len(who)) < 0.6).astype(np.int64), ["4G", "5G"]),
                "PRICE": decimals(rng.integers(80_000, 900_000, len(who)) // 100 * 100, 2),
            }
        )

    def _nominations(self, month: int) -> pl.DataFrame:
        """Nominations for six stars, most of them in order; some unapproved, approved by their own requester, or soon over."""
        world, rng = self.world, self.world.rng("nominations", month)
        gotone = np.flatnonzero((world.brand(month) == GOTONE) & world.in_service(month) & (world.segment < 2))
        count = min(len(gotone), max(5, int(len(gotone) * (0.006 if month == 0 else 0.0015))))
        who = np.sort(rng.choice(gotone, count, replace=False))
        state = rng.permutation(np.arange(count) % 10)
        kind = np.where(state == 4, 1, np.where(state == 5, 2, 0))
        level = np.where(kind == 1, 3, np.where(kind == 2, 1, 5))
        requester = rng.integers(0, world.staff_count, count)
        approver = np.where(state == 1, requester, (requester + 1 + rng.integers(0, world.staff_count - 2, count)) % world.staff_count)
        approver = np.where(np.isin(state, (0, 3)), -1, approver)
        start = world.day(month, rng.integers(1, 25, count))
        length = np.where(state == 2, 40, 365 + rng.integers(0, 200, count))
        for name, rows in (
            ("unapproved", state == 0),
            ("self_approved", state == 1),
            ("of_forty_days", state == 2),
            ("approved_a_month_later", state == 3),
        ):
            self.drops.truth.count(f"nominations_{name}", int(rows.sum()))
        self.drops.truth.count("nominations", count)
        frame = pl.DataFrame(
            {
                "NOMINATION_ID": numbered("P" + world.period(month).replace("-", ""), np.arange(1, count + 1), 5),
                "PROGRAM": ["six_star"] * count,
                "SUBJECT_ID": world.ids(who),
                "KIND": labels(kind, ["NOMINATE", "AT_LEAST", "SET"]),
                "LEVEL": labels(level, [f"star_{n}" for n in range(1, 7)]),
                "REASON": labels(rng.integers(0, len(REASONS), count), REASONS),
                "REQUESTED_BY": world.staff_ids(requester),
                "APPROVED_BY": world.staff_ids(approver),
                "APPROVED_ON": dates(start, approver >= 0),
                "START_DATE": dates(start),
                "END_DATE": dates(start + length.astype("timedelta64[D]")),
            }
        )
        waiting = frame.filter(pl.Series(state == 3)).with_columns(
            pl.Series("APPROVED_BY", world.staff_ids((requester[state == 3] + 1) % world.staff_count)),
            pl.Series("APPROVED_ON", dates(np.full(int((state == 3).sum()), world.day(month + 1, 5)))),
        )
        if self._open_nominations is not None:
            frame = pl.concat([self._open_nominations.cast(frame.schema), frame])
        self._open_nominations = waiting
        return frame

    def _applications(self, month: int) -> pl.DataFrame:
        """Applications for accreditation: four dated steps each."""
        world, rng = self.world, self.world.rng("applications", month)
        here = np.flatnonzero(world.in_service(month) & (world.segment == 0))
        who = np.sort(rng.choice(here, min(len(here), max(2, len(here) // 1_500)), replace=False))
        step = np.tile(np.arange(4), len(who))
        row = np.repeat(np.arange(len(who)), 4)
        outcome = np.where(step == 2, 1 + rng.choice(3, len(who), p=[0.6, 0.3, 0.1])[row], 0)
        decided = np.where(step > 0, rng.integers(0, world.staff_count, len(who))[row], -1)
        return pl.DataFrame(
            {
                "APPLICATION_ID": numbered("Q" + world.period(month).replace("-", ""), row + 1, 5),
                "PROGRAM": ["quality_customer"] * len(row),
                "SUBJECT_ID": world.ids(who[row]),
                "STEP": labels(step, ["APPLICATION", "REVIEW", "DECISION", "NOTIFICATION"]),
                "STEP_DATE": dates(world.day(month, 2 + step * 7)),
                "DECIDED_BY": world.staff_ids(decided),
                "OUTCOME": labels(outcome, ["", "APPROVED", "REFUSED", "RETURNED"]),
            }
        )

    def _staff(self, month: int) -> pl.DataFrame:
        world = self.world
        staff = np.arange(world.staff_count)
        leaves = np.where((staff % 23 == 7) & (staff % world.months > 0), staff % world.months, NEVER)
        chosen = staff if month == 0 else np.flatnonzero(leaves == month)
        joined = np.datetime64("2015-01-01", "D") + (chosen * 53 % 3_300).astype("timedelta64[D]")
        # The first third looks after customers (see World.manager).
        role = np.where(chosen < max(4, world.staff_count // 3), 0, 1 + chosen % 3)
        return pl.DataFrame(
            {
                "STAFF_ID": world.staff_ids(chosen),
                "EFF_DATE": dates(joined if month == 0 else np.full(len(chosen), world.day(month, 28))),
                "STAFF_NAME": pl.select(
                    pl.concat_str(_text(chosen * 7 % len(SURNAMES), SURNAMES), _text(chosen * 5 % len(GIVEN), GIVEN))
                ).to_series(),
                "ROLE": labels(role, STAFF_ROLES),
                "TEAM": labels(chosen % len(REGIONS), [f"team_{name}" for name in REGIONS]),
                "JOIN_DATE": dates(joined),
                "LEAVE_DATE": dates(np.full(len(chosen), world.day(month, 28)), np.full(len(chosen), month > 0)),
            }
        )


def _text(codes: np.ndarray, names: list[str] | tuple[str, ...]) -> pl.Series:
    return labels(codes, list(names)).cast(pl.String)
