{#
    Whether tables of text keys are written as they are. Compressing customer ids takes longer than summing their bills, and these
    tables are made again every run; marts, which keep their history, are compressed. A hook before and after a model.
#}
{% macro plain_storage(on) -%}{{ return(adapter.dispatch("plain_storage")(on)) }}{%- endmacro %}

{% macro duckdb__plain_storage(on) -%}
    set disabled_compression_methods = '{{ "fsst,dict_fsst,dictionary,zstd" if on }}'
{%- endmacro %}
