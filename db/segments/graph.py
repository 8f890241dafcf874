"""Rules that name lists that have rules: what depends on what, told from the stored JSON."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from db.segments.words import CUSTOM

MAX_EXPANDED = 400
"""Conditions of a rule with those of all dynamic lists that it names, one inside of the other."""


def leaves(document: Any) -> Iterator[Mapping[str, Any]]:
    """The conditions of a stored rule."""
    if not isinstance(document, Mapping):
        return
    for word in ("all", "any"):
        for each in document.get(word) or ():
            yield from leaves(each)
    if "not" in document:
        yield from leaves(document["not"])
    if "field" in document or "message" in document:
        yield document


def lists_in(document: Any) -> list[int]:
    """The ids of the lists that a stored rule names, as often as it does."""
    return [
        each for leaf in leaves(document) if leaf.get("field") == "lists" for each in leaf.get("value") or ()
    ]


def fields_in(document: Any) -> set[str]:
    """The keys of the custom fields that a stored rule names."""
    names = (leaf.get("field") for leaf in leaves(document))
    return {name.removeprefix(CUSTOM) for name in names if isinstance(name, str) and name.startswith(CUSTOM)}


def names_contacts(document: Any) -> bool:
    """Whether a rule, valid or not, asks for addresses: who may not see them must not find them letter by letter."""
    waiting = [document]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            if part.get("field") in ("email", "phone"):
                return True
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)
    return False


def without_contacts(document: Any) -> Any:
    """The rule without the addresses that it compares with."""
    if isinstance(document, list):
        return [without_contacts(each) for each in document]
    if not isinstance(document, Mapping):
        return document
    shown = {name: without_contacts(each) for name, each in document.items()}
    if document.get("field") in ("email", "phone") and "value" in shown:
        shown["value"] = "•••"
    return shown


def find_cycle(rules: Mapping[int, Any], start: int) -> Sequence[int]:
    """The way from a list back to itself, e.g. 1, 7, 1; empty when there is none. `rules` are those of dynamic lists, by id."""
    seen: set[int] = set()

    def search(list_id: int, way: tuple[int, ...]) -> Sequence[int]:
        for each in dict.fromkeys(lists_in(rules.get(list_id))):
            if each == start:
                return (*way, each)
            if each not in seen:
                seen.add(each)
                found = search(each, (*way, each))
                if found:
                    return found
        return ()

    return search(start, (start,))


def expanded_sizes(rules: Mapping[int, Any]) -> dict[int, int]:
    """How many conditions each rule has with those of the lists that it names. Only for rules without cycles."""
    sizes: dict[int, int] = {}

    def size(list_id: int) -> int:
        if list_id not in sizes:
            own = sum(1 for _ in leaves(rules[list_id]))
            sizes[list_id] = own + sum(size(each) for each in lists_in(rules[list_id]) if each in rules)
        return sizes[list_id]

    for list_id in rules:
        size(list_id)
    return sizes
