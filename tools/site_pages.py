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
    decisions = sorted(path.name for path in (Path(config.docs_dir) / "adr").glob("*.md"))
    section = next(section["Explanation"] for section in config.nav or () if "Explanation" in section)
    section[-1] = {"Decisions": [f"adr/{name}" for name in decisions]}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    files.append(File.generated(config, "cli.md", content=document()))
    return files


def on_page_markdown(markdown: str, config: MkDocsConfig, **_: Any) -> str:
    """Files of the repository that are no pages are on GitHub."""
    return _OUTSIDE.sub(rf"]({config.repo_url}/blob/main/\1)", markdown)
