"""Bill lines of both billing systems, with what real billing does: late bills, credit notes, corrections, control totals."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from orchestration.periods import period_index
from orchestration.sample.drops import OLD_BILLING, PARQUET, PLAIN_CSV, Drops, Format, Written, total_units
from orchestration.sample.world import IOT, PLAN_PRICE, World, decimals, instants, labels, numbered, where

CHARGES = (
    *("monthly_fee", "voice", "data", "sms", "roaming", "value_added"),
    *("device_instalment", "deposit", "third_party", "penalty", "top_up"),
)
CHARGES_ZH = ("月租费", "语音费", "流量费", "短信费", "漫游费", "增值业务费", "终端分期", "押金", "代收费", "滞纳金", "充值")
FEE, VOICE, DATA, SMS, ROAMING, VALUE_ADDED, INSTALMENT, DEPOSIT, THIRD_PARTY, PENALTY, TOP_UP = range(11)
# Columns of a bill: the charges above on the main number, then fee and data of a second and a third number.
_COLUMN_CHARGE = np.array([*range(11), FEE, DATA, FEE])
_COLUMN_LINE = np.array([0] * 11 + [1, 1, 2])
PRODUCTS = ("plan", "calls", "traffic", "messages", "abroad", "extras", "handset", "deposit", "partner", "late_fee", "top_up")
PRODUCTS_ZH = ("套餐", "通话", "流量", "短信", "国际漫游", "增值包", "合约机", "押金", "合作业务", "滞纳金", "充值")
KINDS = ("bill", "credit_note", "adjustment")
KINDS_ZH = ("账单", "冲红", "调账")
BILL, CREDIT_NOTE, ADJUSTMENT = range(3)
_EXTRAS = np.array([5, 6, 10, 15, 20, 30]) * 10_000
_INSTALMENTS = np.array([60, 99, 125, 166, 208, 291]) * 10_000


@dataclass
class Rows:
    """Bill lines before they take a system's form; arrays of one length. Amounts in ten-thousandths of a yuan."""

    customer: np.ndarray
    line: np.ndarray
    charge: np.ndarray
    units: np.ndarray
    bill_month: np.ndarray
    kind: np.ndarray
    refers_month: np.ndarray
    """Month of the bill a credit note refers to; the bill's own month on other rows."""

    @classmethod
    def join(cls, parts: list[Rows]) -> Rows:
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    def take(self, chosen: np.ndarray) -> Rows:
        return Rows(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


@dataclass
class Billing:
    """Writes both systems month by month; late bills and credit notes wait here for the month in which they arrive."""

    world: World
    drops: Drops
    _late: Rows | None = None
    _credits: dict[int, list[Rows]] = field(default_factory=dict)

    entities = frozenset({"bill_lines"})

    def month(self, month: int) -> None:
        """Write the month's bill lines of both systems and their control totals."""
        rows = self._month_rows(month)
        old = self.world.on_old_billing[rows.customer] & (month < self.world.migration_month[rows.customer])
        self._write_old(rows.take(np.flatnonzero(old)), month)
        self._write_new(rows.take(np.flatnonzero(~old)), month)

    def _month_rows(self, month: int) -> Rows:
        rows, total, customers = self._bills(month)
        rng = self.world.rng("bill_events", month)
        arrives_late = rng.random(self.world.n) < 0.003
        late = arrives_late[rows.customer]
        parts = [rows.take(np.flatnonzero(~late))]
        if self._late is not None:
            parts.append(self._late)
            self.drops.truth.count("late_rows", len(self._late.units))
        self._late = rows.take(np.flatnonzero(late))
        parts += self._credits.pop(month, [])
        parts.append(self._adjustments(month, customers, rng))
        self._note_credits(month, total, customers[~arrives_late[customers]], rng)
        joined = Rows.join(parts)
        return joined.take(np.argsort(joined.customer, kind="stable"))

    def _bills(self, month: int) -> tuple[Rows, np.ndarray, np.ndarray]:
        """The month's bills, each customer's total (units) and who has a bill."""
        world, rng = self.world, self.world.rng("bills", month)
        # A few customers in service have no bill in a month: nothing was used, or the line rested.
        customers = np.flatnonzero(world.uses(month) & (rng.random(world.n, dtype=np.float32) > 0.012))
        n = len(customers)
        worth = world.spend(month)[customers] * 10_000
        fee = np.rint(PLAN_PRICE[world.plan(month)[customers]] / 1.06 * 100) * 100
        rest = np.maximum(worth - fee, worth * 0.04)
        is_iot = world.segment[customers] == IOT
        voice_share = rng.random(n, dtype=np.float32)
        holiday = period_index(world.period(month)) % 12 in (0, 1, 6, 7, 9)
        units = np.zeros((n, len(_COLUMN_CHARGE)), dtype=np.int64)
        billed = np.zeros(units.shape, dtype=np.bool_)

        def charge(column: int, likely: float, amount: np.ndarray) -> None:
            billed[:, column] = (rng.random(n, dtype=np.float32) < likely) & ~is_iot
            units[:, column] = amount

        charge(FEE, 1.0, fee)
        billed[:, FEE] = True
        charge(VOICE, 0.80, rest * voice_share * 0.9)
        charge(DATA, 0.93, rest * (1 - voice_share) * 0.9)
        charge(SMS, 0.32, rng.integers(1, 60, n) * 943)
        charge(ROAMING, 0.09 if holiday else 0.04, rest * 0.3 + 120_000)
        charge(VALUE_ADDED, 0.56, _EXTRAS[rng.integers(0, len(_EXTRAS), n)])
        instalment = _INSTALMENTS[world.base_amount[customers].astype(np.int64) % len(_INSTALMENTS)]
        charge(INSTALMENT, 1.0, instalment)
        billed[:, INSTALMENT] &= (customers * 31 + month) % 97 < 17
        charge(DEPOSIT, 0.004, np.full(n, 1_000_000))
        charge(THIRD_PARTY, 0.20, rng.integers(100, 9_000, n) * 100)
        charge(PENALTY, 0.25, rest * 0.02 + 5_000)
        billed[:, PENALTY] &= world.is_late_payer[customers]
        charge(TOP_UP, 0.08, rng.integers(1, 11, n) * 100_000)
        second, third = world.second_line[customers], world.third_line[customers]
        charge(11, 1.0, np.full(n, 179_200))
        billed[:, 11] &= self._line_active(second, month)
        charge(12, 0.5, rest * 0.1)
        billed[:, 12] &= billed[:, 11]
        charge(13, 1.0, np.full(n, 179_200))
        billed[:, 13] &= self._line_active(third, month)
        units[billed & (units == 0)] = 1
        row, column = np.nonzero(billed)
        lines = np.stack([customers, np.maximum(second, 0), np.maximum(third, 0)])
        months = np.full(len(row), month)
        rows = Rows(
            customer=customers[row],
            line=lines[_COLUMN_LINE[column], row],
            charge=_COLUMN_CHARGE[column],
            units=units[row, column],
            bill_month=months,
            kind=np.zeros(len(row), dtype=np.int64),
            refers_month=months,
        )
        totals = np.zeros(world.n, dtype=np.int64)
        totals[customers] = (units * billed).sum(axis=1)
        return rows, totals, customers

    def _line_active(self, line: np.ndarray, month: int) -> np.ndarray:
        started = self.world.line_start_month[line] <= month
        return np.asarray((line >= 0) & started & (month <= self.world.line_end_month[line]))

    def _adjustments(self, month: int, customers: np.ndarray, rng: np.random.Generator) -> Rows:
        chosen = customers[rng.random(len(customers)) < 0.001]
        months = np.full(len(chosen), month)
        amount = rng.integers(-2_000, 500, len(chosen)) * 100
        return Rows(chosen, chosen, np.full(len(chosen), VOICE), amount, months, np.full(len(chosen), ADJUSTMENT), months)

    def _note_credits(self, month: int, total: np.ndarray, customers: np.ndarray, rng: np.random.Generator) -> None:
        """Decide which of this month's bills get a credit note, and when it comes: one to three months later."""
        chosen = customers[rng.random(len(customers)) < 0.004]
        delay = rng.integers(1, 4, len(chosen))
        # Every tenth is above its bill, so that a small company has some, too.
        share = np.where(np.arange(len(chosen)) % 10 == 0, 1.2, rng.uniform(0.05, 0.6, len(chosen)))
        amount = -np.maximum((total[chosen] * share).astype(np.int64), 100)
        for wait in (1, 2, 3):
            rows = np.flatnonzero(delay == wait)
            months = np.full(len(rows), month + wait)
            kind = np.full(len(rows), CREDIT_NOTE)
            note = Rows(chosen[rows], chosen[rows], np.full(len(rows), VOICE), amount[rows], months, kind, np.full(len(rows), month))
            self._credits.setdefault(month + wait, []).append(note)
            if month + wait < self.world.months:
                self.drops.truth.count("credit_notes", len(rows))
                self.drops.truth.count("credit_notes_above_their_bill", int((share[rows] > 1).sum()))

    def _documents(self, rows: Rows) -> tuple[pl.Series, pl.Series]:
        """Document numbers, which begin with the period (202601-00001234), and those that credit notes refer to."""
        letter = np.array(["", "C", "A"])[rows.kind]
        refers = self._numbers_of_bills(rows.refers_month, rows.customer)
        own = pl.select(self._numbers_of_bills(rows.bill_month, rows.customer) + pl.Series(letter)).to_series()
        return own, where(rows.kind == CREDIT_NOTE, refers)

    def _numbers_of_bills(self, month: np.ndarray, customer: np.ndarray) -> pl.Series:
        month_text = self._months(month, "")
        return pl.select(pl.concat_str(month_text.cast(pl.String), pl.lit("-"), numbered("", customer + 1, 8))).to_series()

    def _months(self, month: np.ndarray, dash: str) -> pl.Series:
        """Month numbers as text, 202601 or 2026-01 by ``dash``."""
        first = int(month.min()) if len(month) else 0
        last = int(month.max()) if len(month) else 0
        return labels(month - first, [self.world.period(m).replace("-", dash) for m in range(first, last + 1)])

    def _keys(self, month: int, count: int, prefix: str) -> pl.Series:
        """Line keys that grow with time: the period, then a serial number."""
        serial = int(self.world.period(month).replace("-", "")) * 10**9 + np.arange(1, count + 1)
        keys = pl.Series(serial).cast(pl.String)
        return pl.select(pl.lit(prefix) + keys).to_series() if prefix else keys

    def _billed_at(self, month: int, count: int) -> pl.Series:
        """Times of the billing run, in the night after the month's end, a second for every 5,000 lines."""
        start = self.world.day(month + 1, 1).astype("datetime64[s]") + np.timedelta64(2 * 3600, "s")
        return instants(start + (np.arange(count) // 5_000).astype("timedelta64[s]"))

    def _quantity(self, rows: Rows) -> pl.Series:
        """Minutes, megabytes or messages of use; null for fees."""
        is_use = np.isin(rows.charge, (VOICE, DATA, SMS)) & (rows.kind == BILL)
        return where(is_use, decimals(np.abs(rows.units) // 2, 3))

    def _write_old(self, rows: Rows, month: int) -> None:
        count = len(rows.units)
        document, refers = self._documents(rows)
        frame = pl.DataFrame(
            {
                "流水号": self._keys(month, count, ""),
                "账单号": document,
                "号码": self.world.numbers.gather(rows.line),
                "账期": self._months(rows.bill_month, ""),
                "出账时间": self._billed_at(month, count),
                "费用类型": labels(rows.charge, CHARGES_ZH),
                "产品": labels(rows.charge, PRODUCTS_ZH),
                "数量": self._quantity(rows),
                "金额": decimals(rows.units, 4),
                "币种": labels(np.zeros(count, dtype=np.int64), ["人民币"]),
                "单据类型": labels(rows.kind, KINDS_ZH),
                "原账单号": refers,
            }
        )
        stem = f"billing_old/bill_lines_{self.world.period(month)}"
        if self.drops.defects and month == self.world.months // 2 and count > 100:
            cut, sent = self._send_cut_then_whole(stem, frame, month)
            files = [(cut, sent, ""), (sent, sent, cut.name)]
        else:
            sent = self._sent(stem, frame, OLD_BILLING, month)
            files = [(sent, sent, "")]
        control = [[_base(file.name), whole.frame.height, total_units(whole.frame["金额"]), _base(again)] for file, whole, again in files]
        totals = _text_frame(["文件名", "行数", "金额合计", "替代文件"], control)
        self.drops.write_control(f"billing_old/control_{self.world.period(month)}", totals, OLD_BILLING)

    def _sent(self, stem: str, frame: pl.DataFrame, form: Format, month: int) -> Written:
        sent = self.drops.write("bill_lines", stem, frame, form, month=month, even_if_empty=True)
        assert sent is not None
        return sent

    def _send_cut_then_whole(self, stem: str, frame: pl.DataFrame, month: int) -> tuple[Written, Written]:
        """A transfer that broke off, and the file as it should have come: the control totals speak of the whole file."""
        cut = self.drops.write_cut("bill_lines", stem, frame.head(int(frame.height * 0.9)), OLD_BILLING)
        whole = self._sent(stem + "_r1", frame, OLD_BILLING, month)
        truth = self.drops.truth
        truth.add_defects("truncated_last_line", "truncated_row", cut.name, 1)
        truth.add_defects("control_total", "control_total", cut.name, 1)
        truth.events["control_total"] = {
            "file": cut.name,
            "rows_in_file": cut.frame.height,
            "rows_promised": whole.frame.height,
            "mended_by": whole.name,
            "period": self.world.period(month),
        }
        return cut, whole

    def _write_new(self, rows: Rows, month: int) -> None:
        count = len(rows.units)
        document, refers = self._documents(rows)
        refers_month = self._months(rows.refers_month, "-")
        cost = np.abs(rows.units) * (30 + rows.charge * 4) // 100 * np.sign(rows.units)
        frame = pl.DataFrame(
            {
                "line_key": self._keys(month, count, "N"),
                "bill_no": document,
                "customer_no": self.world.ids(rows.customer),
                "billing_month": self._months(rows.bill_month, "-"),
                "billed_at": self._billed_at(month, count),
                "charge_type": labels(rows.charge, CHARGES),
                "product": labels(rows.charge, PRODUCTS),
                "quantity": self._quantity(rows),
                "amount_net": decimals(rows.units, 4),
                "direct_cost": decimals(cost, 4),
                "currency": labels(np.zeros(count, dtype=np.int64), ["CNY"]),
                "doc_type": labels(rows.kind, KINDS),
                "ref_bill_no": refers,
                "ref_month": where(rows.kind == CREDIT_NOTE, refers_month),
            }
        )
        stem = f"billing_new/bill_lines_{self.world.period(month)}"
        sent = [self._sent(stem, frame, PARQUET, month)]
        if month == max(1, self.world.months - 4) and month < self.world.months:
            sent += self._correct(stem, frame, month)
        if month == min(5, self.world.months - 1):
            self.drops.copy(sent[0].name, f"{stem}_resent.parquet")
            self.drops.truth.events["resent_file"] = {"file": f"{stem}_resent.parquet", "same_as": sent[0].name}
        control = [[_base(file.name), file.frame.height, total_units(file.frame["amount_net"]), ""] for file in sent]
        totals = _text_frame(["file_name", "row_count", "amount_total", "replaces"], control)
        self.drops.write_control(f"billing_new/control_{self.world.period(month)}", totals, PLAIN_CSV)

    def _correct(self, stem: str, frame: pl.DataFrame, month: int) -> list[Written]:
        """A file with the same keys and new amounts; its first line also moves to the month before."""
        bills = frame.filter((pl.col("doc_type") == "bill") & (pl.col("billing_month") == self.world.period(month)))
        if bills.is_empty():
            return []
        chosen = np.sort(self.world.rng("correction").choice(bills.height, min(bills.height, max(3, bills.height // 1000)), replace=False))
        fixed = bills[chosen]
        periods = np.zeros(len(chosen), dtype=np.int64)
        periods[0] = 1
        units = fixed["amount_net"].cast(pl.String).str.replace(".", "", literal=True).cast(pl.Int64).to_numpy() * 9 // 10 + 1
        fixed = fixed.with_columns(
            decimals(units, 4).alias("amount_net"),
            labels(periods, [self.world.period(month), self.world.period(month - 1)]).alias("billing_month"),
        )
        self.drops.truth.events["corrected_file"] = {
            "file": f"{stem}_c1.parquet",
            "corrects": f"{stem}.parquet",
            "rows": len(chosen),
            "moved_line": fixed["line_key"][0],
            "moved_from": self.world.period(month),
            "moved_to": self.world.period(month - 1),
        }
        written = self.drops.write("bill_lines", stem + "_c1", fixed, PARQUET, month=-1)
        return [written] if written else []


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _text_frame(columns: list[str], rows: list[list[object]]) -> pl.DataFrame:
    return pl.DataFrame([[str(value) for value in row] for row in rows], schema=columns, orient="row")
