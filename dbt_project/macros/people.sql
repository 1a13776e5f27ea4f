{# Whether two ids are of one person, whatever their case and blanks: an approver who is the requester in other letters is no other. #}
{% macro is_same_person(one, other) -%}
    lower(replace({{ one }}, ' ', '')) = lower(replace({{ other }}, ' ', ''))
{%- endmacro %}
