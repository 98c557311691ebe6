"""What the images install is what is tested: the same versions, by hash, and no other service's libraries."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = ("manager", "worker", "session-store", "sandbox")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)(.*)$", re.MULTILINE)
# Heavy, or native, or able to use what the service must not have.
_FOREIGN = {
    "manager": {"ntgcalls", "pjsua2-python", "kurigram", "tgcrypto", "numpy", "matplotlib"},
    "worker": {"sqlalchemy", "alembic", "asyncpg", "redis", "fastapi", "kurigram", "tgcrypto", "numpy", "matplotlib"},
    "session-store": {"ntgcalls", "pjsua2-python", "redis", "fastapi", "numpy", "matplotlib"},
    "sandbox": {"sqlalchemy", "alembic", "asyncpg", "redis", "fastapi", "numpy", "matplotlib"},
}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pins(text: str) -> dict[str, str]:
    return {_normal(name): version for name, version, _ in _PIN.findall(text)}


def _locked(target: str) -> str:
    return (ROOT / "deploy" / "docker" / f"requirements-{target}.txt").read_text()


@pytest.mark.parametrize("target", TARGETS)
def test_versions_are_those_that_are_tested(target: str) -> None:
    tested = _pins((ROOT / "requirements.lock").read_text())
    locked = _pins(_locked(target))
    assert locked.items() <= tested.items(), "run make locks"


@pytest.mark.parametrize("target", TARGETS)
def test_everything_that_the_service_asks_for_is_there(target: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + project["optional-dependencies"][target]
    names = {_normal(re.split(r"[\[<>=~! ]", requirement)[0]) for requirement in asked}
    assert names <= _pins(_locked(target)).keys(), "run make locks"


@pytest.mark.parametrize("target", [*TARGETS, "build"])
def test_every_file_has_its_hash(target: str) -> None:
    requirements = re.sub(r"\\\n\s*", "", _locked(target)).splitlines()
    assert len(requirements) > 20
    assert all(re.fullmatch(r"\S+==\S+ .*--hash=sha256:[0-9a-f]{64}", line) for line in requirements)


@pytest.mark.parametrize("target", TARGETS)
def test_no_image_has_another_services_libraries(target: str) -> None:
    assert not _FOREIGN[target] & _pins(_locked(target)).keys()
