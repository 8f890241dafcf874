"""Filters that cannot be made to eat the machine: sizes are checked before and after each one. Pure.

The limits of python-liquid itself count loops, output and assigned values, but a single filter may turn a few bytes
into gigabytes: `(1..1000000000) | join`, or `replace` of each character by a page.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from liquid.exceptions import FilterArgumentError
from liquid.output import LimitedStringIO

MAX_OUTPUT_BYTES = 1_000_000
MAX_ITEMS = 10_000
MAX_CHARACTERS = 1_000_000


def output_buffer() -> LimitedStringIO:
    """Where a part is rendered to. Line breaks stay as they are: the library's own buffers would turn CR into LF."""
    return LimitedStringIO(MAX_OUTPUT_BYTES, "", "")


def bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter `function`, raising FilterArgumentError for values that are, or would become, too large."""

    # `wraps` copies the marks by which the library knows that a filter wants the context or the environment.
    @wraps(function)
    def limited(left: Any, *arguments: Any, **named: Any) -> Any:
        for value in (left, *arguments):
            _check(name, value)
        if name in ("replace", "join") and arguments:
            _check_product(name, left, arguments[-1])
        result = function(left, *arguments, **named)
        _check(name, result)
        return result

    return limited


def _check(name: str, value: Any) -> None:
    if isinstance(value, str):
        if len(value) > MAX_CHARACTERS:
            raise FilterArgumentError(f"{name}: more than {MAX_CHARACTERS:,} characters", token=None)
    elif isinstance(value, list | range) and len(value) > MAX_ITEMS:
        raise FilterArgumentError(f"{name}: more than {MAX_ITEMS:,} items", token=None)


def _check_product(name: str, left: Any, inserted: Any) -> None:
    """`replace` and `join` put one value at most once between any two places of the other."""
    places = len(left) + 1 if isinstance(left, str | list | range) else 1
    if places * len(str(inserted)) > MAX_CHARACTERS:
        raise FilterArgumentError(
            f"{name}: the result could have more than {MAX_CHARACTERS:,} characters", token=None
        )
