"""What each recipient is sent."""

import hashlib

from sandbox.sendgrid_content import Content, content_of, links_of, personalized

MAIL = {
    "subject": "Hello [name]",
    "content": [
        {"type": "text/plain", "value": "Dear [name], [name]!"},
        {"type": "text/html", "value": "<p>Dear [name]</p>"},
    ],
    "reply_to": {"email": "help+[id]@example.com"},
}


def test_tags_are_replaced_in_subject_content_and_reply_to() -> None:
    person = {"substitutions": {"[name]": "Ann & Bob", "[id]": "7"}}
    assert personalized(content_of(MAIL), person) == Content(
        subject="Hello Ann & Bob",
        text="Dear Ann & Bob, Ann & Bob!",
        html="<p>Dear Ann & Bob</p>",
        reply_to="help+7@example.com",
    )


def test_the_subject_of_the_personalization_wins_and_is_substituted_too() -> None:
    content = personalized(content_of(MAIL), {"subject": "[name]!", "substitutions": {"[name]": "Ann"}})
    assert content.subject == "Ann!"


def test_without_substitutions_the_content_is_shared() -> None:
    assert personalized(content_of(MAIL), {}) == content_of(MAIL)


def test_a_value_that_contains_a_later_tag_is_changed_as_well() -> None:
    content = personalized(content_of(MAIL), {"substitutions": {"[name]": "[id]", "[id]": "7"}})
    assert content.subject == "Hello 7"


def test_an_empty_tag_changes_nothing() -> None:
    assert personalized(content_of(MAIL), {"substitutions": {"": "x"}}) == content_of(MAIL)


def test_the_digest_tells_text_from_html() -> None:
    content = Content("s", "ab", "c", "")
    assert content.digest == hashlib.sha256(b"ab\x00c").hexdigest()
    assert content.digest != Content("s", "a", "bc", "").digest


def test_links_are_those_a_reader_can_click_on() -> None:
    markup = """<a href="https://x.ie/a?b=1&amp;c=2">1</a> <A class=x HREF='http://x.ie/'>2</A>
    <img src="https://x.ie/i.png"> <a href="mailto:a@x.ie">3</a> <a href="https://x.ie/unsubscribe/t">4</a>"""
    assert links_of(markup) == ("https://x.ie/a?b=1&c=2", "http://x.ie/")
