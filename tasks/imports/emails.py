"""Emails as files write them. The verdicts are those of `tasks.addresses.normalise_email`. Pure."""

import re

from email_validator import SPECIAL_USE_DOMAIN_NAMES

from tasks.addresses import AddressInvalid, normalise_email
from tasks.imports.rejects import Problem, Reason

# A subset of what the library accepts (ASCII dot-atoms, labels without "--"), and which it only writes in lower case. A domain
# that is no longer than a label may be keeps every limit of the library.
_COMMON = re.compile(
    r"(?=[^@]{1,64}@[^@]{1,63}\Z)"
    r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@(?:[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*\.)+([A-Za-z]{2,24})"
)
_SPECIAL = frozenset(SPECIAL_USE_DOMAIN_NAMES)


def read_common_email(text: str) -> str | None:
    """The address in lower case if it is of the common shape, None for all that has to be looked at closer."""
    found = _COMMON.fullmatch(text)
    return text.lower() if found and found[1].lower() not in _SPECIAL else None


def read_email(text: str) -> str | Problem:
    """The address in lower case, or why it is none."""
    common = read_common_email(text)
    if common is not None:
        return common
    try:
        return normalise_email(text)
    except AddressInvalid as error:
        message = " ".join(str(error).split())
        return Problem(Reason.INVALID_EMAIL, f"{message[:200]} Write it like name@example.com.")
