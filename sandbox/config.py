"""What a sandbox is told at its start."""

from dataclasses import dataclass
from pathlib import Path

from settings import Settings


@dataclass(frozen=True)
class SandboxConfig:
    """One sandbox.

    Attributes:
        home: holds the key pair and the journal.
        webhook_base_url: the platform that gets the webhooks, without a slash at the end.
        sendmode_webhook_secret: signs Sendmode's reports and replies; see `webhooks`.
        seed: the same seed gives the same fate to the same message.
        pace: scales the seconds between a message and what happens to it; 0 reports everything at once.
        duplicate_rate: share of events that are posted twice.
        disorder_rate: share of events that are posted late, behind later ones.
        verified_domains: who may be in `from`; anybody when empty. SendGrid answers 403 to others.
    """

    home: Path
    sendgrid_api_key: str
    sendmode_api_key: str
    webhook_base_url: str
    sendmode_webhook_secret: str
    seed: int = 20
    pace: float = 0.3
    duplicate_rate: float = 0.01
    disorder_rate: float = 0.02
    verified_domains: tuple[str, ...] = ()


def config_from_settings(settings: Settings) -> SandboxConfig:
    """The sandbox of this installation: it lives under `ICS_HOME/sandbox` and reports to the local API."""
    return SandboxConfig(
        home=settings.home / "sandbox",
        sendgrid_api_key=settings.sendgrid_api_key.get_secret_value(),
        sendmode_api_key=settings.sendmode_api_key.get_secret_value(),
        webhook_base_url=f"http://{settings.api_host}:{settings.api_port}",
        sendmode_webhook_secret=settings.sendmode_webhook_secret.get_secret_value(),
        seed=settings.sandbox_seed,
    )
