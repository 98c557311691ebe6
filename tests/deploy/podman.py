"""Podman as `make images` uses it, on machines that have it; elsewhere the tests say what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import teletrunk

ROOT = Path(__file__).parents[2]
TARGETS = ("manager", "worker", "session-store", "sandbox")
BASE = "docker.io/library/python:3.12-slim-bookworm"
TAG = os.environ.get("TELETRUNK_IMAGE_TAG", teletrunk.__version__)
_CONTEXT = ("pyproject.toml", "README.md", "LICENSE", "deploy/docker", "services", "sandbox")  # .dockerignore
_DEADLINE_S = 120
_BUILD_S = 1500  # everything downloaded and compiled, on a busy machine


def image(target: str) -> str:
    return f"localhost/teletrunk/{target}:{TAG}"


WITH_SETTINGS = ["bash", "-c", '. tools/kube/environment && exec "$@"', "environment"]
_PODMAN = [*WITH_SETTINGS, "podman"]


def podman(*arguments: str, standard_input: str = "", inside: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """With the settings of tools/kube/environment. `inside` is a command that goes before podman's."""
    return subprocess.run([*inside, *_PODMAN, *arguments], cwd=ROOT, capture_output=True, text=True,
                          input=standard_input, timeout=_DEADLINE_S)  # fmt: skip


def talk(*arguments: str, inside: Sequence[str] = ()) -> subprocess.Popen[str]:
    """As `podman`, for a program that waits for its lines."""
    pipe = subprocess.PIPE
    command = [*inside, *_PODMAN, *arguments]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe, stderr=pipe)


def output(*arguments: str) -> str:
    """What podman prints. Fails the test with its error when it fails."""
    done = podman(*arguments)
    assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def build_images() -> None:
    """Skips where images cannot be built: without root, podman, or the base image."""
    if os.getuid() != 0 or shutil.which("podman") is None:
        _cannot("root and podman are needed: tools/kube/prepare packages")
    if podman("image", "exists", BASE).returncode != 0:
        _cannot(f"there is no {BASE}: tools/kube/prepare base")
    if _are_of_this_commit():
        return
    done = subprocess.run(["tools/build-images", TAG], cwd=ROOT, capture_output=True, text=True, timeout=_BUILD_S)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def _are_of_this_commit() -> bool:
    """Made of what is checked out: to find that out by building again costs podman a minute of a processor."""
    git = ["git", "-C", str(ROOT)]
    revision = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", *_CONTEXT], capture_output=True, text=True)
    if not revision or changed.returncode or changed.stdout:
        return False
    label = '{{index .Labels "org.opencontainers.image.revision"}}'
    inspected = podman("image", "inspect", "--format", label, *map(image, TARGETS))
    return inspected.stdout.split() == [revision] * len(TARGETS)


def _cannot(reason: str) -> None:
    pytest.fail(reason) if "TELETRUNK_CI" in os.environ else pytest.skip(reason)
