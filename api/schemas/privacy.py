"""What people have a right to: their data, and to be forgotten."""

from typing import Annotated, Self

from pydantic import Field

from api.schemas.base import Input, Output
from tasks.privacy.erasing import Done


class ErasureIn(Input):
    """`confirm` is the client's email, phone or id, so that a slip of a digit erases nobody else."""

    confirm: Annotated[str, Field(min_length=1, max_length=320, examples=["ada@example.com"])]
    delete_import_files: Annotated[
        bool, Field(description="Delete stored files of failed imports, which may name the person.")
    ] = False


class ErasureOut(Output):
    """How much there was; `lists_naming_them` are lists whose rule has one of the addresses in it, which only you can change."""

    client_id: int
    messages: int
    messages_not_sent: int
    events: int
    webhooks: int
    import_rejects: int
    import_files: int
    suppressions: int
    shared_addresses: int
    lists_naming_them: list[int]
    approval_id: int

    @classmethod
    def of(cls, done: Done) -> Self:
        return cls(**vars(done.erased), approval_id=done.approval_id)
