"""The whole platform on one machine, for the demo and for `ics up`."""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from db.health import check_connection
from db.migrate import upgrade
from deployments.supervisor import Stack
from sandbox.keys import ensure_keypair
from settings import Settings, get_settings

console = Console(highlight=False)
SANDBOX_SENDGRID_KEY = "SG.sandbox"
SANDBOX_SENDMODE_KEY = "sandbox"


@dataclass(frozen=True)
class LocalStack:
    """A stack that is ready, and the settings its processes have."""

    stack: Stack
    settings: Settings

    @property
    def api_url(self) -> str:
        return f"http://{self.settings.api_host}:{self.settings.api_port}"


@contextmanager
def local_stack(settings: Settings, *, sandbox: bool, seed: int | None = None) -> Iterator[LocalStack]:
    """Migrate the database, start everything, wait until it can be used; stop all of it at the end."""
    environment = sandbox_environment(settings, seed) if sandbox else {}
    os.environ.update(environment)
    get_settings.cache_clear()
    own = get_settings()
    check_connection(own.database_url)
    with Stack(own, sandbox=sandbox, environment=environment, say=console.print) as stack:
        # Prefect's server takes longest to start; the migrations run meanwhile.
        upgrade(own.database_url)
        stack.wait_ready()
        yield LocalStack(stack, own)


def stay_up(settings: Settings, *, sandbox: bool | None) -> None:
    """Run until Ctrl-C. The sandbox stands in unless a SendGrid or Sendmode key is set."""
    has_keys = bool(
        settings.sendgrid_api_key.get_secret_value() or settings.sendmode_api_key.get_secret_value()
    )
    with local_stack(settings, sandbox=not has_keys if sandbox is None else sandbox) as local:
        console.print(f"API docs: {local.api_url}/docs")
        console.print(f"Prefect:  {local.settings.prefect_api_url.removesuffix('/api')}")
        console.print("a token: `ics token create NAME`; everything stops with Ctrl-C")
        try:
            local.stack.run_forever()
        except KeyboardInterrupt:
            console.print("stopping")


def sandbox_environment(settings: Settings, seed: int | None = None) -> Mapping[str, str]:
    """What makes the platform and the sandbox know each other; replaces keys of real providers."""
    home = settings.home / "sandbox"
    url = f"http://127.0.0.1:{settings.sandbox_port}"
    return {
        "SENDGRID_API_KEY": SANDBOX_SENDGRID_KEY,
        "SENDGRID_BASE_URL": url,
        "SENDGRID_WEBHOOK_PUBLIC_KEYS": ensure_keypair(home),
        "SENDMODE_API_KEY": SANDBOX_SENDMODE_KEY,
        "SENDMODE_BASE_URL": url,
        "SENDMODE_WEBHOOK_SECRET": _webhook_secret(home),
        "ICS_SANDBOX_SEED": str(settings.sandbox_seed if seed is None else seed),
    }


def _webhook_secret(home: Path) -> str:
    """Kept between starts: webhooks that were not posted yet are signed with it."""
    path = home / "sendmode_secret"
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24))
    return path.read_text()
