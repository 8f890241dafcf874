"""What a sandbox is told at its start."""

from dataclasses import dataclass
from pathlib import Path

from settings import Settings


@dataclass(frozen=True)
class SandboxConfig:
    """`home` holds keys and journal. `webhook_base_url` is the platform that gets the webhooks.

    `pace` scales the seconds between a message and what happens to it; `duplicate_rate` and `disorder_rate` are the
    shares of events that are posted twice, or out of order.
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


def config_from_settings(settings: Settings) -> SandboxConfig:
    return SandboxConfig(
        home=settings.home / "sandbox",
        sendgrid_api_key=settings.sendgrid_api_key.get_secret_value(),
        sendmode_api_key=settings.sendmode_api_key.get_secret_value(),
        webhook_base_url=f"http://{settings.api_host}:{settings.api_port}",
        sendmode_webhook_secret=settings.sendmode_webhook_secret.get_secret_value(),
        seed=settings.sandbox_seed,
    )
