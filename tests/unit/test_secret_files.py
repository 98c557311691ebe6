"""Settings from files, as orchestrators hand out secrets: they stay out of the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from teletrunk.config import ConfigurationError, ServiceSettings, load
from teletrunk_manager.config import ManagerSettings

URL = "postgresql+asyncpg://teletrunk:a-word@127.0.0.1/teletrunk"


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TELETRUNK_SECRETS_DIR", str(tmp_path))
    return tmp_path


def test_a_file_stands_for_a_variable(secrets: Path) -> None:
    (secrets / "TELETRUNK_DATABASE_URL").write_text(URL + "\n")
    settings = load(ManagerSettings)
    assert settings.url() == URL
    assert "a-word" not in repr(settings)


def test_the_environment_goes_before(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (secrets / "teletrunk_database_url").write_text(URL)
    monkeypatch.setenv("TELETRUNK_DATABASE_URL", "sqlite+aiosqlite:///x")
    assert load(ManagerSettings).url() == "sqlite+aiosqlite:///x"


def test_a_wrong_file_is_named(secrets: Path) -> None:
    (secrets / "TELETRUNK_CLUSTER_TOKEN").write_text("changeme")
    with pytest.raises(ConfigurationError, match=r"^TELETRUNK_CLUSTER_TOKEN: must be a random text"):
        load(ServiceSettings)


def test_a_file_that_cannot_be_read_is_named_by_its_setting(secrets: Path) -> None:
    (secrets / "TELETRUNK_CLUSTER_TOKEN").write_bytes(b"\xff" * 32)  # not the base64 of it
    with pytest.raises(ConfigurationError, match=r"^TELETRUNK_SECRETS_DIR: .*cluster_token.*$"):
        load(ServiceSettings)


def test_a_folder_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TELETRUNK_SECRETS_DIR", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match=r"^TELETRUNK_SECRETS_DIR: .* is not a directory$"):
        load(ServiceSettings)
