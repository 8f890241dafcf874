"""What nothing starts with in production, and that it is said how to mend it."""

from collections.abc import Mapping

import pytest

from deployments.production import UnsafeSettings, check_production, unsafe_settings
from settings import Environment, Settings

GOOD: Mapping[str, object] = {
    "environment": "production",
    "secret_key": "9f2b7c4e1a8d6035f7e2c9b14d8a6e30",
    "database_url": "mysql+pymysql://ics:pw@db.example.net/ics",
    "public_url": "https://mail.example.net",
    "api_host": "0.0.0.0",
    "metrics_token": "0b1c2d3e4f",
    "sendgrid_api_key": "SG.key",
    "sendgrid_webhook_public_keys": "MFkw",
    "sendmode_api_key": "key",
    "sendmode_webhook_secret": "0123456789abcdef",
    "prefect_api_url": "http://127.0.0.1:4200/api",
}


def problems(environment: Mapping[str, str] | None = None, **changes: object) -> list[str]:
    return list(unsafe_settings(Settings(**{**GOOD, **changes}), environment or {}))  # type: ignore[arg-type]


def test_good_settings_are_good() -> None:
    assert problems() == []
    check_production(Settings(**GOOD), {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("variable", "changes"),
    [
        ("ICS_SECRET_KEY", {"secret_key": ""}),
        ("ICS_SECRET_KEY", {"secret_key": "short"}),
        ("ICS_SECRET_KEY", {"secret_key": "change-me-change-me-change-me-change-me"}),
        ("ICS_SECRET_KEY", {"secret_key": "a" * 64}),
        ("ICS_OLD_SECRET_KEYS", {"old_secret_keys": f"{'7c4e1a8d60' * 4}, changeme"}),
        ("ICS_DATABASE_URL", {"database_url": "sqlite:////data/ics.db"}),
        ("ICS_DATABASE_URL", {"database_url": ""}),
        ("ICS_METRICS_TOKEN", {"metrics_token": ""}),
        ("SENDGRID_WEBHOOK_PUBLIC_KEYS", {"sendgrid_webhook_public_keys": " , "}),
        ("SENDMODE_WEBHOOK_SECRET", {"sendmode_webhook_secret": ""}),
        ("ICS_PUBLIC_URL", {"public_url": "http://mail.example.net"}),
        ("SENDGRID_BASE_URL", {"sendgrid_base_url": "http://127.0.0.1:8025"}),
        ("SENDMODE_BASE_URL", {"sendmode_base_url": "http://127.0.0.1:8025"}),
        ("ICS_CORS_ORIGINS", {"cors_origins": "http://console.example.net"}),
        ("ICS_TRUSTED_PROXIES", {"trusted_proxies": "*"}),
        ("ICS_WEBHOOK_ALLOW_PRIVATE", {"webhook_allow_private": True}),
        ("PREFECT_API_URL", {"prefect_api_url": "http://prefect:4200/api"}),
    ],
)
def test_an_unsafe_setting_is_named_with_the_way_out(variable: str, changes: dict[str, object]) -> None:
    (found,) = problems({}, **changes)
    assert found.startswith(variable)
    with pytest.raises(UnsafeSettings, match=variable):
        check_production(Settings(**{**GOOD, **changes}), {})  # type: ignore[arg-type]


def test_the_same_in_development_is_fine() -> None:
    check_production(Settings(environment=Environment.DEVELOPMENT), {})


def test_a_prefect_server_elsewhere_has_to_ask_who_is_there() -> None:
    elsewhere = {"prefect_api_url": "http://prefect:4200/api"}
    assert problems({"PREFECT_API_AUTH_STRING": "ics:pw"}, **elsewhere) == []
    (found,) = problems({"PREFECT_SERVER_API_HOST": "0.0.0.0"})
    assert "open to the world" in found


def test_no_secret_is_repeated_in_the_message() -> None:
    assert all(word != "short" for line in problems(secret_key="hunter2") for word in line.split("'"))
    assert "hunter2" not in str(problems(secret_key="hunter2"))


def test_who_reads_metrics_from_this_machine_needs_no_token() -> None:
    assert problems(api_host="127.0.0.1", metrics_token="") == []
