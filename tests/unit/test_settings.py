"""Settings: what is read, what is filled in, what is refused, and that `.env.example` tells all of it."""

import ast
import re
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from settings import Settings, get_settings

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"#([A-Z][A-Z0-9_]*)=(.*)")
ROOMS = {"api", "benchmarks", "cli", "db", "deployments", "flows", "sandbox", "tasks", "tests"}


def variable_of(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    return alias if isinstance(alias, str) else f"ICS_{name.upper()}"


def default_of(field: FieldInfo) -> str:
    value = field.get_default()
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return f"{value:g}" if isinstance(value, float) else str(value)


def example_lines() -> list[tuple[str, str]]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return [(found[1], found[2]) for line in lines if (found := LINE.fullmatch(line))]


class TestEnvExample:
    def test_names_every_setting_once_with_its_default(self) -> None:
        fields = Settings.model_fields.items()
        expected = {variable_of(name, field): default_of(field) for name, field in fields}
        assert dict(example_lines()) == expected
        assert len(example_lines()) == len(expected)

    def test_changes_nothing_when_it_is_copied_as_it_is(self, tmp_path: Path) -> None:
        copied = tmp_path / ".env"
        copied.write_text((ROOT / ".env.example").read_text())
        assert Settings(_env_file=copied) == Settings()

    def test_changes_nothing_either_when_every_line_is_made_active(self, tmp_path: Path) -> None:
        copied = tmp_path / ".env"
        defaults = [(name, value) for name, value in example_lines() if name != "ICS_HOME"]
        copied.write_text("\n".join(f"{name}={value}" for name, value in defaults))
        assert Settings(_env_file=copied) == Settings()


class TestEmbeddedDefaults:
    def test_a_newcomer_needs_to_set_nothing(self, tmp_path: Path) -> None:
        settings = Settings()
        assert settings.database_url == f"sqlite:///{tmp_path / 'ics.db'}"
        assert settings.public_url == "http://127.0.0.1:8000"
        assert settings.prefect_api_url == "http://127.0.0.1:4200/api"

    def test_addresses_follow_the_ports(self) -> None:
        settings = Settings(api_port=8123, prefect_port=4321)
        assert settings.public_url == "http://127.0.0.1:8123"
        assert settings.prefect_api_url == "http://127.0.0.1:4321/api"

    def test_what_is_set_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ICS_DATABASE_URL", "mysql+pymysql://u:p@db/ics")
        monkeypatch.setenv("ICS_PUBLIC_URL", "https://mail.example.com/")
        monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example.com/api/")
        settings = Settings()
        assert settings.database_url == "mysql+pymysql://u:p@db/ics"
        assert settings.public_url == "https://mail.example.com"
        assert settings.prefect_api_url == "https://prefect.example.com/api"

    def test_a_relative_home_gives_a_database_that_does_not_move_with_the_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        settings = Settings(home=Path("data"))
        monkeypatch.chdir("/")
        assert settings.database_url == f"sqlite:///{tmp_path / 'data' / 'ics.db'}"


class TestReading:
    def test_the_environment_wins_over_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / ".env"
        file.write_text("ICS_API_PORT=9001\nICS_PREFECT_PORT=9002\n")
        monkeypatch.setenv("ICS_API_PORT", "9003")
        settings = Settings(_env_file=file)
        assert (settings.api_port, settings.prefect_port) == (9003, 9002)

    def test_an_empty_variable_is_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ICS_API_PORT", "")
        assert Settings().api_port == 8000

    def test_webhook_keys_are_separated_by_commas(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SENDGRID_WEBHOOK_PUBLIC_KEYS", " new , old,, ")
        assert Settings().webhook_public_keys == ("new", "old")

    def test_secrets_are_not_in_the_text_of_settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names = ("ICS_SECRET_KEY", "SENDGRID_API_KEY", "SENDMODE_API_KEY", "SENDMODE_WEBHOOK_SECRET")
        for name in names:
            monkeypatch.setenv(name, "hush-hush")
        settings = Settings()
        assert settings.secret_key.get_secret_value() == "hush-hush"
        assert "hush-hush" not in repr(settings)

    def test_settings_are_read_once_a_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first = get_settings()
        monkeypatch.setenv("ICS_API_PORT", "9001")
        assert get_settings() is first


@pytest.mark.parametrize("prefix", ["a", "crm_", "ics_automation_", "a" * 20])
def test_a_prefix_may_be_any_short_identifier(prefix: str) -> None:
    assert Settings(table_prefix=prefix).table_prefix == prefix


@pytest.mark.parametrize(
    ("variable", "value", "setting"),
    [
        ("ICS_TABLE_PREFIX", "Crm_", "table_prefix"),
        ("ICS_TABLE_PREFIX", "1crm", "table_prefix"),
        ("ICS_TABLE_PREFIX", "crm-", "table_prefix"),
        ("ICS_TABLE_PREFIX", "a" * 21, "table_prefix"),
        ("ICS_TABLE_PREFIX", "x`; DROP", "table_prefix"),
        ("ICS_API_PORT", "0", "api_port"),
        ("ICS_API_PORT", "65536", "api_port"),
        ("ICS_API_PORT", "http", "api_port"),
        ("ICS_DEFAULT_REGION", "ie", "default_region"),
        ("ICS_LOG_LEVEL", "LOUD", "log_level"),
        ("ICS_EMAIL_BATCH_SIZE", "1001", "email_batch_size"),
        ("SENDMODE_PROFILE", "v9", "SENDMODE_PROFILE"),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_setting(
    variable: str, value: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert [error["loc"] for error in caught.value.errors()] == [(setting,)]


def test_people_are_warned_of_complaints_before_an_execution_is_paused() -> None:
    assert Settings(complaint_warn_percent=0.3, complaint_pause_percent=0.3).complaint_warn_percent == 0.3
    with pytest.raises(ValueError, match="ICS_COMPLAINT_WARN_PERCENT must not be above"):
        Settings(complaint_warn_percent=0.31, complaint_pause_percent=0.3)


def test_a_lease_outlives_the_request_it_covers() -> None:
    assert Settings(batch_lease_seconds=60, provider_timeout_seconds=30).batch_lease_seconds == 60
    with pytest.raises(ValidationError, match="ICS_BATCH_LEASE_SECONDS"):
        Settings(batch_lease_seconds=59, provider_timeout_seconds=30)


def test_settings_import_no_room() -> None:
    """`import-linter` looks at packages only."""
    tree = ast.parse((ROOT / "settings.py").read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported
    assert not imported & ROOMS
