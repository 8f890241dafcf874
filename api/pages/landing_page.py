"""A landing page as HTML: its head for search engines and previews, its body as sanitised, its form. No script, ever."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from tasks.cms.forms import LONGEST, TRAP, FormField, SignUpForm
from tasks.cms.utm import Utm

UTM_PLACE: Final = "<!--utm-->"
"""Where the hidden fields go that say where a visitor came from: the rest of a page is the same for everybody."""
_STYLE: Final = (
    "body{font:17px/1.6 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}"
    "img{max-width:100%;height:auto}table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:.3rem .6rem}"
    "form{border:1px solid #bbb;border-radius:.4rem;margin:2rem 0;padding:1rem}label{display:block;margin:.6rem 0}"
    "input[type=text],input[type=email],input[type=tel]{display:block;width:100%;box-sizing:border-box;font:inherit;padding:.5rem}"
    "button{font:inherit;padding:.6rem 1.2rem;border:0;border-radius:.4rem;background:#1a1a1a;color:#fff;cursor:pointer}"
    ".trap{position:absolute;left:-99rem}.problem{color:#a30000}.note{background:#fff7d6;padding:.5rem 1rem}"
)
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        f"default-src 'none'; img-src 'self' https:; style-src 'sha256-{_HASH}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'; sandbox allow-forms allow-same-origin allow-popups "
        "allow-top-navigation-by-user-activation"
    ),
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
NOT_KEPT: Final[Mapping[str, str]] = {**HEADERS, "Cache-Control": "no-store", "X-Robots-Tag": "noindex"}


@dataclass(frozen=True)
class Shown:
    """What is in a page besides its body. `url` is where it stands for good."""

    title: str
    url: str
    slug: str
    seo: Mapping[str, Any]
    form: SignUpForm | None = None


def landing_page(
    shown: Shown,
    body: str,
    *,
    note: str = "",
    given: Mapping[str, str] | None = None,
    problems: Mapping[str, str] | None = None,
) -> str:
    """The whole document; `body` is sanitised already. The form has what was `given` before, with `problems` beside its fields."""
    form = "" if shown.form is None else _form(shown, shown.form, given or {}, problems or {})
    said = f'<p class="note" role="status">{escape(note)}</p>' if note else ""
    return _document(shown.title, f"<main>{said}{body}{form}</main>", _head(shown))


def message_page(title: str, body: str) -> str:
    """A short page that no search engine keeps; `body` is HTML of ours, or sanitised."""
    return _document(
        title, f"<main><h1>{escape(title)}</h1>{body}</main>", '<meta name="robots" content="noindex">'
    )


def confirm_page(title: str) -> str:
    """One button. Scanners of mails open every link, so that opening changes nothing."""
    return message_page(
        title,
        '<form method="post"><p>One more click, and it is done.</p><button>Yes, sign me up</button></form>',
    )


def utm_fields(utm: Utm) -> str:
    return "".join(
        f'<input type="hidden" name="utm_{name}" value="{escape(value)}">'
        for name, value in utm._asdict().items()
        if value
    )


def _form(shown: Shown, form: SignUpForm, given: Mapping[str, str], problems: Mapping[str, str]) -> str:
    asked = (FormField("email", "Email", required=True), *form.fields)
    fields = "".join(_input(each, given.get(each.name, ""), problems.get(each.name)) for each in asked)
    ticked = " checked" if given.get("consent") == "yes" else ""
    return (
        f'<form method="post" action="/p/{escape(shown.slug)}/sign-up">{fields}'
        f'<label class="trap" aria-hidden="true">Leave this empty <input type="text" name="{TRAP}" tabindex="-1" '
        'autocomplete="off"></label>'
        f'<label><input type="checkbox" name="consent" value="yes" required{ticked}> {escape(form.consent_text)}</label>'
        f"{_problem(problems.get('consent'))}{UTM_PLACE}<button>{escape(form.button)}</button></form>"
    )


def _input(field: FormField, given: str, problem: str | None) -> str:
    kind = {"email": "email", "phone": "tel"}.get(field.name, "text")
    value = f' value="{escape(given[:LONGEST])}"' if given else ""
    needed = " required" if field.required else ""
    return (
        f'<label>{escape(field.label)} <input type="{kind}" name="{escape(field.name)}" maxlength="{LONGEST}"{value}{needed}>'
        f"</label>{_problem(problem)}"
    )


def _problem(words: str | None) -> str:
    return f'<p class="problem" role="alert">{escape(words)}</p>' if words else ""


def _head(shown: Shown) -> str:
    seo = shown.seo
    description = str(seo.get("description") or "")
    canonical = str(seo.get("canonical") or shown.url)
    tags = [f'<link rel="canonical" href="{escape(canonical)}">']
    names = {"description": description, "robots": seo.get("robots") or "index, follow"}
    tags += [f'<meta name="{name}" content="{escape(str(value))}">' for name, value in names.items() if value]
    graph = {
        "og:type": "website",
        "og:url": canonical,
        "og:title": seo.get("og_title") or shown.title,
        "og:description": seo.get("og_description") or description,
        "og:image": seo.get("og_image"),
    }
    tags += [
        f'<meta property="{name}" content="{escape(str(value))}">' for name, value in graph.items() if value
    ]
    return "".join(tags)


def _document(title: str, body: str, head: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"{head}<style>{_STYLE}</style></head><body>{body}</body></html>"
    )
