"""The demo's file: its facts are known from how it was made, and an import has to find the same."""

import csv
from pathlib import Path

import pytest

from db.states import Consent
from deployments.demo_data import HEADER, DemoFacts, write_demo_csv
from tasks.imports.cleaning import clean_chunk
from tasks.imports.duplicates import merge_duplicates
from tasks.imports.mapping import validate_mapping
from tasks.imports.reading import count_rows, read_sample
from tasks.imports.suggestions import suggest_mapping


def found_in(path: Path) -> DemoFacts:
    """What the importer makes of the file, in one chunk."""
    sample = read_sample(path, rows=100_000)
    mapping = suggest_mapping(sample.frame, default_region="IE")
    validate_mapping(mapping, [str(name) for name in sample.frame.columns])
    cleaned = clean_chunk(sample.frame, mapping, default_region="IE")
    merged = merge_duplicates(cleaned.rows)
    return DemoFacts(
        rows=count_rows(path),
        clients=len(merged.rows),
        duplicates=len(merged.warnings),
        rejected=len(sample.rejects) + len(cleaned.rejects),
        warnings=len(cleaned.warnings) + len(merged.warnings),
        emails=sum(row["email"] is not None for row in merged.rows),
        phones=sum(row["phone"] is not None for row in merged.rows),
        granted=sum(row["email_consent"] is Consent.GRANTED for row in merged.rows),
        denied=sum(row["email_consent"] is Consent.DENIED for row in merged.rows),
    )


@pytest.mark.parametrize(("clients", "seed"), [(5000, 20), (2000, 1), (100, 7)])
def test_an_import_finds_what_was_put_into_the_file(tmp_path: Path, clients: int, seed: int) -> None:
    path = tmp_path / "clients.csv"
    facts = write_demo_csv(path, clients=clients, seed=seed)
    assert found_in(path) == facts
    assert facts.clients == clients
    assert facts.rows == facts.clients + facts.duplicates + facts.rejected


def test_the_dirt_is_there(tmp_path: Path) -> None:
    path = tmp_path / "clients.csv"
    facts = write_demo_csv(path)
    text = path.read_bytes().decode("utf-8")
    assert min(facts.duplicates, facts.rejected, facts.denied) > 0
    for dirt in (
        "\ufeff",
        "=HYPERLINK",
        "called twice,\nwants",
        "🌻",
        " x",
        "3.53871E+11",
        "two@@",
        "a cell,too many",
    ):
        assert dirt in text
    assert "," * (len(HEADER) - 1) + "\r\n" in text


def test_the_same_seed_makes_the_same_file_and_another_one_does_not(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "b", "c")]
    facts = [
        write_demo_csv(path, clients=200, seed=seed) for path, seed in zip(paths, (3, 3, 4), strict=True)
    ]
    assert facts[0] == facts[1]
    assert paths[0].read_bytes() == paths[1].read_bytes() != paths[2].read_bytes()


def test_nobody_real_can_be_written_to(tmp_path: Path) -> None:
    path = tmp_path / "clients.csv"
    write_demo_csv(path, clients=500)
    with path.open(encoding="utf-8-sig", newline="") as file:
        emails = [row["E-Mail Address"].strip().lower() for row in csv.DictReader(file)]
    domains = {email.rpartition("@")[2] for email in emails if "@" in email}
    assert domains == {"example.com", "example.org", "mail.example.net"}
