"""Opens pages in a headless Chromium, where there is one: the DOM, or figures of its layout."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
           "--disable-background-networking", "--disable-component-update", "--disable-sync",
           "--virtual-time-budget=4000", "--enable-logging=stderr")  # fmt: skip
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium to open the page in")


def dom_of(address: str, folder: Path, *options: str) -> str:
    """The document after its scripts ran; a word on the console fails the test."""
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [BROWSER, *OPTIONS, profile, *options, "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr, done.stderr
    return done.stdout


def measured(page: Path, folder: Path, width: int, expression: str) -> Any:
    """What a JavaScript expression gives in the page at a width in pixels.

    Args:
        page: The file.
        folder: For files of this function's own.
        width: Of the frame that the page is shown in; a window cannot be as narrow as a phone.
        expression: Has `page`, the document; its value goes through JSON.
    """
    frame = folder / "frame.html"
    frame.write_text(
        f"<!doctype html><iframe src='file://{html.escape(str(page))}' width='{width}' "
        "height='900'></iframe><pre></pre><script>setTimeout(() => {"
        "const page = document.querySelector('iframe').contentDocument;"
        f"document.querySelector('pre').textContent = JSON.stringify({expression});"
        "}, 1500)</script>"
    )
    dom = dom_of(f"file://{frame}", folder, "--allow-file-access-from-files")
    return json.loads(html.unescape(re.search(r"<pre>(.*?)</pre>", dom, re.DOTALL)[1]))


WIDER_THAN_PAGE = "page.documentElement.scrollWidth - page.documentElement.clientWidth"
BROKEN_HEADS = (
    "[...page.querySelectorAll('details')].map((d) => { d.open = true; }) && "
    "[...page.querySelectorAll('th')].filter((t) => { const words = page.createRange(); "
    "words.selectNodeContents(t); return words.getBoundingClientRect().height > 25; })"
    ".map((t) => t.textContent)"
)
CLIPPED_WORDS = (
    "[...page.querySelectorAll('svg text')].filter((t) => { const a = t.getBoundingClientRect(), "
    "b = t.ownerSVGElement.getBoundingClientRect(); return a.width && (a.left < b.left - 0.5 || "
    "a.right > b.right + 0.5 || a.bottom > b.bottom + 0.5); }).map((t) => t.textContent)"
)
"""Words of plots that reach out of them, and are cut off."""
