"""What mkdocs is told of the pages: the commands' reference comes out of the code, and the decisions are listed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from teletrunk.cli.commands_doc import document

_OUTSIDE = re.compile(r"\]\((?:\.\./)+((?:deploy|tests|benchmarks|protos|tools|LICENSE|README)[^)]*)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.nav = [_listed(entry, Path(config.docs_dir)) for entry in config.nav or ()]
    return config


def _listed(entry: Any, docs: Path) -> Any:
    """`name: folder/` stands for the folder's pages."""
    if isinstance(entry, dict):
        return {title: _listed(inner, docs) for title, inner in entry.items()}
    if isinstance(entry, list):
        return [_listed(inner, docs) for inner in entry]
    if not entry.endswith("/"):
        return entry
    return [f"{entry}{path.name}" for path in sorted((docs / entry).glob("*.md"))]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    files.append(File.generated(config, "cli.md", content=document()))
    return files


def on_page_markdown(markdown: str, config: MkDocsConfig, **_: Any) -> str:
    """Files of the repository that are no pages are on GitHub."""
    return _OUTSIDE.sub(rf"]({config.repo_url}/blob/main/\1)", markdown)
