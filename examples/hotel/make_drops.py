"""Make the drops of the example hotel: some 160 receptions with their requests for a grade, January to June 2026.

python examples/hotel/make_drops.py [--out FOLDER]

The same call gives the same bytes. Notices R9001 and up are made by hand: each stands on an edge of the rules.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np

RECEPTIONS = 150
MONTHS = [f"2026-{month:02d}" for month in range(1, 7)]
FIRST, LAST = date(2026, 1, 1), date(2026, 6, 30)
TITLES = ("国家元首", "部长", "总裁", "总监", "经理", "其他", "")
STANDINGS = ("知名人士", "长住客", "常客", "普通", "")
SALES, OFFICE = ("S01", "S02", "S03", "S04"), ("G01", "G02")
GUESTS = ("王敏", "李华", "Anna Berg", "陈兰", "John Carter", "赵波", "Sato Ken")

Row = dict[str, Any]


def make(folder: Path, seed: int = 9) -> list[Path]:
    """Write all drops into ``folder`` (made if need be); the paths written."""
    notices, requests = _drawn(np.random.default_rng(seed))
    for rows, more in zip((notices, requests), _by_hand(), strict=True):
        rows += more
    written = []
    for month in MONTHS:
        written.append(_csv(folder / "sales" / f"notices_{month}.csv", [row for row in notices if row["填写日期"][:7] == month], "gb18030"))
        written.append(_csv(folder / "office" / f"requests_{month}.csv", list(_told_in(month, requests)), "utf-8"))
    return written


def _told_in(month: str, requests: Iterable[Row]) -> Iterable[Row]:
    """Requests made or answered in a month, as the office knew them at its end."""
    for row in requests:
        asked, answered = row["asked_on"][:7], row["approved_on"][:7]
        if month == answered:
            yield row
        elif month == asked:
            yield row | {"approved_by": "", "approved_on": ""}


def _drawn(rng: np.random.Generator) -> tuple[list[Row], list[Row]]:
    notices: list[Row] = []
    requests: list[Row] = []
    for number in range(1, RECEPTIONS + 1):
        name = f"R{number:04d}"
        noted = FIRST + timedelta(days=int(rng.integers(0, 168)))
        arrives = _clock(noted + timedelta(days=int(rng.integers(2, 21))), int(rng.integers(0, 96)) * 15)
        title = str(rng.choice(TITLES, p=[0.03, 0.07, 0.15, 0.2, 0.25, 0.2, 0.1]))
        standing = str(rng.choice(STANDINGS, p=[0.08, 0.1, 0.25, 0.42, 0.15]))
        room = "" if rng.random() < 0.5 else f"{rng.integers(8, 28)}{rng.integers(1, 19):02d}"
        sales = str(rng.choice(SALES))
        notices.append(_notice(name, noted, arrives, title, standing, sales, room, guest=GUESTS[number % len(GUESTS)]))
        if rng.random() < 0.25:  # the guest comes on another day, and by now has a room
            changed = noted + timedelta(days=1)
            arrives += timedelta(days=int(rng.integers(-1, 6)), minutes=45)
            notices.append(_notice(name, changed, arrives, title, standing, sales, room or "1808", guest=GUESTS[number % len(GUESTS)]))
        if rng.random() < 0.7:
            backed = title in TITLES[:2] or standing == STANDINGS[0]
            grade = str(rng.choice(["VVIP", "A", "B", "C"], p=[0.6, 0.3, 0.1, 0.0] if backed else [0.07, 0.28, 0.4, 0.25]))
            answer = str(rng.choice(["approved", "open", "self"], p=[0.75, 0.15, 0.1]))
            approver = {"approved": str(rng.choice(OFFICE)), "open": "", "self": sales}[answer]
            approved = noted + timedelta(days=int(rng.integers(0, 15))) if approver else None
            requests.append(_request(f"A{number:04d}", name, grade, sales, noted, approver, approved))
    for row in requests:
        if row["approved_on"] > LAST.isoformat():
            row |= {"approved_by": "", "approved_on": ""}
    return [row for row in notices if row["填写日期"] <= LAST.isoformat()], requests


def _by_hand() -> tuple[list[Row], list[Row]]:
    """Receptions on the edges: what each is about stands behind it."""
    notices: list[Row] = []
    requests: list[Row] = []

    def notice(number: int, noted: str, arrives: str, title: str = "", standing: str = "") -> None:
        notices.append(_notice(f"R{number}", date.fromisoformat(noted), datetime.fromisoformat(arrives), title, standing, SALES[0], "2601"))

    def request(
        number: int, grade: str, by: str = "", on: str = "", *, asked: str = "2026-03-01", until: str = "2026-12-31", name: str = ""
    ) -> None:
        approved = date.fromisoformat(on) if on else None
        row = _request(name or f"A{number}", f"R{number}", grade, SALES[0], date.fromisoformat(asked), by, approved)
        requests.append(row | {"valid_to": until})

    notice(9001, "2026-02-10", "2026-03-01 00:30", "国家元首")  # half past midnight on the first: still February in UTC
    request(9001, "VVIP", OFFICE[0], "2026-02-12", asked="2026-02-10")
    notice(9002, "2026-02-10", "2026-02-28 23:45", "总监")  # a quarter of an hour before the month ends
    request(9002, "B", OFFICE[0], "2026-02-12", asked="2026-02-10")
    notice(9003, "2026-03-01", "2026-03-12 15:00", "部长")  # who asked approved it: only the title counts
    request(9003, "VVIP", SALES[0], "2026-03-02")
    notice(9004, "2026-03-01", "2026-03-12 15:00", "", "知名人士")  # asked for, never approved
    request(9004, "VVIP")
    notice(9005, "2026-03-01", "2026-03-20 15:00", "经理")  # approved on the last day of the month, after the guest had come
    request(9005, "B", OFFICE[0], "2026-03-31")
    notice(9006, "2026-03-01", "2026-03-20 15:00", "经理")  # approved a day later: too late
    request(9006, "B", OFFICE[0], "2026-04-01")
    notice(9007, "2026-03-01", "2026-03-12 15:00", "总监", "普通")  # VVIP approved for a guest whose title does not back it
    request(9007, "VVIP", OFFICE[0], "2026-03-02")
    notice(9008, "2026-03-01", "2026-03-12 15:00", "经理")  # the approval had ended before the month began
    request(9008, "A", OFFICE[0], "2026-02-02", asked="2026-02-01", until="2026-02-28")
    notice(9009, "2026-03-01", "2026-03-12 15:00")  # neither title nor standing, but C approved
    request(9009, "C", OFFICE[0], "2026-03-02")
    notice(9010, "2026-03-10", "2026-03-30 15:00", "总裁")  # announced for March, and before its end …
    notice(9010, "2026-03-28", "2026-04-02 15:00", "总裁")  # … moved to April: graded in April alone
    notice(9011, "2026-03-01", "2026-03-12 15:00", "总裁")  # A approved by the office, VVIP by who asked for it
    request(9011, "A", OFFICE[0], "2026-03-02")
    request(9011, "VVIP", SALES[0], "2026-03-02", name="A9011-2")
    notice(9012, "2026-03-01", "2026-03-12 15:00")  # nothing is known and nothing asked
    notice(9013, "2026-03-05", "2026-03-31 18:00", "经理")  # on the day of the arrival, the month's last, …
    notice(9013, "2026-03-31", "2026-03-31 18:00", "部长")  # … the guest turns out to be a minister
    return notices, requests


def _notice(
    name: str, noted: date, arrives: datetime, title: str, standing: str, sales: str, room: str = "", *, guest: str = "某先生"
) -> Row:
    leaves = arrives.replace(hour=12, minute=0) + timedelta(days=2)
    return {
        "单号": name,
        "填写日期": noted.isoformat(),
        "抵店时间": arrives.strftime("%Y-%m-%d %H:%M"),
        "离店时间": leaves.strftime("%Y-%m-%d %H:%M"),
        "宾客姓名": guest,
        "职务": title,
        "身份": standing,
        "人数": 1 + int(name[1:]) % 4,
        "房号": room,
        "填写人": sales,
    }


def _request(name: str, notice: str, grade: str, sales: str, asked: date, approver: str, approved: date | None) -> Row:
    return {
        "request_no": name,
        "notice_no": notice,
        "grade_asked": grade,
        "reason": "title or standing of the guest",
        "requested_by": sales,
        "asked_on": asked.isoformat(),
        "approved_by": approver,
        "approved_on": approved.isoformat() if approved else "",
        "valid_from": asked.isoformat(),
        "valid_to": "2026-12-31",
    }


def _clock(day: date, minutes: int) -> datetime:
    return datetime.combine(day, time()) + timedelta(minutes=minutes)


def _csv(path: Path, rows: list[Row], encoding: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the drops of the example hotel.")
    parser.add_argument("--out", type=Path, default=Path("var/hotel/drops"), help="folder for the drops")
    for file in make(parser.parse_args().out):
        print(file)
