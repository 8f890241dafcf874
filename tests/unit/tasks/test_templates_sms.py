"""Parts and encodings of SMS (3GPP TS 23.038 and 23.040), and previews."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.templates.context import client_context
from tasks.templates.personalization import RenderFailed
from tasks.templates.preview import preview_email, preview_sms
from tasks.templates.sms import Encoding, measure_sms

BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = "^{}\\[~]|€"


class TestMeasure:
    @pytest.mark.parametrize(
        ("text", "encoding", "units", "parts"),
        [
            ("", Encoding.GSM7, 0, 1),
            ("x" * 160, Encoding.GSM7, 160, 1),
            ("x" * 161, Encoding.GSM7, 161, 2),
            ("x" * 306, Encoding.GSM7, 306, 2),
            ("x" * 307, Encoding.GSM7, 307, 3),
            ("€" * 80, Encoding.GSM7, 160, 1),
            ("€" * 81, Encoding.GSM7, 162, 2),
            # 153 septets hold 76 escaped characters and leave one septet empty: 153 of them need three parts.
            ("€" * 152, Encoding.GSM7, 304, 2),
            ("€" * 153, Encoding.GSM7, 306, 3),
            ("x" * 152 + "€" + "x" * 152, Encoding.GSM7, 306, 3),
            ("á" * 70, Encoding.UCS2, 70, 1),
            ("á" * 71, Encoding.UCS2, 71, 2),
            ("á" * 134, Encoding.UCS2, 134, 2),
            ("á" * 135, Encoding.UCS2, 135, 3),
            ("😀" * 35, Encoding.UCS2, 70, 1),
            ("😀" * 66, Encoding.UCS2, 132, 2),
            ("😀" * 67, Encoding.UCS2, 134, 3),
        ],
    )
    def test_counts_as_networks_do(self, text: str, encoding: Encoding, units: int, parts: int) -> None:
        size = measure_sms(text)

        assert (size.encoding, size.units, size.parts) == (encoding, units, parts)
        assert size.characters == len(text)

    @pytest.mark.parametrize("character", [*list("áç`\t\u2019\u2013"), "\xa0", "ё", "Ç".lower()])
    def test_some_common_characters_force_ucs2(self, character: str) -> None:
        assert measure_sms(f"a{character}").encoding is Encoding.UCS2

    def test_the_gsm_alphabet_has_127_characters_and_an_escape(self) -> None:
        assert len(set(BASIC)) == 127
        assert measure_sms(BASIC).units == 127
        assert measure_sms(EXTENSION).units == 2 * len(EXTENSION)

    @given(st.text(alphabet=BASIC + EXTENSION, max_size=1200))
    def test_gsm7_agrees_with_cutting_the_text_by_hand(self, text: str) -> None:
        units = [2 if character in EXTENSION else 1 for character in text]

        assert measure_sms(text).encoding is Encoding.GSM7
        assert measure_sms(text).parts == cut(units, 160, 153)

    @given(st.text(max_size=500))
    def test_ucs2_agrees_with_cutting_the_utf_16_by_hand(self, text: str) -> None:
        marked = text + "á"
        units = [len(character.encode("utf-16-be")) // 2 for character in marked]

        assert measure_sms(marked).units == len(marked.encode("utf-16-be")) // 2
        assert measure_sms(marked).parts == cut(units, 70, 67)

    @given(st.text(max_size=300), st.characters())
    def test_a_longer_text_never_has_fewer_parts(self, text: str, more: str) -> None:
        assert measure_sms(text + more).parts >= measure_sms(text).parts


def cut(units: list[int], single: int, several: int) -> int:
    """Fill part after part; what does not fit as a whole goes into the next one."""
    if sum(units) <= single:
        return 1
    parts: list[int] = [0]
    for width in units:
        if parts[-1] + width > several:
            parts.append(0)
        parts[-1] += width
    return len(parts)


class TestPreview:
    CONTEXT = client_context({"first_name": "Zoë <x>", "custom_fields": {"city": ""}}, "https://x.ie/u")

    def test_of_an_email_is_what_the_client_gets(self) -> None:
        preview = preview_email(
            "Hi {{ client.first_name }}\n!",
            "{{ client.first_name }}",
            "{{ client.custom.city }}",
            self.CONTEXT,
        )

        assert not isinstance(preview, RenderFailed)
        assert (preview.subject, preview.html, preview.text) == ("Hi Zoë <x> !", "Zoë &lt;x&gt;", "")
        assert preview.missing == ("client.custom.city",)

    def test_of_an_sms_has_its_size(self) -> None:
        preview = preview_sms("Hi {{ client.first_name }}, {{ client.phone }}", self.CONTEXT)

        assert not isinstance(preview, RenderFailed)
        assert preview.text == "Hi Zoë <x>, "
        assert (preview.size.encoding, preview.size.parts) == (Encoding.UCS2, 1)
        assert preview.missing == ("client.phone",)

    def test_of_a_template_that_fails_says_why(self) -> None:
        assert isinstance(preview_sms("{{ 1 | divided_by: 0 }}", self.CONTEXT), RenderFailed)
        assert isinstance(preview_email("Hi", "x", "{% if %}", self.CONTEXT), RenderFailed)


class TestContext:
    def test_has_an_empty_value_for_whatever_a_client_lacks(self) -> None:
        context = client_context({"first_name": None, "tags": None, "custom_fields": None})

        assert (
            context["client"]["first_name"] == context["client"]["phone"] == context["unsubscribe_url"] == ""
        )
        assert (context["client"]["tags"], context["client"]["custom"]) == ([], {})

    def test_keeps_custom_fields_under_custom(self) -> None:
        context = client_context({"email": "a@x.ie", "custom_fields": {"email": "b@x.ie", "n": 0}}, "u")

        assert (context["client"]["email"], context["client"]["custom"]) == (
            "a@x.ie",
            {"email": "b@x.ie", "n": 0},
        )
