"""A CSV of made-up clients with the dirt that real exports have, the same for the same seed.

Names are fictional, emails are at example domains (RFC 2606), phones are Irish mobile numbers made by chance.
"""

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

_FIRST = (
    "Aoife", "Seán", "Niamh", "Cian", "Siobhán", "Oisín", "Róisín", "Zoë", "José", "Łukasz", "Anaïs", "Björn", "Mary-Jane",
    "Ada", "Grace", "Alan", "Edsger", "Barbara", "Ken", "Frances", "李", "Νίκος", "Ольга", "D’Arcy", "Ruby 🌻",
)  # fmt: skip
_LAST = (
    "O'Neill", "Ní Bhriain", "Murphy", "Kelly", "Walsh", "Byrne", "de la Cruz", "Nowak", "Müller", "García-López", "Smith",
    "van den Berg", "Ó Súilleabháin", "Lovelace", "Hopper", "Turing",
)  # fmt: skip
_FORMULAS = ('=HYPERLINK("http://evil.example","click")', "+1+1", "@SUM(A1)", "-Anna-")
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
_BAD_PHONES = ("087", "unknown", "0000000000", "12 34", "3.53871E+11")
_GRANTED = ("yes", "YES", "true", "1", "opt-in")
_DENIED = ("no", "FALSE", "0", "unsubscribed")
_UNREADABLE = "perhaps"
HEADER = (
    "Customer ID", "First Name", "Last Name", "E-Mail Address", "Mobile Phone", "Tags", "Company", "City", "Plan",
    "Last Order", "Notes", "Email Opt In",
)  # fmt: skip
_EMAIL, _COMPANY = HEADER.index("E-Mail Address"), HEADER.index("Company")


@dataclass(frozen=True)
class DemoFacts:
    """What is in a generated file, and so what an import of it has to report.

    Of its `rows` (those without any content left aside) some make `clients`, some repeat one (`duplicates`) and some
    are `rejected`. `warnings` counts the cells left out of rows that are kept, the extensions, and the duplicates.
    `emails`, `phones`, `granted` and `denied` count clients.
    """

    rows: int = 0
    clients: int = 0
    duplicates: int = 0
    rejected: int = 0
    warnings: int = 0
    emails: int = 0
    phones: int = 0
    granted: int = 0
    denied: int = 0

    def __add__(self, other: "DemoFacts") -> "DemoFacts":
        return DemoFacts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class _Line:
    """A row of the file, and what it adds to the facts."""

    cells: tuple[str, ...]
    facts: DemoFacts


def write_demo_csv(path: Path, *, clients: int = 5000, seed: int = 20) -> DemoFacts:
    """Write a file of exactly `clients` different clients, and some rows more that are copies or useless."""
    chance = random.Random(seed)
    lines: list[_Line] = []
    for number in range(clients):
        client = _client(chance, number)
        lines.append(client)
        lines.extend(_beside(chance, number, client))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows(line.cells for line in lines)
    return sum((line.facts for line in lines), DemoFacts())


def _beside(chance: random.Random, number: int, client: _Line) -> list[_Line]:
    """What may stand behind a client: a copy of it, a row that identifies nobody, or a blank one."""
    draw = chance.random()
    if draw < 0.01:
        return [_copy_of(chance, client)]
    if draw < 0.02:
        return [_nobody(chance, number)]
    if draw < 0.025:
        surplus = (*_client(chance, number).cells, "a cell", "too many")
        return [_Line(surplus, DemoFacts(rows=1, rejected=1))]
    if draw < 0.03:
        return [_Line(("",) * len(HEADER), DemoFacts())]
    return []


def _client(chance: random.Random, number: int) -> _Line:
    """A client with an email, a phone, or both; the number in them makes each another person."""
    draw = chance.random()
    email = _email(chance, number) if draw >= 0.04 else ""
    phone = _phone(chance, number) if not 0.04 <= draw < 0.2 else ""
    facts = DemoFacts(rows=1, clients=1, emails=bool(email), phones=bool(phone))
    if email and phone:
        phone, facts = _spoilt_phone(chance, phone, facts)
    elif phone and chance.random() < 0.3:
        email, facts = chance.choice(_BAD_EMAILS), replace(facts, warnings=facts.warnings + 1)
    consent, facts = _consent(chance, facts)
    return _Line(_cells(chance, f"C{number:06d}", email, phone, consent), facts)


