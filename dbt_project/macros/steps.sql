{# JSON text of a text value that may hold anything; the word null for null. #}
{% macro json_text(value) -%}{{ return(adapter.dispatch("json_text")(value)) }}{%- endmacro %}

{% macro duckdb__json_text(value) -%}
    coalesce(cast(to_json(cast({{ value }} as varchar)) as varchar), 'null')
{%- endmacro %}

{# One step of a decision as JSON text, after a comma. The levels are identifiers; `why` is an expression that gives JSON text. #}
{% macro decision_step(step, from_level, to_level, why) -%}
    concat(',{"step":"{{ step }}","from":"', {{ from_level }}, '","to":"', {{ to_level }}, '","why":', {{ why }}, '}')
{%- endmacro %}

{#
    The steps of a decision as JSON text, in order: scope and qualified always, the others where they decided the level. Of the columns of
    int_held_decisions' last CTE: each level as it stands after a step, and why.
#}
{% macro decision_steps() -%}
    concat(
        case
            when status = 'decided'
                then concat(
                    '[{"step":"scope","from":null,"to":null,"why":"in scope"},{"step":"qualified","from":null,"to":"',
                    qualified_level_id, '","why":"', matched_rule_id, '"}'
                )
            when status = 'not_evaluated'
                then concat(
                    '[{"step":"scope","from":null,"to":null,"why":"in scope"},{"step":"qualified","from":null,"to":null,"why":',
                    {{ json_text("status_reason") }}, '}'
                )
            else
                concat(
                    '[{"step":"scope","from":null,"to":null,"why":', {{ json_text("status_reason") }},
                    '},{"step":"qualified","from":null,"to":null,"why":"not in scope"}'
                )
        end,
        case
            when review <> 'follows' then {{ decision_step("review", "qualified_level_id", "held_level_id", json_text("review_reason")) }}
            else ''
        end,
        case
            when status = 'decided' and cap_level_rank < held_level_rank
                then {{ decision_step("cap", "held_level_id", "capped_level_id", json_text("cap_id")) }}
            else ''
        end,
        case
            when at_least_level_rank > capped_level_rank
                then {{ decision_step("at_least", "capped_level_id", "raised_level_id", json_text("at_least_nomination_id")) }}
            else ''
        end,
        case
            when set_level_id is not null then {{ decision_step("set", "raised_level_id", "set_level_id", json_text("set_nomination_id")) }}
            else ''
        end,
        ']'
    )
{%- endmacro %}
