"""What released periods were decided with does not change unless the change is declared."""

from __future__ import annotations

import re
import shutil

import duckdb
import pytest

from orchestration.deployment import PROJECT_ROOT, load_deployment
from orchestration.errors import BadInput
from orchestration.policy import check_policies, load_policies, require_sound
from orchestration.policy.past import changed_past
from tests.policy.conftest import SeedFolder
from tests.support import write_policy_files

MONTHS = ["2026-01", "2026-02", "2026-03"]


def released(seeds, *periods: str) -> dict[str, dict[str, str]]:
    """These periods, released with the policies as they are."""
    six_star = seeds.load().programs["six_star"]
    found = {}
    for period in periods:
        version = six_star.version_for(period)
        found[period] = {f"six_star/{version.version}": version.policy_hash}
    return found


def hash_of(seeds, version: str = "v1") -> str:
    return next(v.policy_hash for v in seeds.load().programs["six_star"].versions if v.version == version)


def threshold(seeds, value: str) -> None:
    seeds.set("decision_conditions", seeds.row_of("decision_conditions", rule_id="star_5_spend"), "value", value)


def declare(seeds, **cells: str) -> None:
    row = {"program_id": "six_star", "version": "v1", "author": "policy.owner", "approver": "head.of.audit", "declared_on": "2026-04-01"}
    seeds.add("restatements", row | cells)


def new_version(seeds, ends: str, begins: str) -> None:
    """Version v2 with the rules of v1, which ends with ``ends``."""
    for seed in ("policy_versions", "decision_rules", "decision_conditions", "scope_rules", "caps"):
        head, *rows = seeds.rows(seed)
        place = head.index("version")
        seeds.write(seed, [head, *rows, *([*r[:place], "v2", *r[place + 1 :]] for r in rows)])
    first, second = (seeds.row_of("policy_versions", version=v) for v in ("v1", "v2"))
    seeds.set("policy_versions", first, "valid_to_period", ends)
    seeds.set("policy_versions", second, "valid_from_period", begins)


def test_without_a_change_or_a_release_there_is_no_finding(seeds):
    past = released(seeds, *MONTHS)
    assert changed_past(seeds.load(), past) == []
    threshold(seeds, "310")
    assert changed_past(seeds.load(), {}) == []
    assert require_sound(seeds.load()) == []


def test_a_changed_version_is_refused_with_the_periods_and_both_hashes(seeds):
    past, before = released(seeds, *MONTHS, "2026-05"), hash_of(seeds)
    threshold(seeds, "310")
    with pytest.raises(BadInput) as caught:
        require_sound(seeds.load(), past)
    error = caught.value
    for part in ("'v1' of six_star", "2026-01 to 2026-03, 2026-05", before, hash_of(seeds)):
        assert part in error.what
    assert "2026-06" in error.remedy and "restatements.csv" in error.remedy and hash_of(seeds) in error.remedy
    assert "policy_versions.csv, row 2" in error.where


def test_a_declared_change_is_accepted_and_the_next_one_is_refused_again(seeds):
    past = released(seeds, *MONTHS)
    threshold(seeds, "310")
    declare(seeds, policy_hash=hash_of(seeds))
    assert changed_past(seeds.load(), past) == []
    threshold(seeds, "320")
    (finding,) = changed_past(seeds.load(), past)
    assert hash_of(seeds) in finding.what
    # Some periods were restated with the declared change meanwhile; to take it back is a change of those.
    threshold(seeds, "310")
    past |= released(seeds, "2026-03")
    assert changed_past(seeds.load(), past) == []
    threshold(seeds, "300")
    (finding,) = changed_past(seeds.load(), past)
    assert "after 2026-03 was released" in finding.what


def charge_type(seeds, name: str, counts: str) -> None:
    seeds.set("charge_types", seeds.row_of("charge_types", charge_type=name), "counts_as_spend", counts)


