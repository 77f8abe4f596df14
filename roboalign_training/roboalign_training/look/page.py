"""Writes a look as one HTML file: no network, no other file, nothing that a string could run."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from roboalign_training.data.index import write_whole
from roboalign_training.look.document import document
from roboalign_training.look.look import Look

SCRIPTS = ("figures.js", "charts.js", "tokens.js", "player.js")
STYLES = "page.css"
TEMPLATE = "page.html.j2"


def write_page(path: Path, look: Look) -> None:
    """Writes the page, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, render_page(look))


def render_page(look: Look) -> str:
    """The page's text.

    Everything that comes from a recording is text of an element (escaped by jinja2), or data in a
    block of JSON that the page's own script puts into text nodes. A policy in the page's head
    allows that script by its hash and no other, and no address to be fetched.
    """
    script = "\n".join(_own(name) for name in SCRIPTS)
    style = _own(STYLES)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    text = environment.from_string(_own(TEMPLATE)).render(
        look=look,
        view=look.view,
        script=Markup(script),
        style=Markup(style),
        script_hash=_hash(script),
        style_hash=_hash(style),
        data=json_block(document(look)),
    )
    # A bag's metadata may spell half a character; a file cannot hold one.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def json_block(data: object) -> Markup:
    """JSON that can stand inside of a script element: no character in it means anything there."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _own(name: str) -> str:
    """A file of this package."""
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    """What a content security policy calls this text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
