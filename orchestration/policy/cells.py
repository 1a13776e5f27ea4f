"""Typed values from the cells of a seed, as spreadsheets save them.

What a spreadsheet does to a value is undone only where one reading is possible; anything else is refused with what to write
instead. Nothing here knows seeds or programs.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal

ID = re.compile(r"[a-z][a-z0-9_]{0,62}")
WINDOW = re.compile(r"(previous_)?(\d+)m|ytd|last_year|total", re.ASCII)
MAX_WINDOW_MONTHS = 60
MONEY_SCALE = 4
NULL_WORD = "(null)"
SPEND_WORD = "(spend)"
# As an input method for Chinese writes the bar.
WIDE_BAR = "\uff5c"

# Digits are those of ASCII: what Python calls a digit besides is no way to write an amount.
_PLAIN = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)
_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+\.\d+|[+-]?\d{1,3}(,\d{3}){2,}|[+-]?\d{1,3}( \d{3})+(\.\d+)?", re.ASCII)
# Thousands as one locale writes them, three decimals as another does. Nobody writes a group of thousands after a zero.
_POINT_GROUP = re.compile(r"([+-]?[1-9]\d{0,2})\.(\d{3})", re.ASCII)
_COMMA_GROUP = re.compile(r"([+-]?[1-9]\d{0,2}),(\d{3})", re.ASCII)
_PERIOD = re.compile(r"\d{4}-(0[1-9]|1[0-2])", re.ASCII)
_SPREADSHEET_ERROR = re.compile(r"#(REF!|N/A|VALUE!|NAME\?|DIV/0!|NUM!|NULL!)|#{3,}")
# Marks of the byte order, of joins and of the direction of writing, as text from a web page brings them.
_INVISIBLE = dict.fromkeys(
    map(ord, "\ufeff\u200b\u200c\u200d\u2060\u00ad\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
)


class CellProblem(ValueError):
    """A cell that cannot be read: what is wrong, and what to write."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def shown_bounds(low: int | Decimal | None, high: int | Decimal | None) -> str:
    """``a number from 0 to 10``, as a remedy says it; one of the two may be open."""
    least, most = ("" if bound is None else f"{Decimal(bound):f}" for bound in (low, high))
    if least and most:
        return f"a number from {least} to {most}"
    return f"a number of at least {least}" if least else f"a number of at most {most}"


def beyond(value: int | Decimal, low: int | Decimal | None, high: int | Decimal | None) -> str:
    """``below`` or ``above`` where a number is out of its bounds, else nothing."""
    return "below" if low is not None and value < low else "above" if high is not None and value > high else ""


def tidy(raw: str) -> str:
    """The cell without the blanks and invisible characters around it; control characters and spreadsheet errors are refused."""
    text = raw.translate(_INVISIBLE).replace("\u00a0", " ").strip().strip("\u3000").strip()
    if any(unicodedata.category(c) == "Cc" for c in text):
        raise CellProblem("holds a line break or another control character", "write the text in one line")
    if _SPREADSHEET_ERROR.fullmatch(text):
        raise CellProblem(f"{text!r} is a spreadsheet's error, not a value", "mend the formula or write the value itself")
    return text


# Full-width letters, digits and signs, the minus of typesetting, and the blanks that stand between groups of digits.
_NARROW: dict[int, int | str] = {**{0xFF01 + n: 0x21 + n for n in range(94)}, 0x2212: "-", 0x3000: " ", 0x2009: " ", 0x202F: " "}


def narrow(text: str) -> str:
    """Full-width characters as their ASCII forms, and nothing else: a superscript or a circled digit is no digit of a number."""
    return text.translate(_NARROW)


def _either(whole: str, thousandths: str) -> str:
    """How to write what may be thousands or a number with three decimals."""
    decimals = f"{whole}.{thousandths}0" if thousandths.strip("0") else whole
    return f"write {whole}{thousandths} or {decimals}"


