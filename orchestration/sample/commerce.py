"""Rewards, marketing and finance: points, campaigns with targets and answers, payments, suspensions, positions, grades."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from orchestration.sample.drops import FINANCE, PLAIN_CSV, REWARDS, Drops, dates
from orchestration.sample.world import IOT, NEVER, World, decimals, instants, labels, numbered, where

POINTS_PER_YUAN = 3
PAYMENT_CHANNELS = ["app", "bank", "store", "agent", "hotline"]
CLASSES = ["device", "tariff", "value_added", "retention"]
TERMS = [
    "10 % off a new handset for 24 months",
    "next plan up at the old price for 6 months",
    "video pack free for 3 months",
    "20 yuan back a month",
]
GRADES = ["AAA", "AA", "A", "B", "C", "D"]
OCCUPATIONS = ["civil_servant", "teacher", "physician", "self_employed", "employee", "student", "retired"]


@dataclass
class Rewards:
    """Points: a wide history of the year before, then a file a month with one column per kind."""

    world: World
    drops: Drops

    entities = frozenset({"points"})

    def month(self, month: int) -> None:
        """Write the month's points; with the first month also the history."""
        world = self.world
        if month == 0:
            self._history()
        rng = world.rng("points", month)
        who = np.flatnonzero(world.uses(month) & (world.segment != IOT))
        base = self._base(month)[who]
        bonus = np.where(rng.random(len(who)) < 0.1, rng.integers(1, 10, len(who)) * 50, 0)
        redeemed = np.where(rng.random(len(who)) < 0.03, rng.integers(1, 20, len(who)) * 100, 0)
        frame = pl.DataFrame(
            {
                "customer_id": world.ids(who),
                "month": labels(np.zeros(len(who), dtype=np.int64), [world.period(month)]),
                "base": base,
                # An empty cell is no movement: it gives no row.
                "bonus": where(bonus > 0, pl.Series(bonus)),
                "redeemed": where(redeemed > 0, pl.Series(redeemed)),
            }
        )
        self.drops.write("points", f"rewards/points_{world.period(month)}", frame, REWARDS, month=month, even_if_empty=True)

    def _base(self, month: int) -> np.ndarray:
        return np.asarray((self.world.spend(month) * POINTS_PER_YUAN).astype(np.int64))

    def _history(self) -> None:
        """Base points of the twelve months before the sample; the months stand in columns."""
        world = self.world
        who = np.flatnonzero((world.join_month < 0) & (world.segment != IOT))
        columns: dict[str, pl.Series] = {"customer_id": world.ids(who)}
        for month in range(-12, 0):
            columns[f"M{world.period(month)}"] = where(world.join_month[who] <= month, pl.Series(self._base(month)[who]))
        frame = pl.DataFrame(columns)
        self.drops.write("points", f"rewards_history/base_points_to_{world.period(-1)}", frame, REWARDS, month=-1)


@dataclass
class Marketing:
    """One campaign of each class a quarter, its targets, and what they answered."""

    world: World
    drops: Drops

    entities = frozenset({"campaigns", "campaign_targets", "campaign_responses"})

    def month(self, month: int) -> None:
        """Write the month's campaigns, targets and responses."""
        world = self.world
        period = world.period(month)
        if month % 3 == 0:
            number = np.arange(4)
            campaigns = pl.DataFrame(
                {
                    "campaign_id": self._campaign(month, number),
                    "name": [f"{label} {period}" for label in ("New handset", "One plan up", "Video pack", "Stay with us")],
                    "class": labels(number, CLASSES),
                    "starts": dates(np.full(4, world.day(month, 5))),
                    "ends": dates(world.day(month + 2, 10 + number * 5)),
                    "terms": labels(number, TERMS),
                }
            )
            if "campaigns" in self.drops.wanted:
                self.drops.write("campaigns", f"marketing/campaigns_{period}", campaigns, PLAIN_CSV, month=month)
        rng = world.rng("targets", month)
        who = np.flatnonzero(world.in_service(month) & (world.segment < 2) & (rng.random(world.n) < 0.06))
        quarter = month - month % 3
        campaign = self._campaign(quarter, (who + quarter) % 4)
        # A customer is a target of a campaign once: each month of the quarter takes its own third.
        mine = pl.Series(who % 3 == month % 3)
        targets = pl.DataFrame(
            {
                "campaign_id": campaign,
                "customer_id": world.ids(who),
                "chosen_on": dates(np.full(len(who), world.day(month, 6))),
            }
        ).filter(mine)
        if "campaign_targets" in self.drops.wanted:
            self.drops.write("campaign_targets", f"marketing/targets_{period}", targets, PLAIN_CSV, month=month)
        if "campaign_responses" in self.drops.wanted:
            answers = targets.filter(pl.Series(rng.random(targets.height) < 0.2))
            count = answers.height
            after_choice = world.day(month, 7).astype("datetime64[s]") + np.sort(rng.integers(0, 21 * 86_400, count)).astype(
                "timedelta64[s]"
            )
            frame = pl.DataFrame(
                {
                    "response_id": numbered("R" + period.replace("-", ""), np.arange(1, count + 1), 6),
                    "campaign_id": answers["campaign_id"],
                    "customer_id": answers["customer_id"],
                    "responded_at": instants(after_choice),
                    "response": labels(rng.choice(3, count, p=[0.4, 0.4, 0.2]), ["accepted", "declined", "redeemed"]),
                }
            )
            self.drops.write("campaign_responses", f"marketing/responses_{period}", frame, PLAIN_CSV, month=month)

    def _campaign(self, quarter: int, number: np.ndarray) -> pl.Series:
        return numbered("M" + self.world.period(quarter).replace("-", ""), number + 1, 2)


