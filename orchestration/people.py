"""Whether two names are of one person: the one rule for who approves and who asked, in Python and as SQL.

dbt's macro ``is_same_person`` holds the same SQL, because dbt cannot call Python; a test compares the two texts and what they say
of odd names.
"""

from __future__ import annotations

_PLAIN = "abcdefghijklmnopqrstuvwxyz0123456789.-_@"
# As an input method for Chinese writes them.
_WIDE = "".join(chr(ord(letter) + 0xFEE0) for letter in _PLAIN)
# Blanks of every width, and characters that nobody sees.
_BLANKS = (
    "\t\n\x0b\x0c\r \x85\xa0\xad\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u200c\u200d"
    "\u200e\u200f\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
)
_TABLE = str.maketrans(_WIDE, _PLAIN, _BLANKS)


def same_person(one: str, other: str) -> bool:
    """Whether two names are of one person, whatever their case, their width and their blanks."""
    return _bare(one) == _bare(other)


def _bare(name: str) -> str:
    # Letter by letter, as SQL lowers: of a word Python would write a Greek sigma by its place.
    return "".join(letter.lower()[0] for letter in name).translate(_TABLE)


def same_person_sql(one: str, other: str) -> str:
    """As :func:`same_person`, over two SQL expressions; null where one is null."""
    return f"{_bare_sql(one)} = {_bare_sql(other)}"


def _bare_sql(name: str) -> str:
    # A letter that has no counterpart is left out.
    return f"translate(lower({name}), '{_WIDE}{_BLANKS}', '{_PLAIN}')"
