"""Whether a channel can be sent on at all. Pure."""

from db.errors import IcsError
from db.states import Channel
from settings import Settings


class ProviderNotConfigured(IcsError):
    """A provider has no key: nothing can be sent on its channel."""

    def __init__(self, variable: str) -> None:
        super().__init__(f"no key of the provider is set: put {variable} into .env or the environment")
        self.variable = variable


def require_provider(settings: Settings, channel: Channel) -> None:
    """Raises ProviderNotConfigured when the channel's provider has no key."""
    if channel is Channel.EMAIL and not settings.sendgrid_api_key.get_secret_value():
        raise ProviderNotConfigured("SENDGRID_API_KEY")
    if channel is Channel.SMS and not settings.sendmode_api_key.get_secret_value():
        raise ProviderNotConfigured("SENDMODE_API_KEY")
