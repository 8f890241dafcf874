"""Logins, one's own password and tokens, and the users of the platform."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import SecretStr
from starlette.concurrency import run_in_threadpool

from api.abilities import Ability, needs, require
from api.auditing import keep_login, note
from api.dependencies import CurrentCaller, DatabaseDep, ItemId, PageDep, SettingsDep
from api.errors import Forbidden, Unauthenticated, responses
from api.etags import MatchDep
from api.schemas.access import (
    InvitedUserOut,
    LoginIn,
    LoginOut,
    MeOut,
    NewTokenOut,
    PasswordChangeIn,
    PasswordChoiceIn,
    PasswordLinkOut,
    TokenIn,
    TokenOut,
    UserIn,
    UserOut,
    UserPatch,
)
from api.schemas.base import PageOut
from api.throttling import LoginGuard, login_guard
from db.engine import Database, Session
from db.errors import Conflict
from db.models import ApiToken, User
from db.queries import tokens, users
from db.states import Role, TokenKind
from tasks.access.abilities import abilities_of
from tasks.access.callers import Caller
from tasks.access.logins import (
    LINK_SECONDS,
    Login,
    LoginRefused,
    change_password,
    choose_password,
    log_in,
    make_password_link,
)

door = APIRouter(prefix="/api/auth", tags=["access"])
"""Public: who comes here has no token yet."""
account = APIRouter(prefix="/api/auth", tags=["access"])
people = APIRouter(prefix="/api/users", tags=["users"])
GuardDep = Annotated[LoginGuard, Depends(login_guard)]


@door.post("/login", responses=responses(400, 401, 408, 413, 429, 503))
async def login(
    connection: Request, database: DatabaseDep, settings: SettingsDep, guard: GuardDep, body: LoginIn
) -> LoginOut:
    """A token for a working day, for email and password."""
    email = body.email.strip().lower()
    async with guard.attempt(f"login:{email}"):
        made = await run_in_threadpool(_log_in, connection, database, settings, email, body.password)
    token = NewTokenOut.showing(made.plain, made.token)
    return LoginOut(**token.model_dump(), user=UserOut.model_validate(made.user))


@door.post("/choose-password", status_code=204, responses=responses(400, 401, 404, 408, 413, 429, 503))
async def choose_own_password(
    connection: Request, database: DatabaseDep, settings: SettingsDep, guard: GuardDep, body: PasswordChoiceIn
) -> None:
    """Choose a password by the link an admin made. All sessions and tokens of the user end."""
    async with guard.attempt(f"link:{body.link.partition('.')[0]}"):
        user = await run_in_threadpool(
            choose_password, database, settings, body.link, body.password.get_secret_value()
        )
    keep = partial(keep_login, connection, database, "account:choose-password")
    await run_in_threadpool(partial(keep, who=f"user {user.name}", user_id=user.id, status=204))


@account.get("/me", dependencies=[needs(Ability.ACCOUNT_OWN)])
def get_self(database: DatabaseDep, caller: CurrentCaller) -> MeOut:
    """Who is calling, and what this token can do."""
    with database.reading() as session:
        return MeOut.showing(caller, tokens.get_token(session, caller.id, user_id=caller.user_id))


@account.post("/logout", status_code=204, dependencies=[needs(Ability.ACCOUNT_OWN)])
def logout(database: DatabaseDep, caller: CurrentCaller) -> None:
    """Revoke the token this request is made with."""
    database.run(lambda s: tokens.revoke_token(s, caller.id))


@account.put(
    "/password", status_code=204, responses=responses(409, 429), dependencies=[needs(Ability.ACCOUNT_MANAGE)]
)
async def change_own_password(
    database: DatabaseDep, caller: CurrentCaller, guard: GuardDep, body: PasswordChangeIn
) -> None:
    """Choose another password. All other sessions and tokens end. 401: the old password is another one."""
    user_id = caller.user_id
    if user_id is None:
        raise Conflict("this token belongs to no user, and has no password")
    async with guard.attempt(f"change:{user_id}"):
        await run_in_threadpool(
            change_password,
            database,
            user_id,
            old=body.old_password.get_secret_value(),
            new=body.password.get_secret_value(),
            sparing=caller.id,
        )


@account.get("/tokens", dependencies=[needs(Ability.ACCOUNT_MANAGE)])
def list_own_tokens(database: DatabaseDep, caller: CurrentCaller, page: PageDep) -> PageOut[TokenOut]:
    """One's own tokens and sessions that were not revoked. Those made on the machine itself belong together."""
    with database.reading() as session:
        return PageOut[TokenOut].of(
            tokens.list_tokens(session, caller.user_id, after=page.cursor, limit=page.limit)
        )


@account.post("/tokens", status_code=201, dependencies=[needs(Ability.ACCOUNT_MANAGE)])
def create_own_token(
    connection: Request, database: DatabaseDep, settings: SettingsDep, caller: CurrentCaller, body: TokenIn
) -> NewTokenOut:
    """A token for a program: it can do at most what this one can, and expires (after `ICS_TOKEN_DAYS` when nothing is said; with a
    token that is no session, when that one does at the latest)."""
    new = tokens.NewToken(
        body.name,
        role=caller.role,
        user_id=caller.user_id,
        abilities=_narrowed(caller, body.abilities),
        lifetime=timedelta(days=body.expires_in_days or settings.token_days),
    )

    def work(session: Session) -> tuple[str, ApiToken]:
        own = tokens.hold_token(session, caller.id)
        if own is None:
            raise Unauthenticated
        until = own.expires_at if own.kind is TokenKind.TOKEN else None
        return tokens.insert_token(session, replace(new, until=until))

    plain, token = database.run(work)
    note(connection, token_id=token.id, abilities=token.abilities)
    return NewTokenOut.showing(plain, token)


