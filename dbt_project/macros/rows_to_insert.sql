{#-
    What an incremental model inserts is named by a temporary view instead of copied into a temporary table first. Millions of decisions
    are written once a month, not twice, and the twelve months of a range do not stay in memory until dbt closes its connection.
    The delete of a month that is made again comes before the insert, so that the view must not read what its own month held; none does.
-#}
{% macro duckdb__create_table_as(temporary, relation, compiled_code, language="sql", partitioned_by=none, sorted_by=none) -%}
    {%- if temporary and language == "sql" and model.resource_type == "model" -%}
        {%- if config.get("contract").enforced %}{{ get_assert_columns_equivalent(compiled_code) }}{% endif %}
        create temporary view {{ relation.include(database=false, schema=false) }} as (
            {{ compiled_code }}
        );
    {%- else -%}
        {{ return(dbt.duckdb__create_table_as(temporary, relation, compiled_code, language, partitioned_by, sorted_by)) }}
    {%- endif -%}
{%- endmacro %}
