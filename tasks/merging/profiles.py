"""What becomes of several clients who are one person. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from db.states import Channel, Consent

MAX_TAGS = 50
MAX_CUSTOM_FIELDS = 100
FILLED = ("external_id", "email", "phone", "first_name", "last_name", "time_zone", "locale")
CONSENTS = {Channel.EMAIL: "email_consent", Channel.SMS: "sms_consent"}
Facts = Mapping[str, Any]
"""The columns of a client, by name."""


@dataclass(frozen=True)
class MergedProfile:
    """`values` are the survivor's columns afterwards. `emails` and `phones` are addresses of the others that it does not have:
    nothing is sent there any more. `denied` are the channels that it had not denied, and now has."""

    values: dict[str, Any]
    emails: tuple[str, ...]
    phones: tuple[str, ...]
    denied: tuple[Channel, ...]
    dropped_tags: int


def merge_profiles(
    survivor: Facts, others: Sequence[Facts], unsubscribed: Collection[Channel]
) -> MergedProfile:
    """The survivor keeps what it has; what is empty is filled from the others, in their order.

    Tags are united and custom fields filled. A denial of anybody is one of all, and so is that an address of the others
    was `unsubscribed` from everything: it is the same person who said so. Nobody's consent grants anything to another address.
    """
    values: dict[str, Any] = {name: _first(name, survivor, others) for name in FILLED}
    values["identity_key"] = values["email"] or values["phone"]
    tags = list(dict.fromkeys(tag for each in (survivor, *others) for tag in each["tags"]))
    values["tags"] = tags[:MAX_TAGS]
    custom = {
        key: value for each in reversed((survivor, *others)) for key, value in each["custom_fields"].items()
    }
    own = survivor["custom_fields"]
    added = [key for key in custom if key not in own][: max(MAX_CUSTOM_FIELDS - len(own), 0)]
    values["custom_fields"] = own | {key: custom[key] for key in added}
    denied = [
        channel
        for channel, column in CONSENTS.items()
        if channel in unsubscribed or any(each[column] == Consent.DENIED for each in others)
    ]
    values |= {CONSENTS[channel]: Consent.DENIED for channel in denied}
    values |= {column: survivor[column] for column in CONSENTS.values() if column not in values}
    # What an import created alone it may take back; several clients are more than that.
    is_one_import = all(each["import_id"] == survivor["import_id"] for each in others)
    values["import_id"] = survivor["import_id"] if is_one_import else None
    return MergedProfile(
        values=values,
        emails=_left_out("email", values, others),
        phones=_left_out("phone", values, others),
        denied=tuple(channel for channel in denied if survivor[CONSENTS[channel]] != Consent.DENIED),
        dropped_tags=max(len(tags) - MAX_TAGS, 0),
    )


def _first(name: str, survivor: Facts, others: Sequence[Facts]) -> Any:
    return next((each[name] for each in (survivor, *others) if each[name]), survivor[name])


def _left_out(name: str, values: Facts, others: Sequence[Facts]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each[name] for each in others if each[name] and each[name] != values[name]))
