"""The send engine of this process, made from the settings once."""

import gc
import sys
from functools import lru_cache

from db.engine import get_database
from db.states import Channel
from settings import Settings, get_settings
from tasks.providers.sendgrid import SendGridMessenger
from tasks.providers.sendmode import SendmodeMessenger
from tasks.sending.email import EmailSender
from tasks.sending.engine import SendEngine
from tasks.sending.sms import SmsSender
from tasks.signing import secret_key


def make_sendgrid(settings: Settings) -> SendGridMessenger:
    return SendGridMessenger(
        settings.sendgrid_base_url,
        settings.sendgrid_api_key.get_secret_value(),
        timeout_seconds=settings.provider_timeout_seconds,
    )


def make_sendmode(settings: Settings) -> SendmodeMessenger:
    return SendmodeMessenger(
        settings.sendmode_base_url,
        settings.sendmode_api_key.get_secret_value(),
        profile=settings.sendmode_profile,
        timeout_seconds=settings.provider_timeout_seconds,
        concurrency=settings.sms_concurrency,
    )


@lru_cache
def get_engine() -> SendEngine:
    """Shared by all lanes of the process: connections and compiled templates are kept in it."""
    _tune_interpreter()
    settings = get_settings()
    database = get_database()
    return SendEngine(
        database,
        settings,
        {
            Channel.EMAIL: EmailSender(
                database, make_sendgrid(settings), public_url=settings.public_url, key=secret_key(settings)
            ),
            Channel.SMS: SmsSender(database, make_sendmode(settings), max_parts=settings.sms_max_parts),
        },
    )


def _tune_interpreter() -> None:
    """Lanes are threads that compute and wait in turn; a batch makes some ten thousand objects, and nearly all of
    them die with it.

    Measured on two cores: with Python's own values a fifth of the time went to threads that took the interpreter
    from each other every 5 ms, and to collections that found nothing. What they do find is the result of a query,
    half a megabyte a batch, so they must not be too rare either.
    """
    sys.setswitchinterval(0.02)
    gc.set_threshold(20_000, 5, 5)
