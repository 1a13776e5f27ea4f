"""Names of drops: by what control totals and promises know a file, and which files a pattern names.

An accented letter may be one sign or a letter with an accent behind it; systems write the same name in one way or the other.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path


def in_one_form(name: str) -> str:
    """A name as it is compared: every letter with its accent as one sign."""
    return unicodedata.normalize("NFC", name)


def base_name(file: str) -> str:
    """Name of a drop without its folders, as it is compared."""
    return in_one_form(file.rpartition("/")[2])


def matching(folder: Path, pattern: str) -> set[Path]:
    """The files under ``folder`` that a pattern names, however their accents are written."""
    forms = {pattern, in_one_form(pattern), unicodedata.normalize("NFD", pattern)}
    return {path for form in forms for path in folder.glob(form)}
