"""Emails as files write them. The verdicts are those of `tasks.addresses.normalise_email`. Pure."""

import re

from email_validator import SPECIAL_USE_DOMAIN_NAMES

from tasks.addresses import AddressInvalid, normalise_email
from tasks.imports.rejects import Problem, Reason

# A subset of what the library accepts (ASCII dot-atoms, labels without "--"), and which it only writes in lower case.
_COMMON = re.compile(
    r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@(?:[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*\.)+[A-Za-z]{2,24}"
)
_LONGEST_LOCAL_PART = 64
_LONGEST_LABEL = 63
_SPECIAL = frozenset(SPECIAL_USE_DOMAIN_NAMES)


def read_email(text: str) -> str | Problem:
    """The address in lower case, or why it is none."""
    if _COMMON.fullmatch(text):
        email = text.lower()
        local, _, domain = email.partition("@")
        # A domain that is no longer than a label may be keeps every limit of the library.
        is_short = len(local) <= _LONGEST_LOCAL_PART and len(domain) <= _LONGEST_LABEL
        if is_short and domain.rpartition(".")[2] not in _SPECIAL:
            return email
    try:
        return normalise_email(text)
    except AddressInvalid as error:
        message = " ".join(str(error).split())
        return Problem(Reason.INVALID_EMAIL, f"{message[:200]} Write it like name@example.com.")
