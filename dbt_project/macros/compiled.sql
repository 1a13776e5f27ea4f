{#
    The SQL fragment that orchestration/policy compiled from the seeds under `name` (docs/adr/0009).

    The text is read when a model runs; while dbt parses, a literal stands in for it, so that the manifest does not depend on
    policies. In unit tests either override this macro or run them on a warehouse that has been prepared.
#}
{% macro compiled(name) -%}
    {%- if not execute -%}
        {{ return("null as not_compiled_yet") }}
    {%- endif -%}
    {%- set found = run_query("select sql from ctl.compiled_sql where name = '" ~ name ~ "'") -%}
    {%- if found.rows | length != 1 -%}
        {{ exceptions.raise_compiler_error("no compiled fragment '" ~ name ~ "': prepare the run first (orchestration.warehouse.prepare)") }}
    {%- endif -%}
    {{ return(found.rows[0][0]) }}
{%- endmacro %}

{# Compiled select lists as further columns: each begins with a comma, or is nothing where the policies ask for none. #}
{% macro compiled_columns() -%}
    {%- for name in varargs -%}
        {%- set columns = compiled(name) -%}
        {%- if columns | trim -%}
            ,
            {{ columns }}
        {%- endif -%}
    {%- endfor -%}
{%- endmacro %}
