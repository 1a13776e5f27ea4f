{# The package hub is not needed: these few generic tests are all that the models use. Each returns the rows that break the claim. #}

{% test is_unique_over(model, columns) %}
    select {{ columns | join(", ") }}, count(*) as times
    from {{ model }}
    group by {{ columns | join(", ") }}
    having count(*) > 1
{% endtest %}

{% test holds(model, expression) %}
    select * from {{ model }}
    where not coalesce({{ expression }}, false)
{% endtest %}

{% test matches_rows_of(model, columns, other, other_columns, other_where="true") %}
    with ours as (select distinct {{ columns | join(", ") }} from {{ model }}),

    theirs as (select distinct {{ other_columns | join(", ") }} from {{ other }} where {{ other_where }})

    (select * from ours except select * from theirs)
    union all
    (select * from theirs except select * from ours)
{% endtest %}
