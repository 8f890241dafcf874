"""What a listener gets: the whole picture of an execution, known by what is in it. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Update:
    """One picture as JSON. `id` is the same for the same content: who has it needs nothing new."""

    id: str
    body: bytes

    @property
    def server_sent(self) -> bytes:
        """As a server-sent event (WHATWG HTML, 9.2). JSON without line breaks is one line of data."""
        return b"id: " + self.id.encode() + b"\nevent: execution\ndata: " + self.body + b"\n\n"

    @property
    def message(self) -> str:
        """As a message of a WebSocket, with its id."""
        return '{"id":"' + self.id + '","execution":' + self.body.decode() + "}"


def update_of(picture: Mapping[str, Any]) -> Update:
    body = orjson.dumps(picture)
    return Update(hashlib.blake2b(body, digest_size=8).hexdigest(), body)
