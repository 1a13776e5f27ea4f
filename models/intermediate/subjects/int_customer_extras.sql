{#- Which entities the compiled text reads is up to the policies; all that it may read are named for the order of the build. -#}
{%- for entity in ["campaign_responses", "campaign_targets", "complaints", "credit_grades", "customer_potentials", "customer_purchases", "devices", "financial_positions", "group_members", "household_members", "manager_visits", "payments", "service_contacts", "subscriptions", "surveys", "suspensions"] -%}
    {%- set _ = ref("stg_landing__" ~ entity) -%}
{%- endfor -%}
{{ compiled_relation("customer_extras") }}
