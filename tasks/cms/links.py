"""Signed links of pages: to look at a draft, and to confirm a sign-up. Pure."""

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from db.errors import NotFound
from tasks.signing import is_signed, sign

PREVIEW_SECONDS: Final = 7 * 24 * 3600
CONFIRM_SECONDS: Final = 7 * 24 * 3600
_PREVIEW, _CONFIRM = "page preview", "sign-up"
_TOKEN = re.compile(r"([0-9]{1,18})-([0-9]{1,9})-([0-9]{1,12})\.([0-9a-f]{32})")


class LinkOver(NotFound):
    """A link that is not ours, or whose time is over."""

    def __init__(self) -> None:
        super().__init__("link", "given")
        self.args = ("this link is not complete, or its time is over",)


def preview_token(key: bytes, page_id: int, version: int) -> str:
    """Shows this version, published or not, to whoever has the link; for a week."""
    return _write(key, _PREVIEW, page_id, version, PREVIEW_SECONDS)


def read_preview(keys: Sequence[bytes], token: str) -> tuple[int, int, datetime]:
    """Page, version, and when the link was made. Raises LinkOver."""
    page_id, version, until = _read(keys, _PREVIEW, token)
    return page_id, version, datetime.fromtimestamp(until - PREVIEW_SECONDS, UTC)


def confirm_token(key: bytes, sign_up_id: int) -> str:
    """Only the owner of the mailbox it is sent to has it; for a week."""
    return _write(key, _CONFIRM, sign_up_id, 0, CONFIRM_SECONDS)


def read_confirm(keys: Sequence[bytes], token: str) -> int:
    """The sign-up. Raises LinkOver."""
    return _read(keys, _CONFIRM, token)[0]


def _write(key: bytes, purpose: str, first: int, second: int, seconds: int) -> str:
    facts = f"{first}-{second}-{int(time.time()) + seconds}"
    return f"{facts}.{sign(key, purpose, facts)}"


def _read(keys: Sequence[bytes], purpose: str, token: str) -> tuple[int, int, int]:
    found = _TOKEN.fullmatch(token)
    if found is None or not is_signed(keys, purpose, token.rpartition(".")[0], found[4]):
        raise LinkOver
    if int(found[3]) < time.time():
        raise LinkOver
    return int(found[1]), int(found[2]), int(found[3])
