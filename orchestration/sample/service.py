"""Service desk: contacts, complaints with their later states, surveys, visits, staff measures. Its clock is UTC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from orchestration.sample.drops import SERVICE, Drops
from orchestration.sample.world import World, decimals, instants, labels, numbered

CHANNELS = ["hotline", "app", "store", "web", "manager", "phone_manager"]
CONTACT_TOPICS = ["bill", "plan", "network", "device", "roaming", "other"]
COMPLAINT_TOPICS = ["network", "billing", "service", "product"]
MEASURES = ["problem_solving", "service_quality", "initiative", "satisfaction"]
_UTC_OFFSET = np.timedelta64(8 * 3600, "s")
_DAY = np.timedelta64(86_400, "s")


@dataclass
class Service:
    """Writes the service desk's files month by month; complaints that change state come again under the same key."""

    world: World
    drops: Drops
    _open: pl.DataFrame | None = None

    entities = frozenset({"service_contacts", "complaints", "surveys", "manager_visits", "staff_measures"})

    def month(self, month: int) -> None:
        """Write the month's file of every wanted entity."""
        makers = {
            "service_contacts": ("contacts", self._contacts),
            "complaints": ("complaints", self._complaints),
            "surveys": ("surveys", self._surveys),
            "manager_visits": ("visits", self._visits),
            "staff_measures": ("staff_measures", self._measures),
        }
        for entity, (stem, make) in makers.items():
            if entity in self.drops.wanted:
                self.drops.write(entity, f"service/{stem}_{self.world.period(month)}", make(month), SERVICE, month=month)

    def _drawn(self, month: int, share: float, rng: np.random.Generator, likely: np.ndarray | None = None) -> np.ndarray:
        """Customers in service, each drawn with the share (or where ``likely`` says so), in a random order."""
        drawn = rng.random(self.world.n, dtype=np.float32) < (share if likely is None else np.maximum(share, likely))
        return rng.permutation(np.flatnonzero(self.world.in_service(month) & drawn))

    def _keys(self, letter: str, month: int, count: int) -> pl.Series:
        return numbered(letter + self.world.period(month).replace("-", ""), np.arange(1, count + 1), 7)

    def _times(self, month: int, count: int, rng: np.random.Generator) -> np.ndarray:
        return self.world.times(month, count, rng) - _UTC_OFFSET

    def _contacts(self, month: int) -> pl.DataFrame:
        rng = self.world.rng("contacts", month)
        who = np.concatenate([self._drawn(month, 0.10, rng), self._drawn(month, 0.04, rng)])
        count = len(who)
        return pl.DataFrame(
            {
                "id": self._keys("T", month, count),
                "customer": self.world.ids(who),
                "logged_at": _clock(self._times(month, count, rng)),
                "channel": labels(rng.choice(len(CHANNELS), count, p=[0.33, 0.33, 0.16, 0.09, 0.04, 0.05]), CHANNELS),
                "topic": labels(rng.integers(0, len(CONTACT_TOPICS), count), CONTACT_TOPICS),
                "direction": labels((rng.random(count) < 0.82).astype(np.int64), ["out", "in"]),
            }
        )

    def _complaints(self, month: int) -> pl.DataFrame:
        """Complaints opened in the month as they stand at its end, then older ones whose state changed."""
        world, rng = self.world, self.world.rng("complaints", month)
        serial = np.where(np.arange(world.n) * 7_919 % 1_000 == 1, 0.7, 0.0)
        who = self._drawn(month, 0.012, rng, serial)
        count = len(who)
        opened = self._times(month, count, rng)
        closed = opened + rng.integers(3_600, 60 * 86_400, count).astype("timedelta64[s]")
        # Some complain from another number than their own: serial complainants always from one of a few.
        borrowed = np.where(serial[who] > 0, who // 4_000 * 4_000, np.where(rng.random(count) < 0.05, (who + 17) % world.n, who))
        fresh = pl.DataFrame(
            {
                "id": self._keys("K", month, count),
                "customer": world.ids(who),
                "opened": instants(opened),
                "closes": instants(closed),
                "topic": labels(rng.choice(4, count, p=[0.35, 0.3, 0.2, 0.15]), COMPLAINT_TOPICS),
                "channel": labels(rng.choice(len(CHANNELS), count, p=[0.5, 0.2, 0.15, 0.1, 0.03, 0.02]), CHANNELS),
                "from_number": world.numbers.gather(borrowed),
            }
        )
        known = fresh if self._open is None else pl.concat([fresh, self._open])
        now = world.month_end(month).astype("datetime64[s]") + _DAY - _UTC_OFFSET
        is_closed = pl.col("closes") < pl.lit(instants(np.array([now]))[0])
        self._open = known.filter(~is_closed)
        answered = (pl.lit(instants(np.array([now]))[0]) - pl.col("opened")) > pl.duration(days=7)
        state = pl.when(is_closed).then(pl.lit("closed")).when(answered).then(pl.lit("answered")).otherwise(pl.lit("open"))
        return known.select(
            "id",
            "customer",
            _clock(known["opened"]).alias("opened"),
            pl.when(is_closed).then(_clock(known["closes"])).alias("closed"),
            "topic",
            state.alias("status"),
            "channel",
            "from_number",
        )

    def _surveys(self, month: int) -> pl.DataFrame:
        rng = self.world.rng("surveys", month)
        who = self._drawn(month, 0.02, rng)
        count = len(who)
        score = np.clip(np.rint(rng.normal(7.6, 1.9, count)), 0, 10).astype(np.int64)
        return pl.DataFrame(
            {
                "id": self._keys("V", month, count),
                "customer": self.world.ids(who),
                "logged_at": _clock(self._times(month, count, rng)),
                "channel": labels(rng.choice(4, count), CHANNELS[:4]),
                "score": score,
            }
        )

    def _visits(self, month: int) -> pl.DataFrame:
        rng = self.world.rng("visits", month)
        who = self._drawn(month, 0.12, rng)
        who = who[self.world.manager[who] >= 0]
        count = len(who)
        return pl.DataFrame(
            {
                "id": self._keys("W", month, count),
                "customer": self.world.ids(who),
                "staff": self.world.staff_ids(self.world.manager[who]),
                "logged_at": _clock(self._times(month, count, rng)),
                "purpose": labels(rng.integers(0, 4, count), ["courtesy", "renewal", "complaint", "offer"]),
                "outcome": labels(rng.integers(0, 3, count), ["agreed", "to_follow_up", "nobody_met"]),
            }
        )

    def _measures(self, month: int) -> pl.DataFrame:
        world, rng = self.world, self.world.rng("staff_measures", month)
        staff = np.repeat(np.arange(world.staff_count), len(MEASURES))
        level = world.rng("staff").normal(76, 9, world.staff_count)[staff]
        score = np.clip(level + rng.normal(0, 5, len(staff)), 0, 100)
        return pl.DataFrame(
            {
                "staff": world.staff_ids(staff),
                "month": [world.period(month)] * len(staff),
                "measure": labels(np.tile(np.arange(len(MEASURES)), world.staff_count), MEASURES),
                "score": decimals(np.rint(score * 100).astype(np.int64), 2).cast(pl.String),
            }
        )


def _clock(times: np.ndarray | pl.Series) -> pl.Series:
    column = times if isinstance(times, pl.Series) else instants(times)
    return column.dt.strftime("%Y-%m-%d %H:%M:%S")
