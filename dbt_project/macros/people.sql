{#
    Whether two ids are of one person, whatever their case, their width and their blanks: an approver who is the requester in other letters
    is no other. The rule of orchestration/people.py, word for word: full-width letters are read as plain ones, blanks of every width and
    invisible characters are left out.
#}
{% macro is_same_person(one, other) -%}
    {%- set wide = "ａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚ０１２３４５６７８９．－＿＠" -%}
    {%- set plain = "abcdefghijklmnopqrstuvwxyz0123456789.-_@" -%}
    {%- set blanks = "\u0009\u000a\u000b\u000c\u000d\u0020\u0085\u00a0\u00ad\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202f\u205f\u2060\u3000\ufeff" -%}
    translate(lower({{ one }}), '{{ wide }}{{ blanks }}', '{{ plain }}') = translate(lower({{ other }}), '{{ wide }}{{ blanks }}', '{{ plain }}')
{%- endmacro %}
