{#- Which entities the compiled text reads is up to the policies; all that it may read are named for the order of the build. -#}
{%- for entity in ["prospects"] -%}
    {%- set _ = ref("stg_landing__" ~ entity) -%}
{%- endfor -%}
{{ compiled_relation("prospect_subjects") }}
