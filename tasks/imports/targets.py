"""Where a column of a file can go. Pure."""

import re
from enum import StrEnum


class Target(StrEnum):
    """A field of a client, or what is not one. Custom fields are `custom.<key>` and not listed here; `custom.<key>:<kind>` defines
    one that is not there yet (`db.fields.FieldKind`; text without a kind).

    `EMAIL` and `PHONE` may have several columns, in an order of preference: `email`, `email:2`, ...
    The opt-outs are consents the other way round: true is a denial, and false says nothing.
    """

    EMAIL = "email"
    PHONE = "phone"
    FIRST_NAME = "first_name"
    LAST_NAME = "last_name"
    FULL_NAME = "full_name"
    EXTERNAL_ID = "external_id"
    TAGS = "tags"
    TIME_ZONE = "time_zone"
    LOCALE = "locale"
    EMAIL_CONSENT = "email_consent"
    SMS_CONSENT = "sms_consent"
    EMAIL_OPT_OUT = "email_opt_out"
    SMS_OPT_OUT = "sms_opt_out"
    IGNORE = "ignore"


class DateOrder(StrEnum):
    """How 03/04/2026 is read. Dates that begin with the year are read the same in all of them."""

    DMY = "dmy"
    MDY = "mdy"


class DecimalMark(StrEnum):
    """Which of 1.234 and 1,234 is a thousand."""

    POINT = "."
    COMMA = ","


ORDERED = (Target.EMAIL, Target.PHONE)
"""Targets that take several columns."""

CONSENTS = (Target.EMAIL_CONSENT, Target.SMS_CONSENT, Target.EMAIL_OPT_OUT, Target.SMS_OPT_OUT)

CUSTOM_PREFIX = "custom."
CUSTOM_KEY = re.compile(r"[a-z0-9_]{1,64}")
