"""SQL expressions in mappings: parsed, checked and made safe before any row is read.

An expression may use the columns of its file, constants, casts, CASE, comparisons and the functions listed here. It
cannot read files or tables, aggregate, or look at other rows. A cast that fails gives null, and the failure is known:
see :attr:`Expression.failed`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb

from orchestration.errors import BadInput
from orchestration.ingest.names import in_one_form
from orchestration.sqltext import quoted


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Functions that cannot raise an error for any value.
_SAFE = _words(
    """
    || ~~ !~~ ~~* !~~* ~~~ lower upper trim ltrim rtrim left right length strlen
    replace concat concat_ws reverse split_part contains starts_with prefix ends_with suffix strip_accents translate nfc_normalize
    md5 sha256 greatest least ifnull nullif if try_strptime year month day last_day pseudonym instr strpos position
    """
)
# Functions that can: an expression with one of these is evaluated under TRY, where an error gives null.
_RAISING = _words(
    """
    + - * / // % mod round floor ceil ceiling trunc sign abs strftime date_part date_trunc make_date make_timestamp to_timestamp epoch_ms
    timezone to_years to_months to_weeks to_days to_hours to_minutes to_seconds to_milliseconds to_microseconds
    like_escape not_like_escape substr substring lpad rpad regexp_matches regexp_replace regexp_extract regexp_full_match
    json_extract_string ->>
    """
)
# Of these the position of the value; they cannot raise if all their other arguments are constants, once those are tried.
_SAFE_WITH_CONSTANTS = {
    **dict.fromkeys(("substr", "substring", "lpad", "rpad", "like_escape", "not_like_escape"), 0),
    **dict.fromkeys(("regexp_matches", "regexp_replace", "regexp_extract", "regexp_full_match"), 0),
    "date_part": 1,
}
# What stands for the argument that is no constant when a function is tried: TRY does not catch what is wrong with a constant.
_SAMPLES = {
    **dict.fromkeys(("regexp_matches", "regexp_replace", "regexp_extract", "regexp_full_match"), "'x'"),
    **dict.fromkeys(("like_escape", "not_like_escape", "strptime", "try_strptime"), "'x'"),
    **dict.fromkeys(("substr", "substring", "lpad", "rpad"), "'x'"),
    **dict.fromkeys(("timezone", "date_part", "date_trunc", "strftime"), "timestamp '2000-01-01'"),
    **dict.fromkeys(("json_extract_string", "->>"), "'{}'"),
}
# Functions that fail for a whole file, under TRY too, where this argument is not what it should be: it must be a constant.
_CONSTANT = {"timezone": 0, "like_escape": 2, "not_like_escape": 2}
FUNCTIONS = _SAFE | _RAISING | {"strptime"}
_TYPES = _words(
    """
    varchar text string char bpchar integer int int4 bigint int8 long smallint tinyint hugeint double float8 real float decimal numeric
    date timestamp datetime timestamptz time boolean bool logical interval
    """
) | {"timestamp with time zone"}
_WORD = re.compile(r"^[^\W\d]\w*$")
_CLASSES = frozenset({"COLUMN_REF", "CONSTANT", "CAST", "CASE", "COMPARISON", "CONJUNCTION", "OPERATOR", "BETWEEN", "FUNCTION", "TYPE"})


@dataclass(frozen=True)
class Expression:
    """A checked expression.

    ``sql`` gives null where a cast or a function fails. ``columns`` are the file's columns it reads. ``failed`` are SQL
    predicates, one per cast, true where that cast had something to cast and failed, and one, ``raised``, for the functions.
    ``column`` is set if it is a bare column.
    """

    sql: str
    columns: frozenset[str]
    failed: list[str] = field(default_factory=list)
    column: str | None = None
    raised: str | None = None


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: what was probably meant, else what there is."""
    names = list(known)
    folded = {candidate.lower(): candidate for candidate in names}
    near = difflib.get_close_matches(name.lower(), list(folded), n=1)
    return f"did you mean {folded[near[0]]!r}?" if near else f"there are: {', '.join(names[:40])}{', …' if len(names) > 40 else ''}"


