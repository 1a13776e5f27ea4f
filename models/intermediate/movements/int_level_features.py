"""Effect sizes of behaviour features; the comparison itself is in orchestration/policy/features.py."""


def model(dbt, session):
    dbt.config(materialized="table")
    values = dbt.ref("int_feature_values")
    from orchestration.policy.features import effects_table

    return effects_table(values.to_arrow_table())
