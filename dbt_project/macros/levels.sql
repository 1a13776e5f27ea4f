{#
    For each policy version and level of its program: the highest level below it that the rules of the version give, which is where a level
    falls that falls by one. Levels have no versions: one that only another version gives is no step of this one.
#}
{% macro lower_levels() -%}
    select
        levels.program_id,
        rules.version as policy_version,
        levels.level_id,
        max_by(given.level_id, given.rank) as lower_level_id,
        max(given.rank) as lower_level_rank
    from {{ source("policy", "levels") }} as levels
    inner join {{ source("policy", "decision_rules") }} as rules on levels.program_id = rules.program_id
    inner join {{ source("policy", "levels") }} as given
        on rules.program_id = given.program_id and rules.level_id = given.level_id and given.rank < levels.rank
    group by levels.program_id, rules.version, levels.level_id
{%- endmacro %}

{#
    The level that a subject had when it was decided last, as a row of int_held_decisions knows it: who is not evaluated has not left. Of a
    program that has ended nobody has one.
#}
{% macro level_shown_last(column) -%}
    case when status = 'not_evaluated' and policy_version is not null then previous_{{ column }} else {{ column }} end
{%- endmacro %}
