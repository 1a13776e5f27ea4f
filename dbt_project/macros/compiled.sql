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

{#
    A compiled relation, its placeholders replaced by the models that they stand for. The list is the whole set that the compiler
    writes (orchestration/policy/sql.py); dbt must see every ref while it parses, so that models are built in order.
#}
{% macro compiled_relation(name) -%}
    {%- set text = compiled(name) -%}
    {%- set of_subjects = {
        "__MONTHS__": ref("int_customer_months"),
        "__POINTS_MONTHS__": ref("int_points_months"),
    } if name not in ["decisions", "order_values"] else {} -%}
    {%- set of_decisions = {
        "__METRICS__": ref("int_customer_metrics"),
        "__NOMINATIONS__": ref("int_approved_nominations"),
        "__EXTRAS__": ref("int_customer_extras"),
        "__APPLICATIONS__": ref("int_application_states"),
        "__GROUP_SUBJECTS__": ref("int_group_metrics"),
        "__PROSPECT_SUBJECTS__": ref("int_prospect_metrics"),
        "__STAFF_SUBJECTS__": ref("int_staff_metrics"),
        "__RECEPTION_SUBJECTS__": ref("int_reception_metrics"),
    } if name in ["decisions", "order_values", "movement_causes", "feature_values"] else {} -%}
    {%- set of_movement = {"__DECISIONS__": ref("int_held_decisions")} if name in ["movement_causes", "feature_values"] else {} -%}
    {%- set replaced = namespace(text=text) -%}
    {%- for placeholder, relation in (of_subjects | dictsort) + (of_decisions | dictsort) + (of_movement | dictsort) -%}
        {%- set replaced.text = replaced.text | replace(placeholder, relation | string) -%}
    {%- endfor -%}
    {{ return(replaced.text) }}
{%- endmacro %}
