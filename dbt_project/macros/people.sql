{#
    Whether two ids are of one person, whatever their case, their width, their blanks and how their accents are encoded: an approver who is
    the requester in other letters is no other. The rule of orchestration/people.py, word for word: full-width letters are read as plain
    ones, characters that nobody sees are left out.
#}
{% macro is_same_person(one, other) -%}
    {{ bare_name(one) }} = {{ bare_name(other) }}
{%- endmacro %}

{# A name without what does not tell persons apart. #}
{% macro bare_name(name) -%}
    {%- set wide = "ａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚＡＢＣＤＥＦＧＨＩＪＫＬＭＮＯＰＱＲＳＴＵＶＷＸＹＺ０１２３４５６７８９．－＿＠" -%}
    {%- set plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_@" -%}
    nfc_normalize(lower(nfc_normalize(translate(regexp_replace({{ name }}, '[\x{0}-\x{20}\x{7F}-\x{A0}\x{AD}\x{34F}\x{600}-\x{605}\x{61C}\x{6DD}\x{70F}\x{890}-\x{891}\x{8E2}\x{115F}-\x{1160}\x{1680}\x{17B4}-\x{17B5}\x{180B}-\x{180F}\x{2000}-\x{200F}\x{2028}-\x{202F}\x{205F}-\x{206F}\x{2800}\x{3000}\x{3164}\x{FE00}-\x{FE0F}\x{FEFF}\x{FFA0}\x{FFF0}-\x{FFFB}\x{110BD}\x{110CD}\x{13430}-\x{1343F}\x{1BCA0}-\x{1BCA3}\x{1D173}-\x{1D17A}\x{E0000}-\x{E0FFF}]', '', 'g'), '{{ wide }}', '{{ plain }}'))))
{%- endmacro %}
