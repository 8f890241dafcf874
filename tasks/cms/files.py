"""Which files may be put on pages, told from their bytes and never from their names. Pure."""

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

import filetype

from db.errors import Invalid

# Shown in the page. Everything else is only downloaded.
SHOWN: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_ENDINGS: Final[Mapping[str, str]] = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/svg+xml": "svg",
    "application/pdf": "pdf",
    "text/plain": "txt",
    "text/csv": "csv",
}
_ACCEPTED: Final = "PNG, JPEG, GIF, WEBP, SVG, PDF, plain text or CSV"
_SVG = re.compile(
    rb"\s*(<\?xml[^>]{0,200}\?>\s*)?(<!--.{0,2000}?-->\s*)*(<!DOCTYPE svg[^>\[]{0,300}>\s*)?<svg[\s>]",
    re.DOTALL,
)
_MARKUP = re.compile(
    rb"<\s*(!doctype|html|head|body|script|iframe|svg|img|a|div|style|object|embed|meta|link|\?xml)\b",
    re.IGNORECASE,
)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_LOOKED_AT: Final = 4096


@dataclass(frozen=True)
class CheckedFile:
    """A file that may be stored: under a name of ours, and with the kind that its bytes tell."""

    name: str
    title: str
    media_type: str
    digest: str


def check_file(filename: str, content: bytes) -> CheckedFile:
    """Raises Invalid: empty, of no kind that is accepted, or named as something that it is not."""
    if not content:
        raise Invalid("file", "is empty")
    media_type = _sniff(content, PurePath(filename).suffix.lower())
    ending = PurePath(filename).suffix.lower().lstrip(".")
    expected = _ENDINGS[media_type]
    if ending and {ending, expected} != {"jpeg", "jpg"} and ending != expected:
        raise Invalid(
            "file", f"is called .{ending[:20]}, but its content is {media_type}: rename it to .{expected}"
        )
    title = (
        re.sub(r"[\x00-\x1f\x7f/\\]", "", PurePath(filename.encode(errors="ignore").decode()).name)[:200]
        or f"file.{expected}"
    )
    return CheckedFile(
        f"{secrets.token_hex(16)}.{expected}", title, media_type, hashlib.sha256(content).hexdigest()
    )


def _sniff(content: bytes, suffix: str) -> str:
    start = content[:_LOOKED_AT]
    found = filetype.guess_mime(start)
    if found in _ENDINGS:
        # A file that is a picture and a web page at once is neither.
        if found in SHOWN and _MARKUP.search(start[:512]):
            raise Invalid("file", "is a picture with markup at its beginning")
        return str(found)
    if found is None:
        if _SVG.match(start):
            return "image/svg+xml"
        if not _MARKUP.search(start) and not _CONTROL.search(start) and _is_text(content):
            return "text/csv" if suffix == ".csv" else "text/plain"
    raise Invalid("file", f"is none of these by its content: {_ACCEPTED}")


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