def parse_decimal(text: str, point_may_group: bool = False) -> Decimal:
    """A decimal number with at most MONEY_SCALE places; ``1,000.00``, ``1 000`` and full-width digits are read.

    ``point_may_group``: whoever wrote it may separate thousands by points, so that ``15.000`` has two readings.
    """
    shown = repr(text)
    plain = narrow(text)
    if _GROUPED.fullmatch(plain):
        plain = plain.replace(",", "").replace(" ", "")
    if point_may_group and (found := _POINT_GROUP.fullmatch(plain)):
        raise CellProblem(f"{shown} may have a point between thousands or three decimals", _either(found[1], found[2]))
    if not _PLAIN.fullmatch(plain):
        if found := _COMMA_GROUP.fullmatch(plain):
            raise CellProblem(f"{shown} may be a decimal comma or a thousands separator", _either(found[1], found[2]))
        if re.fullmatch(r"[+-]?\d+,\d+", plain, re.ASCII):
            raise CellProblem(f"{shown} has a decimal comma", f"write {plain.replace(',', '.')}")
        if re.fullmatch(r"[+-]?\d[\d ]*(\.\d+)?", plain, re.ASCII):
            raise CellProblem(f"{shown} has a blank that does not part groups of three digits", "write the digits without blanks")
        # A unit may stand apart from its number.
        plain = plain.replace(" ", "")
        if re.search(r"\d[eE][+-]?\d", plain):
            raise CellProblem(f"{shown} is in scientific notation, as a spreadsheet shortens numbers", "write all digits of the number")
        if plain.endswith("%"):
            raise CellProblem(f"{shown} holds a percent sign", "write the number alone, in the unit that the attribute states")
        if re.fullmatch(r"\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?|\d{1,2}-[A-Za-z]{3}|[A-Za-z]{3}-\d{2}|\d+月\d+日", plain):
            raise CellProblem(
                f"{shown} looks like a date that a spreadsheet made of a number", "format the column as text and write the number"
            )
        if re.fullmatch(r"[^\d=]{1,3}[\d.,]+|[\d.,]+[^\d=]{1,3}", plain):
            raise CellProblem(f"{shown} holds a unit or currency sign", "write the number alone")
        raise CellProblem(f"{shown} is not a number", "write digits with a point before decimals, for example 300 or 79.995")
    value = Decimal(plain)
    exponent = value.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > MONEY_SCALE:
        what = f"{shown} has more than {MONEY_SCALE} decimal places"
        raise CellProblem(what, f"round it to {MONEY_SCALE} places: amounts are kept with {MONEY_SCALE}")
    if abs(value) >= Decimal(10) ** (18 - MONEY_SCALE):
        raise CellProblem(f"{shown} is too large", "amounts have at most 14 digits before the point")
    return value.normalize() + 0 if value else Decimal(0)


def parse_integer(text: str) -> int:
    """A whole number; ``15,000.00`` is one."""
    value = parse_decimal(text, point_may_group=True)
    if value != value.to_integral_value():
        raise CellProblem(f"{text!r} is not a whole number", "write a number without decimals")
    return int(value)


def parse_boolean(text: str) -> bool:
    """true or false, as people and spreadsheets write them."""
    word = narrow(text).lower()
    if word in {"true", "yes", "1"}:
        return True
    if word in {"false", "no", "0"}:
        return False
    raise CellProblem(f"{text!r} is neither true nor false", "write true or false")


def _day_number(plain: str) -> date | None:
    """The day that a spreadsheet keeps as a number."""
    return date(1899, 12, 30) + timedelta(days=int(float(plain))) if re.fullmatch(r"[1-9]\d{4}(\.0+)?", plain) else None


