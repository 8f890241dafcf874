"""What the names of columns mean, in the words that CRMs, shops and mail programs export. Pure.

The names are those of HubSpot, Salesforce, Mailchimp, Shopify, Google Contacts and Outlook, and everyday English,
German, French and Spanish.
"""

import re
import unicodedata

from tasks.imports.targets import Target

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_CUSTOM = re.compile(r"custom\.[a-z0-9_]{1,64}")
_NO_WORD = re.compile(r"[^a-z0-9]+")

_EMAIL = re.compile(
    r"(primary |main |secondary |work |home |other |private |business |personal |contact |customer |client |user |your )?"
    r"(e mail|email|emailaddress|mail)( address(es)?)?"
    r"( \d+)?( (address|value|work|home|other|private|business|personal|primary))?( \d+)?"
    r"|(e mail|email) \d+ (address|value)|(e mail|email) ?adresse|mailadresse|adresse (e mail|email|mail)|courriel"
    r"|correo( electronico)?|direccion de (correo|email)( electronico)?"
)
_PHONE = re.compile(
    r"(primary |main |secondary |work |home |other |private |business |personal |contact |customer |mobile |cell |company )*"
    r"(phone|telephone|tel|mobile|mobilephone|homephone|cell|cellphone|msisdn|sms)"
    r"( (phone|number|no|nr))*( \d+)?( (number|value|work|home|other|mobile|business|private|primary))?( \d+)?"
    r"|phonenumber|mobilenumber|whatsapp( phone)?( number)?"
    r"|telefon( ?nummer)?( (privat|geschaftlich|mobil))?|handy( ?nummer)?|mobil(telefon|nummer|funknummer)?|rufnummer"
    r"|(numero de )?telephone( (mobile|portable|fixe))?|(numero de )?portable|mobile"
    r"|(numero de )?(telefono|movil|celular)( (movil|celular|fijo))?"
)
_MOBILE = re.compile(r"mobile|mobil|cell|handy|portable|movil|celular|sms|msisdn|whatsapp")

_NAMES = {
    Target.FIRST_NAME: (
        "first name|firstname|first|fname|given name|givenname|forename|vorname|prenom|nombre de pila|primer nombre"
        "|voornaam|contact first name|customer first name|nombres"
    ),
    Target.LAST_NAME: (
        "last name|lastname|last|lname|surname|family name|familyname|nachname|familienname|nom de famille|apellido"
        "|apellidos|primer apellido|achternaam|contact last name|customer last name"
    ),
    Target.FULL_NAME: (
        "name|full name|fullname|contact name|customer name|client name|display name|nom|nombre|nombre completo"
        "|nom complet|vollstandiger name|kundenname|contact"
    ),
    Target.EXTERNAL_ID: (
        "id|external id|externalid|contact id|record id|customer id|client id|user id|person id|member id|subscriber id"
        "|crm id|uuid|guid|euid|leid|kundennummer|kunden nr|kunden id|customer number|client number|identifiant"
        "|numero client|id cliente|numero de cliente"
    ),
    Target.TAGS: (
        "tags|tag|labels|label|groups|group membership|categories|segments|lists|interests|schlagworte"
        "|kategorien|gruppen|etiquettes|etiquetas"
    ),
    Target.TIME_ZONE: ("time zone|timezone|tz|zeitzone|fuseau horaire|zona horaria|iana timezone"),
    Target.LOCALE: ("locale|language|preferred language|language code|lang|sprache|langue|idioma|lingua"),
    Target.EMAIL_CONSENT: (
        "has newsletter|newsletter|newsletter subscription|newsletter subscribed|newsletter opt in|subscribed"
        "|subscribed to newsletter|is subscribed|subscription status|email subscription status|email consent"
        "|consent email|consent|marketing consent|email marketing consent|email marketing|accepts marketing"
        "|accepts email marketing|email opt in|opt in|optin|opted in|email optin|opt in email|email permission|gdpr consent"
        "|marketing opt in|einwilligung|werbeeinwilligung|newsletter abonniert|newsletter anmeldung"
        "|abonne|abonne newsletter|abonne a la newsletter|consentement|consentimiento|suscrito|suscrito al boletin"
        "|boletin"
    ),
    Target.SMS_CONSENT: (
        "sms consent|consent sms|sms opt in|sms optin|sms marketing|accepts sms marketing|sms marketing consent"
        "|sms subscribed|sms permission|sms subscription status|sms einwilligung|consentement sms"
        "|consentimiento sms"
    ),
    Target.EMAIL_OPT_OUT: (
        "unsubscribed|unsubscribed from all email|is unsubscribed|email opt out|opt out|optout|opted out"
        "|has opted out of email|do not email|no email|email opted out|unsubscribe|abgemeldet|desabonne|desinscrit"
        "|baja"
    ),
    Target.SMS_OPT_OUT: (
        "sms opt out|sms optout|sms unsubscribed|has opted out of sms|do not text|do not sms|no sms"
        "|sms opted out"
    ),
}
_WORDS = {target: frozenset(names.split("|")) for target, names in _NAMES.items()}


def words_of(name: str) -> str:
    """The name's words: lower case, no accents, no punctuation, `MobilePhone` and `mobile_phone` alike."""
    split = _CAMEL.sub(" ", name)
    plain = unicodedata.normalize("NFKD", split).encode("ascii", "ignore").decode().lower()
    return _NO_WORD.sub(" ", plain).strip()


def target_of_header(name: str) -> Target | None:
    """The target that a column of this name has for certain, None where the name says nothing."""
    words = words_of(name)
    for target, names in _WORDS.items():
        if words in names:
            return target
    if _EMAIL.fullmatch(words):
        return Target.EMAIL
    if _PHONE.fullmatch(words):
        return Target.PHONE
    return None


def is_mobile(name: str) -> bool:
    """Whether a column of phone numbers says that it holds mobile ones, which take SMS."""
    return _MOBILE.search(words_of(name)) is not None


def is_primary(name: str) -> bool:
    """Whether the column says that it is the one to prefer among its like."""
    return re.search(r"\b(primary|main|preferred)\b", words_of(name)) is not None


def is_custom(name: str) -> bool:
    """Whether the column says itself which custom field it holds, as those of our own exports do."""
    return _CUSTOM.fullmatch(name) is not None


def slug(name: str) -> str:
    """The name as the key of a custom field, `[a-z0-9_]{1,64}`."""
    if is_custom(name):
        return name.partition(".")[2]
    return words_of(name).replace(" ", "_")[:64].strip("_") or "field"