def test_a_charge_type_that_counts_otherwise_is_named_with_its_row(seeds, tmp_path):
    past = released(seeds, *MONTHS)
    write_policy_files(seeds.load(), tmp_path / "policy")
    folders = dict.fromkeys(MONTHS, tmp_path / "policy")
    charge_type(seeds, "deposit", "true")
    charge_type(seeds, "sms", "false")
    head, *rows = seeds.rows("charge_types")
    seeds.write("charge_types", [head, *(row for row in rows if row[0] != "roaming")])
    (finding,) = changed_past(seeds.load(), past, folders)
    line = seeds.row_of("charge_types", charge_type="deposit")
    assert f"charge_types.csv, row {line}: deposit counts as spend now" in finding.what
    assert "row 5: sms does not count as spend any more" in finding.what and "charge_types.csv: roaming has no row any more" in finding.what
    assert "monthly_fee" not in finding.what and "charge types have no versions" in finding.remedy
    # Without the policies of the release, or where something else changed, nothing is said of charge types.
    for known in (None, dict.fromkeys(MONTHS, tmp_path / "gone")):
        assert "charge_types.csv" not in changed_past(seeds.load(), past, known)[0].what
    seeds.write("charge_types", [head, *rows])
    for name, counts in (("deposit", "false"), ("sms", "true")):
        charge_type(seeds, name, counts)
    threshold(seeds, "310")
    (finding,) = changed_past(seeds.load(), past, folders)
    assert "charge_types.csv" not in finding.what and "charge types" not in finding.remedy


def test_a_charge_type_changes_the_versions_that_hang_on_spend_and_no_others(tmp_path):
    seeds = SeedFolder(tmp_path / "seeds", "six_star", "activity_layers", "vip_score", "staff_grade", "group_value")
    seeds.own_program([("regular", "gold", [("t_active", ">=", "6")]), ("others", "bronze", [])], {})
    for seed in ("score_dimensions", "score_bands", "caps"):
        seeds.write(seed, [row for row in seeds.rows(seed) if row[0] != "own"])
    before = {p.program_id: p.versions[0].policy_hash for p in seeds.load().programs.values()}
    charge_type(seeds, "deposit", "true")
    after = {p.program_id: p.versions[0].policy_hash for p in seeds.load().programs.values()}
    # Months are active, and customers dormant, by what counts as spend.
    assert {name for name in before if before[name] != after[name]} == {"six_star", "activity_layers", "vip_score", "group_value", "own"}


def test_the_remedy_names_the_file_that_the_deployment_has_or_has_to_make(tmp_path):
    folder = tmp_path / "deployment"
    (folder / "policies").mkdir(parents=True)
    shutil.copy(PROJECT_ROOT / "examples" / "telecom" / "tierhouse.yaml", folder)
    version = load_policies(load_deployment(folder)).programs["six_star"].versions[0]
    past = {"2026-01": {"six_star/v1": "0" * 64}}
    own = folder / "policies" / "restatements.csv"

    def remedy() -> str:
        (finding,) = changed_past(load_policies(load_deployment(folder)), past)
        return finding.remedy

    assert f"in {own} (not there yet: begin with a copy of seeds/restatements.csv): program_id six_star" in remedy()
    shutil.copy(PROJECT_ROOT / "seeds" / "restatements.csv", own)
    assert f"in {own}: program_id six_star" in remedy()
    with own.open("a") as out:
        out.write(f"six_star,v1,{version.policy_hash},a.author,b.approver,2026-07-01,mistyped\n")
    assert changed_past(load_policies(load_deployment(folder)), past) == []


@pytest.mark.parametrize("cells", [{"version": "v2"}, {"policy_hash": "1" * 64}])
def test_a_declaration_covers_one_version_and_hash(seeds, cells):
    past = released(seeds, *MONTHS)
    threshold(seeds, "310")
    new_version(seeds, "2026-05", "2026-06")
    declare(seeds, **{"policy_hash": hash_of(seeds), **cells})
    assert [f.kind for f in changed_past(seeds.load(), past)] == ["changed_past"]


def test_a_declaration_that_its_author_approved_counts_for_nothing(seeds):
    past = released(seeds, *MONTHS)
    threshold(seeds, "310")
    declare(seeds, policy_hash=hash_of(seeds), approver="Policy.Owner ")
    assert {f.kind for f in check_policies(seeds.load(), past)} == {"changed_past", "self_approved"}


def test_a_new_version_from_the_next_period_is_accepted(seeds):
    past = released(seeds, *MONTHS)
    new_version(seeds, "2026-03", "2026-04")
    row = [r[:3] for r in seeds.rows("decision_conditions")].index(["six_star", "v2", "star_5_spend"]) + 1
    seeds.set("decision_conditions", row, "value", "310")
    assert changed_past(seeds.load(), past) == []
    assert require_sound(seeds.load(), past) == []


