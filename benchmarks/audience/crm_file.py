"""A file such as a CRM exports: eight columns, every row a person, the same for the same size."""

import csv
from pathlib import Path
from random import Random
from typing import Final

COLUMNS: Final = ("Email", "Mobile", "First name", "Last name", "City", "Birthday", "Plan", "Tags")
PLANS: Final = ("free", "basic", "pro", "enterprise")
CITIES: Final = (
    *(
        "Cork",
        "Dublin",
        "Galway",
        "Limerick",
        "Waterford",
        "Kilkenny",
        "Sligo",
        "Dún Laoghaire",
        "Athlone",
        "Ennis",
    ),
    *(f"Town {number}" for number in range(90)),
)
MAPPING: Final = {
    "columns": {
        "Email": "email",
        "Mobile": "phone",
        "First name": "first_name",
        "Last name": "last_name",
        "City": "custom.city",
        "Birthday": "custom.birthday:date",
        "Plan": "custom.plan",
        "Tags": "tags",
    },
    "default_region": "IE",
    "date_order": "dmy",
}
_FIRST = (
    "Aoife",
    "Seán",
    "Niamh",
    "Conor",
    "Saoirse",
    "Oisín",
    "Gráinne",
    "Liam",
    "Máire",
    "Patrick",
    "Anna",
    "Tom",
)
_LAST = ("Byrne", "O'Brien", "Ó Súilleabháin", "Murphy", "Walsh", "Ryan", "Kelly", "Doyle", "Nowak", "García")
_TAGS = ("vip", "newsletter", "trade", "event-2025", "event-2026", "wholesale")
_DOMAINS = ("example.com", "mail.example.ie", "post.example.org", "firma.example.de")


def write_file(path: Path, rows: int) -> None:
    """Emails and mobile numbers are all different and valid; numbers are in national form, birthdays European."""
    random = Random(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(_row(number, random) for number in range(rows))


def _row(number: int, random: Random) -> tuple[str, ...]:
    first, last = random.choice(_FIRST), random.choice(_LAST)
    birthday = f"{random.randint(1, 28):02}/{random.randint(1, 12):02}/{random.randint(1940, 2007)}"
    tags = ",".join(random.sample(_TAGS, random.choice((0, 0, 1, 2))))
    # Spread over the index as the addresses of real people are, and not in the order of the rows.
    address = f"{random.getrandbits(24):06x}.{number}@{random.choice(_DOMAINS)}"
    # 083, 085, 086, 087 and 089 are Irish mobile networks.
    mobile = f"08{'35679'[number % 5]} {number // 5 // 10_000 % 1000:03} {number // 5 % 10_000:04}"
    return address, mobile, first, last, random.choice(CITIES), birthday, random.choice(PLANS), tags
