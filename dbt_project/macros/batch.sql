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

{#
    Months that are read again in which every bill line has a customer of its own, as months since year 0. They are summed one by one: groups of
    one month fit the processor's cache where those of all months do not, and no number has to be looked up.
#}
{% macro months_with_customers() -%}
    {%- if not execute -%}{{ return([]) }}{%- endif -%}
    {%- set found = run_query("select period_index from ctl.input_periods where has_bills_of_customers_alone order by period_index") -%}
    {{ return(found.columns[0].values() | map("int") | list) }}
{%- endmacro %}
