"""What the words in a consent column say. Pure."""

import unicodedata

from db.states import Consent

_YES = "true|yes|y|1|on|t|checked|x|ja|j|wahr|oui|o|vrai|si|s|verdadero"
_NO = "false|no|n|0|off|f|unchecked|nein|falsch|non|faux|falso"
_SAYS = {
    Consent.GRANTED: (
        "subscribed|opted in|opt in|optin|granted|confirmed|double opt in|single opt in|agreed|accepted|allowed|active"
        "|angemeldet|abonniert|abonne|inscrit|suscrito"
    ),
    Consent.DENIED: (
        "unsubscribed|opted out|opt out|optout|denied|revoked|refused|declined|cleaned|blocked|do not contact"
        "|not subscribed|abgemeldet|desabonne|desinscrit|baja"
    ),
    Consent.UNKNOWN: (
        "unknown|n a|na|none|null|nil|pending|unconfirmed|not set|nonsubscribed|non subscribed|transactional|undefined"
        "|not specified|never subscribed|unbekannt|inconnu|desconocido"
    ),
}
_YES_OR_NO = {word: is_yes for words, is_yes in ((_YES, True), (_NO, False)) for word in words.split("|")}
_STATEMENTS = {word: consent for consent, words in _SAYS.items() for word in words.split("|")}


def read_consent(text: str) -> Consent | None:
    """What a word such as yes, FALSE, opted-out or désabonné says; None if it cannot be told. Empty is unknown."""
    return _read(text, yes=Consent.GRANTED, no=Consent.DENIED)


def read_opt_out(text: str) -> Consent | None:
    """The same for a column of opt-outs: yes is a denial, and no is not a consent, which nobody asked for."""
    return _read(text, yes=Consent.DENIED, no=Consent.UNKNOWN)


def read_yes_or_no(text: str) -> bool | None:
    """What a word such as yes, FALSE, oui or x says; None if it says neither."""
    return _YES_OR_NO.get(_words(text))


def _read(text: str, *, yes: Consent, no: Consent) -> Consent | None:
    words = _words(text)
    if not words:
        return None if any(c.isalnum() for c in text) else Consent.UNKNOWN
    if words in _YES_OR_NO:
        return yes if _YES_OR_NO[words] else no
    return _STATEMENTS.get(words)


def _words(text: str) -> str:
    if text.isascii() and text.isalnum():
        return text.lower()
    letters = unicodedata.normalize("NFKD", text.casefold())
    plain = (c for c in letters if not unicodedata.combining(c))
    return " ".join("".join(c if c.isalnum() else " " for c in plain).split())
