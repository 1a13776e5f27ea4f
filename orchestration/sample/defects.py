"""The defects that are planted in the drops, as a table: what, in which source, in which month, how many rows.

A planted row is an extra row: a copy of a good one with a key of its own and one thing wrong, so that the company's own
figures stay whole and the count of bad rows is exact. Only a truncated last line takes a good row away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

BROKEN_MARK = "@@BROKEN@@"
"""Stands for bytes that are no text in any encoding until the file's bytes are made."""
CUT_MARK = "@@CUT@@"
"""Stands where a row ends too early."""


@dataclass(frozen=True)
class Planting:
    """One kind of defect in one monthly file.

    ``column`` gets ``value``; ``key`` (when given) gets a suffix that makes the row a row of its own; without ``value``
    the column is made negative. ``only`` (column, value) limits which rows may be copied.
    """

    kind: str
    reason: str
    source: str
    entity: str
    month: int
    column: str = ""
    value: str | None = None
    key: str | None = None
    only: tuple[str, str] | None = None
    share: float = 0.003
    most: int = 25

    def rows(self, height: int) -> int:
        """How many rows a file of ``height`` rows gets."""
        if self.kind == "truncated_last_line":
            return 1
        return min(self.most, max(1, int(height * self.share)))

    def plant(self, frame: pl.DataFrame, rows: int, rng: np.random.Generator) -> pl.DataFrame:
        """``frame`` with ``rows`` more rows, each after the row that it was copied from."""
        fit = np.arange(frame.height)
        if self.only is not None:
            fit = np.flatnonzero((frame[self.only[0]] == self.only[1]).fill_null(False).to_numpy())
        chosen = np.sort(rng.choice(fit, rows, replace=False))
        if self.value is not None and frame.schema[self.column] != pl.String:
            frame = frame.with_columns(_as_text(frame[self.column]))
        bad = frame[chosen]
        if self.key is not None:
            bad = bad.with_columns(pl.col(self.key).cast(pl.String) + pl.Series([f"X{n}" for n in range(rows)]))
        if self.kind == "negative_amount":
            bad = bad.with_columns((-(pl.col(self.column).abs()) - pl.lit("0.01").cast(pl.Decimal(18, 4))).cast(frame.schema[self.column]))
        elif self.value is not None:
            bad = bad.with_columns(pl.lit(self.value).alias(self.column))
        place = np.concatenate([np.arange(frame.height) * 2, chosen * 2 + 1])
        return pl.concat([frame, bad])[np.argsort(place, kind="stable")]


def _as_text(column: pl.Series) -> pl.Series:
    if column.dtype == pl.Datetime:
        return column.dt.strftime("%Y-%m-%d %H:%M:%S")
    return column.cast(pl.String)


PLANTINGS: tuple[Planting, ...] = (
    Planting("bad_date", "bad_timestamp", "billing_old", "bill_lines", 1, "出账时间", "2026-02-30 09:00:00", "流水号"),
    Planting("broken_encoding", "broken_encoding", "billing_old", "bill_lines", 2, "产品", BROKEN_MARK, "流水号"),
    Planting("wrong_currency", "wrong_currency", "billing_old", "bill_lines", 3, "币种", "USD", "流水号"),
    Planting("negative_amount", "negative_amount", "billing_old", "bill_lines", 4, "金额", None, "流水号", ("单据类型", "账单")),
    Planting("duplicate_key", "duplicate_key", "billing_old", "bill_lines", 5),
    Planting("unknown_customer", "unknown_reference", "billing_new", "bill_lines", 1, "customer_no", "C99999999", "line_key"),
    Planting("wrong_currency", "wrong_currency", "billing_new", "bill_lines", 2, "currency", "HKD", "line_key"),
    Planting("negative_amount", "negative_amount", "billing_new", "bill_lines", 3, "amount_net", None, "line_key", ("doc_type", "bill")),
    Planting("duplicate_key", "duplicate_key", "billing_new", "bill_lines", 4),
    Planting("bad_date", "bad_date", "crm", "customers", 0, "EFF_DATE", "2025-02-30"),
    Planting("duplicate_key", "duplicate_key", "crm", "lines", 0),
    Planting("bad_date", "bad_date", "crm", "subscriptions", 0, "START_DATE", "31/01/2025", "SUB_ID"),
    Planting("broken_encoding", "broken_encoding", "crm", "subscriptions", 1, "PRODUCT", BROKEN_MARK, "SUB_ID"),
    Planting("missing_column", "missing_column", "finance", "payments", 1, "currency", CUT_MARK, "receipt_no"),
    Planting("wrong_currency", "wrong_currency", "finance", "payments", 2, "currency", "EUR", "receipt_no"),
    Planting("bad_date", "bad_date", "finance", "payments", 3, "due", "20250231", "receipt_no"),
    Planting("unknown_customer", "unknown_reference", "service", "service_contacts", 2, "customer", "C99999997", "id"),
    Planting("truncated_last_line", "truncated_row", "service", "service_contacts", 3),
    Planting("truncated_last_line", "truncated_row", "marketing", "campaign_targets", 2),
    Planting("unknown_customer", "unknown_reference", "service", "complaints", 4, "customer", "C99999996", "id"),
)


def plantings_for(source: str, entity: str, month: int, months: int) -> list[Planting]:
    """What is planted in this month's file; a sample of few months gets later plantings in its early months."""
    return [p for p in PLANTINGS if p.source == source and p.entity == entity and p.month % months == month]
