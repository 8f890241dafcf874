"""Who is calling: what a token stands for. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from db.states import Role
from tasks.access.abilities import Ability, abilities_of


@dataclass(frozen=True)
class Caller:
    """The holder of a token. `name` is what is kept of who did something: the user's name, or that of a token of nobody."""

    id: int
    name: str
    role: Role
    user_id: int | None
    token_abilities: Sequence[str] | None
    abilities: frozenset[Ability]

    @classmethod
    def of(
        cls,
        *,
        token_id: int,
        token_name: str,
        role: Role,
        named: Sequence[str] | None,
        user_id: int | None,
        user_name: str | None,
    ) -> Self:
        """From what is stored of the token and its user."""
        name = token_name if user_id is None else (user_name or f"user {user_id}")
        return cls(token_id, name, role, user_id, named, abilities_of(role, named))

    @property
    def who(self) -> str:
        """For records that people read: `user Ada Byron`, `token till`."""
        return f"{'token' if self.user_id is None else 'user'} {self.name}"

    def can(self, ability: Ability) -> bool:
        return ability in self.abilities
