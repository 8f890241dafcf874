"""How often who may come: budgets per address and per token, in a moving window.

Kept in this process, or in Redis for all processes together (`ICS_LIMITS_URL`). Should Redis be away, each process keeps its
own count until it is back: nobody is shut out by it, and nobody comes in without limit.
"""

import asyncio
import hashlib
import ipaddress
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final
from weakref import WeakValueDictionary

import structlog
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.storage import storage_from_string
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import TooMany, problem
from db.errors import IcsError
from settings import Settings
from tasks.access.abilities import Ability
from tasks.access.logins import LinkUnusable, LoginRefused

log = structlog.get_logger()

MAX_KEYS: Final = 100_000
"""Who came longest ago is forgotten first, so that a crowd of addresses takes no more memory than this."""
_SPENT: Final = "ics.spent"
_LIMITER: Final = "ics.limiter"
_QUIET_SECONDS: Final = 60.0


class Budget(StrEnum):
    """What a limit is for; each has a setting of its own, `ICS_LIMIT_…`."""

    ADDRESS = "address"
    TOKEN = "token"
    LOGIN = "login"
    PASSWORD = "password"
    ACCOUNT = "account"
    EXPORT = "export"
    SEND = "send"
    WEBHOOKS = "webhooks"
    PAGES = "pages"
    SIGN_UP = "sign_up"


# The longest beginning that fits is the budget of a request's address.
_BUDGET_OF_PATH: Final[Sequence[tuple[str, Budget]]] = (
    ("/api/auth/login", Budget.LOGIN),
    ("/api/auth/choose-password", Budget.LOGIN),
    ("/webhooks/", Budget.WEBHOOKS),
    ("/unsubscribe/", Budget.PAGES),
    ("/p/", Budget.PAGES),
    ("/assets/", Budget.PAGES),
)
# What is asked every few seconds by what watches over the process, and tells nothing.
_UNLIMITED: Final = frozenset({"/health", "/ready"})
_BUDGET_OF_ACTION: Final[Mapping[str, Budget]] = {
    "export": Budget.EXPORT,
    "send": Budget.SEND,
    "resend": Budget.SEND,
}


@dataclass(frozen=True)
class Spent:
    """What is left of a budget; `reset` are the seconds until all of the oldest request's share is back."""

    limit: int
    window: int
    remaining: int
    reset: int
    is_allowed: bool

    @property
    def headers(self) -> Mapping[str, str]:
        headers = {
            "RateLimit-Policy": f"{self.limit};w={self.window}",
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
        }
        return headers if self.is_allowed else {**headers, "Retry-After": str(max(1, self.reset))}


class Moments(MemoryStorage):
    """The window in this process: a queue of moments a key. The library's own looks through all keys at each request."""

    STORAGE_SCHEME = []  # noqa: RUF012 - an instance variable to the library; no URL leads here

    def __init__(self) -> None:
        super().__init__()
        self._moments: OrderedDict[str, deque[float]] = OrderedDict()

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        now = time.monotonic()
        moments = self._recent(key, now - expiry)
        if len(moments) + amount > limit:
            return False
        moments.extend([now] * amount)
        return True

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        now = time.monotonic()
        moments = self._recent(key, now - expiry)
        oldest = moments[0] if moments else now
        return time.time() - (now - oldest), len(moments)

    async def clear(self, key: str) -> None:
        self._moments.pop(key, None)

    def _recent(self, key: str, since: float) -> deque[float]:
        moments = self._moments.get(key)
        if moments is None:
            moments = self._moments[key] = deque()
            if len(self._moments) > MAX_KEYS:
                self._moments.popitem(last=False)
        else:
            self._moments.move_to_end(key)
        while moments and moments[0] <= since:
            moments.popleft()
        return moments


_Work = Callable[[MovingWindowRateLimiter, Budget, str], Awaitable[Spent]]


class Limiter:
    """The budgets, and what was spent of them."""

    def __init__(self, settings: Settings) -> None:
        self._items: Mapping[Budget, RateLimitItem] = {
            budget: parse(getattr(settings, f"limit_{budget.value}")) for budget in Budget
        }
        self._own = MovingWindowRateLimiter(Moments())
        url = settings.limits_url.get_secret_value()
        self._shared = MovingWindowRateLimiter(_redis(url)) if url else None
        self._complained_at = -_QUIET_SECONDS
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def turn(self, who: str) -> asyncio.Lock:
        """Held by one at a time in this process."""
        return self._turns.setdefault(who, asyncio.Lock())

    async def spend(self, budget: Budget, who: str) -> Spent:
        """Take one request of the budget of whom it is."""
        return await self._where_it_can(self._spend, budget, who)

    async def look(self, budget: Budget, who: str) -> Spent:
        """What is left of the budget of whom it is; nothing is taken."""
        return await self._where_it_can(self._state, budget, who)

    async def forget(self, budget: Budget, who: str) -> None:
        """Give all of the budget back, as after a login that succeeded."""
        for limiter in filter(None, (self._shared, self._own)):
            try:
                await limiter.clear(self._items[budget], budget.value, who)
            except Exception as error:
                self._complain(error)

    async def _where_it_can(self, work: _Work, budget: Budget, who: str) -> Spent:
        if self._shared is not None:
            try:
                return await work(self._shared, budget, who)
            except Exception as error:  # Whatever a client library raises when its server is away.
                self._complain(error)
        return await work(self._own, budget, who)

    async def _spend(self, limiter: MovingWindowRateLimiter, budget: Budget, who: str) -> Spent:
        is_allowed = await limiter.hit(self._items[budget], budget.value, who)
        return replace(await self._state(limiter, budget, who), is_allowed=is_allowed)

    async def _state(self, limiter: MovingWindowRateLimiter, budget: Budget, who: str) -> Spent:
        item = self._items[budget]
        reset_at, remaining = await limiter.get_window_stats(item, budget.value, who)
        reset = max(0, math.ceil(reset_at - time.time()))
        return Spent(item.amount, item.get_expiry(), max(0, remaining), reset, is_allowed=remaining > 0)

    def _complain(self, error: Exception) -> None:
        if time.monotonic() - self._complained_at >= _QUIET_SECONDS:
            self._complained_at = time.monotonic()
            log.warning("limits are counted by each process alone", error=type(error).__name__)


