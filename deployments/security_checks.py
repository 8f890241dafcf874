"""`python -m deployments.security_checks`: known vulnerabilities of the pinned packages, and secrets in the files of the project.

A package with a known vulnerability fails, unless it is in `IGNORED` with a reason. Where no list of vulnerabilities can be reached, that is
said, and is no failure. What looks like a secret fails unless it is in `.secrets.json`, which `--accept` writes: look at the difference.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

PROJECT: Final = Path(__file__).resolve().parent.parent
KNOWN: Final = PROJECT / ".secrets.json"
REQUIREMENTS: Final = ("requirements.txt", "benchmarks/requirements.txt")
IGNORED: Final[Mapping[str, str]] = {}
"""Ids of vulnerabilities that do not touch us, each with the reason."""
_PATIENCE_SECONDS: Final = 120.0
# Hashes of packages, and pictures.
_LEFT_OUT: Final = (".svg", ".png", "requirements.txt", ".secrets.json")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deployments.security_checks", description=__doc__)
    parser.add_argument("--accept", action="store_true", help="take what looks like a secret for none")
    options = parser.parse_args(argv)
    found = list_secrets()
    if options.accept:
        KNOWN.write_text(json.dumps(sorted(found), indent=1) + "\n")
        return 0
    return max(check_secrets(found), check_packages())


def check_secrets(found: set[str]) -> int:
    """1 when something looks like a secret that nobody has looked at."""
    known = set(json.loads(KNOWN.read_text())) if KNOWN.exists() else set()
    new = sorted(found - known)
    for each in new:
        print(f"looks like a secret: {each}", file=sys.stderr)
    if new:
        print("take it out; if it is none: python -m deployments.security_checks --accept", file=sys.stderr)
        return 1
    print(f"no secrets in the files of the project ({len(known)} look like some and are none)")
    return 0


def list_secrets() -> set[str]:
    """`file: kind: hash` of all that looks like a secret in the files that git knows."""
    from detect_secrets.core.secrets_collection import SecretsCollection
    from detect_secrets.settings import default_settings

    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    secrets = SecretsCollection(root=str(PROJECT))
    with default_settings():
        secrets.scan_files(*(name for name in names if name and not name.endswith(_LEFT_OUT)))
    return {f"{name}: {secret.type}: {secret.secret_hash[:16]}" for name, secret in secrets}


def check_packages() -> int:
    """1 when a pinned package has a known vulnerability."""
    worst = 0
    for name in REQUIREMENTS:
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--require-hashes",
            "--disable-pip",
            "--format",
            "json",
            "-r",
            name,
        ]
        try:
            done = subprocess.run(
                command, cwd=PROJECT, capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False
            )
            packages = json.loads(done.stdout)["dependencies"]
        except (subprocess.TimeoutExpired, ValueError, KeyError):
            print(f"{name}: NOT AUDITED, the list of vulnerabilities cannot be reached")
            continue
        worst = max(worst, _judge(name, packages))
    return worst


def _judge(name: str, packages: Sequence[Mapping[str, Any]]) -> int:
    audited = [each for each in packages if "skip_reason" not in each]
    bad = [
        f"{each['name']} {each['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'no version'}"
        for each in audited
        for found in each.get("vulns", [])
        if found["id"] not in IGNORED
    ]
    for line in bad:
        print(f"{name}: {line}", file=sys.stderr)
    skipped = len(packages) - len(audited)
    if skipped:
        print(
            f"{name}: NOT AUDITED for {skipped} of {len(packages)} packages: the index does not tell of them"
        )
    else:
        print(f"{name}: {len(audited)} packages, {len(bad)} known vulnerabilities")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
