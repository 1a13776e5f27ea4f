{{ config(materialized="view") }}

{{ compiled_relation("feature_values") }}