def _redis(url: str) -> Storage:
    options: dict[str, Any] = {
        "implementation": "redispy",
        "socket_timeout": 0.5,
        "socket_connect_timeout": 0.5,
    }
    storage = storage_from_string(f"async+{url}", key_prefix="ics-limits", **options)
    assert isinstance(storage, Storage)
    return storage


class Throttle:
    """ASGI middleware: takes each request from the budget of its address, and writes into each answer what is left.

    A route takes it from the budget of the token as well (`spend_of_token`); the answer then tells of that one.
    """

    def __init__(self, app: ASGIApp, limiter: Limiter) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in _UNLIMITED:
            await self._app(scope, receive, send)
            return
        scope[_LIMITER] = self._limiter
        for budget in _budgets_of(scope):
            spent = await self._limiter.spend(budget, address_of(scope))
            if not spent.is_allowed:
                await _refuse(spent, scope, receive, send)
                return
            scope[_SPENT] = spent

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(scope[_SPENT].headers)
            await send(message)

        await self._app(scope, receive, told)


async def spend_of_token(connection: HTTPConnection, token_id: int, abilities: Sequence[str]) -> None:
    """Take this request from the budget of the token, and of what the route is for.

    Raises:
        TooMany: nothing is left of one of them.
    """
    limiter: Limiter | None = connection.scope.get(_LIMITER)
    if limiter is None:
        return
    budgets = {_BUDGET_OF_ACTION.get(Ability(name).action, Budget.TOKEN) for name in abilities}
    for budget in (Budget.TOKEN, *sorted(budgets - {Budget.TOKEN})):
        spent = await limiter.spend(budget, str(token_id))
        connection.scope[_SPENT] = spent
        if not spent.is_allowed:
            raise TooMany(
                f"too many requests: at most {spent.limit} in {spent.window} seconds", spent.headers
            )


class LoginGuard:
    """Lets somebody try a password a few times from one address, and more often from all addresses together.

    Of the second only what failed is counted, and it is not given back: whoever guesses from many addresses must not profit by
    the owner's logins.
    """

    def __init__(self, limiter: Limiter, address: str) -> None:
        self._limiter = limiter
        self._address = address

    @asynccontextmanager
    async def attempt(self, account: str) -> AsyncIterator[None]:
        """One try from this address; it is given back when what it surrounds succeeds.

        Raises:
            TooMany: this account was tried too often.
        """
        # A hash: addresses of people have no place in a store of counts.
        name = hashlib.sha256(account.encode("utf-8", "replace")).hexdigest()[:32]
        from_here = f"{name}/{self._address}"
        _refuse_spent(await self._limiter.spend(Budget.PASSWORD, from_here))
        # One after the other: many guesses at the same moment would all come before the first one is counted.
        async with self._limiter.turn(name):
            _refuse_spent(await self._limiter.look(Budget.ACCOUNT, name))
            try:
                yield
            except (LoginRefused, LinkUnusable):
                await self._limiter.spend(Budget.ACCOUNT, name)
                raise
            except IcsError:
                # The password was right, and something else is wrong.
                await self._limiter.forget(Budget.PASSWORD, from_here)
                raise
        await self._limiter.forget(Budget.PASSWORD, from_here)


def _refuse_spent(spent: Spent) -> None:
    if not spent.is_allowed:
        minutes = math.ceil(spent.reset / 60)
        raise TooMany(f"too many attempts: try again in {minutes} minutes", spent.headers)


def login_guard(connection: HTTPConnection) -> LoginGuard:
    """The guard of this process, for the address that is asking."""
    return LoginGuard(connection.scope[_LIMITER], address_of(connection.scope))


def address_of(scope: Scope) -> str:
    """Who is asking: an IPv4 address, or the /64 of an IPv6 address, all of which one subscriber has."""
    host = (scope.get("client") or ("", 0))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)


def _budgets_of(scope: Scope) -> Sequence[Budget]:
    path: str = scope["path"]
    first = next((budget for prefix, budget in _BUDGET_OF_PATH if path.startswith(prefix)), Budget.ADDRESS)
    # A form makes us write to somebody, whom the sender names.
    is_form = scope.get("method") == "POST" and first is Budget.PAGES and path.endswith("/sign-up")
    return (first, Budget.SIGN_UP) if is_form else (first,)


async def _refuse(spent: Spent, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 4429})
        return
    words = f"too many requests: at most {spent.limit} in {spent.window} seconds"
    await problem(429, words, headers=spent.headers)(scope, receive, send)
