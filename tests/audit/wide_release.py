"""A deployment with every method and type of subject and one released period: real ingest, decisions from the compiled policies.

The tables that dbt would build are made here in a few lines from the same landed rows; the compiler is the real one. Customers c1 to
c8 spend 100, 200, … a month; c9 has never had a bill, and c10 belongs to a test line.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from orchestration.deployment import PROJECT_ROOT, Deployment, load_deployment
from orchestration.ingest import ingest
from orchestration.ingest.contracts import load_contracts
from orchestration.ingest.parts import landed_parts, superseded_files
from orchestration.ledger import Ledger
from orchestration.periods import period_index, periods_between
from orchestration.policy import Policies, compile_policies, load_policies
from orchestration.policy.sql import PLACEHOLDERS
from tests.support import write_policy_files

PERIOD = "2026-06"
RELEASE = "2026-06.r1"
LAST_DAY = date(2026, 6, 30)
YEAR = periods_between("2025-07", PERIOD)

# Programs that the default seeds do not have, one of each further method.
PROGRAMS: dict[str, list[dict[str, Any]]] = {
    "programs": [
        {"program_id": "size_growth", "name_en": "Size and growth", "name_zh": "规模与增长", "subject_type": "customer", "method": "grid", "hit_policy": "priority"},
        {"program_id": "accredited", "name_en": "Accreditation", "name_zh": "优质客户认定", "subject_type": "customer", "method": "eligibility", "hit_policy": "first", "clock": "event", "event_entity": "applications"},
        {"program_id": "reception", "name_en": "Reception grade", "name_zh": "接待等级", "subject_type": "reception", "method": "nomination", "hit_policy": "first", "clock": "event", "event_entity": "receptions"},
        {"program_id": "relation", "name_en": "Relation", "name_zh": "客户关系", "subject_type": "prospect", "method": "decision_table", "hit_policy": "unique"},
        {"program_id": "wealth", "name_en": "Wealth", "name_zh": "财富", "subject_type": "customer", "method": "weighted_score", "hit_policy": "first"},
    ],
    "levels": [
        *({"program_id": "size_growth", "level_id": n, "rank": r, "name_en": e, "name_zh": z} for n, r, e, z in [("a1", 3, "A1", "甲一"), ("mixed", 2, "Mixed", "其余"), ("c3", 1, "C3", "丙三")]),
        *({"program_id": "accredited", "level_id": n, "rank": r, "name_en": e, "name_zh": z} for n, r, e, z in [("quality", 2, "Quality", "优质"), ("open", 1, "Open", "未认定")]),
        *({"program_id": "reception", "level_id": n, "rank": r, "name_en": e, "name_zh": z} for n, r, e, z in [("vvip", 2, "VVIP", "贵宾"), ("usual", 1, "Usual", "常规")]),
        *({"program_id": "relation", "level_id": n, "rank": r, "name_en": e, "name_zh": z} for n, r, e, z in [("near", 2, "Near", "临近"), ("far", 1, "Far", "较远")]),
        *({"program_id": "wealth", "level_id": n, "rank": r, "name_en": e, "name_zh": z} for n, r, e, z in [("rich", 2, "Rich", "富裕"), ("plain", 1, "Plain", "普通")]),
    ],
    "policy_versions": [
        {"program_id": p, "version": "v1", "valid_from_period": "2020-01", "author": "a.author", "approver": "b.approver", "approved_on": "2019-12-16"}
        for p in ("size_growth", "accredited", "reception", "relation", "wealth")
    ],
    "attributes": [
        {"attribute_id": "size_band", "subject_type": "customer", "kind": "band", "type": "category", "of_attributes": "spend_12m", "may_be_null": "true", "name_en": "Size", "name_zh": "规模"},
        {"attribute_id": "growth_band", "subject_type": "customer", "kind": "band", "type": "category", "of_attributes": "spend_growth", "may_be_null": "true", "name_en": "Growth", "name_zh": "增长"},
        {"attribute_id": "application_state", "subject_type": "customer", "kind": "application", "type": "category", "entity": "applications", "may_be_null": "true", "name_en": "Application", "name_zh": "申请状态"},
        {"attribute_id": "reception_nominated", "subject_type": "reception", "kind": "nomination", "type": "level", "entity": "nominations", "may_be_null": "true", "name_en": "Approved notice", "name_zh": "获批通知"},
        {"attribute_id": "closeness", "subject_type": "prospect", "kind": "column", "type": "category", "entity": "prospects", "column_name": "closeness", "may_be_null": "true", "name_en": "Closeness", "name_zh": "成交距离"},
        {"attribute_id": "months_known", "subject_type": "prospect", "kind": "months_since", "type": "integer", "unit": "months", "entity": "prospects", "column_name": "first_contact_date", "may_be_null": "true", "name_en": "Months known", "name_zh": "结识月数"},
        {"attribute_id": "asset_amount", "subject_type": "customer", "kind": "column", "type": "decimal", "unit": "currency", "entity": "financial_positions", "column_name": "asset_amount", "may_be_null": "true", "name_en": "Assets", "name_zh": "资产"},
        {"attribute_id": "wealth_points", "subject_type": "customer", "kind": "score", "type": "decimal", "unit": "points", "may_be_null": "true", "name_en": "Wealth score", "name_zh": "财富得分"},
    ],
    "score_dimensions": [
        {"program_id": "wealth", "version": "v1", "attribute_id": "wealth_points", "dimension_id": d, "dimension_group": "wealth", "of_attribute": a, "scaling": "min_max", "weight": "50", "low": "0", "high": "10000", "missing": "zero", "name_en": e, "name_zh": z}
        for d, a, e, z in [("assets", "asset_amount", "Assets", "资产"), ("spend", "spend_12m", "Spend", "消费")]
    ],
    "bands": [
        {"program_id": "size_growth", "version": "v1", "attribute_id": a, "band_id": b, "band_order": o, "below": u, "name_en": e, "name_zh": z}
        for a, b, o, u, e, z in [("size_band", "small", 1, "3000", "Small", "小"), ("size_band", "large", 2, "", "Large", "大"), ("growth_band", "falls", 1, "100", "Falls", "下降"), ("growth_band", "grows", 2, "", "Grows", "增长")]
    ],
    "decision_rules": [
        {"program_id": p, "version": "v1", "rule_id": r, "rule_order": o, "level_id": n, "description_en": e, "description_zh": z}
        for p, r, o, n, e, z in [
            ("size_growth", "large_grows", 10, "a1", "Large and growing", "规模大且增长"),
            ("size_growth", "small_falls", 20, "c3", "Small and falling", "规模小且下降"),
            ("size_growth", "the_rest", 30, "c3", "Growth not known", "增长未知"),
            ("size_growth", "any_other", 40, "mixed", "One of both", "两者之一"),
            ("accredited", "approved", 10, "quality", "Approved, with spend of 2,000 a year", "已批准且年消费达到2000"),
            ("accredited", "not_approved", 20, "open", "All others", "其他"),
            ("reception", "by_notice", 10, "vvip", "Approved notice for VVIP", "贵宾通知获批"),
            ("reception", "without_notice", 20, "usual", "All others", "其他"),
            ("relation", "decides", 10, "near", "About to decide", "即将决定"),
            ("relation", "known_long", 20, "far", "Known for two years", "结识满两年"),
            ("wealth", "half", 10, "rich", "Half of the points", "得分过半"),
            ("wealth", "less", 20, "plain", "All others", "其他"),
        ]
    ],
    "decision_conditions": [
        {"program_id": p, "version": "v1", "rule_id": r, "attribute": a, "operator": o, "value": v}
        for p, r, a, o, v in [
            ("size_growth", "large_grows", "size_band", "=", "large"),
            ("size_growth", "large_grows", "growth_band", "=", "grows"),
            ("size_growth", "small_falls", "size_band", "=", "small"),
            ("size_growth", "small_falls", "growth_band", "=", "falls"),
            ("size_growth", "the_rest", "growth_band", "is null", ""),
            ("size_growth", "any_other", "growth_band", "is not null", ""),
            ("accredited", "approved", "application_state", "=", "approved"),
            ("accredited", "approved", "spend_12m", ">=", "2000"),
            ("reception", "by_notice", "reception_nominated", "=", "vvip"),
            ("relation", "decides", "closeness", "=", "deciding"),
            ("relation", "known_long", "months_known", ">=", "24"),
            ("wealth", "half", "wealth_points", ">=", "50"),
        ]
    ],
}  # fmt: skip


def _day(period: str, day: int) -> str:
    return f"{period}-{day:02d}"


def _bill(customer: int, n: int, period: str, amount: str, cost: str) -> dict[str, Any]:
    return {
        "bill_line_id": f"b{customer}-{n}", "document_id": f"d{customer}-{n}", "customer_id": f"c{customer}", "bill_period": period,
        "charge_type": "voice", "net_amount": amount, "cost_amount": cost, "currency": "CNY",
    }  # fmt: skip


def drops() -> dict[str, list[dict[str, Any]]]:
    """Rows by entity, as the contracts name the columns."""
    customers = [
        {"customer_id": f"c{n}", "valid_from_date": "2020-01-01", "brand": "easyown", "segment": "test" if n == 10 else "consumer",
         "is_real_name": "true", "credit_class": "good", "joined_date": "2023-01-01"}
        for n in range(1, 11)
    ]  # fmt: skip
    bills = [
        _bill(c, n, p, f"{100 * c}.0050" if p == PERIOD else f"{100 * c}.00", "" if c == 8 and p == PERIOD else f"{60 * c}.00")
        for c in range(1, 9)
        for n, p in enumerate(YEAR)
    ]
    staff_scores = [
        {"staff_id": s, "period": p, "measure": m, "score": v}
        for s, v in (("s1", "85.500000"), ("s2", "70"))
        for p in ("2026-04", "2026-05", PERIOD)
        for m in ("problem_solving", "service_quality", "initiative", "satisfaction")
        if (s, m) != ("s2", "initiative")
    ]
    return {
        "customers": customers,
        "bill_lines": bills,
        "points": [{"customer_id": "c1", "period": "2025-03", "points_type": k, "points": v} for k, v in (("base", 1200), ("bonus", 99))],
        "groups": [{"group_id": g, "valid_from_date": "2020-01-01", "is_nominated_strategic": v} for g, v in (("g1", "true"), ("g2", "false"))],
        "group_members": [
            # c2 left in March and came back in June: the months between do not count.
            {"group_id": "g2", "customer_id": "c2", "role": "member", "start_date": "2025-01-01", "end_date": "2026-03-10"},
            {"group_id": "g2", "customer_id": "c2", "role": "leader", "start_date": "2026-06-15", "end_date": ""},
            {"group_id": "g2", "customer_id": "c3", "role": "member", "start_date": "2026-01-01", "end_date": ""},
            {"group_id": "g1", "customer_id": "c1", "role": "member", "start_date": "2026-01-01", "end_date": ""},
        ],
        "suspensions": [
            {"suspension_id": f"x{n}", "customer_id": "c6", "reason": "arrears", "start_date": _day(p, 5), "end_date": _day(p, 9)}
            for n, p in enumerate(YEAR[:3])
        ],
        "surveys": [{"survey_id": "v1", "customer_id": "c2", "answered_at": "2026-05-31T16:30:00", "channel": "hotline", "score": 9}],
        "campaign_responses": [
            {"response_id": "r1", "campaign_id": "k1", "customer_id": "c2", "responded_at": "2026-05-02T08:00:00", "response": "accepted"}
        ],
        "financial_positions": [{"customer_id": "c1", "as_of_date": "2026-05-31", "asset_amount": "9000.00"}],
        "staff": [
            {"staff_id": s, "valid_from_date": "2020-01-01", "role": r, "joined_date": "2020-01-01"}
            for s, r in (("s1", "hotline"), ("s2", "store"), ("s3", "account_manager"), ("s4", "store"))
        ],
        "staff_measures": staff_scores,
        "prospects": [
            {"prospect_id": i, "valid_from_date": "2026-01-01", "closeness": c, "first_contact_date": f}
            for i, c, f in (("p1", "deciding", "2026-01-05"), ("p2", "comparing", "2024-01-05"), ("p3", "deciding", "2024-01-05"), ("p4", "", "2026-05-01"))
        ],
        "receptions": [
            {"reception_id": i, "noted_date": "2026-06-01", "arrives_at": "2026-06-20T02:00:00", "title": "minister", "guests": 3}
            for i in ("e1", "e2")
        ],
        "nominations": [
            _nomination("n1", "reception", "e1", "nominate", "vvip", "k.boss"),
            _nomination("n2", "reception", "e2", "nominate", "vvip", "k.sales"),
            _nomination("n3", "six_star", "c1", "at_least", "star_4", "k.boss"),
            _nomination("n4", "six_star", "c3", "set", "star_6", "k.boss"),
            _nomination("n5", "six_star", "c9", "nominate", "star_6", "k.boss"),
            # Of a lower level, for longer.
            _nomination("n6", "six_star", "c9", "nominate", "star_5", "k.boss", "2028-12-31"),
        ],
        "applications": [
            {"application_id": a, "program_id": "accredited", "subject_id": s, "step": t, "step_date": d, "decided_by": b, "outcome": o}
            for a, s, t, d, b, o in (
                ("a1", "c2", "application", "2026-06-01", "", ""), ("a1", "c2", "review", "2026-06-05", "k.one", ""),
                ("a1", "c2", "decision", "2026-06-10", "k.two", "approved"), ("a1", "c2", "notification", "2026-07-02", "k.one", ""),
                ("a2", "c1", "application", "2026-06-02", "", ""),
            )
        ],
    }  # fmt: skip


def _nomination(name: str, program: str, subject: str, kind: str, level: str, approver: str, end: str = "2026-12-31") -> dict[str, Any]:
    return {
        "nomination_id": name, "program_id": program, "subject_id": subject, "kind": kind, "level_id": level, "reason": "standing",
        "requester_id": "k.sales", "approver_id": approver, "approved_date": "2026-05-20", "start_date": "2026-06-01", "end_date": end,
    }  # fmt: skip


def _write_csv(file: Path, columns: list[str], rows: Iterable[dict[str, Any]]) -> None:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    file.write_text(out.getvalue(), encoding="utf-8")


@dataclass
class WideRelease:
    """The deployment, its ledger, its policies and the decisions as released; ``write`` replaces them."""

    deployment: Deployment
    ledger: Ledger

    @property
    def file(self) -> Path:
        return self.deployment.releases / RELEASE / "fct_decisions.parquet"

    def change(self, program: str, subject: str, **columns: Any) -> None:
        """Change columns of one released row; ``evidence`` is merged into what is there."""
        with duckdb.connect() as con:
            con.execute(f"create table d as select * from read_parquet('{self.file}')")
            for name, value in columns.items():
                if name == "evidence":
                    [(old,)] = con.execute("select evidence from d where program_id = ? and subject_id = ?", [program, subject]).fetchall()
                    value = json.dumps(json.loads(old) | value)
                con.execute(f"update d set {name} = ? where program_id = ? and subject_id = ?", [value, program, subject])
            con.execute(f"copy d to '{self.file}' (format parquet)")


def make(folder: Path, without: Collection[str] = (), removed: Collection[str] = ()) -> WideRelease:
    """Ingest the drops, compile the policies, decide, and write release, ledger entries and pointer as a run would.

    ``without``: entities that the deployment does not deliver; ``removed``: entities and columns that it delivered no more when
    the release was made, though they had landed.
    """
    (folder / "sources").mkdir(parents=True)
    (folder / "drops").mkdir()
    (folder / "policies").mkdir()
    (folder / "tierhouse.yaml").write_text(
        'name: wide\ntitle: Wide operator\ncurrency: CNY\ntimezone: Asia/Shanghai\nfirst_period: "2025-01"\ndata: data\ndrops: drops\n'
    )
    feeds = []
    for entity, rows in drops().items():
        if entity in without:
            continue
        columns = list(dict.fromkeys(name for row in rows for name in row))
        _write_csv(folder / "drops" / f"{entity}.csv", columns, rows)
        mapped = ", ".join(f"{name}: {name}" for name in columns)
        feeds.append(f'  - entity: {entity}\n    files: "{entity}.csv"\n    format: csv\n    timezone: UTC\n    columns: {{{mapped}}}\n')
    (folder / "sources" / "all.yaml").write_text("source: all\ntitle: All\nfeeds:\n" + "".join(feeds))
    for seed, rows in PROGRAMS.items():
        target = folder / "policies" / f"{seed}.csv"
        shutil.copy(PROJECT_ROOT / "seeds" / f"{seed}.csv", target)
        columns = next(csv.reader(io.StringIO(target.read_text(encoding="utf-8"))))
        with target.open("a", encoding="utf-8") as out:
            usual = {"clock": "month", "enabled": "true"} if seed == "programs" else {}
            csv.DictWriter(out, columns, lineterminator="\n").writerows([usual | row for row in rows])
    deployment = load_deployment(folder)
    ledger = Ledger(deployment.ledger)
    ingest(deployment, ledger, say=lambda _: None)
    cutoff, _ = ledger.head()
    release = deployment.releases / RELEASE
    release.mkdir(parents=True)
    policies = load_policies(deployment)
    write_policy_files(policies, release / "policy")
    with duckdb.connect() as con:
        undelivered = decide(con, deployment, ledger, policies, removed)
        con.execute(f"copy (select * from decisions order by program_id, subject_id) to '{release}/fct_decisions.parquet' (format parquet)")
    manifest = {
        "release": RELEASE, "period": PERIOD, "cutoff_seq": cutoff, "policy_hash": policies.hash, "code_version": "c1", "run_id": "r-1",
        "undelivered": sorted(undelivered),
    }  # fmt: skip
    (release / "manifest.json").write_text(json.dumps({**manifest, "files": {}}))
    ledger.append("release", {**manifest, "manifest_hash": "m"})
    catalog = {"catalog": 1, "periods": {PERIOD: RELEASE}}
    ledger.append("catalog", catalog)
    deployment.catalogs.mkdir()
    (deployment.catalogs / "current.json").write_text(json.dumps(catalog))
    for channel in ("hotline", "of_no_program"):
        delivery = {"channel": channel, "catalog": 1, "as_of_period": PERIOD, "release": RELEASE, "rows": 3, "sha256": "s"}
        ledger.append("delivery", {**delivery, "path": f"channels/{channel}/{channel}_1.csv"})
    return WideRelease(deployment, ledger)


def decide(
    con: duckdb.DuckDBPyConnection, deployment: Deployment, ledger: Ledger, policies: Policies, removed: Collection[str]
) -> set[str]:
    """Table ``decisions``: what the compiled policies give, with the columns that the life cycle adds where nothing is held over.

    Returns the entities and columns that were not delivered.
    """
    con.execute("set timezone = 'UTC'")
    con.execute("create schema landing; create schema staging; create schema ctl")
    con.execute(f"create table ctl.run as select '{deployment.config.timezone}' as timezone")
    con.execute(
        f"create table ctl.target_periods as select '{PERIOD}' as period, {period_index(PERIOD)} as period_index, "
        f"date '2026-06-01' as first_day, date '{LAST_DAY}' as last_day"
    )
    missing = set(removed)
    for entity in load_contracts():
        parts = [str(part.path) for part in landed_parts(deployment, ledger, entity)]
        assert not superseded_files(deployment, ledger, entity)
        if parts:
            con.execute(f"create view landing.{entity} as select * from read_parquet({parts}, union_by_name = true)")
        else:
            columns = ", ".join(f"cast(null as {column.sql_type}) as {name}" for name, column in load_contracts()[entity].columns.items())
            con.execute(f"create view landing.{entity} as select {columns} where false")
            missing.add(entity)
        con.execute(f"create view staging.stg_landing__{entity} as select * from landing.{entity}")
    missing -= {"lines"}
    compiled = compile_policies(policies, missing_entities=missing)
    _customers(con, compiled)
    _requests(con, policies)
    for name in ("customer_extras", *(f"{kind}_subjects" for kind in ("group", "prospect", "staff", "reception"))):
        con.execute(f"create table {'extras' if name == 'customer_extras' else name} as {_placed(compiled[name])}")
    con.execute(f"create table compiled as {_placed(compiled['decisions'])}")
    con.execute(_LIFE)
    return missing


def _placed(text: str) -> str:
    for placeholder in PLACEHOLDERS:
        text = text.replace(placeholder, placeholder.strip("_").lower())
    return text


def _customers(con: duckdb.DuckDBPyConnection, compiled: dict[str, str]) -> None:
    month = "cast(substr({0}, 1, 4) as integer) * 12 + cast(substr({0}, 6, 2) as integer) - 1"
    con.execute(
        f"create table months as select customer_id, {month.format('bill_period')} as period_index, count(*) as bill_line_count, "
        f"{compiled['bill_line_measures']}, spend_amount > 0 as is_active from landing.bill_lines as l group by customer_id, bill_period"
    )
    con.execute(
        f"create table points_months as select customer_id, {month.format('period')} as period_index, {compiled['points_measures']} "
        "from landing.points as p"
    )
    con.execute(
        f"""create table windows as select m.customer_id, t.period, t.period_index, {compiled["window_metrics"]}, {compiled["points_window_metrics"]},
            max(case when m.is_active then m.period_index end) as last_active_index
        from (
            select *, true as is_after_base from months
            union all by name select *, true as is_after_base from points_months
            union all by name select customer_id, -1 as period_index, true as is_after_base from landing.customers
        ) as m cross join ctl.target_periods as t group by m.customer_id, t.period, t.period_index"""
    )
    joined = (period_index(PERIOD) - period_index("2023-01")) + 1
    con.execute(
        f"""create table metrics as select s.*, {compiled["service_metrics"]} from (
            select w.*, c.brand, c.plan, c.region, c.segment, c.is_real_name, c.credit_class, c.joined_date, c.left_date,
                true as is_in_scope, cast(null as varchar) as scope_reason, {joined} as tenure_months,
                w.period_index - w.last_active_index as months_since_active, {2**joined - 1}::bigint as service_mask
            from windows as w inner join landing.customers as c on w.customer_id = c.customer_id
        ) as s"""
    )


def _requests(con: duckdb.DuckDBPyConnection, policies: Policies) -> None:
    con.execute("create table ranks (program_id varchar, level_id varchar, level_rank integer)")
    con.executemany(
        "insert into ranks values (?, ?, ?)", [[p.program_id, v.level_id, v.rank] for p in policies.programs.values() for v in p.levels]
    )
    con.execute(
        f"""create table requests as select n.*, r.level_rank, '{PERIOD}' as period from landing.nominations as n inner join ranks as r using (program_id, level_id)
        where approver_id <> requester_id and approved_date <= date '{LAST_DAY}' and start_date <= date '{LAST_DAY}' and end_date >= date '2026-06-01'"""
    )
    con.execute(
        "create table nominations as select program_id, subject_id, period, max_by(level_id, level_rank) as level_id, max(level_rank) as level_rank "
        "from requests where kind = 'nominate' group by all"
    )
    con.execute(
        f"""create table applications as select program_id, subject_id, '{PERIOD}' as period, max(step_date) as event_date, true as is_event,
            coalesce(max(outcome) filter (where step = 'decision'), case when max(step) = 'review' then 'reviewed' else 'applied' end) as state
        from landing.applications where step_date <= date '{LAST_DAY}' group by program_id, subject_id"""
    )


# Nothing is held over, so that the held level is the qualified one; caps and overrides as DESIGN orders them.
_LIFE = """
create table decisions as
with covered as (
    select c.* exclude (qualified_rank), c.qualified_rank as qualified_level_rank, c.qualified_level_id as held_level_id,
        case when c.status = 'decided' then c.cap_rank end as cap_level_rank,
        f.level_id as floor_id, f.level_rank as floor_rank, f.nomination_id as floor_nr, x.level_id as set_id, x.level_rank as set_rank, x.nomination_id as set_nr,
        case when c.cap_rank < c.qualified_rank then c.cap_level_id else c.qualified_level_id end as capped_id,
        case when c.cap_rank < c.qualified_rank then c.cap_rank else c.qualified_rank end as capped_rank
    from compiled as c
    left join requests as f on f.kind = 'at_least' and f.program_id = c.program_id and f.subject_id = c.subject_id and c.status = 'decided'
    left join requests as x on x.kind = 'set' and x.program_id = c.program_id and x.subject_id = c.subject_id and c.status = 'decided'
), raised as (
    select *, case when floor_rank > capped_rank then floor_id else capped_id end as raised_id,
        case when floor_rank > capped_rank then floor_rank else capped_rank end as raised_rank
    from covered
)
select program_id, subject_type, subject_id, period, case when status = 'decided' then coalesce(set_id, raised_id) end as level_id,
    case when status = 'decided' then coalesce(set_rank, raised_rank) end as level_rank,
    qualified_level_id, qualified_level_rank, held_level_id, qualified_level_rank as held_level_rank,
    cast(to_json(list_filter([
        {'step': 'scope', 'from': null, 'to': null, 'why': case when status = 'out_of_scope' then status_reason else 'in scope' end},
        {'step': 'qualified', 'from': null, 'to': qualified_level_id, 'why': coalesce(matched_rule_id, status_reason, 'not in scope')},
        case when cap_level_rank < qualified_level_rank then {'step': 'cap', 'from': qualified_level_id, 'to': capped_id, 'why': cap_id} end,
        case when floor_rank > capped_rank then {'step': 'at_least', 'from': capped_id, 'to': raised_id, 'why': floor_nr} end,
        case when set_id is not null then {'step': 'set', 'from': raised_id, 'to': set_id, 'why': set_nr} end
    ], lambda step: step is not null)) as varchar) as steps,
    status, status_reason, matched_rule_id, policy_version, policy_hash, cast(null as varchar) as previous_level_id,
    cast(null as integer) as previous_level_rank, case when status = 'decided' then 'first' end as movement, cast(null as varchar) as movement_cause,
    case when held_level_id is not null then period end as held_since_period, cast(null as varchar) as valid_until_period,
    next_level_id, missing_attribute, missing_amount, population_size, population_rank, score, evidence,
    case when status = 'decided' then 'follows' end as review, cap_level_rank, floor_rank as at_least_level_rank, set_rank as set_level_rank,
    event_date, rank_value
from raised
"""
