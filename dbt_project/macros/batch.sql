{#
    The index of the month before the batch that is being built, or nothing outside of a microbatch (unit tests, parsing).
    A batch reads one month of the model itself: without this bound it would read its whole history.
#}
{% macro month_before_batch() -%}
    {%- if execute and model.batch is defined and model.batch -%}
        {%- set start = model.batch.event_time_start -%}
        {{ return(start.year * 12 + start.month - 2) }}
    {%- endif -%}
    {{ return(none) }}
{%- endmacro %}

{#
    The period of the batch that is being built, or nothing outside of a microbatch. Asking for a period goes down into every program's
    population, because ranks are taken within one; dbt's own bounds are on a date made of it and do not: each batch would rank every month.
#}
{% macro batch_period() -%}
    {%- if execute and model.batch is defined and model.batch -%}
        {{ return(model.batch.event_time_start.strftime("%Y-%m")) }}
    {%- endif -%}
    {{ return(none) }}
{%- endmacro %}
