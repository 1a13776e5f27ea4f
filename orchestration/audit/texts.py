"""The words of explanations, English and Chinese. Every text has both, with the same placeholders (a test checks it)."""

from __future__ import annotations

from typing import Literal

Lang = Literal["en", "zh"]

TEXTS: dict[str, dict[Lang, str]] = {
    "title": {
        "en": "Customer {customer}: {level} in {program}, {period}",
        "zh": "客户 {customer}：{period} {program}为{level}",
    },
    "no_level": {"en": "no level", "zh": "无级别"},
    "released": {
        "en": "Released as {release} at {at} (UTC), with what was known at ledger entry {cutoff}.",
        "zh": "发布版本 {release}，发布时间 {at}(UTC)，所据数据截至账本第 {cutoff} 条。",
    },
    "not_visible": {
        "en": "Readers do not see this release now: the catalog in force has another revision or none.",
        "zh": "该版本目前不对外可见：现行目录采用其他修订版或不含该账期。",
    },
    "why": {"en": "Why this level", "zh": "定级原因"},
    "out_of_scope": {"en": "Not graded: out of scope ({reason}).", "zh": "未评级：不在评级范围({reason})。"},
    "not_evaluated": {"en": "Not evaluated: {reason}.", "zh": "未评估：{reason}。"},
    "rule_matched": {"en": "Rule {rule} gives {level}: {description}", "zh": "规则 {rule} 评为{level}：{description}"},
    "rule_first": {
        "en": "It is the first rule from the top that holds (rules above it: {before}).",
        "zh": "自上而下第一条成立的规则，其上还有 {before} 条规则。",
    },
    "rule_priority": {"en": "It has the highest level of the rules that hold.", "zh": "在所有成立的规则中级别最高。"},
    "rule_unique": {"en": "It is the only rule that holds.", "zh": "唯一成立的规则。"},
    "rule_always": {"en": "no condition: it holds for everyone who reaches it", "zh": "无条件：凡到达此规则者均适用"},
    "above": {"en": "Why not {level}", "zh": "为何不是{level}"},
    "above_none": {"en": "There is no level above.", "zh": "已是最高级别。"},
    "rule_failed": {"en": "Rule {rule}: {description}", "zh": "规则 {rule}：{description}"},
    "yes": {"en": "yes", "zh": "是"},
    "no": {"en": "no ", "zh": "否"},
    "condition": {"en": "{name} {operator} {value}: it is {found}", "zh": "{name} {operator} {value}：实际为 {found}"},
    "condition_average": {
        "en": "{name} {operator} {value}: the sum is {found} over {months} months in service ({average} a month); the bar is {value} × {months} = {bar}",
        "zh": "{name} {operator} {value}：{months} 个在网月合计 {found}(月均 {average})，门槛为 {value} × {months} = {bar}",
    },
    "condition_average_range": {
        "en": "{name} {operator} {value}: the sum is {found} over {months} months in service ({average} a month)",
        "zh": "{name} {operator} {value}：{months} 个在网月合计 {found}(月均 {average})",
    },
    "condition_no_service": {
        "en": "{name} {operator} {value}: no month in service in the window",
        "zh": "{name} {operator} {value}：统计期内无在网月",
    },
    "missing": {"en": "; missing {amount}", "zh": "；尚差 {amount}"},
    "missing_average": {"en": "; missing {amount} over the window", "zh": "；统计期内合计尚差 {amount}"},
    "nothing": {"en": "(none)", "zh": "(无)"},
    "true": {"en": "true", "zh": "是"},
    "false": {"en": "false", "zh": "否"},
    "op_in": {"en": "is one of", "zh": "属于"},
    "op_not in": {"en": "is none of", "zh": "不属于"},
    "op_in range": {"en": "from (to below)", "zh": "区间(含下限不含上限)"},
    "op_is null": {"en": "is not known", "zh": "未知"},
    "op_is not null": {"en": "is known", "zh": "已知"},
    "window": {"en": "{name}: {value} {unit} ({first} to {last})", "zh": "{name}：{value} {unit}({first} 至 {last})"},
    "window_period": {"en": "{period}  {value}  (rows: {rows})", "zh": "{period}  {value}  ({rows} 行)"},
    "window_traced": {
        "en": "The rows below add up to exactly this value.",
        "zh": "下列各行合计与该值完全一致。",
    },
    "window_untraced": {"en": "{name}: {value} {unit}", "zh": "{name}：{value} {unit}"},
    "bills": {"en": "Bill lines of the window ({rows})", "zh": "统计期账单明细({rows} 行)"},
    "bills_head": {
        "en": "period\tamount\tcounts\tcharge\tdocument\tfile\trow",
        "zh": "账期\t金额\t计入\t费用类型\t单据\t文件\t行",
    },
    "bills_more": {"en": "… and {rows} more; --json lists all", "zh": "……另有 {rows} 行，--json 可列出全部"},
    "credit_note": {"en": "credit note", "zh": "冲红"},
    "points": {"en": "Points of the window ({rows})", "zh": "统计期积分明细({rows} 行)"},
    "points_head": {"en": "period\tpoints\tcounts\tkind\tfile\trow", "zh": "账期\t积分\t计入\t类型\t文件\t行"},
    "nominations": {"en": "Nominations ({rows})", "zh": "提名({rows} 条)"},
    "nomination": {
        "en": "{id}: {level}, {reason}; asked by {requester}, approved by {approver}; {start} to {end}; {file} row {row}: {counts}",
        "zh": "{id}：{level}，{reason}；申请人 {requester}，审批人 {approver}；{start} 至 {end}；{file} 第 {row} 行：{counts}",
    },
    "nomination_counts": {"en": "counts", "zh": "有效"},
    "nomination_not_approved": {"en": "does not count, no one approved it", "zh": "无效，未获审批"},
    "nomination_self_approved": {"en": "does not count, it was approved by the one who asked", "zh": "无效，申请人自行审批"},
    "nomination_not_in_force": {"en": "does not count, it is not in force in the period", "zh": "无效，不在有效期内"},
    "nomination_other_kind": {"en": "is an override, not a nomination", "zh": "属于特批，不是提名"},
    "not_approved": {"en": "no one", "zh": "未审批"},
    "steps": {"en": "Steps of the decision", "zh": "决策步骤"},
    "step": {"en": "{step}: {before} → {after} ({why})", "zh": "{step}：{before} → {after}({why})"},
    "step_only": {"en": "{step}: {why}", "zh": "{step}：{why}"},
    "why_in scope": {"en": "in scope", "zh": "在评级范围内"},
    "why_left": {"en": "left", "zh": "已离网"},
    "unit_points": {"en": "points", "zh": "分"},
    "unit_months": {"en": "months", "zh": "个月"},
    "step_none": {"en": "No step changed the qualified level.", "zh": "没有步骤改变达标级别。"},
    "step_scope": {"en": "scope", "zh": "范围"},
    "step_qualified": {"en": "qualified level", "zh": "达标级别"},
    "step_review": {"en": "review", "zh": "复审"},
    "step_cap": {"en": "cap", "zh": "封顶"},
    "step_at_least": {"en": "at-least override", "zh": "保底特批"},
    "step_set": {"en": "set override", "zh": "指定特批"},
    "movement": {"en": "Movement", "zh": "级别变动"},
    "movement_first": {"en": "First decision on record.", "zh": "首次评级。"},
    "movement_joined": {"en": "Joined in this period.", "zh": "本期新入网。"},
    "movement_rose": {"en": "Rose from {previous}.", "zh": "由{previous}上升。"},
    "movement_fell": {"en": "Fell from {previous}.", "zh": "由{previous}下降。"},
    "movement_same": {"en": "Same level as in the period before.", "zh": "与上期级别相同。"},
    "movement_left": {"en": "Left; the level before was {previous}.", "zh": "已离网，此前为{previous}。"},
    "movement_none": {"en": "None recorded.", "zh": "无记录。"},
    "held_since": {"en": "Held since {since}.", "zh": "自 {since} 起保持。"},
    "valid_until": {"en": "Valid until {until}.", "zh": "有效期至 {until}。"},
    "policy": {"en": "Policy", "zh": "政策"},
    "policy_version": {
        "en": "Version {version}, in force from {start}{end}; author {author}, approved by {approver} on {approved}.",
        "zh": "版本 {version}，自 {start} 起生效{end}；制定人 {author}，审批人 {approver}，审批日期 {approved}。",
    },
    "policy_none": {"en": "No version holds for the period.", "zh": "该账期没有生效的版本。"},
    "policy_end": {"en": " to {end}", "zh": "，至 {end} 止"},
    "policy_hash": {"en": "Policy hash {hash}", "zh": "政策哈希 {hash}"},
    "deliveries": {"en": "Sent to", "zh": "已下发渠道"},
    "delivery": {"en": "{channel}: catalog {catalog}, {at} (UTC), {path}", "zh": "{channel}：目录 {catalog}，{at}(UTC)，{path}"},
    "deliveries_none": {"en": "To no channel so far.", "zh": "尚未下发任何渠道。"},
    "release": {"en": "Release", "zh": "发布"},
    "release_code": {"en": "Run {run}, code version {code}, manifest {manifest}", "zh": "运行 {run}，代码版本 {code}，清单 {manifest}"},
}


def text(lang: Lang, key: str, **values: object) -> str:
    """The text ``key`` in ``lang``, filled."""
    return TEXTS[key][lang].format(**values)
