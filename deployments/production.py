"""Settings that are good for trying it out, and not for the internet. With `ICS_ENVIRONMENT=production` nothing starts with them."""

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from deployments.checks import NotReady
from settings import Environment, Settings

_SHORTEST_SECRET = 32
_EXAMPLES = re.compile(r"change|example|secret|password|default|test|xxx|(.)\1{7}", re.IGNORECASE)


class UnsafeSettings(NotReady):
    """Each line names a variable, what is wrong with it, and what to do."""

    def __init__(self, problems: list[str]) -> None:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(
            f"these settings are not safe in production:\n{lines}\n"
            "Change them in .env, or set ICS_ENVIRONMENT=development to try things out."
        )
        self.problems = problems


def check_production(settings: Settings, environment: Mapping[str, str] = os.environ) -> None:
    """Raises UnsafeSettings in production; says nothing in development."""
    if settings.environment is Environment.PRODUCTION:
        problems = list(unsafe_settings(settings, environment))
        if problems:
            raise UnsafeSettings(problems)


def unsafe_settings(settings: Settings, environment: Mapping[str, str]) -> Iterator[str]:
    """What would be refused in production, a line each."""
    yield from _secrets(settings)
    yield from _webhooks(settings)
    yield from _addresses(settings)
    yield from _prefect(settings, environment)


def _secrets(settings: Settings) -> Iterator[str]:
    key = settings.secret_key.get_secret_value()
    make = 'make one: python3 -c "import secrets; print(secrets.token_hex(32))"'
    if not key:
        yield f"ICS_SECRET_KEY is empty, and each machine would make a key of its own: {make}"
    elif _is_weak(key):
        yield f"ICS_SECRET_KEY is short, or an example: {make}"
    for old in settings.retired_keys:
        if _is_weak(old):
            yield "ICS_OLD_SECRET_KEYS has a key that is short, or an example, and whatever it signs is believed: take it out"
    if settings.database_url.startswith("sqlite"):
        yield "ICS_DATABASE_URL is SQLite, which several workers and API processes cannot share: use MySQL or MariaDB"
    if not is_local(settings.api_host) and not settings.metrics_token.get_secret_value():
        yield "ICS_METRICS_TOKEN is empty, and everybody who reaches the API reads /metrics: set one"


def _is_weak(key: str) -> bool:
    return len(key) < _SHORTEST_SECRET or _EXAMPLES.search(key) is not None


def _webhooks(settings: Settings) -> Iterator[str]:
    if settings.sendgrid_api_key.get_secret_value() and not settings.webhook_public_keys:
        yield "SENDGRID_WEBHOOK_PUBLIC_KEYS is empty: copy the verification key of the event webhook from SendGrid's settings"
    secret = settings.sendmode_webhook_secret.get_secret_value()
    if settings.sendmode_api_key.get_secret_value() and len(secret) < _SHORTEST_SECRET // 2:
        yield "SENDMODE_WEBHOOK_SECRET is empty or short: anybody could report deliveries; use 16 random characters or more"


def _addresses(settings: Settings) -> Iterator[str]:
    if not settings.public_url.startswith("https://"):
        yield f"ICS_PUBLIC_URL is {settings.public_url}: links in mails and webhooks need https"
    for name, url in (
        ("SENDGRID_BASE_URL", settings.sendgrid_base_url),
        ("SENDMODE_BASE_URL", settings.sendmode_base_url),
    ):
        if not url.startswith("https://"):
            yield f"{name} is {url}: messages and keys would travel in the clear, or to a sandbox"
    if settings.webhook_allow_private:
        yield "ICS_WEBHOOK_ALLOW_PRIVATE is on: whoever may add an endpoint reaches into this network; take it out"
    for origin in settings.allowed_origins:
        if not origin.startswith("https://"):
            yield f"ICS_CORS_ORIGINS has {origin}: use https"
    for proxy in filter(None, (part.strip() for part in settings.trusted_proxies.split(","))):
        if proxy in ("*", "0.0.0.0/0", "::/0"):
            yield f"ICS_TRUSTED_PROXIES has {proxy}: everybody could say that he is somebody else; name the proxies"


def _prefect(settings: Settings, environment: Mapping[str, str]) -> Iterator[str]:
    host = urlsplit(settings.prefect_api_url).hostname or ""
    has_auth = environment.get("PREFECT_API_AUTH_STRING") or environment.get("PREFECT_API_KEY")
    if not is_local(host) and not has_auth:
        yield (
            f"PREFECT_API_URL is on {host} and asks nobody who he is: whoever reaches it starts and reads runs. Set "
            "PREFECT_SERVER_API_AUTH_STRING at the server and PREFECT_API_AUTH_STRING here, or bind the server to 127.0.0.1"
        )
    server = environment.get("PREFECT_SERVER_API_HOST", "127.0.0.1")
    if not is_local(server) and not environment.get("PREFECT_SERVER_API_AUTH_STRING"):
        yield f"PREFECT_SERVER_API_HOST is {server}, without PREFECT_SERVER_API_AUTH_STRING: the server is open to the world"


def is_local(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