def test_a_new_version_that_reaches_back_into_released_periods_is_refused(seeds):
    past, before = released(seeds, *MONTHS), hash_of(seeds)
    new_version(seeds, "2026-01", "2026-02")
    (finding,) = changed_past(seeds.load(), past)
    assert "2026-02 to 2026-03 of six_star were released with version 'v1'" in finding.what and before in finding.what
    assert "begin version 'v2' with 2026-04 and end version 'v1' with 2026-03" in finding.remedy
    declare(seeds, version="v2", policy_hash=hash_of(seeds, "v2"))
    assert changed_past(seeds.load(), past) == []


def test_a_version_that_no_longer_holds_for_a_released_period_is_refused(seeds):
    past = released(seeds, *MONTHS)
    seeds.set("policy_versions", 2, "valid_from_period", "2026-02")
    (finding,) = changed_past(seeds.load(), past)
    assert "no version of six_star holds for 2026-01 any more" in finding.what


def test_names_texts_and_other_programs_change_nothing_of_the_past(seeds):
    past = released(seeds, *MONTHS)
    seeds.set("levels", 2, "name_en", "another name")
    seeds.own_program()
    assert changed_past(seeds.load(), past) == []


def test_a_program_that_is_switched_off_is_a_change_of_the_past_until_it_is_declared(seeds):
    past, on = released(seeds, *MONTHS), hash_of(seeds)
    seeds.own_program()
    seeds.set("programs", seeds.row_of("programs", program_id="six_star"), "enabled", "false")
    with pytest.raises(BadInput) as caught:
        require_sound(seeds.load(), past)
    assert "six_star is switched off, and 2026-01 to 2026-03 were released" in caught.value.what and "column enabled" in caught.value.where
    assert hash_of(seeds) in caught.value.remedy and "end it after 2026-03" in caught.value.remedy
    declare(seeds, policy_hash=on)
    assert len(changed_past(seeds.load(), past)) == 1, "a declared change of rules says nothing of switching off"
    declare(seeds, policy_hash=hash_of(seeds))
    assert changed_past(seeds.load(), past) == []
    seeds.set("programs", seeds.row_of("programs", program_id="six_star"), "enabled", "true")
    assert hash_of(seeds) == on and changed_past(seeds.load(), past) == []


def test_a_program_that_is_gone_is_a_change_of_the_past(seeds):
    past = released(seeds, *MONTHS)
    seeds.own_program()
    for name in ("channel_columns", "channel_audience"):
        seeds.write(name, seeds.rows(name)[:1])
    seeds.only("own")
    (finding,) = changed_past(seeds.load(), past)
    assert "six_star is gone, and 2026-01 to 2026-03" in finding.what and "switch it off" in finding.remedy


def add_level(seeds, level_id: str, rank: int) -> None:
    """A level of that rank; all that stand there or above move up by one."""
    head, *rows = seeds.rows("levels")
    place = head.index("rank")
    seeds.write("levels", [head, *([*r[:place], str(int(r[place]) + (int(r[place]) >= rank)), *r[place + 1 :]] for r in rows)])
    seeds.add("levels", {"program_id": "six_star", "level_id": level_id, "rank": str(rank), "name_en": level_id, "name_zh": level_id})


def test_a_level_that_only_a_later_version_gives_changes_nothing_of_the_past(seeds):
    past = released(seeds, *MONTHS)
    new_version(seeds, "2026-05", "2026-06")
    before = hash_of(seeds, "v2")
    add_level(seeds, "star_35", 4)
    seeds.set("decision_rules", seeds.row_of("decision_rules", version="v2", level_id="star_3"), "level_id", "star_35")
    assert changed_past(seeds.load(), past) == [] and require_sound(seeds.load(), past) == []
    assert hash_of(seeds, "v2") != before


def test_levels_that_change_places_change_the_version_that_gives_them(seeds):
    past = released(seeds, *MONTHS)
    three, four = (seeds.row_of("levels", level_id=name) for name in ("star_3", "star_4"))
    seeds.set("levels", three, "rank", "40")
    seeds.set("levels", four, "rank", "3")
    seeds.set("levels", three, "rank", "4")
    (finding,) = changed_past(seeds.load(), past)
    assert finding.kind == "changed_past"


