"""Whether a template may be saved, and what becomes of its text."""

import pytest

from db.states import Channel
from tasks.templates.checking import Draft, complete, problems_of, revised, variables_of, warnings_of

HTML = "<p>Dear {{ client.first_name }}</p>"
MADE = Draft("Hi", HTML, "Dear {{ client.first_name }}")


def test_the_text_of_an_email_is_made_from_its_html_where_it_is_empty() -> None:
    assert complete(Channel.EMAIL, Draft("Hi", HTML, " ")) == MADE
    assert complete(Channel.EMAIL, Draft("Hi", HTML, "Own")).text == "Own"
    assert complete(Channel.SMS, Draft("", "", "")) == Draft("", "", "")


def test_a_text_that_was_made_follows_the_html() -> None:
    assert revised(Channel.EMAIL, MADE, {"html": "<p>New</p>"}) == Draft("Hi", "<p>New</p>", "")
    assert revised(Channel.EMAIL, MADE, {"html": "<p>New</p>", "text": "Own"}).text == "Own"
    assert revised(Channel.EMAIL, MADE, {"subject": "Bye"}) == Draft("Bye", HTML, MADE.text)


def test_a_text_that_somebody_wrote_stays() -> None:
    written = Draft("Hi", HTML, "Own")
    assert revised(Channel.EMAIL, written, {"html": "<p>New</p>"}).text == "Own"
    assert revised(Channel.EMAIL, Draft("Hi", "", "Own"), {"html": HTML}).text == "Own"


@pytest.mark.parametrize(
    ("channel", "draft", "parts"),
    [
        (Channel.EMAIL, MADE, []),
        (Channel.EMAIL, Draft("", "", ""), ["subject", "html"]),
        (Channel.EMAIL, Draft("{{ x }}", "{{ y }}", "{{ z }}"), ["subject", "html", "text"]),
        (Channel.SMS, Draft("", "", "Hi"), []),
        (Channel.SMS, Draft("Hi", "", "Hi"), ["subject"]),
        (Channel.SMS, Draft("", "<p>", ""), ["html", "sms"]),
    ],
)
def test_every_part_that_is_wrong_is_named(channel: Channel, draft: Draft, parts: list[str]) -> None:
    assert [problem.part.value for problem in problems_of(channel, draft)] == parts


def test_variables_are_those_of_all_parts() -> None:
    draft = Draft(
        "{{ client.email }}", "{{ client.custom.city }}", "{{ client.email }} {{ unsubscribe_url }}"
    )
    assert variables_of(draft) == ["client.custom.city", "client.email", "unsubscribe_url"]


def test_a_custom_field_that_is_not_defined_is_a_warning_with_the_nearest_one() -> None:
    source = "{{ client.custom.citty }} {{ client.custom['2fa'] }} {{ client.custom.plan.size }} {{ client.custom[client.email] }}"
    used = variables_of(Draft("{{ client.first_name }}", source, "{{ unsubscribe_url }}"))
    assert warnings_of(used, ("2fa", "city", "plan")) == [
        "client.custom.citty: there is no such custom field; did you mean 'city'?"
    ]
    assert warnings_of(["client.custom.city"], ()) == [
        "client.custom.city: there is no such custom field; there is none yet"
    ]


def test_a_warning_is_short_whatever_the_name() -> None:
    [warning] = warnings_of(variables_of(Draft("", f"{{{{ client.custom['{'x' * 5000}'] }}}}", "")), ())
    assert len(warning) < 200
