"""What one request to a provider certainly or possibly did. Pure.

The distinction that matters is between "certainly not taken", which may be repeated, and "nobody knows", which may not.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Accepted:
    """The provider answered 2xx: it took every message of the request."""

    provider_message_id: str | None


@dataclass(frozen=True)
class PartlyRefused:
    """The provider took nothing because of some recipients: position in the request -> reason."""

    refused: Mapping[int, str]


@dataclass(frozen=True)
class MessageRefused:
    """The provider refuses this one SMS for certain, e.g. for its number."""

    reason: str


@dataclass(frozen=True)
class RequestRefused:
    """The provider took nothing and would refuse the same again: key, sender, size. People have to act."""

    reason: str
    status: int | None = None


@dataclass(frozen=True)
class NotTaken:
    """Certainly not taken, and worth repeating: no connection, or 429. `retry_after` in seconds if it was said."""

    reason: str
    retry_after: float | None = None


@dataclass(frozen=True)
class Unknown:
    """The body left and no readable answer came: nobody knows."""

    reason: str


BatchOutcome = Accepted | PartlyRefused | RequestRefused | NotTaken | Unknown
MessageOutcome = Accepted | MessageRefused | RequestRefused | NotTaken | Unknown
