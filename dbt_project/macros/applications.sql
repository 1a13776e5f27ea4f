{#
    Of `known`, the applications of a subject with what is known of them at the end of a period (program_id, subject_id, period,
    application_id, begun_date, outcome): with is_newest, and with is_counted for the one that speaks for the subject. That is the one
    begun last, unless it is not decided yet and the last one that was is an approval: nobody loses an accreditation by applying again.
#}
{% macro counted_applications(known) -%}
    select
        *,
        row_number() over (
            partition by program_id, subject_id, period
            order by
                case when outcome = 'approved' and is_last_decided then 0 else 1 end,
                begun_date desc,
                application_id desc
        ) = 1 as is_counted
    from (
        select
            *,
            row_number() over (partition by program_id, subject_id, period order by begun_date desc, application_id desc) = 1 as is_newest,
            row_number() over (
                partition by program_id, subject_id, period
                order by case when outcome in ('approved', 'refused') then 0 else 1 end, begun_date desc, application_id desc
            ) = 1 as is_last_decided
        from {{ known }}
    ) as placed
{%- endmacro %}

{#
    Whether an application that was returned has been handed in again: it keeps its id, and its step `application` has a later day than the
    decision. Of these days and the outcome.
#}
{% macro is_handed_in_again(applied_date, decided_date, outcome) -%}
    coalesce({{ outcome }} = 'returned' and {{ applied_date }} > {{ decided_date }}, false)
{%- endmacro %}
