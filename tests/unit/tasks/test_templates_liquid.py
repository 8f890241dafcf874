"""What a marketer may write in a template, and what a mistake in it is answered with."""

import time

import pytest

from tasks.templates.context import client_context
from tasks.templates.liquid import MAX_SOURCE_CHARACTERS, Part, check_source, parse, variables
from tasks.templates.personalization import RenderFailed, render_whole

CONTEXT = client_context(
    {"first_name": "Ann", "tags": ["a", "b"], "custom_fields": {"n": 5}}, "https://x.ie/u"
)


class TestCheckSource:
    @pytest.mark.parametrize(
        "source",
        [
            "",
            "Hello",
            "{{ client.first_name | default: 'you' }} {{ unsubscribe_url }}",
            "{{ client.custom.anything_at_all }} {{ client.custom['shoe size'] }}",
            "{% for tag in client.tags %}{% if tag == 'b' %}{% break %}{% endif %}{{ forloop.index }}{% endfor %}",
            "{% assign name = client.first_name | upcase %}{{ name }}",
            "{% increment seen %}{% capture all %}x{% endcapture %}{{ all }}",
            "{% raw %}{{ not.a.variable }} {{{% endraw %}",
            "{% comment %}{{ not.a.variable }}{% endcomment %}",
            "{% tablerow tag in client.tags %}{% continue %}{% endtablerow %}",
            "{{ 'now' | date: '%Y' }}",
            "a } b }} c %} {",
        ],
    )
    def test_says_nothing_about_a_good_source(self, source: str) -> None:
        assert check_source(source, Part.HTML) == []

    @pytest.mark.parametrize(
        ("source", "line", "reason"),
        [
            ("a\nb\n{% if client.email %}", 3, "endif"),
            ("a\n{{ client.email ", 2, "expected '}}'"),
            ("a\r\n\r\n{% if %}x{% endif %}", 3, "missing expression"),
            ("\n\n{% endfor %}", 3, "unexpected tag 'endfor'"),
            ("{% include 'other' %}", 1, "unexpected tag 'include'"),
            ("{% render 'other' %}", 1, "unexpected tag 'render'"),
            ("{% extends 'other' %}", 1, "unexpected tag 'extends'"),
            ("\n{{ client.email | upcas }}", 2, "did you mean 'upcase'"),
            ("{{ client.first_name | safe }}", 1, "unknown filter 'safe'"),
            ("\n{{ clint.email }}", 2, "did you mean client?"),
            ("{{ first_name }}", 1, "did you mean client.first_name?"),
            ("\n\n{{ client.frist_name }}", 3, "did you mean client.first_name?"),
            ("{{ client['fone'] }}", 1, "did you mean client.phone?"),
            ("{{ client.shoe_size }}", 1, "client.custom.<name>"),
            ("{{ client }}", 1, "name a field"),
            ("{% for x in client.tags %}{{ y }}{% endfor %}", 1, "unknown variable 'y'"),
            ("a\n{% break %}", 2, "outside of a loop"),
            ("{% if client.email %}\n{% continue %}{% endif %}", 2, "outside of a loop"),
            ("\n{% raw %} {{ client.email }}", 2, "'raw' is never closed"),
        ],
    )
    def test_names_line_and_reason(self, source: str, line: int, reason: str) -> None:
        problems = check_source(source, Part.TEXT)

        assert [(problem.part, problem.line) for problem in problems] == [(Part.TEXT, line)]
        assert reason in problems[0].reason

    def test_reports_every_unknown_variable_in_order_of_lines(self) -> None:
        problems = check_source("{{ b }}\n{{ client.emial }}\n{{ a }}", Part.TEXT)

        assert [problem.line for problem in problems] == [1, 2, 3]

    def test_refuses_a_source_that_is_too_long(self) -> None:
        assert "longer than" in check_source("x" * (MAX_SOURCE_CHARACTERS + 1), Part.HTML)[0].reason

    @pytest.mark.parametrize(
        "source",
        [
            "{{" + " " * 400_000,
            "{{" + " " * 400_000 + "}}",
            "{{" * 200_000,
            "{% raw %}" * 50_000,
            "{% raw %}{% endraw %}" + "{{" * 200_000,
            "{{ client" + "[client" * 5_000 + "]" * 5_000 + "}}",
        ],
        ids=["spaces", "closed spaces", "braces", "raw", "braces after raw", "nested paths"],
    )
    def test_refuses_within_seconds_what_would_keep_the_lexer_busy_for_hours(self, source: str) -> None:
        started = time.process_time()

        assert check_source(source, Part.HTML)
        assert time.process_time() - started < 5


