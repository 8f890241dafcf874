"""`requirements.txt` is what `make lock` made of `pyproject.toml`: nothing forgotten, nothing contradicted, no index named."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.txt").read_text()
BENCH_LOCK = (ROOT / "benchmarks/requirements.txt").read_text()
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WANTED = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]


@pytest.mark.parametrize("wanted", WANTED)
def test_what_pyproject_asks_for_is_pinned_to_a_version_that_it_allows(wanted: str) -> None:
    requirement = Requirement(wanted)
    name = canonicalize_name(requirement.name)
    versions = [version for pinned, version in PIN.findall(LOCK) if canonicalize_name(pinned) == name]
    assert versions, "run `make lock`"
    assert all(requirement.specifier.contains(version) for version in versions), "run `make lock`"


def test_benchmarks_change_no_version() -> None:
    versions = {canonicalize_name(name): version for name, version in PIN.findall(LOCK)}
    pinned = {canonicalize_name(name): version for name, version in PIN.findall(BENCH_LOCK)}
    assert "celery" in pinned
    assert {name: version for name, version in pinned.items() if versions.get(name, version) != version} == {}


@pytest.mark.parametrize("lock", [LOCK, BENCH_LOCK], ids=["all", "bench"])
def test_every_pin_has_a_hash(lock: str) -> None:
    entries = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]
    assert entries
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", [LOCK, BENCH_LOCK], ids=["all", "bench"])
def test_no_index_is_named(lock: str) -> None:
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|--trusted-host", lock)