def _spoilt_phone(chance: random.Random, phone: str, facts: DemoFacts) -> tuple[str, DemoFacts]:
    """The email identifies the client, so that a bad phone is a warning, and so is an extension."""
    draw = chance.random()
    if draw < 0.02:
        return chance.choice(_BAD_PHONES), replace(facts, phones=0, warnings=1)
    if draw < 0.03:
        return f"{phone} x{chance.randint(10, 999)}", replace(facts, warnings=1)
    return phone, facts


def _consent(chance: random.Random, facts: DemoFacts) -> tuple[str, DemoFacts]:
    draw = chance.random()
    if draw < 0.6:
        return chance.choice(_GRANTED), replace(facts, granted=1)
    if draw < 0.7:
        return chance.choice(_DENIED), replace(facts, denied=1)
    if draw < 0.705:
        return _UNREADABLE, replace(facts, warnings=facts.warnings + 1)
    return "", facts


def _copy_of(chance: random.Random, client: _Line) -> _Line:
    """The same client again, written a little differently. What was wrong with it is wrong again."""
    cells = list(client.cells)
    cells[_EMAIL] = cells[_EMAIL].strip().upper()
    cells[_COMPANY] = chance.choice(_COMPANIES)
    return _Line(tuple(cells), DemoFacts(rows=1, duplicates=1, warnings=client.facts.warnings + 1))


def _nobody(chance: random.Random, number: int) -> _Line:
    email, phone = chance.choice((*_BAD_EMAILS, "")), chance.choice((*_BAD_PHONES, ""))
    cells = _cells(chance, f"X{number:06d}", email, phone, chance.choice(_GRANTED))
    return _Line(cells, DemoFacts(rows=1, rejected=1))


def _cells(chance: random.Random, external_id: str, email: str, phone: str, consent: str) -> tuple[str, ...]:
    first = chance.choice(_FIRST) if chance.random() >= 0.05 else ""
    if chance.random() < 0.002:
        first = chance.choice(_FORMULAS)
    return (
        external_id,
        _spaced(chance, first),
        _spaced(chance, chance.choice(_LAST)),
        email,
        phone,
        chance.choice((",", ", ", ";", "|")).join(chance.sample(_TAGS, chance.choice((0, 0, 1, 2)))),
        chance.choice(_COMPANIES),
        chance.choice(_CITIES),
        chance.choice(_PLANS),
        chance.choice(("2026-03-01", "01/03/2026", "")),
        chance.choice(("", "", "called twice,\nwants a quote", "👍 loyal")),
        consent,
    )


def _email(chance: random.Random, number: int) -> str:
    name = chance.choice(("client", "Hello", "aoife.kelly", "info+shop", "SALES"))
    domain = chance.choice(("example.com", "example.org", "mail.example.net", "Example.COM"))
    return _spaced(chance, f"{name}{number}@{domain}")


def _phone(chance: random.Random, number: int) -> str:
    digits = f"{chance.choice((83, 85, 86, 87, 89))}{1_000_000 + number:07d}"
    return _written(chance, (digits[:2], digits[2:5], digits[5:]))


def _written(chance: random.Random, groups: Sequence[str]) -> str:
    """One of the forms in which people write an Irish mobile number, here 87 123 4567."""
    code, middle, end = groups
    forms = (
        f"+353{code}{middle}{end}",
        f"0{code}{middle}{end}",
        f"0{code} {middle} {end}",
        f"(0{code}) {middle}-{end}",
        f"00353 {code} {middle}{end}",
        f"+353 (0){code} {middle} {end}",
    )
    return chance.choice(forms)


def _spaced(chance: random.Random, text: str) -> str:
    return f"  {text} " if text and chance.random() < 0.03 else text
