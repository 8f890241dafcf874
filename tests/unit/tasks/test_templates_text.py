"""Plain text derived from HTML, and the unsubscribe link that no email goes without."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from liquid.exceptions import LiquidError

from tasks.templates.footer import has_unsubscribe_link, with_unsubscribe_link
from tasks.templates.liquid import Part, check_source, parse
from tasks.templates.text import html_to_text


class TestHtmlToText:
    @pytest.mark.parametrize(
        ("html", "text"),
        [
            ("", ""),
            ("<p>Hello\n   there</p>", "Hello there"),
            ("<h1>Spring</h1><p>One</p><p>Two</p>", "Spring\n\nOne\n\nTwo"),
            ("One<br>two<br/>three", "One\ntwo\nthree"),
            ("<ul><li>One</li><li>Two</li></ul>After", "- One\n- Two\n\nAfter"),
            ('<a href="https://x.ie/a?b=1&amp;c=2">Shop</a>', "Shop (https://x.ie/a?b=1&c=2)"),
            ('<a href="https://x.ie">https://x.ie</a>', "https://x.ie"),
            ('<a href="mailto:a@x.ie">a@x.ie</a>', "a@x.ie"),
            ('<a href="#top">Top</a>', "Top"),
            ('<a href="https://x.ie"><img src="x.png" alt="Shop"></a>', "Shop (https://x.ie)"),
            ('<a href="https://x.ie"><img src="x.png"></a>', "https://x.ie"),
            ("Fish &amp; chips&nbsp;&euro;5 &lt;b&gt;", "Fish & chips €5 <b>"),
            ("<style>p{color:red}</style><script>alert(1)</script>Hi<!-- secret -->", "Hi"),
            ("<html><head><title>T</title></head><body>Hi</body></html>", "Hi"),
            ("<html><head><meta charset=utf-8><body>Hi</body></html>", "Hi"),
            ("<table><tr><td>A</td><td>B</td></tr><tr><td>C</td></tr></table>", "A B\n\nC"),
            ("a<hr>b", "a\n\n---\n\nb"),
            ("<p>unclosed <b>bold", "unclosed bold"),
        ],
    )
    def test_reads_like_the_page(self, html: str, text: str) -> None:
        assert html_to_text(html) == text

    @pytest.mark.parametrize(
        ("html", "text"),
        [
            (
                "<p>Dear {{ client.first_name | default: '<friend> &amp; co' }},</p>",
                "Dear {{ client.first_name | default: '<friend> &amp; co' }},",
            ),
            ('<a href="{{ unsubscribe_url }}">Leave</a>', "Leave ({{ unsubscribe_url }})"),
            (
                "{% if client.email  ==  'a<b' %}<b>x</b>{% endif %}",
                "{% if client.email  ==  'a<b' %}x{% endif %}",
            ),
            ("<style>{% if client.email %}p{}{% endif %}</style>{{ client.email }}", "{{ client.email }}"),
            ("<!-- {% if client.email %} -->a{% endif %}{{ client.email }}", "a{{ client.email }}"),
        ],
    )
    def test_keeps_liquid_that_still_parses(self, html: str, text: str) -> None:
        assert html_to_text(html) == text
        assert check_source(text, Part.TEXT) == []

    @given(
        st.lists(
            st.sampled_from(
                [
                    "<p>",
                    "</p>",
                    "<a href='{{ unsubscribe_url }}'>",
                    "</a>",
                    "<style>",
                    "</style>",
                    "<!--",
                    "-->",
                    "{% if client.email %}",
                    "{% else %}",
                    "{% endif %}",
                    "{{ client.email }}",
                    "<p {% if client %}",
                    "x",
                    "&amp;",
                    "<",
                    ">",
                    '"',
                    "\ue0000\ue000",
                    "<li>",
                    "<script>",
                    "</head>",
                    "<head>",
                    "{% raw %}",
                ]
            ),
            max_size=10,
        ).map("".join)
    )
    def test_never_makes_a_broken_template_of_a_good_one(self, html: str) -> None:
        try:
            parse(html, Part.HTML)
        except LiquidError:
            return
        parse(html_to_text(html), Part.TEXT)


class TestUnsubscribeLink:
    def test_a_template_that_has_one_is_left_alone(self) -> None:
        parts = ("<a href='{{ unsubscribe_url }}'>x</a>", "{{ unsubscribe_url | upcase }}")

        assert with_unsubscribe_link(*parts) == parts

    def test_the_footer_goes_into_the_last_body(self) -> None:
        html, text = with_unsubscribe_link("<BODY><p></body ></p></BODY></html>", "Hi")

        assert html.startswith("<BODY><p></body ></p><p")
        assert html.endswith("</p></BODY></html>")
        assert has_unsubscribe_link(html, Part.HTML)
        assert text.startswith("Hi\n")
        assert has_unsubscribe_link(text, Part.TEXT)

    def test_a_fragment_gets_it_at_its_end(self) -> None:
        assert with_unsubscribe_link("<p>Hi</p>", "")[0].startswith("<p>Hi</p><p")

    def test_a_part_that_is_not_there_is_not_made(self) -> None:
        assert with_unsubscribe_link("", "") == ("", "")

    def test_the_word_alone_is_no_link(self) -> None:
        assert not has_unsubscribe_link("unsubscribe_url", Part.TEXT)