def parse_period(text: str) -> str:
    """A calendar month ``2026-06``. What a spreadsheet makes of one is refused with the month it probably was."""
    plain = narrow(text)
    if _PERIOD.fullmatch(plain):
        return plain
    if when := _day_number(plain):
        raise CellProblem(f"{text!r} looks like a spreadsheet's day number", f"write the month as YYYY-MM; perhaps {when:%Y-%m}")
    if found := re.fullmatch(r"(\d{4})[-/.年](\d{1,2})([-/.月]\d{0,2}日?)?", plain):
        month = int(found[2])
        hint = f"; perhaps {found[1]}-{month:02d}" if 1 <= month <= 12 else ""
        raise CellProblem(f"{text!r} is not a period", f"format the column as text and write the month as YYYY-MM{hint}")
    raise CellProblem(f"{text!r} is not a period", "write a calendar month as YYYY-MM, for example 2026-06")


def parse_date(text: str) -> date:
    """A day ``2026-06-30``. Other orders of day and month are refused: they cannot be told apart."""
    plain = narrow(text)
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", plain, re.ASCII):
        try:
            return date.fromisoformat(plain)
        except ValueError as err:
            raise CellProblem(f"{text!r} is no day of the calendar", "write a day that exists, as YYYY-MM-DD") from err
    if when := _day_number(plain):
        raise CellProblem(f"{text!r} looks like a spreadsheet's day number", f"write the day as YYYY-MM-DD; perhaps {when.isoformat()}")
    raise CellProblem(f"{text!r} is not a date", "format the column as text and write the day as YYYY-MM-DD, for example 2026-06-30")


def parse_id(text: str) -> str:
    """A lower-case identifier."""
    if ID.fullmatch(text):
        return text
    guess = re.sub(r"[^a-z0-9]+", "_", unicodedata.normalize("NFKC", text).lower()).strip("_")
    hint = f", for example {guess}" if ID.fullmatch(guess) else ""
    raise CellProblem(f"{text!r} is not a name", f"write lower-case letters, digits and underscores, beginning with a letter{hint}")


def parse_list(text: str) -> tuple[str, ...]:
    """Values joined by ``|``, in order; an empty or repeated one is refused."""
    parts = tuple(part.strip() for part in text.split("|"))
    if any(not part for part in parts):
        raise CellProblem(f"{text!r} holds an empty value", "join values with one | and nothing at the ends")
    twice = sorted(part for part, times in Counter(parts).items() if times > 1)
    if twice:
        raise CellProblem(f"{text!r} names {twice[0]!r} twice", "name each value once")
    return parts


def parse_window(text: str) -> str:
    """A window of metrics: ``6m``, ``previous_6m``, ``ytd``, ``last_year``, ``total``."""
    plain = narrow(text).lower()
    found = WINDOW.fullmatch(plain)
    if not found:
        raise CellProblem(f"{text!r} is no window", "write 6m, previous_6m, ytd, last_year or total")
    if found[2] is not None:
        months = int(found[2])
        if months < 1:
            raise CellProblem("a window of 0 months holds nothing", "write at least 1m")
        if months > MAX_WINDOW_MONTHS:
            raise CellProblem(f"a window of {months} months is too long", f"write at most {MAX_WINDOW_MONTHS}m, or total")
        if found[1] and 2 * months > MAX_WINDOW_MONTHS:
            raise CellProblem(
                f"a window that reaches {2 * months} months back is too long", f"write at most previous_{MAX_WINDOW_MONTHS // 2}m"
            )
        return f"{found[1] or ''}{months}m"
    return plain


OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "in", "not in", "in range", "is null", "is not null")
_SPELLINGS = {"==": "=", "<>": "!=", "≠": "!=", "≤": "<=", "=<": "<=", "≥": ">=", "=>": ">="}


def parse_operator(text: str) -> str:
    """One of :data:`OPERATORS`; spellings with one meaning (``≥``, ``<>``, ``not_in``) are read."""
    word = re.sub(r"[\s_]+", " ", unicodedata.normalize("NFKC", text).lower()).strip()
    for spelling in (word, text.strip()):
        operator = _SPELLINGS.get(spelling, spelling)
        if operator in OPERATORS:
            return operator
    raise CellProblem(f"{text!r} is no operator", f"write one of {', '.join(OPERATORS)}")
