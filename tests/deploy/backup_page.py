"""What docs/operations/backup.md has an operator type in a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.deploy.chart import ROOT

_EXEC = re.compile(r"^kubectl -n teletrunk exec -i (\S+) -c (\S+) -- (.+)$")


@dataclass(frozen=True)
class InPod:
    """A `kubectl exec` that is given or gives a file."""

    pod: str
    container: str
    command: str  # as the shell of the operator's desk reads it


def documented() -> list[str]:
    text = (ROOT / "docs" / "operations" / "backup.md").read_text()
    return text.partition("## In Kubernetes\n")[2].partition("\n## ")[0].splitlines()


def in_pods() -> Iterator[InPod]:
    for line in documented():
        if found := _EXEC.match(line):
            yield InPod(found[1], found[2], found[3])
