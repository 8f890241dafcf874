"""How the row of a file is laid over a client, by the policy of its import. Pure.

Clients and rows are mappings of the columns of `clients`; a row may lack any of them.
"""

from collections.abc import Mapping
from typing import Any

from db.states import Consent, ImportPolicy

PLAIN = ("external_id", "email", "phone", "first_name", "last_name", "time_zone", "locale")
CONSENTS = ("email_consent", "sms_consent")
Columns = Mapping[str, Any]


def lay_over(stored: Columns, given: Columns, policy: ImportPolicy) -> dict[str, Any]:
    """The columns of `stored` that change, with their new values; custom fields and tags as a whole.

    - update: what the row says wins, what it leaves empty stays, and no row lifts a denied consent;
    - fill: only what is empty is filled, a consent only if it is unknown;
    - skip: nothing changes.

    Tags are united.
    """
    if policy is ImportPolicy.SKIP:
        return {}
    is_filling = policy is ImportPolicy.FILL
    changes: dict[str, Any] = {}
    for name in PLAIN:
        if (
            (value := given.get(name))
            and value != (before := stored.get(name))
            and not (is_filling and before)
        ):
            changes[name] = value
    tags = given.get("tags")
    if tags:
        united = list(dict.fromkeys([*(stored.get("tags") or ()), *tags]))
        if united != stored.get("tags"):
            changes["tags"] = united
    custom = given.get("custom_fields")
    if custom:
        before = stored.get("custom_fields") or {}
        new = {
            key: value
            for key, value in custom.items()
            # Most values are the same text as before, which is told without a call.
            if (old := before.get(key)) is not value and _is_new(old, value, is_filling)
        }
        if new:
            changes["custom_fields"] = {**before, **new}
    for name in CONSENTS:
        consent = _consent(stored.get(name), given.get(name), is_filling)
        if consent is not None:
            changes[name] = consent
    return changes


def difference(stored: Columns, changes: Columns) -> tuple[dict[str, Any], dict[str, Any]]:
    """(before, after) of the columns that change; of the custom fields only those that do, None where there was none."""
    before = {name: stored.get(name) for name in changes}
    after = dict(changes)
    if "custom_fields" in changes:
        old, new = stored.get("custom_fields") or {}, changes["custom_fields"]
        keys = [key for key in new if not is_same(old.get(key), new[key])]
        before["custom_fields"] = {key: old.get(key) for key in keys}
        after["custom_fields"] = {key: new[key] for key in keys}
    return before, after


def chain(
    earlier: tuple[Columns, Columns], later: tuple[Columns, Columns]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two differences of the same client, one after the other, as one."""
    before, after = {**later[0], **earlier[0]}, {**earlier[1], **later[1]}
    if "custom_fields" in before:
        before["custom_fields"] = {**_customs(later[0]), **_customs(earlier[0])}
        after["custom_fields"] = {**_customs(earlier[1]), **_customs(later[1])}
    return before, after


def _customs(columns: Columns) -> dict[str, Any]:
    return columns.get("custom_fields") or {}


def _is_new(before: Any, value: Any, is_filling: bool) -> bool:
    if value in (None, "") or is_same(before, value):
        return False
    return not is_filling or before in (None, "")


def is_same(one: Any, other: Any) -> bool:
    """Whether two values of JSON documents are the same. In Python 1 is True; there it is not."""
    return bool(one == other) and isinstance(one, bool) is isinstance(other, bool)


def _consent(stored: Any, given: Any, is_filling: bool) -> Consent | None:
    """The consent that is set, None if it stays."""
    if given in (None, "", Consent.UNKNOWN) or given == stored or stored == Consent.DENIED:
        return None
    if is_filling and stored not in (None, Consent.UNKNOWN):
        return None
    return Consent(given)