def nearest_column(name: str, header: Iterable[str]) -> str:
    """A hint for a name that no column of a file has: another one, as an expression writes it."""
    names = list(header)
    if any(in_one_form(column.lower()) == in_one_form(name.lower()) for column in names):
        return "the file writes its accents in other characters: copy it from there"
    shown = [column if _WORD.match(column) else quoted(column) for column in names]
    # Without its quotes net-amount is one column less another.
    part = next((column for column in shown if column.startswith('"') and name.lower() in re.split(r"\W+", column.lower())), None)
    return f"did you mean {part!r}?" if part else nearest(name, shown)


def _children(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        for value in node.values():
            yield from _nodes_in(value)


def _nodes_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "class" in value:
            yield value
        else:
            for inner in value.values():
                yield from _nodes_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes_in(inner)


# What was found sound, by its text: a run reads the mappings four times, and most expressions are one of a few names of columns.
_parsed: dict[str, Expression] = {}


class Parser:
    """Checks expressions with DuckDB's own parser, on a connection that is not used for anything else."""

    def __init__(self) -> None:
        self._con = duckdb.connect(config={"enable_external_access": "false"})

    def parse(self, text: str, where: str) -> Expression:
        """Check ``text``; BadInput naming ``where`` if it is no single expression or uses what is not allowed."""
        if text not in _parsed:
            _parsed[text] = self._parse(text, where)
        return _parsed[text]

    def _parse(self, text: str, where: str) -> Expression:
        tree = self._tree(text, where)
        columns: set[str] = set()
        casts: list[dict[str, Any]] = []
        raising = self._check(tree, where, columns, casts)
        failed: list[str] = []
        raised = None
        for node in casts:
            operand = node["child"] if node["class"] == "CAST" else node["arguments"][0]["expression"]
            if operand["class"] == "CONSTANT":
                continue
            source = self._text(operand)
            wrapped = f"try({source})" if raising else source
            failed.append(f"(nullif(trim(cast({wrapped} as varchar)), '') is not null and {self._text(node)} is null)")
        sql = self._text(tree)
        if raising:
            # Of a function that failed nothing is known, not even whether it is null. Looked at where the result is null alone.
            raised = f"(case when try({sql}) is null then try(({sql}) is null) is null else false end)"
            failed.append(raised)
        return Expression(
            sql=f"try({sql})" if raising else sql,
            columns=frozenset(columns),
            failed=failed,
            column=tree["column_names"][0] if tree["class"] == "COLUMN_REF" else None,
            raised=raised,
        )

    def _tree(self, text: str, where: str) -> dict[str, Any]:
        remedy = "write one SQL expression over the file's columns; docs/files-of-other-systems.md shows examples"
        # A bare word is a column, even one that SQL keeps for itself (at, order, year).
        if _WORD.match(text) and text.lower() not in ("true", "false", "null"):
            text = quoted(text)
        parsed = json.loads(self._con.execute("select json_serialize_sql(?::varchar)", [f"select {text}\n"]).fetchall()[0][0])
        if parsed.get("error"):
            raise BadInput(f"{text!r} is no SQL expression: {parsed.get('error_message')}", where, remedy)
        statements = parsed["statements"]
        node = statements[0]["node"] if len(statements) == 1 else {}
        clauses = ("where_clause", "having", "qualify", "sample", "group_expressions", "modifiers")
        if (
            node.get("type") != "SELECT_NODE"
            or node["from_table"]["type"] != "EMPTY"
            or node["cte_map"]["map"]
            or len(node["select_list"]) != 1
            or any(node.get(clause) for clause in clauses)
        ):
            raise BadInput(f"{text!r} is more than one expression", where, remedy)
        tree: dict[str, Any] = node["select_list"][0]
        tree["alias"] = ""
        return tree

    def _check(self, node: dict[str, Any], where: str, columns: set[str], casts: list[dict[str, Any]]) -> bool:
        kind = node["class"]
        if kind not in _CLASSES:
            raise BadInput(
                f"a mapping expression may not contain {'a subquery' if kind == 'SUBQUERY' else kind.lower()}",
                where,
                "use the file's columns, constants, casts, CASE and scalar functions only",
            )
        raising = False
        if kind == "COLUMN_REF":
            if len(node["column_names"]) != 1:
                raise BadInput(
                    f"{'.'.join(node['column_names'])!r} is no column of the file",
                    where,
                    "write the column's name alone; quote it if it holds a dot",
                )
            columns.add(node["column_names"][0])
        elif kind == "TYPE":
            if node["type_name"].lower() not in _TYPES:
                raise BadInput(f"type {node['type_name']!r} is not known here", where, nearest(node["type_name"], sorted(_TYPES)))
            return False
        elif kind == "CAST":
            node["try_cast"] = True
            casts.append(node)
        elif kind == "FUNCTION":
            name = node["function_name"].lower()
            if name not in FUNCTIONS or node["schema"] or node["catalog"]:
                raise BadInput(
                    f"function {node['function_name']!r} may not be used in a mapping",
                    where,
                    f"{nearest(name, sorted(f for f in FUNCTIONS if f[0].isalpha()))} (docs/reference/configuration.md lists all)",
                )
            if name in ("strptime", "try_strptime"):
                node["function_name"] = "try_strptime"
                node["qualified_name"] = {"path": ["try_strptime"]}
                casts.append(node)
            self._try_constants(node, name, where)
            raising = name in _RAISING and not (
                name in _SAFE_WITH_CONSTANTS
                and all(
                    argument["expression"]["class"] == "CONSTANT" or place == _SAFE_WITH_CONSTANTS[name]
                    for place, argument in enumerate(node["arguments"])
                )
            )
        for child in _children(node):
            raising = self._check(child, where, columns, casts) or raising
        return raising

    def _try_constants(self, node: dict[str, Any], name: str, where: str) -> None:
        """BadInput if a pattern, format, path or zone that is a constant is none."""
        arguments = [argument["expression"] for argument in node["arguments"]]
        texts = [self._text(argument) if argument["class"] == "CONSTANT" else None for argument in arguments]
        if name in _CONSTANT and len(texts) > _CONSTANT[name] and texts[_CONSTANT[name]] is None:
            raise BadInput(f"argument {_CONSTANT[name] + 1} of {name} must be a constant", where, "write it as text in quotes")
        if name not in _SAMPLES or not any(texts) or len(texts) < 2:
            return
        values = [text or _SAMPLES[name] for text in texts]
        call = f"{values[0]} ->> {values[1]}" if name == "->>" else f"{node['function_name']}({', '.join(values)})"
        try:
            self._con.execute(f"select {call}").fetchall()
        except (
            duckdb.InvalidInputException,
            duckdb.NotImplementedException,
            duckdb.SyntaxException,
            duckdb.ConversionException,
            duckdb.OutOfRangeException,
        ) as err:
            raise BadInput(f"{self._text(node)} cannot be evaluated: {str(err).splitlines()[0]}", where, "correct the constant") from err
        except duckdb.Error as err:
            # What does not fit the sample's type may fit the file's, which is looked at later; a path of JSON has no other class.
            if "JSON path" in str(err):
                raise BadInput(f"{self._text(node)} cannot be evaluated: {str(err).splitlines()[0]}", where, "correct the path") from err

    def _text(self, node: dict[str, Any]) -> str:
        tree = json.loads(self._con.execute("select json_serialize_sql('select 1')").fetchall()[0][0])
        tree["statements"][0]["node"]["select_list"] = [node]
        sql = self._con.execute("select json_deserialize_sql(?::json)", [json.dumps(tree)]).fetchall()[0][0]
        return str(sql).removeprefix("SELECT ").removesuffix(";")