def test_a_level_of_overrides_alone_that_changes_places_is_a_change_of_the_past(seeds, tmp_path):
    """The version's hash does not know it; what releases keep of their policies does."""
    seeds.add("levels", {"program_id": "six_star", "level_id": "honour", "rank": "9", "name_en": "Honour", "name_zh": "荣誉"})
    past, kept = released(seeds, *MONTHS), tmp_path / "kept"
    write_policy_files(seeds.load(), kept)
    with (kept / "levels.csv").open("a", encoding="utf-8") as levels:
        levels.write("other,honour,1,Honour,荣誉,,\n")
    folders = dict.fromkeys(MONTHS, kept)
    seeds.set("levels", seeds.row_of("levels", level_id="honour"), "rank", "12")
    assert changed_past(seeds.load(), past, folders) == [], "another number for the same place"
    seeds.add("levels", {"program_id": "six_star", "level_id": "newer", "rank": "8", "name_en": "Newer", "name_zh": "新级"})
    assert changed_past(seeds.load(), past, folders) == [], "a level that the releases did not have changes no order of theirs"
    seeds.set("levels", seeds.row_of("levels", level_id="star_6"), "rank", "20")
    (finding,) = changed_past(seeds.load(), past, folders)
    assert (finding.kind, finding.severity, finding.version) == ("changed_past", "error", "v1")
    assert "star_5 < honour < star_6, and were" in finding.what and "2026-01 to 2026-03 were released" in finding.what
    declare(seeds, policy_hash=re.findall("[0-9a-f]{64}", finding.remedy)[0])
    assert changed_past(seeds.load(), past, folders) == []
    seeds.set("levels", seeds.row_of("levels", level_id="honour"), "rank", "4")
    seeds.set("levels", seeds.row_of("levels", level_id="star_4"), "rank", "10")
    assert changed_past(seeds.load(), past, folders), "another order is another change"


def test_a_level_of_overrides_alone_that_is_gone_is_a_change_of_the_months_in_which_they_name_it(seeds, tmp_path):
    names = {"name_en": "Honour", "name_zh": "荣誉"}
    for level, rank in (("honour", "9"), ("unused", "8")):
        seeds.add("levels", {"program_id": "six_star", "level_id": level, "rank": rank, **names})
    past, folders = released(seeds, *MONTHS), {month: tmp_path / month / "policy" for month in MONTHS}
    # An at-least below the held level gives none, and is named all the same.
    covers = {"2026-01": "null, null, null", "2026-02": "null, 9, null", "2026-03": "9, null, null"}
    for month, folder in folders.items():
        write_policy_files(seeds.load(), folder)
        duckdb.execute(
            f"""copy (select 'six_star' as program_id, * from (values ({covers[month]}), (null, null, null)) as t (at_least_level_rank, set_level_rank, evidence)
                union all select 'other', 8, 8, null) to '{folder.parent}/fct_decisions.parquet'"""
        )
    assert changed_past(seeds.load(), past, folders) == []
    seeds.write("levels", [row for row in seeds.rows("levels") if "unused" not in row])
    assert changed_past(seeds.load(), past, folders) == [], "nobody names it"
    seeds.write("levels", [row for row in seeds.rows("levels") if "honour" not in row])
    (finding,) = changed_past(seeds.load(), past, folders)
    assert (finding.kind, finding.severity, finding.version) == ("changed_past", "error", "v1")
    assert (
        "'honour' of six_star is gone, and nominations or overrides name it in 2026-02 to 2026-03" in finding.what
        and "bring its row back" in finding.remedy
    )
    declare(seeds, policy_hash=re.findall("[0-9a-f]{64}", finding.remedy)[0])
    assert changed_past(seeds.load(), past, folders) == []


def test_a_level_that_a_nomination_named_is_not_taken_away_unnoticed(seeds, tmp_path):
    """No rule asks for it, so that no hash knows of it; who was nominated for it would be nominated for nothing, or for a lower level."""
    seeds.add("levels", {"program_id": "six_star", "level_id": "honour", "rank": "9", "name_en": "Honour", "name_zh": "荣誉"})
    seeds.set("decision_conditions", seeds.row_of("decision_conditions", attribute="nominated_level"), "operator", "is not null")
    seeds.set("decision_conditions", seeds.row_of("decision_conditions", attribute="nominated_level"), "value", "")
    past, folders = released(seeds, *MONTHS), {month: tmp_path / month / "policy" for month in MONTHS}
    for month, folder in folders.items():
        write_policy_files(seeds.load(), folder)
        evidence = '{"nominated_level": "honour"}' if month == "2026-02" else '{"nominated_level": null}'
        duckdb.execute(
            f"""copy (select 'six_star' as program_id, null as at_least_level_rank, null as set_level_rank, '{evidence}' as evidence)
                to '{folder.parent}/fct_decisions.parquet'"""
        )
    assert changed_past(seeds.load(), past, folders) == []
    seeds.write("levels", [row for row in seeds.rows("levels") if "honour" not in row])
    (finding,) = changed_past(seeds.load(), past, folders)
    assert "'honour' of six_star is gone, and nominations or overrides name it in 2026-02" in finding.what
    declare(seeds, policy_hash=re.findall("[0-9a-f]{64}", finding.remedy)[0])
    assert changed_past(seeds.load(), past, folders) == []


