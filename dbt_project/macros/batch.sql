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
