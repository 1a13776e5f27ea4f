"""A wrong mapping is told with file, line, key and what was meant, before anything lands."""

from __future__ import annotations

import re
from typing import Any
from unicodedata import normalize

import duckdb
import pytest
from click.testing import CliRunner

from orchestration.cli.main import main
from orchestration.deployment import PROJECT_ROOT, load_deployment
from orchestration.errors import BadInput
from orchestration.ingest import load_contracts, load_mappings
from orchestration.ingest.expressions import Parser
from tests.ingest.conftest import BILL_HEADER


def refused(company: Any) -> str:
    """The error text; nothing may have landed."""
    with pytest.raises(BadInput) as err:
        company.ingest()
    assert company.kinds() == []
    assert not company.deployment.landing.exists() and not company.deployment.quarantine.exists()
    return str(err.value)


def test_an_unknown_column_of_the_file_is_named_with_the_one_that_was_meant(company: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed["columns"]["net_amount"] = "amont"
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    text = refused(company)
    assert "shop.yaml, line 14" in text and "net_amount" in text and "'amont'" in text and "'amount'" in text


@pytest.mark.parametrize(
    ("header", "written", "words"),
    [
        ("net-amount", "net-amount", """did you mean '"net-amount"'?"""),
        ("Gro\u0308\u00dfe", '"Gr\u00f6\u00dfe"', "the file writes its accents in other characters: copy it from there"),
    ],
)
def test_a_name_that_is_written_otherwise_than_it_looks_is_told(
    company: Any, bills_feed: dict[str, Any], header: str, written: str, words: str
) -> None:
    """The name that was meant looks just like the one that is not there: what is the difference must be said."""
    bills_feed["columns"]["net_amount"] = written
    company.map(bills_feed)
    company.drop("bills_1.csv", f"{BILL_HEADER.replace('amount', header)}\na,d1,c1,2025-01,voice,1,CNY\n")
    assert words in refused(company)


def test_a_key_of_json_lines_that_no_row_has_is_no_way_to_tell_what_a_row_is(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map({**bills_feed, "format": "jsonl", "files": "bills_*.jsonl", "where": "knd = 'voice'"})
    company.drop("bills_1.jsonl", '{"id":"a","doc":"d1","cust":"c1","month":"2025-01","kind":"voice","amount":1,"currency":"CNY"}\n')
    assert "has no column 'knd'" in (text := refused(company)) and "did you mean 'kind'" in text and "key where" in text


def test_an_unknown_column_of_the_contract_and_a_missing_one_are_told_together(company: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed["columns"]["net_amout"] = bills_feed["columns"].pop("net_amount")
    company.map(bills_feed)
    text = refused(company)
    assert "did you mean 'net_amount'" in text and "required columns are not mapped: net_amount" in text


def test_an_unknown_entity_and_an_unknown_key_are_named_with_what_was_meant(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map({**bills_feed, "entity": "bill_line"})
    assert "did you mean 'bill_lines'" in refused(company)
    company.map({**bills_feed, "delimeter": ";"})
    assert "did you mean 'delimiter'" in refused(company)
    company.map({**bills_feed, "control": {"files": "control_*.csv", "columns": {"fil": "f", "rows": "r"}}})
    assert "unknown key 'feeds.0.control.columns.fil'" in (text := refused(company)) and "did you mean 'file'" in text
    company.map({**bills_feed, "unpivot": {"pattern": "x", "nam": "n", "name": "n", "value": "v"}}, {**bills_feed, "formt": "csv"})
    assert "did you mean 'name'" in (text := refused(company)) and "did you mean 'format'" in text, "each of its own level"


def test_a_value_that_yaml_reads_as_no_text_is_told_with_the_line_of_its_feed(
    company: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any]
) -> None:
    company.map({**customers_feed, "columns": {**customers_feed["columns"], "customer_id": "number"}}, bills_feed)
    path = company.folder / "sources" / "shop.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    at = max(n for n, line in enumerate(lines) if "customer_id:" in line)
    lines[at] = lines[at].partition(":")[0] + ": No"
    path.write_text("\n".join(lines), encoding="utf-8")
    text = refused(company)
    assert f"'feeds.1.columns.customer_id' (line {at + 1}): must be text, and YAML reads this as true or false; put it in quotes" in text


def test_a_header_that_was_read_with_another_delimiter_or_encoding_says_so(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    company.drop("bills_1.csv", "id;doc;cust;month;kind;amount;currency\na;d1;c1;2025-01;voice;1;CNY\n")
    assert "is `delimiter` ';'?" in refused(company)
    company.map({**bills_feed, "columns": {**bills_feed["columns"], "net_amount": "金额"}})
    company.drop("bills_1.csv", "id,doc,cust,month,kind,金额,currency\na,d1,c1,2025-01,voice,1,CNY\n", encoding="gb18030")
    assert "its header is no text in utf-8: correct `encoding`" in refused(company)


def test_a_feed_whose_pattern_no_file_has_fitted_is_named_until_one_comes(
    company: Any, bills_feed: dict[str, Any], customers_feed: dict[str, Any]
) -> None:
    company.map({**bills_feed, "files": "bill_*.csv"}, customers_feed)
    company.drop("customers_1.csv", "id,since,name,brand\nc1,2025-01-01,A,\n")
    bills = company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    assert company.ingest().without_files == ["shop bill_lines (bill_*.csv)"]
    company.map(bills_feed, customers_feed)
    assert company.ingest().without_files == []
    bills.unlink()
    assert company.ingest().without_files == [], "what has landed may be taken out of the drops folder"


@pytest.mark.parametrize(
    "expression",
    [
        "amount +",
        "amount; drop table x",
        "(select 1)",
        "(select max(content) from read_text('/etc/passwd'))",
        "read_text('/etc/passwd')",
        "sum(amount)",
        "row_number() over ()",
        "getenv('HOME')",
        "amount from 'x.csv'",
        "*",
        "cast(amount as struct(a int))",
        "amount, doc",
    ],
)
def test_an_expression_that_is_none_or_reads_files_is_refused(company: Any, bills_feed: dict[str, Any], expression: str) -> None:
    bills_feed["columns"]["net_amount"] = expression
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    assert "net_amount" in refused(company)


def test_an_unknown_function_is_told_with_the_page_of_those_there_are() -> None:
    with pytest.raises(BadInput, match="'read_text' may not be used") as error:
        Parser().parse("read_text('/etc/passwd')", "here")
    assert "docs/reference/configuration.md" in error.value.remedy and (PROJECT_ROOT / "docs/reference/configuration.md").is_file()


def test_an_expression_of_the_wrong_type_is_refused_before_landing(company: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed["columns"]["net_amount"] = "cast(amount as decimal(18,4)) * doc || 1 + interval 1 day"
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    assert "net_amount" in refused(company)


def test_a_pattern_that_leaves_the_drops_folder_is_refused(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map({**bills_feed, "files": "../*.csv"})
    assert "leaves the drops folder" in refused(company)


def test_a_column_whose_name_is_a_word_of_sql_needs_no_quotes() -> None:
    assert Parser().parse("at", "here").columns == {"at"}
    assert Parser().parse("流水号", "here").sql == '"流水号"'


def test_a_cast_that_fails_is_bad_and_not_null(company: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed["columns"] |= {"product": "kind", "quantity": "case when kind = '-' then null else round(cast(kind as double) * 2, 3) end"}
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,1.5,1,CNY", "b,d1,c1,2025-01,x,1,CNY")
    company.ingest()
    assert company.in_force("bill_lines", "_key, quantity") == [("a", 3)]
    assert company.quarantine("key, details") == [("b", ["bad_decimal: quantity"])]


@pytest.mark.parametrize(
    "expression",
    [
        "regexp_extract(kind, '(')",
        "case when kind ~ '(' then 'a' end",
        "regexp_replace(kind, '(a)', '\\9')",
        "json_extract_string(kind, '$[')",
        "strftime(cast(month as date), '%Q')",
        "cast(strptime(month, '%Q') as varchar)",
        "cast(timezone('Mars', cast(month as timestamp)) as varchar)",
        "cast(timezone(kind, cast(month as timestamp)) as varchar)",
        "cast(date_part('nope', cast(month as date)) as varchar)",
        "case when kind like 'a' escape 'bb' then 'a' end",
        "lpad(kind, 5, '')",
        "substr(kind, 99999999999)",
    ],
)
def test_a_pattern_format_path_or_zone_that_is_none_is_an_error_of_the_mapping(
    company: Any, bills_feed: dict[str, Any], expression: str
) -> None:
    bills_feed["columns"]["product"] = expression
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    text = refused(company)
    assert "key product" in text and "bills_1.csv" not in text


def test_a_function_that_fails_is_bad_in_its_row_alone_and_not_null(company: Any, customers_feed: dict[str, Any]) -> None:
    customers_feed["columns"] |= {
        "name": "json_extract_string(contact, '$.name')",
        "joined_date": "make_date(cast(substr(born, 1, 4) as integer), cast(substr(born, 5, 2) as integer), cast(substr(born, 7, 2) as integer))",
    }
    company.map(customers_feed)
    rows = [
        "id|since|contact|born|brand",
        'c1|2025-01-01|{"name": "Ann"}|19790228|gotone',
        "c2|2025-01-01|phone 13988887777, Wang Wei|19790228|",
        'c3|2025-01-01|{"phone": 1}|19790231|',
        "c4|2025-01-01|||",
    ]
    customers_feed["delimiter"] = "|"
    company.map(customers_feed)
    company.drop("customers_1.csv", "\n".join(rows) + "\n")
    report = company.ingest()
    assert report.refused == []
    assert company.quarantine("line, details") == [(3, ["bad_value: name"]), (4, ["bad_date: joined_date"])]
    assert company.in_force("customers", "customer_id, cast(joined_date as varchar)") == [("c1", "1979-02-28"), ("c4", None)]
    assert b"13988887777" not in company.deployment.ledger.read_bytes()


@pytest.mark.parametrize("required", [True, False])
def test_a_text_whose_cast_fails_is_bad_even_as_the_key(company: Any, bills_feed: dict[str, Any], required: bool) -> None:
    if not required:
        bills_feed["columns"]["document_id"] = "id"
    bills_feed["columns"]["document_id" if required else "product"] = "cast(doc as bigint)"
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,1,c1,2025-01,voice,1,CNY", "b,d2,c1,2025-01,voice,1,CNY", "c,,c1,2025-01,voice,1,CNY")
    company.ingest()
    assert company.quarantine("key, details") == [
        ("b", [f"bad_value: {'document_id' if required else 'product'}"]),
        *([("c", ["missing_value: document_id"])] if required else []),
    ]
    assert [row[0] for row in company.in_force("bill_lines", "_key", "1")] == (["a"] if required else ["a", "c"])


def test_a_row_of_which_nobody_knows_what_it_is_is_not_left_out(company: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed["where"] = "json_extract_string(kind, '$.kind') = 'bill'"
    company.map({**bills_feed, "delimiter": "|"})
    kinds = ['{""kind"": ""bill""}', '{""kind"": ""call""}', "{}", "no JSON", ""]
    rows = [f'{key}|d1|c1|2025-01|"{kind}"|1|CNY' for key, kind in zip("abcde", kinds, strict=True)]
    company.drop("bills_1.csv", "\n".join(["id|doc|cust|month|kind|amount|currency", *rows]) + "\n")
    report = company.ingest()
    assert (report.landed, report.files[0].not_for_entity) == (1, 3)
    assert company.quarantine("key, details") == [("d", ["bad_value: where"])]


def test_a_row_whose_answer_is_neither_true_nor_false_is_not_left_out(company: Any, bills_feed: dict[str, Any]) -> None:
    bills_feed["where"] = "kind"
    company.map(bills_feed)
    company.bills(
        "bills_1.csv", "a,d1,c1,2025-01,true,1,CNY", "b,d1,c1,2025-01,no,1,CNY", "c,d1,c1,2025-01,,1,CNY", "d,d1,c1,2025-01,bill,1,CNY"
    )
    report = company.ingest()
    assert (report.landed, report.files[0].not_for_entity) == (1, 2)
    assert company.quarantine("key, details") == [("d", ["bad_value: where"])]


def test_an_expression_that_fails_whatever_is_tried_is_told_of_the_mapping_and_not_of_the_file(
    company: Any, bills_feed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Parser, "_try_constants", lambda *_: None)
    bills_feed["columns"]["product"] = "regexp_extract(kind, '(')"
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,c1,2025-01,voice,1,CNY")
    text = refused(company)
    assert "key product" in text and "fails for a row of bills_1.csv" in text


@pytest.mark.parametrize("expression", ["substr(x, 1, 4) || '-'", "regexp_extract(x, '^[a-z]+')", "x ~ 'a'", "lpad(x, 8, '0')"])
def test_what_cannot_fail_costs_no_check(expression: str) -> None:
    assert Parser().parse(expression, "here").raised is None


@pytest.mark.parametrize("expression", ["substr(x, y)", "regexp_extract(x, y)", "x ->> '$.a'", "cast(x as double) * 2"])
def test_what_can_fail_for_a_row_is_checked(expression: str) -> None:
    assert Parser().parse(expression, "here").raised is not None


def test_a_date_is_read_with_the_format_that_the_mapping_says(company: Any, customers_feed: dict[str, Any]) -> None:
    customers_feed["columns"]["valid_from_date"] = "strptime(since, '%d.%m.%Y')"
    company.map(customers_feed)
    company.drop("customers_1.csv", "id,since,name,brand\nc1,31.01.2025,Ann,\nc2,31.02.2025,Bob,\n")
    company.ingest()
    assert company.in_force("customers", "customer_id, cast(valid_from_date as varchar)") == [("c1", "2025-01-31")]
    assert company.quarantine("reasons") == [(["bad_date"],)]


def test_a_text_in_another_form_of_unicode_is_brought_to_the_one_of_the_seeds(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map({**bills_feed, "columns": bills_feed["columns"] | {"charge_type": "nfc_normalize(kind)"}})
    company.bills("bills_1.csv", *(f"{form},d1,c1,2025-01,{normalize(form, 'Mahngebühr')},1,CNY" for form in ("NFC", "NFD")))
    company.ingest()
    assert company.in_force("bill_lines", "distinct charge_type", "1") == [(normalize("NFC", "Mahngebühr"),)]


def test_every_reference_of_a_contract_points_to_a_contract() -> None:
    contracts = load_contracts()
    order = list(contracts)
    for contract in contracts.values():
        assert set(contract.key) <= set(contract.columns)
        for column in contract.columns.values():
            if column.references:
                entity, _, target = column.references.partition(".")
                assert target in contracts[entity].columns
                assert order.index(entity) < order.index(contract.entity)


@pytest.mark.parametrize("example", ["telecom", "online_retail", "complete_journey"])
def test_the_mappings_of_the_examples_are_right(example: str) -> None:
    from orchestration.deployment import PROJECT_ROOT

    assert load_mappings(load_deployment(PROJECT_ROOT / "examples" / example))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"files": ""}, "no pattern"),
        ({"files": "**x.csv"}, "no pattern"),
        ({"files": "bills**/x.csv"}, "no pattern"),
        ({"files": "bills/**"}, "no pattern"),
        ({"files": "../bills_*.csv"}, "leaves the drops folder"),
        ({"control": {"files": "../*.csv", "columns": {"file": "f", "rows": "n"}}}, "leaves the drops folder"),
        ({"delimiter": '"'}, "cannot stand between values"),
        ({"delimiter": "\n"}, "cannot stand between values"),
        ({"delimiter": "\\t"}, "one character; a tab is"),
        ({"delimiter": ""}, "one character"),
        ({"control": {"files": "*.txt", "columns": {"file": "f", "rows": "n"}, "delimiter": ";;"}}, "one character"),
        ({"control": {"files": "*.txt", "columns": {"file": "f", "rows": "n"}, "delimiter": '"'}}, "cannot stand between values"),
    ],
)
def test_a_pattern_or_delimiter_that_cannot_be_is_an_error_of_the_mapping(
    company: Any, bills_feed: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    company.map({**bills_feed, **change})
    with pytest.raises(BadInput, match=words) as error:
        company.ingest()
    assert "shop.yaml" in error.value.where


@pytest.mark.parametrize(
    ("entity", "column", "words"), [("bill_lines", "cost_amount", "those of net_amount"), ("points", "points", "not added up")]
)
def test_an_amount_that_no_control_total_can_be_compared_with_is_an_error_of_the_mapping(
    company: Any, bills_feed: dict[str, Any], entity: str, column: str, words: str
) -> None:
    control = {"files": "control_*.csv", "columns": {"file": "f", "rows": "n", "amount": "a"}, "amount_column": column}
    points = {"customer_id": "c", "period": "p", "points_type": "'base'", "points": "n"}
    company.map({**bills_feed, "entity": entity, "control": control} | ({"columns": points} if entity == "points" else {}))
    assert words in (text := refused(company)) and "key amount_column" in text


def test_a_key_that_stands_twice_is_named_with_its_line(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    file = company.folder / "sources" / "shop.yaml"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line * 2 if "document_id:" in line else line for line in lines))
    with pytest.raises(BadInput, match="'document_id' stands twice") as error:
        company.ingest()
    assert "line" in error.value.where


def test_what_the_guide_says_of_other_files_is_so() -> None:
    page = (PROJECT_ROOT / "docs" / "files-of-other-systems.md").read_text(encoding="utf-8")
    table = page.split("## Values")[1].split("\n\n")[1].splitlines()[2:]
    assert len(table) == 13
    for line in table:
        holds, column, expression, gives = (cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1])
        parsed = Parser().parse(expression.strip("`"), "here")
        text = holds.split("`")[1]
        with duckdb.connect() as con:
            con.execute("set TimeZone = 'UTC'")
            [(value,)] = con.execute(
                f'select cast({parsed.sql} as varchar) from (select $text as "{column.strip("`")}")', {"text": text}
            ).fetchall()
        assert value.removesuffix(" 00:00:00") == gives


def test_the_sample_company_is_not_made_among_the_drops_of_another(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    said = CliRunner().invoke(main, ["demo", "--customers", "10", "-d", str(company.deployment.folder)])
    assert said.exit_code == 2 and "no mapping of this deployment reads the sample company's files" in said.output
    assert list(company.drops.iterdir()) == []
