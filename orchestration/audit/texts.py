"""The words of explanations, English and Chinese. Every text has both, with the same placeholders (a test checks it)."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

Lang = Literal["en", "zh"]

TEXTS: dict[str, dict[Lang, str]] = {
    # Title and standing of the release.
    "title": {"en": "{kind} {subject}: {level} in {program}, {period}", "zh": "{kind} {subject}：{period} {program}为{level}"},
    "kind_customer": {"en": "Customer", "zh": "客户"},
    "kind_group": {"en": "Group", "zh": "集团"},
    "kind_prospect": {"en": "Prospect", "zh": "潜在客户"},
    "kind_staff": {"en": "Staff member", "zh": "客服人员"},
    "kind_reception": {"en": "Reception", "zh": "接待"},
    "no_level": {"en": "no level", "zh": "无级别"},
    "released": {
        "en": "Released as {release} at {at} (UTC), with what was known at ledger entry {cutoff}.",
        "zh": "发布版本 {release}，发布时间 {at}(UTC)，所据数据截至账本第 {cutoff} 条。",
    },
    "not_visible": {
        "en": "Readers do not see this release now: the catalog in force has another revision or none.",
        "zh": "该版本目前不对外可见：现行目录采用其他修订版或不含该账期。",
    },
    "event": {"en": "Day of the event: {day}.", "zh": "事件日期：{day}。"},
    "method_decision_table": {"en": "Method: decision table.", "zh": "方法：决策表。"},
    "method_percentile": {"en": "Method: position or share among all subjects.", "zh": "方法：按全体对象的位次或份额。"},
    "method_weighted_score": {"en": "Method: weighted score.", "zh": "方法：加权评分。"},
    "method_grid": {"en": "Method: grid of two axes.", "zh": "方法：两轴网格。"},
    "method_eligibility": {"en": "Method: eligibility and application.", "zh": "方法：资格条件与申请流程。"},
    "method_nomination": {"en": "Method: nomination and approval.", "zh": "方法：提名与审批。"},
    # Why this level, and why not the one above.
    "why": {"en": "Why this level", "zh": "定级原因"},
    "why_rules": {"en": "What the rules give", "zh": "规则评定结果"},
    "why_other": {"en": "The level is {level} all the same: see the steps of the decision.", "zh": "最终级别为{level}，经过见决策步骤。"},
    "out_of_scope": {"en": "Not graded: out of scope ({reason}).", "zh": "未评级：不在评级范围({reason})。"},
    "not_evaluated": {"en": "Not evaluated: {reason}.", "zh": "未评估：{reason}。"},
    "reason_left": {"en": "left", "zh": "已离开"},
    "reason_not_in_service": {"en": "billed, but not in service on any day of the month", "zh": "有账单，但当月没有一天在网"},
    "reason_needs": {"en": "needs {what}", "zh": "缺少 {what}"},
    "reason_several": {"en": "several rules hold, and only one may", "zh": "多条规则同时成立，而只允许一条"},
    "reason_none": {"en": "no rule holds", "zh": "没有规则成立"},
    "reason_version": {"en": "no policy version holds for the period", "zh": "该账期没有生效的政策版本"},
    "rule_matched": {"en": "Rule {rule} gives {level}: {description}", "zh": "规则 {rule} 评为{level}：{description}"},
    "rule_first": {
        "en": "It is the first rule from the top that holds (rules above it: {before}).",
        "zh": "自上而下第一条成立的规则，其上还有 {before} 条规则。",
    },
    "rule_top": {"en": "It is the first rule of the table.", "zh": "该规则居首位且成立。"},
    "rule_priority": {"en": "It has the highest level of the rules that hold.", "zh": "在所有成立的规则中级别最高。"},
    "rule_unique": {"en": "It is the only rule that holds.", "zh": "唯一成立的规则。"},
    "rule_always": {"en": "no condition: it holds for everyone who reaches it", "zh": "无条件：凡到达此规则者均适用"},
    "rule_not_reached": {"en": "it holds and does not decide: rule {rule} does", "zh": "虽成立但不由其定级：由规则 {rule} 定级"},
    "above": {"en": "Why not {level}", "zh": "为何不是{level}"},
    "above_rules": {"en": "Why the rules do not give {level}", "zh": "规则为何未评为{level}"},
    "above_none": {"en": "There is no level above.", "zh": "已是最高级别。"},
    "above_no_rule": {"en": "No rule gives {level}; only an override can.", "zh": "没有规则评为{level}，只有特批可以。"},
    "rule_failed": {"en": "Rule {rule}: {description}", "zh": "规则 {rule}：{description}"},
    "scope_rule": {"en": "Scope rule {rule}: {description}", "zh": "范围规则 {rule}：{description}"},
    "caps": {"en": "Caps", "zh": "封顶"},
    "cap_holds": {"en": "Cap {cap}, at most {level}, is in force: {description}", "zh": "封顶 {cap} 生效，最高{level}：{description}"},
    "cap_rests": {
        "en": "Cap {cap}, at most {level}, is not in force: {description}",
        "zh": "封顶 {cap} 未生效，最高{level}：{description}",
    },
    "to_next": {"en": "Missing to {level}: {amount}{unit} more of {name}.", "zh": "距{level}尚差：{name} {amount}{unit}。"},
    "to_next_part": {
        "en": "Missing to {level}: {amount}{unit} more of {name}, and what else its rule asks for: that amount alone does not give it.",
        "zh": "距{level}尚差：{name} {amount}{unit}，另须满足该规则的其余条件，仅此数量尚不足以达到。",
    },
    "to_next_covered": {
        "en": "The level shown stays {level} all the same: see the steps of the decision.",
        "zh": "即便如此，显示的级别仍为{level}，见决策步骤。",
    },
    "to_next_band": {
        "en": "Missing to {level}: {name} is in another band than a rule asks for.",
        "zh": "距{level}：{name}所在区段不符合规则要求。",
    },
    "to_next_place": {
        "en": "Missing to {level}: {name} is not as a rule asks; how much more would do depends on the other subjects.",
        "zh": "距{level}：{name}未达到规则要求，尚差多少取决于其他对象。",
    },
    "to_next_other": {
        "en": "Missing to {level}: {name} is not as a rule asks; no amount mends that alone.",
        "zh": "距{level}：{name}不符合规则要求，单靠数量无法弥补。",
    },
    "yes": {"en": "yes", "zh": "是"},
    "no": {"en": "no ", "zh": "否"},
    # Conditions and what was found.
    "condition": {"en": "{name} {operator} {value}: {found}", "zh": "{name} {operator} {value}：{found}"},
    "condition_plain": {"en": "{name} {operator}: {found}", "zh": "{name} {operator}：{found}"},
    "found": {"en": "it is {value}{unit}", "zh": "实际为 {value}{unit}"},
    "found_average": {
        "en": "the sum is {top} over {bottom} months in service ({value} a month)",
        "zh": "{bottom} 个在网月合计 {top}(月均 {value})",
    },
    "found_average_one": {
        "en": "the sum is {top} over {bottom} month in service ({value} a month)",
        "zh": "{bottom} 个在网月合计 {top}(月均 {value})",
    },
    "found_average_count": {
        "en": "the sum is {top} over {bottom} ({count}; {value} on average)",
        "zh": "合计 {top}，{count} {bottom}(平均 {value})",
    },
    "found_ratio": {
        "en": "{numerator} {top} of {denominator} {bottom} ({value} %)",
        "zh": "{numerator} {top}，为{denominator} {bottom} 的 {value}%",
    },
    "found_position": {
        "en": "strictly above: {above} of {population} subjects ({value} %)",
        "zh": "严格高于本对象者 {above} 个，共 {population} 个({value}%)",
    },
    "found_position_one": {
        "en": "strictly above: {above} of {population} subject ({value} %)",
        "zh": "严格高于本对象者 {above} 个，共 {population} 个({value}%)",
    },
    "found_share": {
        "en": "those strictly above ({above} of {population} subjects) have {top} of {bottom} ({value} %)",
        "zh": "严格高于本对象者({population} 个中的 {above} 个)合计 {top}，总额 {bottom}({value}%)",
    },
    "found_share_one": {
        "en": "those strictly above ({above} of {population} subject) have {top} of {bottom} ({value} %)",
        "zh": "严格高于本对象者({population} 个中的 {above} 个)合计 {top}，总额 {bottom}({value}%)",
    },
    "found_portion": {"en": "own {top} of {bottom} of all subjects ({value} %)", "zh": "自身 {top}，全体合计 {bottom}({value}%)"},
    "found_first_known": {"en": "it is {value}{unit}, taken from {name}", "zh": "实际为 {value}{unit}，取自{name}"},
    "found_score": {"en": "the score is {value} of 100 (dimensions below)", "zh": "得分 {value}，满分 100(各维度见下)"},
    "found_band": {"en": "band {band} ({bounds}); {found}", "zh": "区段 {band}({bounds})；{found}"},
    "found_none": {"en": "not known", "zh": "未知"},
    "found_absent": {"en": "there is none", "zh": "无"},
    "found_no_service": {"en": "no month in service in the window", "zh": "统计期内无在网月"},
    "found_no_divisor": {"en": "not known: {name} is not above 0", "zh": "未知：{name}不大于 0"},
    "found_no_cost": {"en": "not known: a bill line lacks its cost", "zh": "未知：有账单行缺少成本"},
    "bounds": {"en": "from {low} to below {high}", "zh": "{low} 至 {high}(不含)"},
    "bounds_from": {"en": "from {low}", "zh": "{low} 及以上"},
    "bounds_below": {"en": "below {high}", "zh": "低于 {high}"},
    "bounds_last": {"en": "from {low} to {high}", "zh": "{low} 至 {high}(含)"},
    "bounds_all": {"en": "every number", "zh": "任何数值"},
    "bar": {"en": "; the bar is {value} × {bottom} = {bar}", "zh": "；门槛为 {value} × {bottom} = {bar}"},
    "bar_scaled": {
        "en": "; compared as {top} × {scale} = {left} with {value} × {bottom} = {bar}",
        "zh": "；比较 {top} × {scale} = {left} 与 {value} × {bottom} = {bar}",
    },
    "missing": {"en": "; missing {amount}", "zh": "；尚差 {amount}"},
    "missing_top": {"en": "; missing {amount} in the sum", "zh": "；合计尚差 {amount}"},
    "nothing": {"en": "(none)", "zh": "(无)"},
    "true": {"en": "true", "zh": "是"},
    "false": {"en": "false", "zh": "否"},
    "op_in": {"en": "is one of", "zh": "属于"},
    "op_not in": {"en": "is none of", "zh": "不属于"},
    "op_in range": {"en": "from (to below)", "zh": "区间(含下限不含上限)"},
    "op_is null": {"en": "is not known", "zh": "未知"},
    "op_is not null": {"en": "is known", "zh": "已知"},
    # Scores.
    "score": {"en": "{name}: {value} of 100", "zh": "{name}：{value}，满分 100"},
    "score_none": {"en": "{name}: no score", "zh": "{name}：无得分"},
    "score_head": {
        "en": "dimension\tnumber found\tscaled\tweight %\tcontribution\tscaling and missing rule",
        "zh": "维度\t实际数值\t标度值\t权重%\t贡献\t标度方法与缺失规则",
    },
    "scaling_percentile_rank": {"en": "per cent of the others strictly below", "zh": "严格低于本对象者所占百分比"},
    "scaling_min_max": {"en": "from {low} (0) to {high} (100)", "zh": "由 {low}(0 分)至 {high}(100 分)"},
    "scaling_bands": {"en": "score of the band", "zh": "按区段取分"},
    "scaling_lowest": {"en": "the lowest", "zh": "最低值"},
    "scaling_highest": {"en": "the highest", "zh": "最高值"},
    "missing_zero": {"en": "missing: counted as 0", "zh": "缺失：按 0 计"},
    "missing_middle": {"en": "missing: counted as 50", "zh": "缺失：按 50 计"},
    "missing_leave_out": {"en": "missing: the others share its weight", "zh": "缺失：权重由其余维度分担"},
    "missing_refuse": {"en": "missing: not evaluated without it", "zh": "缺失：不予评估"},
    # Where the values come from.
    "window": {"en": "{name}: {value}{unit} ({first} to {last})", "zh": "{name}：{value}{unit}({first} 至 {last})"},
    "window_month": {"en": "{period}  {value}  (rows: {rows})", "zh": "{period}  {value}  ({rows} 行)"},
    "window_empty": {"en": "other months: 0", "zh": "其余月份：0"},
    "window_all_empty": {"en": "every month: 0", "zh": "各月均为 0"},
    "window_traced": {"en": "The landed rows add up to exactly this value.", "zh": "落地各行合计与该值完全一致。"},
    "window_active": {
        "en": "The months above 0 are counted; the amounts are those of the landed rows.",
        "zh": "计入金额大于 0 的月份，各月金额为落地各行合计。",
    },
    "window_unknown": {
        "en": "Not known: a landed row that counts lacks its cost.",
        "zh": "未知：计入的落地行中有缺少成本者。",
    },
    "window_untraced": {"en": "{name}: {value}{unit}", "zh": "{name}：{value}{unit}"},
    "members": {"en": "Members with their sums ({members})", "zh": "成员及其合计({members} 个)"},
    "members_head": {"en": "customer\trole\tmonths\tsum\trows", "zh": "客户\t角色\t月数\t合计\t行数"},
    "members_total": {"en": "all members", "zh": "全部成员"},
    "rows": {"en": "Rows of {entity} in the window ({rows})", "zh": "统计期内 {entity} 的各行({rows} 行)"},
    "rows_head": {"en": "period\tvalue\tfile\trow", "zh": "账期\t数值\t文件\t行"},
    "more": {"en": "… and {rows} more; --json lists all", "zh": "……另有 {rows} 行，--json 可列出全部"},
    "columns": {"en": "Values from one row each", "zh": "取自单行的数值"},
    "columns_head": {"en": "attribute\tvalue\tentity\tcolumn\tfile\trow", "zh": "属性\t数值\t数据\t列\t文件\t行"},
    "departures": {"en": "Last days, as the sources say", "zh": "来源数据所载的最后日期"},
    "departures_head": {"en": "day\tentity\tcolumn\tfile\trow", "zh": "日期\t数据\t列\t文件\t行"},
    "column_no_row": {"en": "(no row)", "zh": "(无此行)"},
    "bills": {
        "en": "Bill lines of the window ({rows}, of which {counted} count as spend: {total})",
        "zh": "统计期账单明细({rows} 行，其中 {counted} 行计入消费：{total})",
    },
    "bills_one": {
        "en": "Bill lines of the window ({rows}, of which {counted} counts as spend: {total})",
        "zh": "统计期账单明细({rows} 行，其中 {counted} 行计入消费：{total})",
    },
    "bills_head": {
        "en": "period\tamount\tcounts\tcharge\tdocument\tfile\trow",
        "zh": "账期\t金额\t计入\t费用类型\t单据\t文件\t行",
    },
    "of_customer": {"en": "customer", "zh": "客户"},
    "credit_note": {"en": "credit note", "zh": "冲红"},
    "points": {"en": "Points of the window ({rows})", "zh": "统计期积分明细({rows} 行)"},
    "points_head": {"en": "period\tpoints\tcounts\tkind\tfile\trow", "zh": "账期\t积分\t计入\t类型\t文件\t行"},
    # Nominations, overrides, applications.
    "nominations": {"en": "Nominations and overrides ({rows})", "zh": "提名与特批({rows} 条)"},
    "nomination": {
        "en": "{id} ({kind}): {level}, {reason}; asked by {requester}, approved by {approver}{approved}; {start} to {end}; {file} row {row}: {counts}",
        "zh": "{id}({kind})：{level}，{reason}；申请人 {requester}，审批人 {approver}{approved}；{start} 至 {end}；{file} 第 {row} 行：{counts}",
    },
    "nomination_approved": {"en": " on {day}", "zh": "，审批日期 {day}"},
    "nomination_nominate": {"en": "nomination", "zh": "提名"},
    "nomination_at_least": {"en": "override, at least", "zh": "保底特批"},
    "nomination_set": {"en": "override, set", "zh": "指定特批"},
    "standing_counts": {"en": "counts", "zh": "有效"},
    "standing_not_approved": {"en": "does not count, it has no approver or no day of approval", "zh": "无效，缺少审批人或审批日期"},
    "standing_self_approved": {"en": "does not count, it was approved by the one who asked", "zh": "无效，申请人自行审批"},
    "standing_approved_later": {"en": "does not count, it was approved after the period", "zh": "无效，审批晚于本账期"},
    "standing_not_in_force": {"en": "does not count, it is not in force in the period", "zh": "无效，不在有效期内"},
    "not_approved": {"en": "no one", "zh": "未审批"},
    "applications": {"en": "Application {id}", "zh": "申请 {id}"},
    "application_head": {"en": "day\tstep\tby\toutcome\tfile\trow", "zh": "日期\t步骤\t经办人\t结果\t文件\t行"},
    "application_later": {"en": "{step} (after the period)", "zh": "{step}(本账期之后)"},
    "app_application": {"en": "application", "zh": "申请"},
    "app_review": {"en": "document review", "zh": "资料审核"},
    "app_decision": {"en": "decision", "zh": "审定"},
    "app_notification": {"en": "notification", "zh": "告知"},
    "state_applied": {"en": "applied", "zh": "已申请"},
    "state_reviewed": {"en": "reviewed", "zh": "已审核"},
    "state_approved": {"en": "approved", "zh": "已批准"},
    "state_refused": {"en": "refused", "zh": "未通过"},
    "state_returned": {"en": "returned", "zh": "已退回"},
    # Life cycle.
    "steps": {"en": "Steps of the decision", "zh": "决策步骤"},
    "step_scope": {"en": "Scope: in scope.", "zh": "范围：在评级范围内。"},
    "step_scope_out": {"en": "Scope: not in scope ({why}).", "zh": "范围：不在评级范围({why})。"},
    "step_qualified": {"en": "Qualified level: {after} (rule {why}).", "zh": "达标级别：{after}(规则 {why})。"},
    "step_not_qualified": {"en": "Qualified level: none ({why}).", "zh": "达标级别：无({why})。"},
    "step_not_in_scope": {"en": "Qualified level: none, being out of scope.", "zh": "达标级别：无，因不在评级范围。"},
    "review_first": {"en": "Review: {after} is reached and held until {until}.", "zh": "复审：首次达到{after}，有效期至 {until}。"},
    "review_rose": {
        "en": "Review: rises at once to {after}, which is held until {until}.",
        "zh": "复审：即时升至{after}，有效期至 {until}。",
    },
    "review_held": {
        "en": "Review: none yet; {after} is held until {until}, then reviewed (the rules give {before}).",
        "zh": "复审：未到期，{after}保持至 {until}，其后复审(规则评为{before})。",
    },
    "review_renewed": {
        "en": "Review: the validity had ended; still qualified, {after} is held again until {until}.",
        "zh": "复审：有效期已满，仍达标，{after}续期至 {until}。",
    },
    "review_grace": {
        "en": "Review: the validity ended in {until}; {after} is still held in grace until {grace} (the rules give {before}).",
        "zh": "复审：有效期止于 {until}，宽限期内{after}保留至 {grace}(规则评为{before})。",
    },
    "review_fell_one_level": {
        "en": "Review: validity and grace have ended; falls by one level to {after}, held until {until} (the rules give {before}).",
        "zh": "复审：有效期与宽限期已满，下降一级至{after}，有效期至 {until}(规则评为{before})。",
    },
    "review_fell_to_qualified": {
        "en": "Review: validity and grace have ended; falls to the qualified level {after}, held until {until}.",
        "zh": "复审：有效期与宽限期已满，降至达标级别{after}，有效期至 {until}。",
    },
    "step_cap": {
        "en": "Cap {why}: {before} becomes {after}. {description}",
        "zh": "封顶 {why}：{before}变为{after}。{description}",
    },
    "step_at_least": {
        "en": "Override {why}, at least: {before} becomes {after}. {description}",
        "zh": "保底特批 {why}：{before}变为{after}。{description}",
    },
    "step_set": {
        "en": "Override {why}, set: {before} becomes {after}. {description}",
        "zh": "指定特批 {why}：{before}变为{after}。{description}",
    },
    "override": {
        "en": "Reason: {reason}; asked by {requester}, approved by {approver}; {start} to {end}.",
        "zh": "原因：{reason}；申请人 {requester}，审批人 {approver}；{start} 至 {end}。",
    },
    "covered": {
        "en": "The held level, {held}, is covered and not changed: it reappears when what covers it ends.",
        "zh": "保持级别{held}仅被覆盖、未被改变，覆盖结束后恢复。",
    },
    "next_renewed": {
        "en": "Next review in {due}: if nothing changes, {level} is renewed.",
        "zh": "下次复审在 {due}：若无变化，{level}续期。",
    },
    "next_nomination_ends": {
        "en": "The nomination that gives it ends on {end}, before that: without another one the rules decide anew.",
        "zh": "但所依据的提名于 {end} 到期，早于该次复审；届时若无新的提名，将按其他规则重新评定。",
    },
    "next_version": {
        "en": "By then version {version} of the policy holds, whose rules may give another level.",
        "zh": "届时生效的是政策版本 {version}，按其规则评定的级别可能不同。",
    },
    "next_one_level": {
        "en": "Next review in {due}: if nothing changes, it falls by one level to {level} in {falls}.",
        "zh": "下次复审在 {due}：若无变化，{falls} 下降一级至{level}。",
    },
    "next_to_qualified": {
        "en": "Next review in {due}: if nothing changes, it falls to {level} in {falls}.",
        "zh": "下次复审在 {due}：若无变化，{falls} 降至{level}。",
    },
    "next_follows": {
        "en": "From {falls} on no level is held for a time: if nothing changes, it becomes {level}.",
        "zh": "自 {falls} 起不再设有效期：若无变化，级别变为{level}。",
    },
    "movement": {"en": "Movement", "zh": "级别变动"},
    "movement_first": {"en": "First decision on record.", "zh": "首次评级。"},
    "movement_event": {
        "en": "None: an event is decided by itself and compared with no month before.",
        "zh": "无：按事件单独评定，不与此前月份比较。",
    },
    "movement_renamed": {"en": "It took the place of {previous}, of the same rank.", "zh": "取代同等级的{previous}。"},
    "movement_joined": {"en": "Joined in this period.", "zh": "本期新加入。"},
    "movement_rose": {"en": "Rose from {previous}.", "zh": "由{previous}上升。"},
    "movement_fell": {"en": "Fell from {previous}.", "zh": "由{previous}下降。"},
    "movement_same": {"en": "Same level as before.", "zh": "级别与此前相同。"},
    "movement_left": {"en": "Left; the level before was {previous}.", "zh": "已离开，此前为{previous}。"},
    "movement_none": {"en": "None recorded.", "zh": "无记录。"},
    "held_since": {"en": "Held since {since}.", "zh": "自 {since} 起保持。"},
    "held_until": {"en": "Held until {until}, then reviewed.", "zh": "保持至 {until}，其后复审。"},
    "cause": {"en": "Cause: {cause}.", "zh": "原因：{cause}。"},
    "cause_attributes": {"en": "an attribute of the subject changed", "zh": "对象属性变化"},
    "cause_bill_corrections": {"en": "bills of earlier months were corrected", "zh": "往期账单更正"},
    "cause_new_spend": {"en": "spend of the new month", "zh": "本月新增消费"},
    "cause_window_roll_off": {"en": "an old month left the window", "zh": "旧月份移出统计期"},
    "cause_points": {"en": "points changed", "zh": "积分变化"},
    "cause_population": {"en": "the other subjects changed", "zh": "其他对象变化"},
    "cause_policy": {"en": "the policy changed", "zh": "政策变化"},
    "cause_nomination": {"en": "a nomination, application or override began or ended", "zh": "提名、申请或特批开始或结束"},
    "cause_cap": {"en": "a cap began or ended", "zh": "封顶开始或结束"},
    "cause_validity": {"en": "validity or grace ended", "zh": "有效期或宽限期结束"},
    "cause_joined": {"en": "joined", "zh": "新加入"},
    "cause_left": {"en": "left", "zh": "已离开"},
    # Policy, release, deliveries.
    "policy": {"en": "Policy", "zh": "政策"},
    "policy_version": {
        "en": "Version {version}, in force from {start}{end}; author {author}, approved by {approver} on {approved}.",
        "zh": "版本 {version}，自 {start} 起生效{end}；制定人 {author}，审批人 {approver}，审批日期 {approved}。",
    },
    "policy_none": {"en": "No version holds for the period.", "zh": "该账期没有生效的版本。"},
    "policy_end": {"en": " to {end}", "zh": "，至 {end} 止"},
    "policy_hash": {"en": "Policy hash {hash}", "zh": "政策哈希 {hash}"},
    "policy_life": {
        "en": "Months of validity: {validity}; of grace: {grace}; a level then falls {fall}.",
        "zh": "级别有效 {validity} 个月，另有 {grace} 个月宽限，其后{fall}。",
    },
    "fall_to_qualified": {"en": "to the qualified level", "zh": "降至达标级别"},
    "fall_one_level": {"en": "by one level", "zh": "下降一级"},
    "release": {"en": "Release", "zh": "发布"},
    "release_code": {"en": "Run {run}, code version {code}, manifest {manifest}", "zh": "运行 {run}，代码版本 {code}，清单 {manifest}"},
    "deliveries": {"en": "Sent to", "zh": "已下发渠道"},
    "delivery": {"en": "{channel}: catalog {catalog}, {at} (UTC), {path}", "zh": "{channel}：目录 {catalog}，{at}(UTC)，{path}"},
    "deliveries_none": {"en": "To no channel so far.", "zh": "尚未下发任何渠道。"},
    "deliveries_without": {"en": "Not in the feeds", "zh": "未列入以下渠道文件"},
    "deliveries_changed": {"en": "Changed after it was delivered", "zh": "下发后文件已被改动"},
    "deliveries_unknown": {"en": "Sent, and no longer to be seen whom the file has", "zh": "已下发，但已无法查看文件是否含本对象"},
    # Words of units; a unit of the seeds is one of them or several joined by a slash. `currency` is the deployment's code.
    "unit_points": {"en": "points", "zh": "分"},
    "unit_months": {"en": "months", "zh": "个月"},
    "unit_month": {"en": "month", "zh": "月"},
    "unit_years": {"en": "years", "zh": "年"},
    "unit_year": {"en": "year", "zh": "年"},
    "unit_days": {"en": "days", "zh": "天"},
    "unit_per cent": {"en": "%", "zh": "%"},
    "unit_percent": {"en": "%", "zh": "%"},
    "unit_pct": {"en": "%", "zh": "%"},
    "unit_%": {"en": "%", "zh": "%"},
    "unit_score": {"en": "of 100", "zh": "分"},
    "unit_count": {"en": "times", "zh": "次"},
    "unit_times": {"en": "times", "zh": "次"},
    "unit_rows": {"en": "rows", "zh": "行"},
    "unit_bills": {"en": "bills", "zh": "张账单"},
    "unit_lines": {"en": "lines", "zh": "行"},
    "unit_visits": {"en": "visits", "zh": "次拜访"},
    "unit_contacts": {"en": "contacts", "zh": "次联系"},
    "unit_complaints": {"en": "complaints", "zh": "次投诉"},
    "unit_answers": {"en": "answers", "zh": "份答卷"},
    "unit_answer": {"en": "answer", "zh": "份答卷"},
    "unit_surveys": {"en": "surveys", "zh": "份问卷"},
    "unit_responses": {"en": "responses", "zh": "次响应"},
    "unit_suspensions": {"en": "suspensions", "zh": "次停机"},
    "unit_campaigns": {"en": "campaigns", "zh": "次活动"},
    "unit_members": {"en": "members", "zh": "个成员"},
    "unit_persons": {"en": "persons", "zh": "人"},
    "unit_measures": {"en": "measures", "zh": "项指标"},
    "unit_measurements": {"en": "measurements", "zh": "次测量"},
    "unit_roles": {"en": "roles", "zh": "个角色"},
}


# English counts one of a thing in the singular; Chinese has one form.
TEXTS |= {
    f"{key}_one": {"en": words["en"][:-1], "zh": words["zh"]}
    for key, words in TEXTS.items()
    if key.startswith("unit_") and words["en"].endswith("s")
}


def text(lang: Lang, key: str, **values: object) -> str:
    """The text ``key`` in ``lang``, filled."""
    return TEXTS[key][lang].format(**values)


def of_count(key: str, number: Decimal | int | None) -> str:
    """The key of the text for that many: ``<key>_one`` for one, where there is such a text."""
    return f"{key}_one" if number == 1 and f"{key}_one" in TEXTS else key


def text_if_any(lang: Lang, key: str, otherwise: str) -> str:
    """The text ``key`` where there is one, else ``otherwise``: an id that policies or sources made up."""
    return TEXTS[key][lang] if key in TEXTS else otherwise
