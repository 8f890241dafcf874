"""Every setting of the platform, read once from the environment and `.env`.

Imported by every room; imports none of them.
"""

import re
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_LIMIT = re.compile(r"[1-9][0-9]{0,8} ?(/|per) ?([1-9][0-9]{0,4} ?)?(second|minute|hour|day)s?")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]{1,253}/?")
_PREFIX = re.compile(r"[a-z][a-z0-9_]{0,19}")


class Environment(StrEnum):
    """In `production` the program refuses to start with settings that are only good for trying it out."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class SendmodeProfile(StrEnum):
    """Wire dialects of Sendmode; see `tasks/providers/sendmode_profiles.py`."""

    V1 = "v1"
    REST2 = "rest2"
    REST3 = "rest3"


class Settings(BaseSettings):
    """Names are those of `.env.example`; a bad value is an error that names the variable."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_prefix="ICS_",
        extra="ignore",
        hide_input_in_errors=True,
        populate_by_name=True,
        env_ignore_empty=True,
    )

    environment: Environment = Environment.DEVELOPMENT
    home: Path = Path(".ics")
    database_url: str = ""
    table_prefix: str = "ics_automation_"
    secret_key: SecretStr = SecretStr("")
    public_url: str = ""
    default_region: str = Field("IE", pattern=r"^[A-Z]{2}$")
    log_level: str = Field("INFO", pattern=r"^(DEBUG|INFO|WARNING|ERROR)$")

    api_host: str = "127.0.0.1"
    api_port: int = Field(8000, ge=1, le=65535)
    prefect_port: int = Field(4200, ge=1, le=65535)
    sandbox_port: int = Field(8025, ge=1, le=65535)

    sandbox_seed: int = Field(20, ge=0)

    email_batch_size: int = Field(1000, ge=1, le=1000)
    sms_batch_size: int = Field(100, ge=1, le=1000)
    send_lanes: int = Field(3, ge=1, le=32)
    shard_batches: int = Field(100, ge=1)
    shards_per_worker: int = Field(2, ge=1, le=16)
    sms_concurrency: int = Field(16, ge=1, le=256)
    sms_max_parts: int = Field(4, ge=1, le=10)
    provider_timeout_seconds: float = Field(30.0, gt=0, le=600)
    batch_lease_seconds: int = Field(120, ge=5, le=3600)
    orphan_seconds: int = Field(30, ge=5, le=3600)
    unclaimed_seconds: int = Field(60, ge=5, le=86400)
    max_batch_attempts: int = Field(8, ge=1, le=100)
    max_run_attempts: int = Field(20, ge=1, le=1000)
    evidence_window_hours: int = Field(72, ge=0, le=24 * 90)
    webhook_max_age_seconds: int = Field(26 * 3600, ge=60)
    webhook_days: int = Field(30, ge=1, le=3650)
    webhook_appliers: int = Field(2, ge=1, le=8)
    soft_bounces: int = Field(5, ge=1, le=1000)
    soft_bounce_days: int = Field(30, ge=1, le=365)
    scanner_links: int = Field(3, ge=2, le=100)
    scanner_seconds: int = Field(10, ge=1, le=600)
    guard_messages: int = Field(500, ge=1)
    complaint_warn_percent: float = Field(0.1, gt=0, le=100)
    complaint_pause_percent: float = Field(0.3, gt=0, le=100)
    bounce_pause_percent: float = Field(5.0, gt=0, le=100)
    sms_part_price: float = Field(0.0, ge=0)
    sms_currency: str = Field("EUR", pattern=r"^[A-Z]{3}$")
    old_secret_keys: SecretStr = SecretStr("")
    approve_above: int = Field(0, ge=0)
    limits_url: SecretStr = SecretStr("")
    limit_address: str = "6000/minute"
    limit_token: str = "3000/minute"
    limit_login: str = "20/minute"
    limit_password: str = "5 per 15 minutes"
    limit_account: str = "100/hour"
    limit_export: str = "30/minute"
    limit_send: str = "60/minute"
    limit_webhooks: str = "60000/minute"
    limit_pages: str = "600/minute"
    limit_sign_up: str = "60/hour"
    trusted_proxies: str = ""
    cors_origins: str = ""
    token_days: int = Field(90, ge=1, le=366)
    session_hours: int = Field(12, ge=1, le=24 * 30)
    metrics_token: SecretStr = SecretStr("")
    list_count_minutes: int = Field(15, ge=1, le=24 * 60)
    list_count_seconds: float = Field(30.0, gt=0, le=3600)
    missed_grace_seconds: int = Field(300, ge=10)
    dry_run_file_hours: int = Field(72, ge=1, le=24 * 90)
    webhook_allow_private: bool = False
    max_asset_bytes: int = Field(10 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    max_import_bytes: int = Field(512 * 1024 * 1024, ge=1024)

    sendgrid_api_key: SecretStr = Field(SecretStr(""), validation_alias="SENDGRID_API_KEY")
    sendgrid_base_url: str = Field("https://api.sendgrid.com", validation_alias="SENDGRID_BASE_URL")
    sendgrid_webhook_public_keys: str = Field("", validation_alias="SENDGRID_WEBHOOK_PUBLIC_KEYS")
    sendmode_api_key: SecretStr = Field(SecretStr(""), validation_alias="SENDMODE_API_KEY")
    sendmode_base_url: str = Field("https://api.sendmode.com", validation_alias="SENDMODE_BASE_URL")
    sendmode_profile: SendmodeProfile = Field(SendmodeProfile.V1, validation_alias="SENDMODE_PROFILE")
    sendmode_webhook_secret: SecretStr = Field(SecretStr(""), validation_alias="SENDMODE_WEBHOOK_SECRET")
    prefect_api_url: str = Field("", validation_alias="PREFECT_API_URL")

    @field_validator("table_prefix")
    @classmethod
    def _prefix_is_an_identifier(cls, value: str) -> str:
        if not _PREFIX.fullmatch(value):
            raise ValueError("use at most 20 lower-case letters, digits and _, starting with a letter")
        return value

    @field_validator(
        "limit_address",
        "limit_token",
        "limit_login",
        "limit_password",
        "limit_account",
        "limit_export",
        "limit_send",
        "limit_webhooks",
        "limit_pages",
        "limit_sign_up",
    )
    @classmethod
    def _is_a_limit(cls, value: str) -> str:
        if not _LIMIT.fullmatch(value.strip()):
            raise ValueError("write how many in which time, such as 600/minute or 5 per 15 minutes")
        return value.strip()

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for each in filter(None, (part.strip() for part in value.split(","))):
            if not _ORIGIN.fullmatch(each):
                raise ValueError(
                    "write origins such as https://console.example.com, separated by commas; * is none"
                )
        return value

    @field_validator("limits_url")
    @classmethod
    def _is_redis(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not value.get_secret_value().startswith(
            ("redis://", "rediss://", "redis+unix://")
        ):
            raise ValueError("write redis://host:6379/0, or leave it empty for one process")
        return value

    @field_validator("sendgrid_base_url", "sendmode_base_url", "public_url", "prefect_api_url")
    @classmethod
    def _no_trailing_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @model_validator(mode="after")
    def _fill_embedded_defaults(self) -> Self:
        """What depends on other settings: the embedded database, and the addresses of this machine."""
        if not self.database_url:
            self.database_url = f"sqlite:///{(self.home / 'ics.db').absolute()}"
        if not self.public_url:
            self.public_url = f"http://{self.api_host}:{self.api_port}"
        if not self.prefect_api_url:
            self.prefect_api_url = f"http://127.0.0.1:{self.prefect_port}/api"
        if self.batch_lease_seconds < 2 * self.provider_timeout_seconds:
            raise ValueError(
                "ICS_BATCH_LEASE_SECONDS must be at least twice ICS_PROVIDER_TIMEOUT_SECONDS: "
                "a request has to end before the lease of its batch does"
            )
        if self.complaint_warn_percent > self.complaint_pause_percent:
            raise ValueError(
                "ICS_COMPLAINT_WARN_PERCENT must not be above ICS_COMPLAINT_PAUSE_PERCENT: "
                "people are warned before an execution is paused"
            )
        return self

    @property
    def allowed_origins(self) -> list[str]:
        """Origins of pages in browsers that may ask the API."""
        return [each.strip().rstrip("/") for each in self.cors_origins.split(",") if each.strip()]

    @property
    def retired_keys(self) -> tuple[str, ...]:
        """Keys that signed before the present one, and are still believed."""
        given = self.old_secret_keys.get_secret_value().split(",")
        return tuple(each.strip() for each in given if each.strip())

    @property
    def webhook_public_keys(self) -> tuple[str, ...]:
        """SendGrid's verification keys, newest and oldest side by side while they are rotated."""
        return tuple(key.strip() for key in self.sendgrid_webhook_public_keys.split(",") if key.strip())


@lru_cache
def get_settings() -> Settings:
    """The settings of this process. Tests clear the cache with `get_settings.cache_clear()`."""
    return Settings()