@account.delete(
    "/tokens/{token_id}",
    status_code=204,
    responses=responses(404),
    dependencies=[needs(Ability.ACCOUNT_MANAGE)],
)
def revoke_own_token(database: DatabaseDep, caller: CurrentCaller, token_id: ItemId) -> None:
    """Revoke one of one's own tokens or sessions. Somebody else's does not exist. Of the tokens that belong to nobody, one revokes
    those that can do no more than itself."""

    def work(session: Session) -> None:
        token = tokens.get_token(session, token_id, user_id=caller.user_id)
        if token.user_id is None:
            for ability in sorted(abilities_of(token.role or Role.VIEWER, token.abilities)):
                require(caller, ability)
        tokens.revoke_token(session, token_id)

    database.run(work)


@people.get("", dependencies=[needs(Ability.USERS_READ)])
def list_users(database: DatabaseDep, page: PageDep) -> PageOut[UserOut]:
    with database.reading() as session:
        return PageOut[UserOut].of(users.list_users(session, after=page.cursor, limit=page.limit))


@people.post("", status_code=201, responses=responses(409), dependencies=[needs(Ability.USERS_WRITE)])
def invite_user(
    connection: Request, database: DatabaseDep, settings: SettingsDep, body: UserIn
) -> InvitedUserOut:
    """A new user, and the link by which he chooses his password. Hand it over yourself: nothing is sent."""
    user = database.run(
        lambda s: users.insert_user(s, email=body.email.lower(), name=body.name, role=body.role)
    )
    note(connection, user_id=user.id, role=user.role)
    return _invited(settings, user)


@people.get("/{user_id}", responses=responses(404), dependencies=[needs(Ability.USERS_READ)])
def get_user(database: DatabaseDep, match: MatchDep, user_id: ItemId) -> UserOut:
    with database.reading() as session:
        return match.tag(UserOut.model_validate(users.get_user(session, user_id)))


@people.patch("/{user_id}", responses=responses(404, 409), dependencies=[needs(Ability.USERS_WRITE)])
def update_user(
    connection: Request, database: DatabaseDep, match: MatchDep, user_id: ItemId, body: UserPatch
) -> UserOut:
    """Change name or role, or whether the user is active. Who is not cannot log in, and his tokens are revoked."""
    values = body.model_dump(exclude_unset=True)
    note(connection, **{name: value for name, value in values.items() if name in ("role", "active")})

    def work(session: Session) -> UserOut:
        match.require(
            session,
            User,
            User.id == user_id,
            as_it_is=lambda: UserOut.model_validate(users.get_user(session, user_id)),
        )
        return UserOut.model_validate(users.update_user(session, user_id, values))

    return match.tag(database.run(work))


@people.post("/{user_id}/password-link", responses=responses(404), dependencies=[needs(Ability.USERS_WRITE)])
def renew_password_link(database: DatabaseDep, settings: SettingsDep, user_id: ItemId) -> PasswordLinkOut:
    """A link for somebody who forgot his password. The old password works until another one is chosen."""
    with database.reading() as session:
        user = users.get_user(session, user_id)
    return PasswordLinkOut(password_link=make_password_link(settings, user), expires_in=LINK_SECONDS)


@people.get("/{user_id}/tokens", responses=responses(404), dependencies=[needs(Ability.USERS_READ)])
def list_tokens_of_user(database: DatabaseDep, user_id: ItemId, page: PageDep) -> PageOut[TokenOut]:
    with database.reading() as session:
        users.get_user(session, user_id)
        return PageOut[TokenOut].of(tokens.list_tokens(session, user_id, after=page.cursor, limit=page.limit))


@people.delete(
    "/{user_id}/tokens",
    status_code=204,
    responses=responses(404),
    dependencies=[needs(Ability.USERS_WRITE)],
)
def revoke_tokens_of_user(database: DatabaseDep, user_id: ItemId) -> None:
    """Revoke all tokens and sessions of a user, as after a theft."""

    def work(session: Session) -> None:
        users.get_user(session, user_id)
        tokens.revoke_tokens_of(session, user_id)

    database.run(work)


def _log_in(
    connection: Request, database: Database, settings: SettingsDep, email: str, password: SecretStr
) -> Login:
    keep = partial(keep_login, connection, database, "account:login")
    try:
        made = log_in(database, settings, email, password.get_secret_value())
    except LoginRefused:
        keep(who="somebody", user_id=None, status=401)
        raise
    keep(who=f"user {made.user.name}", user_id=made.user.id, status=200)
    return made


def _narrowed(caller: Caller, wanted: list[Ability] | None) -> list[str] | None:
    """What the new token is held to. Raises Forbidden: the caller cannot give what he does not have."""
    if wanted is None:
        return None if caller.token_abilities is None else list(caller.token_abilities)
    for ability in wanted:
        if not caller.can(ability):
            raise Forbidden(ability)
    return [each.value for each in wanted]


def _invited(settings: SettingsDep, user: User) -> InvitedUserOut:
    out = UserOut.model_validate(user)
    return InvitedUserOut(**out.model_dump(), password_link=make_password_link(settings, user))
