"""The pages behind an unsubscribe link: plain HTML that works without scripts, in a mail client's own browser too."""

from html import escape

from db.states import Channel
from tasks.feedback.preferences import ChannelChoice, Preferences

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
_NAMES = {Channel.EMAIL: "Email", Channel.SMS: "Text messages"}
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}"
    "fieldset{border:1px solid #bbb;border-radius:.4rem;margin:1rem 0;padding:.5rem 1rem}"
    "label{display:block;padding:.35rem 0}input{width:1.1rem;height:1.1rem;vertical-align:middle;margin-right:.5rem}"
    "button{font:inherit;padding:.6rem 1.1rem;border:1px solid #333;border-radius:.4rem;background:#f2f2f2;cursor:pointer}"
    "button.main{background:#1a1a1a;color:#fff}p.note{color:#555}"
)


def preference_page(preferences: Preferences, *, is_saved: bool = False) -> str:
    """What is chosen now, to be changed; and one button that ends everything."""
    if not preferences.channels:
        return done_page()
    title = "Saved" if is_saved else "What may we send you?"
    note = '<p role="status">Your choices are saved, and hold from now on.</p>' if is_saved else ""
    return _page(title, f"{note}{_form(preferences)}{_everything()}")


def done_page() -> str:
    """After one click."""
    return _page("Unsubscribed", '<p role="status">You will get no more of these messages.</p>')


def masked(address: str) -> str:
    """Enough to recognise one's own address by: `a***@example.com`, `***4567`."""
    name, at, domain = address.partition("@")
    return f"{name[:1]}***@{domain}" if at else f"***{address[-4:]}"


def _form(preferences: Preferences) -> str:
    channels = "".join(_channel(each) for each in preferences.channels)
    topics = "".join(
        _tick("topic", str(each.topic.flow_id), escape(each.topic.name), is_ticked=each.is_wanted)
        for each in preferences.topics
    )
    about = f"<fieldset><legend>About</legend>{topics}</fieldset>" if topics else ""
    return (
        '<form method="post"><input type="hidden" name="action" value="save">'
        f"<fieldset><legend>How</legend>{channels}</fieldset>{about}"
        '<button class="main">Save</button></form>'
    )


def _channel(choice: ChannelChoice) -> str:
    name = f"{_NAMES[choice.channel]} to {escape(masked(choice.address))}"
    note = ' <span class="note">(cannot be delivered at present)</span>' if choice.is_blocked else ""
    return _tick("channel", choice.channel.value, name + note, is_ticked=choice.is_wanted)


def _tick(name: str, value: str, label: str, *, is_ticked: bool) -> str:
    ticked = " checked" if is_ticked else ""
    return f'<label><input type="checkbox" name="{name}" value="{escape(value)}"{ticked}>{label}</label>'


def _everything() -> str:
    return (
        '<form method="post"><input type="hidden" name="action" value="nothing">'
        '<p class="note">Or, whatever is ticked above:</p><button>Unsubscribe from everything</button></form>'
    )


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main><h1>{title}</h1>{body}</main></body></html>"
    )
