{#
    What engines write differently. Models hold no other dialect: a second engine needs a `<engine>__` macro for each of these
    and nothing else. Periods are text ('2026-06'); their arithmetic is on year * 12 + month - 1, never on dates.
#}

{# '2026-06' -> 24317 #}
{% macro period_index(period) -%}
    (cast(substr({{ period }}, 1, 4) as integer) * 12 + cast(substr({{ period }}, 6, 2) as integer) - 1)
{%- endmacro %}

{# date -> 24317 #}
{% macro month_index(day) -%}
    (cast(extract(year from {{ day }}) as integer) * 12 + cast(extract(month from {{ day }}) as integer) - 1)
{%- endmacro %}

{# 24317 -> '2026-06' #}
{% macro period_from_index(index) -%}{{ return(adapter.dispatch("period_from_index")(index)) }}{%- endmacro %}

{% macro duckdb__period_from_index(index) -%}
    printf('%04d-%02d', cast({{ index }} // 12 as integer), cast({{ index }} % 12 + 1 as integer))
{%- endmacro %}

{# The calendar day of a UTC timestamp in an IANA time zone given by an expression. #}
{% macro local_date(timestamp_utc, zone) -%}{{ return(adapter.dispatch("local_date")(timestamp_utc, zone)) }}{%- endmacro %}

{% macro duckdb__local_date(timestamp_utc, zone) -%}
    cast(({{ timestamp_utc }} at time zone 'UTC') at time zone {{ zone }} as date)
{%- endmacro %}

{# The local clock's reading of a UTC timestamp in an IANA time zone given by an expression, as a timestamp without zone. #}
{% macro local_time(timestamp_utc, zone) -%}{{ return(adapter.dispatch("local_time")(timestamp_utc, zone)) }}{%- endmacro %}

{% macro duckdb__local_time(timestamp_utc, zone) -%}
    (({{ timestamp_utc }} at time zone 'UTC') at time zone {{ zone }})
{%- endmacro %}

{# timestamp - n minutes #}
{% macro minutes_before(moment, minutes) -%}{{ return(adapter.dispatch("minutes_before")(moment, minutes)) }}{%- endmacro %}

{% macro duckdb__minutes_before(moment, minutes) -%}({{ moment }} - to_minutes({{ minutes }})){%- endmacro %}

{# Days from one date to a later one; negative if it is earlier. #}
{% macro days_between(earlier, later) -%}{{ return(adapter.dispatch("days_between")(earlier, later)) }}{%- endmacro %}

{% macro duckdb__days_between(earlier, later) -%}cast({{ later }} - {{ earlier }} as integer){%- endmacro %}

{# day + n days, as a date #}
{% macro add_days(day, days) -%}{{ return(adapter.dispatch("add_days")(day, days)) }}{%- endmacro %}

{% macro duckdb__add_days(day, days) -%}cast({{ day }} + {{ days }} as date){%- endmacro %}

{# Aggregate: the texts that are not null, in the order of `order_by`, joined by a semicolon; null if there are none. #}
{% macro listed(text, order_by) -%}{{ return(adapter.dispatch("listed")(text, order_by)) }}{%- endmacro %}

{% macro duckdb__listed(text, order_by) -%}string_agg({{ text }}, '; ' order by {{ order_by }}){%- endmacro %}

{# JSON object text from a dict of key -> expression; keys in the order given, null values kept. #}
{% macro json_object(pairs) -%}{{ return(adapter.dispatch("json_object")(pairs)) }}{%- endmacro %}

{% macro duckdb__json_object(pairs) -%}
    cast(json_object({% for key, value in pairs.items() %}'{{ key }}', {{ value }}{{ ", " if not loop.last }}{% endfor %}) as varchar)
{%- endmacro %}

{# `union all` of relations that matches columns by name and fills what a relation lacks with null. #}
{% macro union_by_name(relations) -%}{{ return(adapter.dispatch("union_by_name")(relations)) }}{%- endmacro %}

{% macro duckdb__union_by_name(relations) -%}
    {% for relation in relations -%}
    select * from {{ relation }}
    {{ "union all by name " if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{# BIGINT with the bits from..to set; expressions, 0 <= from <= to + 1 <= 60. Bit i stands for the month i before the target. #}
{% macro month_bits(first, last) -%}{{ return(adapter.dispatch("month_bits")(first, last)) }}{%- endmacro %}

{% macro duckdb__month_bits(first, last) -%}
    (((cast(1 as bigint) << ({{ last }} + 1)) - 1) - ((cast(1 as bigint) << ({{ first }})) - 1))
{%- endmacro %}

{# All columns whose names begin with the prefix, under their names without it. #}
{% macro columns_without_prefix(prefix) -%}{{ return(adapter.dispatch("columns_without_prefix")(prefix)) }}{%- endmacro %}

{% macro duckdb__columns_without_prefix(prefix) -%}
    columns('^{{ prefix }}(.*)$') as '\1'
{%- endmacro %}

{# '2026-06' -> date 2026-06-01 #}
{% macro first_day(period) -%}
    cast({{ period }} || '-01' as date)
{%- endmacro %}

{# 24317 -> date 2026-06-30 #}
{% macro last_day_of_index(index) -%}{{ return(adapter.dispatch("last_day_of_index")(index)) }}{%- endmacro %}

{% macro duckdb__last_day_of_index(index) -%}
    cast(last_day(make_date({{ index }} // 12, {{ index }} % 12 + 1, 1)) as date)
{%- endmacro %}

{# All columns of a relation but one. #}
{% macro all_but(relation, column) -%}{{ return(adapter.dispatch("all_but")(relation, column)) }}{%- endmacro %}

{% macro duckdb__all_but(relation, column) -%}
    {{ relation }}.* exclude ({{ column }})
{%- endmacro %}
