"""`ics user …` and `ics token …`: who may come in, decided on the machine itself."""

import sys
from collections.abc import Sequence
from datetime import timedelta
from getpass import getpass

from rich.console import Console
from rich.table import Table

from db.engine import Database, get_database
from db.errors import Invalid, NotFound
from db.models import User
from db.queries import tokens, users
from db.states import Role
from deployments.checks import check_database
from settings import Settings
from tasks.access.abilities import Ability, abilities_of
from tasks.access.audit import record_on_machine
from tasks.access.logins import make_password_link
from tasks.access.passwords import hash_password
from tasks.addresses import AddressInvalid, normalise_email

console = Console(highlight=False)


def create_service_token(
    settings: Settings, name: str, *, role: Role, abilities: Sequence[str] | None, days: int | None
) -> str:
    """The text of a new token that belongs to no user.

    Raises:
        Invalid: an ability is not known, or the role does not have it.
    """
    for each in abilities or ():
        if each not in {known.value for known in Ability}:
            raise Invalid("--ability", f"{each} is none: use {', '.join(sorted(Ability))}")
        if Ability(each) not in abilities_of(role, None):
            raise Invalid("--ability", f"the role {role} does not have {each}")
    new = tokens.NewToken(
        name,
        role=role,
        abilities=list(abilities) if abilities else None,
        lifetime=timedelta(days=days or settings.token_days),
    )
    database = _database(settings)
    plain, token = database.run(lambda s: tokens.insert_token(s, new))
    record_on_machine(database, "token:create", {"token_id": token.id, "role": role})
    return plain


def show_tokens(settings: Settings) -> None:
    table = Table("id", "name", "begins", "role", "abilities", "created", "expires", "last used")
    after = 0
    while True:
        with _database(settings).reading() as session:
            page = tokens.list_tokens(session, None, after=after, limit=200)
        for each in page.items:
            table.add_row(
                str(each.id),
                each.name,
                each.hint,
                each.role,
                "all of the role" if each.abilities is None else " ".join(each.abilities),
                *(
                    f"{moment:%Y-%m-%d}" if moment else "never"
                    for moment in (each.created_at, each.expires_at)
                ),
                f"{each.last_used_at:%Y-%m-%d %H:%M}" if each.last_used_at else "never",
            )
        if page.next_cursor is None:
            break
        after = page.next_cursor
    console.print(table)


def revoke(settings: Settings, token_id: int) -> None:
    database = _database(settings)
    database.run(lambda s: tokens.revoke_token(s, token_id))
    record_on_machine(database, "token:revoke", {"token_id": token_id})
    console.print(f"token {token_id} is revoked")


def create_user(settings: Settings, email: str, *, name: str, role: Role) -> None:
    """A new user, and on the screen the link by which he chooses a password."""
    address = _email(email)
    database = _database(settings)
    user = database.run(
        lambda s: users.insert_user(s, email=address, name=(name or address)[:100], role=role)
    )
    record_on_machine(database, "user:create", {"user_id": user.id, "role": role})
    console.print(f"user {user.id} is {role}. Choose the password within three days, here:")
    console.print(f"    ics user password {address}")
    console.print("or from anywhere, by POST /api/auth/choose-password with this link and the password:")
    console.print(f"    {make_password_link(settings, user)}", soft_wrap=True)


def show_users(settings: Settings) -> None:
    table = Table("id", "email", "name", "role", "active", "last login")
    after = 0
    while True:
        with _database(settings).reading() as session:
            page = users.list_users(session, after=after, limit=200)
        for each in page.items:
            login = f"{each.last_login_at:%Y-%m-%d %H:%M}" if each.last_login_at else "never"
            table.add_row(
                str(each.id), each.email, each.name, each.role, "yes" if each.active else "no", login
            )
        if page.next_cursor is None:
            break
        after = page.next_cursor
    console.print(table)


def ask_password(settings: Settings, email: str) -> None:
    """Asked for twice at a terminal, read as one line otherwise.

    Raises:
        NotFound: there is no such user.
        Invalid: the password is too easy, or the two are not the same.
    """
    user = _user(settings, email)
    if sys.stdin.isatty():
        password = getpass("password: ")
        if getpass("again: ") != password:
            raise Invalid("password", "the two are not the same")
    else:
        password = sys.stdin.readline().rstrip("\n")
    hashed = hash_password(password, hints=(user.email, user.name))
    database = _database(settings)
    database.run(lambda s: users.set_password(s, user.id, hashed))
    record_on_machine(database, "user:password", {"user_id": user.id})
    console.print("the password is set; all sessions and tokens of the user ended")


def disable(settings: Settings, email: str) -> None:
    user = _user(settings, email)
    database = _database(settings)
    database.run(lambda s: users.update_user(s, user.id, {"active": False}))
    record_on_machine(database, "user:disable", {"user_id": user.id})
    console.print(f"user {user.id} is not active any more")


def _database(settings: Settings) -> Database:
    check_database(settings)
    return get_database()


def _user(settings: Settings, email: str) -> User:
    with _database(settings).reading() as session:
        user = users.find_user(session, _email(email))
    if user is None:
        raise NotFound("user", email)
    return user


def _email(text: str) -> str:
    try:
        return normalise_email(text).lower()
    except AddressInvalid as error:
        raise Invalid("EMAIL", str(error)) from error
