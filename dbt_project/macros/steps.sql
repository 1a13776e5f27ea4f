{# JSON text of a text value that may hold anything; the word null for null. #}
{% macro json_text(value) -%}{{ return(adapter.dispatch("json_text")(value)) }}{%- endmacro %}

{% macro duckdb__json_text(value) -%}
    coalesce(cast(to_json(cast({{ value }} as varchar)) as varchar), 'null')
{%- endmacro %}

{# One step of a decision as JSON text, after a comma. The levels are identifiers; `why` is an expression that gives JSON text. #}
{% macro decision_step(step, from_level, to_level, why) -%}
    concat(',{"step":"{{ step }}","from":"', {{ from_level }}, '","to":"', {{ to_level }}, '","why":', {{ why }}, '}')
{%- endmacro %}
