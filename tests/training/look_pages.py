"""Takes pages of `roboalign inspect --html` apart, as tests read them."""

from __future__ import annotations

import base64
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

VOID = {"meta", "input", "br", "img", "link", "hr", "source"}


class Page(HTMLParser):
    """A page's elements.

    Attributes:
        tags: Every start tag with its attributes.
        cells: Text of every table cell.
        scripts: (attributes, text) of every script.
        data: The JSON of the page.
    """

    def __init__(self, path: Path) -> None:
        """Parses a file; elements that do not close are an error."""
        super().__init__()
        self.text = path.read_text("utf-8")
        self.tags: list[tuple[str, dict]] = []
        self.cells: list[str] = []
        self.scripts: list[tuple[dict, str]] = []
        self.prose: list[str] = []
        self._open: list[str] = []
        self.feed(self.text)
        self.close()
        assert not self._open, f"not closed: {self._open}"
        self.data = json.loads(next(t for a, t in self.scripts if a.get("id") == "data"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open and self._open[-1] == tag, f"</{tag}> within {self._open}"
            self._open.pop()

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data
        elif {"td", "th"} & set(self._open):
            self.cells[-1] += data
        elif self._open and self._open[-1] != "style":
            self.prose.append(data)

    def with_id(self, name: str) -> dict:
        """Attributes of the element of an id."""
        return next(a for _, a in self.tags if a.get("id") == name)


def unpack(text: str) -> np.ndarray:
    """The numbers of a packed array."""
    return np.frombuffer(base64.b64decode(text), "<f4")


def line(episode: dict, title: str, name: str, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Times and values of a plot's line."""
    plot = plot_of(episode, title, name)["lines"][number]
    return unpack(plot["t"]), unpack(plot["v"])


def plot_of(episode: dict, title: str, name: str) -> dict:
    """One plot of an episode."""
    group = next(g for g in episode["groups"] if g["title"] == title)
    return next(p for p in group["plots"] if p["name"] == name)
