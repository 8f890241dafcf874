"""Where a webhook may go: a host of the internet, and never this network. Pure, but for the resolver that is handed in.

A name is resolved once, all of its addresses are checked, and the connection goes to one that was checked: a name that leads
somewhere else a moment later has no chance.
"""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from db.errors import Invalid

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Sequence[str]]
_PORTS: Final = frozenset({443, 8443})
_LONGEST_LABEL: Final = 63
# Ranges of IPv6 that carry an IPv4 address within: 6to4, Teredo, NAT64, and those that stand for IPv4.
_TUNNELS: Final = tuple(
    map(
        ipaddress.IPv6Network,
        ("2002::/16", "2001::/32", "64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0/96", "fec0::/10"),
    )
)


class Unreachable(Exception):
    """The name leads nowhere, or to where no webhook may go."""


@dataclass(frozen=True)
class Target:
    """An address that was checked, and the name that TLS and the request speak of."""

    scheme: str
    host: str
    port: int
    address: str
    path: str

    @property
    def url(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    @property
    def host_header(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        standard = {"https": 443, "http": 80}[self.scheme]
        return name if self.port == standard else f"{name}:{self.port}"


def check_url(url: str, *, allow_private: bool) -> None:
    """What can be told without asking anybody. Raises Invalid, with the way out."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Invalid("url", "is no address: write https://example.com/path") from error
    schemes = ("https", "http") if allow_private else ("https",)
    if parts.scheme not in schemes or not parts.hostname:
        raise Invalid("url", "write https://example.com/path")
    if parts.username is not None or parts.password is not None:
        raise Invalid("url", "must not hold a user or a password: requests are signed")
    if parts.fragment:
        raise Invalid("url", "must not have a #fragment")
    if not url.isascii() or any(sign.isspace() or sign in '\\<>"' for sign in url):
        raise Invalid("url", "must be plain ASCII without spaces; write an international name as xn--…")
    # A name ends with no dot or one; without them, a label has 1 to 63 characters (RFC 1035).
    if not all(1 <= len(label) <= _LONGEST_LABEL for label in parts.hostname.removesuffix(".").split(".")):
        raise Invalid("url", f"the parts of the host's name must have 1 to {_LONGEST_LABEL} characters")
    if not allow_private and port is not None and port not in _PORTS:
        raise Invalid("url", f"use port {' or '.join(map(str, sorted(_PORTS)))}")
    if not allow_private and _as_address(parts.hostname) is not None:
        raise Invalid("url", "name the host: an IP address has no certificate of its own")


def find_target(url: str, *, allow_private: bool, resolve: Resolver | None = None) -> Target:
    """Raises Unreachable: the name is not known, or one of its addresses is not of the open internet."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = list((resolve or resolve_host)(host, port))
    except (OSError, UnicodeError) as error:  # The second: labels that no name may have.
        raise Unreachable("the name of the host is not known") from error
    if not found:
        raise Unreachable("the name of the host is not known")
    if not allow_private and not all(is_public(each) for each in found):
        raise Unreachable("the name leads into a private network")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, found[0], path)


def is_public(text: str) -> bool:
    """Whether it is one machine of the open internet, told from the address itself."""
    address = _as_address(text)
    if address is None or not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        return not any(address in network for network in _TUNNELS)
    return True


def resolve_host(host: str, port: int) -> Sequence[str]:
    """All addresses of the name, in the order of the system's resolver."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _as_address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
