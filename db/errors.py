"""Errors of the facts. They carry what they are about; `api/errors.py` alone knows HTTP codes."""


class IcsError(Exception):
    """Base of every error that a caller may show to a person."""


class NotFound(IcsError):
    """There is no such thing."""

    def __init__(self, thing: str, key: object) -> None:
        super().__init__(f"{thing} {key} does not exist")
        self.thing = thing
        self.key = key


class Merged(NotFound):
    """The client is another one now."""

    def __init__(self, client_id: int, survivor_id: int) -> None:
        super().__init__("client", client_id)
        self.args = (f"client {client_id} was merged into client {survivor_id}",)
        self.survivor_id = survivor_id


class Conflict(IcsError):
    """The change contradicts what is stored; `field` names the value in the way, if it is one."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Invalid(IcsError):
    """A value cannot be used; the message says what would be."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class TookTooLong(IcsError):
    """The database was asked to give up after so many seconds, and did."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what} takes longer than {seconds:g} seconds")
        self.seconds = seconds


class StaleToken(IcsError):
    """A batch was taken over: whoever holds the older fencing token may not write any more."""

    def __init__(self, batch_id: int, token: int) -> None:
        super().__init__(f"batch {batch_id}: token {token} is no longer the current one")
        self.batch_id = batch_id
        self.token = token


class DatabaseUrlInvalid(IcsError):
    """`ICS_DATABASE_URL` cannot be used."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"ICS_DATABASE_URL cannot be used: {reason}. "
            "Write mysql+pymysql://user:password@host:3306/database?charset=utf8mb4, or leave it empty for SQLite."
        )


class DatabaseUnavailable(IcsError):
    """The database of `ICS_DATABASE_URL` does not answer."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"the database does not answer at {url}: {reason}. Check ICS_DATABASE_URL, and that the server runs."
        )
