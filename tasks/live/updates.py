"""What a listener gets: the whole picture of an execution, known by what is in it. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import orjson


@dataclass(frozen=True, slots=True)
class Update:
    """One picture, encoded once for all who listen. `id` is the same for the same content: who has it needs nothing new.

    `server_sent` is it as a server-sent event (WHATWG HTML, 9.2; JSON without line breaks is one line of data), `message` as a
    message of a WebSocket.
    """

    id: str
    server_sent: bytes
    message: str

    @classmethod
    def of(cls, picture: Mapping[str, Any]) -> Self:
        body = orjson.dumps(picture)
        name = hashlib.blake2b(body, digest_size=8).hexdigest()
        event = b"id: %b\nevent: execution\ndata: %b\n\n" % (name.encode(), body)
        return cls(name, event, f'{{"id":"{name}","execution":{body.decode()}}}')
