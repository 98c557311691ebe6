"""teletrunk check: what the services would start with, looked at before they do. It changes and makes nothing."""

from __future__ import annotations

import difflib
import importlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Final

import typer
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from teletrunk import sources
from teletrunk.cli.output import Json, say, table
from teletrunk.cli.parts import SERVICES
from teletrunk.cli.preconditions import conditions
from teletrunk.config import CommandSettings, wrong_settings
from teletrunk.sources import CONFIG, SECRETS, ConfigurationError, Given, secrets_directory, variable_of

_MODELS: Final = {"manager": "ManagerSettings", "session-store": "StorageSettings", "worker": "WorkerSettings"}
# Read by others than the services' models.
_OTHERS: Final = {sources.field_of(CONFIG), sources.field_of(SECRETS), "two_step_password"}
_HIDDEN = re.compile(r"(^|_)(token|secret|password|hash|invitation|command)$|^vault_(other_)?keys?$")


@dataclass
class Checked:
    """A setting as it will be, and what was found wrong."""

    settings: list[tuple[str, str, str]] = field(default_factory=list)  # variable, value, origin
    wrong: list[str] = field(default_factory=list)
    good: list[str] = field(default_factory=list)


def check(as_json: Json = False) -> None:
    """Before a start: every setting and where it came from, unknown names, ports, database, keys, the way to Telegram.

    Exit code 1 when something is wrong. Nothing is changed.
    """
    found = checked()
    if as_json:
        settings = [{"name": name, "value": value, "from": origin} for name, value, origin in found.settings]
        typer.echo(json.dumps({"settings": settings, "good": found.good, "wrong": found.wrong}))
    else:
        table("settings", ["setting", "value", "from"], [list(row) for row in found.settings])
        for text in found.good:
            say(f"  ok     {text}")
        for text in found.wrong:
            say(f"  WRONG  {text}")
        say("" if found.wrong else "Nothing is wrong: teletrunk up, or the services one by one.")
    raise typer.Exit(1 if found.wrong else 0)


def checked() -> Checked:
    """Raises `ConfigurationError` for a file of settings that cannot be read."""
    given, found = sources.given(), Checked()
    models = dict(_installed())
    loaded = {name: settings for name, model in models.items() if (settings := _loaded(model, found.wrong))}
    fields = _fields(models)
    values = {field: getattr(loaded[name], field) for name in loaded for field in models[name].model_fields}
    for name, info in sorted(fields.items()):
        default = None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})
        secret = "SecretStr" in str(info.annotation) or bool(_HIDDEN.search(name))
        found.settings.append(_row(name, given.get(name), values.get(name, default), secret))
    found.wrong += _unknown(given, fields)
    for good, text in conditions(loaded):
        (found.good if good else found.wrong).append(text)
    return found


def unknown() -> list[str]:
    """Settings that are given and that nothing reads. Raises `ConfigurationError`, as `checked`."""
    return list(_unknown(sources.given(), _fields(dict(_installed()))))


def _fields(models: Mapping[str, type[BaseSettings]]) -> dict[str, Any]:
    """Every setting that the command or a service has."""
    fields: dict[str, Any] = dict(CommandSettings.model_fields)
    for model in models.values():
        fields |= model.model_fields
    return fields


def _installed() -> Iterator[tuple[str, type[BaseSettings]]]:
    for name, package in SERVICES.items():
        if find_spec(package) is not None:
            yield name, getattr(importlib.import_module(f"{package}.config"), _MODELS[name])


def _loaded(model: type[BaseSettings], wrong: list[str]) -> Any:
    try:
        return model(_secrets_dir=secrets_directory())
    except ValidationError as error:
        wrong += [text for text in wrong_settings(model, error) if text not in wrong]
        return None
    except ConfigurationError as error:
        wrong.append(str(error))
        return None


def _row(name: str, given: Given | None, value: Any, secret: bool) -> tuple[str, str, str]:
    if given is None:
        return variable_of(name), _shown(value), "default"
    return variable_of(name), "(hidden)" if secret else _shown(given.value), given.origin


def _shown(value: Any) -> str:
    """As it is written in the environment; a password within a URL is not shown."""
    if value is None or "SecretStr" in type(value).__name__:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return re.sub(r"(//[^/:@]*):[^@/]*@", r"\1:(hidden)@", text)


def _unknown(given: Mapping[str, Given], fields: Mapping[str, Any]) -> Iterator[str]:
    known = {*fields, *_OTHERS}
    for name, setting in sorted(given.items()):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            meant = f": did you mean {variable_of(near[0])}?" if near else ""
            yield f"{variable_of(name)} ({setting.origin}) is no setting{meant or ': nothing reads it'}"
