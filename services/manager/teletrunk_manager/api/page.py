"""/docs: the OpenAPI document as one page for people. It needs no script and nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import Any

Document = dict[str, Any]

_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2733}
h2{margin-top:3rem;border-bottom:1px solid #d5dbe1}summary{cursor:pointer}code{font-size:.95em}
details{margin:.3rem 0;padding:.3rem .6rem;border:1px solid #d5dbe1;border-radius:.3rem}
table{border-collapse:collapse;margin:.5rem 0;width:100%}
td,th{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0}
.verb{display:inline-block;min-width:4.5em;font-weight:600}"""
_INTRODUCTION = (
    "Every request but those of this page and <code>HEAD /health</code> bears a token: <code>Authorization: Bearer "
    "tt_...</code> (<code>teletrunk token add NAME</code>). Lists give <code>next</code>, which as <code>page</code> "
    "gives the page that follows; a <code>Link</code> header says the same. An <code>Idempotency-Key</code> makes a "
    "request with a body safe to repeat. What is refused is <code>application/problem+json</code>. The same for "
    'programs: <a href="openapi.json">openapi.json</a>.'
)


def _named(schema: Any) -> Iterator[str]:
    """The models that it speaks of."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield str(schema["$ref"].rpartition("/")[2])
        for each in schema.values():
            yield from _named(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _named(each)


def _types(document: Document) -> str:
    """Every model that a field above is said to be: its fields, or the words that it may have."""
    schemas = document["components"]["schemas"]
    told = []
    for name, schema in sorted(schemas.items()):
        words = "".join(f"<li><code>{escape(str(word))}</code>" for word in schema.get("enum", ()) if word)
        fields = _table("Fields", _fields(document, schema))
        told.append(
            f'<details id="type-{escape(name)}"><summary><code>{escape(name)}</code></summary>'
            f"<p>{escape(schema.get('description', ''))}</p><ul>{words}</ul>{fields}"
            "</details>"
        )
    return f"<h2 id=types>Types</h2>{''.join(told)}"


def page_of(document: Document) -> str:
    """The whole page."""
    title = f"{escape(document['info']['title'])} {escape(document['info']['version'])}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}: REST API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{title}: REST API</h1><p>{_INTRODUCTION}</p>{''.join(_sections(document))}{_types(document)}</html>"
    )


def _sections(document: Document) -> Iterator[str]:
    operations = [
        (operation["tags"][0], verb, path, operation)
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    ]
    for tag, of_tag in groupby(sorted(operations, key=lambda each: each[0]), key=lambda each: each[0]):
        yield f'<h2 id="{escape(tag)}">{escape(tag)}</h2>'
        for _, verb, path, operation in of_tag:
            yield _operation(document, verb, path, operation)


def _operation(document: Document, verb: str, path: str, operation: Document) -> str:
    success = next(status for status in operation["responses"] if status.startswith("2"))
    answer = operation["responses"][success].get("content", {}).get("application/json", {}).get("schema")
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    parameters = [
        (f"{each['name']} ({each['in']})", each["schema"], each.get("description", ""), each.get("required", False))
        for each in operation.get("parameters", ())
    ]
    return (
        f"<details><summary><span class=verb>{verb.upper()}</span> <code>{escape(path)}</code> "
        f"{escape(operation['summary'])}</summary><p>{escape(operation['description'])}</p>"
        + _table("Parameters", parameters)
        + _table("Body", _fields(document, body))
        + _table(f"Answer {success}", _fields(document, answer))
        + "</details>"
    )


Field = tuple[str, Document, str, bool]


def _fields(document: Document, schema: Document | None) -> list[Field]:
    if schema is None:
        return []
    found = _resolved(document, schema)
    required = found.get("required", ())
    return [
        (name, each, each.get("description", ""), name in required)
        for name, each in found.get("properties", {}).items()
    ]


def _table(title: str, fields: list[Field]) -> str:
    if not fields:
        return ""
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{_linked(schema)}</td>"
        f"<td>{'required. ' if required else ''}{escape(told)}</td></tr>"
        for name, schema, told, required in fields
    )
    return f"<table><tr><th colspan=3>{title}</th></tr>{rows}</table>"


def _linked(schema: Document) -> str:
    """Its kind, with each model's name leading to what it is."""
    text = escape(_kind(schema))
    for name in dict.fromkeys(_named(schema)):
        text = re.sub(rf"\b{re.escape(name)}\b", f'<a href="#type-{name}">{name}</a>', text)
    return text


def _kind(schema: Document) -> str:
    """In one or two words: `number`, `list of Trunk`, `worker or storage`."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"] if each.get("type") != "null")
    if "enum" in schema:
        return " or ".join(str(each) for each in schema["enum"] if each)
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    return str(schema.get("type", ""))


def _resolved(document: Document, schema: Document) -> Document:
    name = schema.get("$ref", "").rpartition("/")[2]
    resolved: Document = document["components"]["schemas"][name] if name else schema
    return resolved