class TestVariables:
    def test_are_the_paths_that_a_source_reads(self) -> None:
        source = (
            "{% assign greeting = client.first_name | default: 'you' %}{{ greeting }}"
            "{% if client.custom.city == 'Cork' %}{{ unsubscribe_url }}{% endif %}"
            "{% for tag in client.tags %}{{ tag }}{% endfor %}"
        )

        assert variables(source) == {
            "client.first_name",
            "client.custom.city",
            "unsubscribe_url",
            "client.tags",
        }

    def test_end_where_an_index_is_computed(self) -> None:
        source = "{{ client.tags[0] }}{{ client.custom[client.locale] }}"

        assert variables(source) == {"client.tags", "client.custom", "client.locale"}


class TestLimits:
    @pytest.mark.parametrize(
        "source",
        [
            "{% for i in (1..5000) %}x{% endfor %}",
            "{% for i in (1..100) %}{% for j in (1..100) %}x{% endfor %}{% endfor %}",
            "{{ (1..1000000000) | join }}",
            "{{ (1..1000000000) | size }}",
            "{% for i in (1..999999999999999999999999) %}{% endfor %}",
            "{% assign a = 'aaaaaaaaaaaaaaaa' %}{% for i in (1..900) %}{% assign a = a | append: a %}{% endfor %}",
            "{% capture a %}{% for i in (1..900) %}" + "a" * 50 + "{% endfor %}{% endcapture %}"
            "{{ a | replace: 'a', a }}",
            "{% capture a %}{% for i in (1..900) %}" + "a " * 25 + "{% endfor %}{% endcapture %}"
            "{{ a | split: ' ' | join: a }}",
            "{% capture a %}"
            + "a" * 20_000
            + "{% endcapture %}{{ a"
            + " | url_encode | base64_encode" * 60
            + " }}",
        ],
        ids=["loop", "nested", "join", "size", "huge", "doubling", "replace", "join by", "chain"],
    )
    def test_a_template_that_wants_too_much_fails_soon(self, source: str) -> None:
        started = time.process_time()

        assert isinstance(render_whole(source, Part.TEXT, CONTEXT), RenderFailed)
        assert time.process_time() - started < 5

    def test_leave_ordinary_filters_alone(self) -> None:
        source = "{{ client.tags | join: ', ' }} {{ 'a-b-c' | replace: '-', '+' }} {{ (1..3) | join: ' ' }}"

        assert render_whole(source, Part.TEXT, CONTEXT) == "a, b a+b+c 1 2 3"


class TestEscaping:
    HOSTILE = "<script>alert('1')</script> & \"x\""

    @pytest.mark.parametrize("name", sorted(parse("", Part.HTML).env.filters))
    def test_no_filter_lets_a_clients_data_write_html(self, name: str) -> None:
        context = client_context({"first_name": self.HOSTILE, "tags": [self.HOSTILE, self.HOSTILE]})
        for variable in ("client.first_name", "client.tags"):
            for arguments in ("", ": client.first_name", ": 'x', client.first_name", ": 3", ": ' '"):
                rendered = render_whole(f"{{{{ {variable} | {name}{arguments} }}}}", Part.HTML, context)
                assert isinstance(rendered, RenderFailed) or "<script" not in rendered

    def test_is_for_the_html_part_alone(self) -> None:
        context = client_context({"first_name": "O'Neill & <Co>"})

        assert render_whole("{{ client.first_name }}", Part.HTML, context) == "O&#39;Neill &amp; &lt;Co&gt;"
        assert render_whole("{{ client.first_name }}", Part.TEXT, context) == "O'Neill & <Co>"
        assert render_whole("{{ client.first_name }}", Part.SUBJECT, context) == "O'Neill & <Co>"

    def test_leaves_the_authors_own_html_in_a_default(self) -> None:
        assert (
            render_whole("{{ client.phone | default: '<b>none</b>' }}", Part.HTML, CONTEXT) == "<b>none</b>"
        )
