"""How an erased person is recognised without being known: by a keyed hash of each address. Pure but for the key."""

from collections.abc import Iterable, Sequence

from db.states import Channel
from tasks.signing import sign

_PREFIX = "erased:"


def erased_address(key: bytes, channel: Channel, address: str) -> str:
    """What stands in the suppressions in place of an erased address, `erased:` and 64 hex digits.

    `address` is normalised (`tasks/addresses.py`), `key` the installation's secret key: without it nobody can try out whose
    address it was.
    """
    return _PREFIX + sign(key, "erased address", f"{channel}:{address}", length=32)


def by_erased_address(keys: Sequence[bytes], channel: Channel, addresses: Iterable[str]) -> dict[str, str]:
    """The addresses by what may stand in their place: with the key of today, or one that was it when they were erased."""
    return {erased_address(key, channel, address): address for address in addresses for key in keys}


def is_erased(stored: str) -> bool:
    """Whether an address of the suppressions is the hash of one."""
    return stored.startswith(_PREFIX)
