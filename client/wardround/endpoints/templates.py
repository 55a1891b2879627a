"""Chat templates: read from servers/templates/ or a path."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from wardround.errors import CatalogueError
from wardround.shipped import shipped

# Turns simply joined: for base models, which know no turns.
PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Template:
    """A chat template: the name it is called by, its Jinja text, and the SHA-256 of the text."""

    name: str
    text: str
    sha256: str


def read_template(reference: str) -> Template:
    """The template called `reference` in servers/templates/, or at the path `reference`; raises `CatalogueError`."""
    folder = shipped("servers") / "templates"
    path = folder / f"{reference}.jinja"
    if reference.endswith(".jinja") or "/" in reference or "\\" in reference:
        path = Path(reference).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        known = ", ".join(sorted(one.stem for one in folder.glob("*.jinja")))
        raise CatalogueError(f"no chat template {reference!r} ({error}); shipped: {known}; or give a path") from error
    return Template(path.stem, text, hashlib.sha256(text.encode()).hexdigest())
