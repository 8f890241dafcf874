"""Logins, users and tokens. No answer has a hash in it, and a secret is in the one answer that makes it."""

from datetime import datetime
from typing import Annotated, ClassVar, Self

from pydantic import ConfigDict, Field, SecretStr

from api.schemas.base import Email, Input, Name, Output
from db.models import ApiToken
from db.states import Role, TokenKind
from tasks.access.abilities import Ability
from tasks.access.callers import Caller
from tasks.access.passwords import MAX_LENGTH, MIN_LENGTH

Password = Annotated[SecretStr, Field(max_length=MAX_LENGTH, examples=["correct horse battery staple"])]
NewPassword = Annotated[
    SecretStr,
    Field(
        min_length=MIN_LENGTH,
        max_length=MAX_LENGTH,
        description="Not easy to guess.",
        examples=["correct horse battery staple"],
    ),
]


class LoginIn(Input):
    email: Annotated[str, Field(min_length=1, max_length=254, examples=["ada@example.com"])]
    password: Password


class PasswordChangeIn(Input):
    old_password: Password
    password: NewPassword


class PasswordChoiceIn(Input):
    """`link` is what an admin was given for this user."""

    link: Annotated[
        str, Field(min_length=1, max_length=100, examples=["7-1790000000.0123456789abcdef0123456789abcdef"])
    ]
    password: NewPassword


class UserIn(Input):
    email: Email
    name: Annotated[Name, Field(max_length=100, examples=["Ada Byron"])]
    role: Role = Role.VIEWER


class UserPatch(Input):
    name: Annotated[Name, Field(max_length=100, examples=["Ada Byron"])] = ""
    role: Role = Role.VIEWER
    active: bool = True


class UserOut(Output):
    untagged: ClassVar[frozenset[str]] = frozenset({"last_login_at"})

    id: int
    email: str
    name: str
    role: Role
    active: bool
    created_at: datetime
    updated_at: datetime
    last_login_at: datetime | None


class InvitedUserOut(UserOut):
    """`password_link` is shown once: whoever has it chooses the password, within three days."""

    password_link: str


class PasswordLinkOut(Output):
    """Shown once: whoever has it chooses the user's password, within three days."""

    password_link: str
    expires_in: int


class TokenIn(Input):
    """`abilities` narrow what the token can do; left out, it can do all that its owner may."""

    name: Annotated[Name, Field(max_length=100, examples=["till of the shop"])]
    abilities: Annotated[list[Ability], Field(min_length=1, max_length=100)] | None = None
    expires_in_days: Annotated[int, Field(ge=1, le=366, examples=[90])] | None = None


class TokenOut(Output):
    """`hint` is how its text begins. `abilities` null: all that its owner may."""

    id: int
    name: str
    hint: str
    kind: TokenKind
    abilities: list[str] | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class NewTokenOut(TokenOut):
    """`token` is the text itself, shown only here."""

    token: str

    @classmethod
    def showing(cls, plain: str, token: ApiToken) -> Self:
        return cls(**TokenOut.model_validate(token).model_dump(), token=plain)


class LoginOut(NewTokenOut):
    user: UserOut


class MeOut(Output):
    """Who is calling, and what the token can do."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    role: Role
    user_id: int | None
    abilities: list[Ability]
    token: TokenOut

    @classmethod
    def showing(cls, caller: Caller, token: ApiToken) -> Self:
        return cls(
            name=caller.name,
            role=caller.role,
            user_id=caller.user_id,
            abilities=sorted(caller.abilities),
            token=TokenOut.model_validate(token),
        )