def test_levels_compared_by_their_order_are_those_that_the_condition_holds_for(seeds):
    seeds.set("decision_conditions", seeds.row_of("decision_conditions", attribute="nominated_level"), "operator", ">=")
    seeds.set("decision_conditions", seeds.row_of("decision_conditions", attribute="nominated_level"), "value", "star_5")
    before = hash_of(seeds)
    add_level(seeds, "star_0", 1)
    assert hash_of(seeds) == before, "the condition does not hold for a level below"
    add_level(seeds, "star_55", 7)
    assert hash_of(seeds) != before


def test_a_release_whose_hash_an_older_tierhouse_reckoned_is_told_by_its_policies(seeds, tmp_path):
    """The hash of a version is made of other columns now; the policies that the release keeps say whether the version is another."""
    write_policy_files(seeds.load(), tmp_path / "policy")
    past = {month: {"six_star/v1": "0" * 64} for month in MONTHS}
    folders = dict.fromkeys(MONTHS, tmp_path / "policy")
    assert changed_past(seeds.load(), past, folders) == []
    threshold(seeds, "310")
    assert len(changed_past(seeds.load(), past, folders)) == 1
    threshold(seeds, "300")
    (tmp_path / "policy" / "levels.csv").write_text("no seed\n", encoding="utf-8")
    for known in (folders, {}, dict.fromkeys(MONTHS, tmp_path / "gone")):
        assert len(changed_past(seeds.load(), past, known)) == 1


def test_each_release_is_told_by_its_own_policies(seeds, tmp_path):
    """The first month was decided with what holds today, the second with another bar; both hashes are those of an older Tierhouse."""
    first, second = MONTHS[:2]
    write_policy_files(seeds.load(), tmp_path / first)
    threshold(seeds, "310")
    write_policy_files(seeds.load(), tmp_path / second)
    threshold(seeds, "300")
    past = {month: {"six_star/v1": digit * 64} for month, digit in ((first, "1"), (second, "2"))}
    (finding,) = changed_past(seeds.load(), past, {month: tmp_path / month for month in past})
    assert f"changed after {second} was released" in finding.what


@pytest.mark.parametrize(
    ("seed", "column", "value", "text"),
    [
        ("contact_plans", "contacts_max", "3", "action_en"),
        ("contact_plans", "contact_group", "A", "action_zh"),
        ("contact_plans", "is_priority", "true", "action_en"),
        ("target_lists", "per_owner", "6", "name_en"),
        ("target_lists", "order_attribute", "t_active", "name_zh"),
        ("checklists", "lead_minutes", "30", "name_en"),
        ("checklists", "responsible_role", "somebody else", "name_zh"),
    ],
)
def test_what_follows_from_a_level_belongs_to_the_version_and_its_texts_do_not(own, seed, column, value, text):
    version = own.load().programs["own"].versions[0]
    past = {"2026-01": {"own/v1": version.policy_hash}}
    own.set(seed, 2, text, "another text")
    assert changed_past(own.load(), past) == []
    own.set(seed, own.row_of(seed, program_id="own"), column, value)
    (finding,) = changed_past(own.load(), past)
    assert "'v1' of own was changed after 2026-01 was released" in finding.what


def test_the_number_that_orders_a_list_belongs_to_the_version(own):
    own.set("target_lists", 2, "order_attribute", "tenure_months")
    before = own.load().programs["own"].versions[0].policy_hash
    own.set("attributes", own.row_of("attributes", attribute_id="t_active"), "metric_id", "active_6m_months")
    own.set("target_lists", 2, "order_attribute", "t_active")
    one = own.load().programs["own"].versions[0].policy_hash
    assert one != before


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("version", "v9", "has no version 'v9'"), ("policy_hash", "4f3b0f99ffbb", "is no hash"), ("program_id", "nine_star", "is not in")],
)
def test_a_declaration_of_what_is_not_there_is_refused(seeds, column, value, message):
    declare(seeds, **{"policy_hash": "0" * 64, column: value})
    with pytest.raises(BadInput, match=message) as caught:
        seeds.load()
    assert f"restatements.csv, row 2, column {column}" in caught.value.where and caught.value.remedy