@dataclass
class Finance:
    """Payments and suspensions of late payers; positions and credit grades of those who also bank with the company."""

    world: World
    drops: Drops
    _lasting: tuple[np.ndarray, ...] | None = None

    entities = frozenset({"payments", "suspensions", "financial_positions", "credit_grades"})

    def month(self, month: int) -> None:
        """Write the month's file of every wanted entity."""
        makers = {
            "payments": ("payments", self._payments),
            "suspensions": ("suspensions", self._suspensions),
            "financial_positions": ("positions", self._positions),
            "credit_grades": ("grades", self._grades),
        }
        for entity, (stem, make) in makers.items():
            if entity in self.drops.wanted:
                self.drops.write(entity, f"finance/{stem}_{self.world.period(month)}", make(month), FINANCE, month=month)

    def _payments(self, month: int) -> pl.DataFrame:
        """What was paid in the month for the bill of the month before, tax included."""
        world, rng = self.world, self.world.rng("payments", month)
        late, suspended = world.arrears
        unpaid = np.zeros(world.n, dtype=np.bool_)
        unpaid[late[suspended[:, month]]] = True
        who = np.flatnonzero(
            world.uses(month - 1) & world.in_service(month) & (world.join_month < month) & ~unpaid & (rng.random(world.n) < 0.98)
        )
        count = len(who)
        cents = np.rint(world.spend(month - 1)[who] * 106).astype(np.int64)
        order = rng.permutation(count)
        return pl.DataFrame(
            {
                "receipt_no": numbered("F" + world.period(month).replace("-", ""), np.arange(1, count + 1), 8),
                "customer": world.ids(who[order]),
                "received": instants(world.times(month, count, rng, 0, 24)),
                "due": _days(np.full(count, world.day(month, 25))),
                "channel": labels(rng.choice(5, count, p=[0.55, 0.2, 0.1, 0.1, 0.05]), PAYMENT_CHANNELS),
                "amount": decimals(cents[order], 2),
                "currency": labels(np.zeros(count, dtype=np.int64), ["CNY"]),
            }
        )

    def _suspensions(self, month: int) -> pl.DataFrame:
        """Suspensions that began in the month; one that lasts into the next comes again then, with its end."""
        world, rng = self.world, self.world.rng("suspensions", month)
        late, suspended = world.arrears
        who = late[suspended[:, month]]
        asked = np.flatnonzero(
            world.in_service(month) & (world.join_month < month) & (month < world.left_month) & (rng.random(world.n) < 0.0008)
        )
        who = np.concatenate([who, asked])
        reason = np.repeat([0, 1], [len(who) - len(asked), len(asked)])
        reason = np.where((reason == 1) & (rng.random(len(who)) < 0.1), 2, reason)
        start = world.day(month, rng.integers(3, 29, len(who)))
        end = start + rng.integers(1, 15, len(who)).astype("timedelta64[D]")
        number = int(world.period(month).replace("-", "")) * 1_000_000 + np.arange(1, len(who) + 1)
        fresh = (number, who, reason, start, end)
        ends_later = end > world.month_end(month)
        rows = fresh if self._lasting is None else tuple(np.concatenate(pair) for pair in zip(fresh, self._lasting, strict=True))
        is_over = np.concatenate([~ends_later, np.ones(len(rows[0]) - len(who), dtype=np.bool_)])
        self._lasting = tuple(part[ends_later] for part in fresh)
        return pl.DataFrame(
            {
                "suspension_no": pl.Series(rows[0]).cast(pl.String),
                "customer": world.ids(rows[1]),
                "number": world.numbers.gather(rows[1]),
                "reason": labels(rows[2], ["arrears", "request", "fraud"]),
                "from_day": _days(rows[3]),
                "to_day": where(is_over, _days(rows[4])),
            }
        )

    def _banking(self, month: int) -> np.ndarray:
        return np.flatnonzero((np.arange(self.world.n) * 48_271 % 100 < 8) & self.world.in_service(month) & (self.world.segment < 2))

    def _positions(self, month: int) -> pl.DataFrame:
        world, rng = self.world, self.world.rng("positions", month)
        who = self._banking(month)
        if month % 3:
            who = who[:0]
        count = len(who)
        assets = np.rint(np.exp(rng.normal(11.4, 1.4, count)) * 100).astype(np.int64)
        card = np.rint(np.exp(rng.normal(9.9, 0.9, count)) * 100).astype(np.int64)
        return pl.DataFrame(
            {
                "customer": world.ids(who),
                "day": _days(np.full(count, world.month_end(month))),
                "assets": decimals(assets, 2),
                "card_spend": decimals(card, 2),
                "overdue": labels(world.is_late_payer[who].astype(np.int64), ["0", "1"]),
                "occupation": labels(who % len(OCCUPATIONS), OCCUPATIONS),
            }
        )

    def _grades(self, month: int) -> pl.DataFrame:
        """Grades of all who bank here, then those that changed: a late payer falls at the third suspension."""
        world = self.world
        _, bad = world.credit_months
        who = self._banking(month)
        if month:
            who = who[(bad[who] == month) | (world.join_month[who] == month)]
        usual = np.array([0, 1, 1, 2, 2, 2, 3, 3])[who % 8]
        grade = np.where((bad[who] != NEVER) & (bad[who] <= month), 5, usual)
        return pl.DataFrame(
            {"customer": world.ids(who), "day": _days(np.full(len(who), world.month_end(month))), "grade": labels(grade, GRADES)}
        )


def _days(values: np.ndarray) -> pl.Series:
    """Days as this system writes them: 20260131."""
    return dates(values).dt.strftime("%Y%m%d")
