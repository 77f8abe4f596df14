"""Makes one HTML file of a template and data: no network, nothing that a string could run."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources

import jinja2
from markupsafe import Markup

SCRIPTS = ("figures.js", "charts.js", "tokens.js", "player.js")
STYLES = "page.css"
PLAYER = "player.html.j2"


def render(template: str, data: object, *, style: str = "", **values: object) -> str:
    """The text of a page.

    Everything that comes from a recording is text of an element (escaped by jinja2), or data in a
    block of JSON that the page's own script puts into text nodes. A policy in the page's head
    allows that script by its hash and no other, and no address to be fetched.

    Args:
        template: A template of this package, by its path: "look/page.html.j2". It may include
            "look/player.html.j2".
        data: What the player shows, see `document`.
        style: More style, after that of all pages.
        values: Of the template.
    """
    script = "\n".join(own(f"look/{name}") for name in SCRIPTS)
    style = own(f"look/{STYLES}") + style
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, loader=jinja2.FunctionLoader(own)
    )
    text = environment.get_template(template).render(
        **values,
        script=Markup(script),
        style=Markup(style),
        script_hash=_hash(script),
        style_hash=_hash(style),
        data=json_block(data),
    )
    # A bag's metadata may spell half a character; a file cannot hold one.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def json_block(data: object) -> Markup:
    """JSON that can stand inside of a script element: no character in it means anything there."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def own(name: str) -> str:
    """A file of `roboalign_training`, by its path."""
    return resources.files("roboalign_training").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    """What a content security policy calls this text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
