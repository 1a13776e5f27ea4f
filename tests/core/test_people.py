"""One person is one person in whatever letters, and Python, the gate and dbt say so alike."""

from __future__ import annotations

import re
import sys
import unicodedata
from itertools import product

import duckdb
import jinja2
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.people import same_person, same_person_sql
from tests.support import PROJECT_ROOT

# Each row is one person; no two rows are.
PEOPLE = [
    ["policy.owner", "Policy.Owner ", "POLICY .OWNER", "ｐｏｌｉｃｙ．ｏｗｎｅｒ", "ＰＯＬＩＣＹ．owner", "policy\u3000.\u00a0owner", "\ufeffpolicy.\u200bowner\u00ad", "policy\n.\towner\x0b",
     "policy.owner\u202c", "\u2066policy\u2069.owner", "p\u034fo\u115f\u1160licy\u3164.o\ufe0fwner\U000e0041", "\0policy.owner\uffa0", "policy\u061c.\u206aowner"],
    ["policy.owner2", "policy.owner２"],
    ["José", "Jose\u0301", "JOSE\u034f\u0301", "ｊｏｓｅ\u0301", "ＪＯＳＥ\u200d\u0301"],
    ["jose"],
    ["policy-owner", "ｐｏｌｉｃｙ－ｏｗｎｅｒ"],
    ["王伟", "王 伟", "王\u3000伟", "\u2003王伟\u2028"],
    ["王偉"],
    ["ΣΟΦΊΑ ΠΑΠΠΆΣ", "Σοφία Παππάσ", "σοφίαπαππάσ"],
    # Not in any letters: a ligature, a circled digit and a letter of another script are other characters.
    ["ﬁona"], ["fiona"], ["agent①"], ["agent1"], ["раul"], ["paul"],
    ["İpek", "ipek"], ["ıpek"], ["Straße", "straße", "STRAẞE"], ["strasse"], ["O'Neil", "o'neil"], ["back\\slash"], ["", " ", "\u200b\u3000"],
]  # fmt: skip


def macro(one: str, other: str) -> str:
    """What dbt makes of the macro."""
    text = (PROJECT_ROOT / "dbt_project" / "macros" / "people.sql").read_text(encoding="utf-8")
    rendered = jinja2.Environment(extensions=["jinja2.ext.do"]).from_string(text + f'{{{{ is_same_person("{one}", "{other}") }}}}').render()
    return rendered.strip(" \n")


def test_dbt_and_the_gate_ask_in_the_same_words() -> None:
    assert macro("a.approver_id", "a.requester_id") == same_person_sql("a.approver_id", "a.requester_id")


def test_python_and_sql_agree_on_odd_names() -> None:
    names = [(number, name) for number, spellings in enumerate(PEOPLE) for name in spellings]
    pairs = [(a, b, n == m) for (n, a), (m, b) in product(names, repeat=2)]
    with duckdb.connect() as con:
        con.execute("create table pairs (a varchar, b varchar, place integer)")
        con.executemany("insert into pairs values (?, ?, ?)", [(a, b, place) for place, (a, b, _) in enumerate(pairs)])
        asked = [row[0] for row in con.execute(f"select {same_person_sql('a', 'b')} from pairs order by place").fetchall()]
    for (a, b, expected), of_sql in zip(pairs, asked, strict=True):
        assert (same_person(a, b), of_sql) == (expected, expected), (a, b)


def said_by_sql(pairs: list[tuple[str, str]]) -> list[bool]:
    """What SQL says of each pair."""
    with duckdb.connect() as con:
        con.execute("create table pairs as select unnest(?) as pair", [[list(pair) for pair in pairs]])
        return [row[0] for row in con.execute(f"select {same_person_sql('pair[1]', 'pair[2]')} from pairs").fetchall()]


def test_python_and_sql_agree_on_every_character() -> None:
    letters = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) not in ("Cs", "Co", "Cn")]
    seen = said_by_sql([(f"o{letter}k", "ok") for letter in letters])
    assert [f"U+{ord(c):04X}" for c, of_sql in zip(letters, seen, strict=True) if same_person(f"o{c}k", "ok") != of_sql] == []
    unseen = {c for c, of_sql in zip(letters, seen, strict=True) if of_sql}
    nobody_sees = {
        c for c in letters if unicodedata.category(c) in ("Cf", "Zs", "Zl", "Zp", "Cc") or "VARIATION SELECTOR" in unicodedata.name(c, "")
    }
    assert unseen >= nobody_sees | set("\u034f\u115f\u1160\u3164\uffa0")
    assert {unicodedata.category(c) for c in unseen - nobody_sees} == {"Mn", "Lo", "So"}, "no letter that is read, but fillers and joiners"
    assert len(unseen - nobody_sees) < 12

    spelled = [
        (letter, other) for letter in letters for other in {unicodedata.normalize("NFD", letter), letter.upper(), letter.lower()} - {letter}
    ]
    differ = [pair for pair, of_sql in zip(spelled, said_by_sql(spelled), strict=True) if same_person(*pair) != of_sql]
    assert differ == []
    assert [c for c in letters if not same_person(c, unicodedata.normalize("NFD", c))] == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cn", "Co"], exclude_characters="\0"), min_size=1, max_size=8),
        min_size=1,
        max_size=40,
    )
)
def test_a_name_in_capitals_and_wide_letters_is_the_same_in_both(names: list[str]) -> None:
    spelled = [(name, "\u3000".join(chr(ord(c) + 0xFEE0) if re.match(r"[A-Za-z0-9._@-]", c) else c for c in name)) for name in names]
    with duckdb.connect() as con:
        con.execute("create table pairs (a varchar, b varchar)")
        con.executemany("insert into pairs values (?, ?)", spelled)
        different = con.execute(f"select a, b from pairs where not ({same_person_sql('a', 'b')})").fetchall()
    assert (different, [pair for pair in spelled if not same_person(*pair)]) == ([], [])


def test_no_name_is_not_known() -> None:
    with duckdb.connect() as con:
        assert con.execute(f"select {same_person_sql('null', repr('a'))}").fetchall() == [(None,)]
