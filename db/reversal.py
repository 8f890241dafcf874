"""How what an import wrote is taken back from a client that others may have changed since. Pure.

`before` and `after` are those of `db.overlay.difference`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from db.overlay import CONSENTS, Columns, is_same

_TAGS, _CUSTOM = "tags", "custom_fields"


@dataclass(frozen=True)
class Reversal:
    """`changes` are columns with their values of before (tags and custom fields as a whole); `kept` names what somebody has
    changed since, a custom field as `custom_fields.city`."""

    changes: dict[str, Any] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)


def revert(
    current: Columns,
    before: Columns,
    after: Columns,
    *,
    identity: str,
    confirmed: Collection[str] = (),
    unfit: Collection[str] = (),
) -> Reversal:
    """What still holds what the import wrote gets its earlier value back; the rest stays.

    Tags that the import added are taken away, whatever else became of the others. An address that the client is recognised
    by now stays, and so do consents that were `confirmed` since, and custom fields whose earlier value is `unfit` by now.
    """
    done = Reversal()
    for name in after:
        if name == _TAGS:
            _revert_tags(done, current, before, after)
        elif name == _CUSTOM:
            _revert_custom(done, current, before, after, unfit)
        elif current[name] == before[name]:
            continue
        elif current[name] != after[name] or current[name] == identity or name in confirmed:
            done.kept.append(name)
        else:
            done.changes[name] = before[name]
    return done


def hand_down(later: Columns, before: Columns, after: Columns) -> dict[str, Any] | None:
    """What a later import wrote over, without what an earlier one had written there: where it found the value of the earlier
    one, it would else bring that back. None if it found nothing of it."""
    changed = dict(later)
    for name in after:
        if name == _TAGS:
            continue
        if name == _CUSTOM:
            members = later.get(_CUSTOM) or {}
            found = {
                key: before[_CUSTOM][key]
                for key in after[_CUSTOM]
                if _found(members, key, after[_CUSTOM][key])
            }
            if found:
                changed[_CUSTOM] = {**members, **found}
        elif _found(later, name, after[name]):
            changed[name] = before[name]
    return changed if changed != dict(later) else None


def handed_down(later: Columns, before: Columns, after: Columns) -> set[str]:
    """The names, as those of `Reversal.kept`, that a later import wrote over and now will bring back as they were before."""
    names = {name for name in after if name not in (_TAGS, _CUSTOM) and _found(later, name, after[name])}
    members = later.get(_CUSTOM) or {}
    return names | {
        f"{_CUSTOM}.{key}" for key, value in (after.get(_CUSTOM) or {}).items() if _found(members, key, value)
    }


def consents_of(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: changes[name] for name in CONSENTS if name in changes}


def _found(columns: Columns, name: str, value: Any) -> bool:
    return name in columns and is_same(columns[name], value)


def _revert_tags(done: Reversal, current: Columns, before: Columns, after: Columns) -> None:
    added = set(after[_TAGS]) - set(before[_TAGS] or ())
    tags = [tag for tag in current[_TAGS] if tag not in added]
    if tags != current[_TAGS]:
        done.changes[_TAGS] = tags


def _revert_custom(
    done: Reversal, current: Columns, before: Columns, after: Columns, unfit: Collection[str]
) -> None:
    members = dict(current[_CUSTOM])
    for key, value in after[_CUSTOM].items():
        if is_same(members.get(key), before[_CUSTOM][key]):
            continue
        if key in unfit or not is_same(members.get(key), value):
            done.kept.append(f"{_CUSTOM}.{key}")
        elif before[_CUSTOM][key] is None:
            del members[key]
        else:
            members[key] = before[_CUSTOM][key]
    if members != current[_CUSTOM]:
        done.changes[_CUSTOM] = members
