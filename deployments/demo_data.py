"""A CSV of made-up clients with the dirt that real exports have, the same for the same seed.

Names are fictional, emails are at example domains (RFC 2606), phones are Irish mobile numbers made by chance.
"""

import csv
import random
from dataclasses import dataclass
from pathlib import Path

_FIRST = (
    "Aoife", "Seán", "Niamh", "Cian", "Siobhán", "Oisín", "Róisín", "Zoë", "José", "Łukasz", "Anaïs", "Björn", "Mary-Jane",
    "Ada", "Grace", "Alan", "Edsger", "Barbara", "Ken", "Frances", "李", "Νίκος", "Ольга", "D’Arcy",
)  # fmt: skip
_LAST = (
    "O'Neill", "Ní Bhriain", "Murphy", "Kelly", "Walsh", "Byrne", "de la Cruz", "Nowak", "Müller", "García-López", "Smith",
    "van den Berg", "Ó Súilleabháin", "Lovelace", "Hopper", "Turing",
)  # fmt: skip
_COMPANIES = (
    "Blue Harbour Ltd",
    "Kerry & Sons",
    'The "Quiet" Café',
    "Atlantic, Wind and Co",
    "Nordlys AS",
    "",
)
_CITIES = ("Cork", "Dublin", "Galway", "Limerick", "Dún Laoghaire", "Sligo")
_PLANS = ("free", "basic", "pro", "")
_TAGS = ("vip", "newsletter", "football-fan", "wholesale", "new customer")
_BAD_EMAILS = (
    "no-at-sign.example.com",
    "two@@example.com",
    "space in@example.com",
    "dot.@example.com",
    "@example.com",
    "n/a",
)
_BAD_PHONES = ("087", "unknown", "0000000000", "12 34")
HEADER = (
    "Customer ID", "First Name", "Last Name", "E-Mail Address", "Mobile Phone", "Tags", "Company", "City", "Plan",
    "Last Order", "Notes", "Email Opt In",
)  # fmt: skip


@dataclass(frozen=True)
class DemoFacts:
    """What is in a generated file: `rows` records, of which so many make clients, repeat one, or identify nobody."""

    rows: int
    clients: int
    duplicates: int
    rejected: int


def write_demo_csv(path: Path, *, clients: int = 5000, seed: int = 20) -> DemoFacts:
    """Write a file that holds exactly `clients` different clients, and some rows more that are copies or useless."""
    chance = random.Random(seed)
    rows: list[list[str]] = []
    duplicates = rejected = 0
    for number in range(clients):
        rows.append(_row(chance, number))
        draw = chance.random()
        if draw < 0.01:
            rows.append(_copy_of(chance, rows[-1]))
            duplicates += 1
        elif draw < 0.025:
            rows.append(_useless(chance, number))
            rejected += 1
        elif draw < 0.03:
            rows.append([""] * len(HEADER))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows(rows)
    used = sum(1 for row in rows if any(row))
    return DemoFacts(rows=used, clients=clients, duplicates=duplicates, rejected=rejected)


def _row(chance: random.Random, number: int) -> list[str]:
    """A client with an email, a phone, or both; the number in them makes each another person."""
    draw = chance.random()
    email = "" if draw < 0.04 else _email(chance, number)
    phone = "" if 0.04 <= draw < 0.2 else _phone(chance, number)
    if email and phone and chance.random() < 0.02:
        phone = chance.choice(_BAD_PHONES)
    first, last = chance.choice(_FIRST), chance.choice(_LAST)
    if chance.random() < 0.05:
        first = ""
    if chance.random() < 0.002:
        first = '=HYPERLINK("http://evil.example","click")'
    return [
        f"C{number:06d}",
        _spaced(chance, first),
        _spaced(chance, last),
        email,
        phone,
        chance.choice((",", ", ", ";", "|")).join(chance.sample(_TAGS, chance.choice((0, 0, 1, 2)))),
        chance.choice(_COMPANIES),
        chance.choice(_CITIES),
        chance.choice(_PLANS),
        chance.choice(("2026-03-01", "01/03/2026", "")),
        chance.choice(("", "", "called twice,\nwants a quote", "👍 loyal")),
        chance.choice(("yes", "yes", "TRUE", "1", "", "", "no")),
    ]


def _email(chance: random.Random, number: int) -> str:
    name = chance.choice(("client", "Hello", "aoife.kelly", "info+shop", "SALES"))
    domain = chance.choice(("example.com", "example.org", "mail.example.net", "Example.COM"))
    return _spaced(chance, f"{name}{number}@{domain}")


def _phone(chance: random.Random, number: int) -> str:
    digits = f"{chance.choice((83, 85, 86, 87, 89))}{1_000_000 + number:07d}"
    forms = (
        f"+353{digits}",
        f"0{digits}",
        f"0{digits[:2]} {digits[2:5]} {digits[5:]}",
        f"(0{digits[:2]}) {digits[2:5]}-{digits[5:]}",
        f"00353 {digits[:2]} {digits[2:]}",
    )
    return chance.choice(forms)


def _copy_of(chance: random.Random, row: list[str]) -> list[str]:
    """The same client again, written a little differently."""
    copy = list(row)
    copy[3] = copy[3].strip().upper()
    copy[6] = chance.choice(_COMPANIES)
    return copy


def _useless(chance: random.Random, number: int) -> list[str]:
    row = _row(chance, number)
    row[0] = f"X{number:06d}"
    row[3] = chance.choice((*_BAD_EMAILS, ""))
    row[4] = chance.choice((*_BAD_PHONES, ""))
    return row


def _spaced(chance: random.Random, text: str) -> str:
    return f"  {text} " if text and chance.random() < 0.03 else text
