"""Whether two names are of one person: the one rule for who approves and who asked, in Python and as SQL.

dbt's macro ``is_same_person`` holds the same SQL, because dbt cannot call Python; a test compares the two texts and what they say
of every character.
"""

from __future__ import annotations

import re
import string
import unicodedata

# Characters that nobody sees, as code points from and to: blanks of every width, controls, format characters, variation selectors, fillers
# and joiners. Written out, because what Unicode calls so differs between Python and DuckDB, and from version to version.
_UNSEEN = (
    *((0x0, 0x20), (0x7F, 0xA0), (0xAD, 0xAD), (0x34F, 0x34F), (0x600, 0x605), (0x61C, 0x61C), (0x6DD, 0x6DD), (0x70F, 0x70F)),
    *((0x890, 0x891), (0x8E2, 0x8E2), (0x115F, 0x1160), (0x1680, 0x1680), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2000, 0x200F)),
    *((0x2028, 0x202F), (0x205F, 0x206F), (0x2800, 0x2800), (0x3000, 0x3000), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF)),
    *((0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB), (0x110BD, 0x110BD), (0x110CD, 0x110CD), (0x13430, 0x1343F), (0x1BCA0, 0x1BCA3)),
    *((0x1D173, 0x1D17A), (0xE0000, 0xE0FFF)),
)
_UNSEEN_LETTERS = re.compile(f"[{''.join(f'{re.escape(chr(first))}-{re.escape(chr(last))}' for first, last in _UNSEEN)}]")
_UNSEEN_SQL = "".join(rf"\x{{{first:X}}}" + (rf"-\x{{{last:X}}}" if last > first else "") for first, last in _UNSEEN)
_PLAIN = f"{string.ascii_letters}{string.digits}.-_@"
# As an input method for Chinese writes them.
_WIDE = "".join(chr(ord(letter) + 0xFEE0) for letter in _PLAIN)
_TABLE = str.maketrans(_WIDE, _PLAIN)


def same_person(one: str, other: str) -> bool:
    """Whether two names are of one person, whatever their case, their width, their blanks and how their accents are encoded."""
    return _bare(one) == _bare(other)


def _bare(name: str) -> str:
    # Composed before the case is taken, which some accents change, and after it, which some letters without a capital need.
    composed = unicodedata.normalize("NFC", _UNSEEN_LETTERS.sub("", name).translate(_TABLE))
    # Letter by letter, as SQL lowers: of a word Python would write a Greek sigma by its place.
    return unicodedata.normalize("NFC", "".join(letter.lower()[0] for letter in composed))


def same_person_sql(one: str, other: str) -> str:
    """As :func:`same_person`, over two SQL expressions; null where one is null."""
    return f"{_bare_sql(one)} = {_bare_sql(other)}"


def _bare_sql(name: str) -> str:
    plain = f"translate(regexp_replace({name}, '[{_UNSEEN_SQL}]', '', 'g'), '{_WIDE}', '{_PLAIN}')"
    return f"nfc_normalize(lower(nfc_normalize({plain})))"
