"""Writes a look as HTML files, each whole in itself."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from roboalign_training.bags.errors import DataError
from roboalign_training.data.index import write_whole
from roboalign_training.look.document import SCHEMA, document
from roboalign_training.look.look import Look
from roboalign_training.look.shell import render

TEMPLATE = "page.html.j2"


def page_path(path: Path, number: int) -> Path:
    """The file of a page: `look.html`, then `look-2.html` and so on beside it."""
    return path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


def check_target(path: Path) -> None:
    """Refuses to write over a file that is no page of this command.

    Raises:
        DataError: When there is one.
    """
    if path.exists() and not (path.is_file() and SCHEMA.encode() in path.read_bytes()):
        found = "a folder" if path.is_dir() else "a file that is no page of roboalign inspect"
        raise DataError(path, f"found {found}, expected a new name or an older page")


def write_page(path: Path, look: Look) -> Path:
    """Writes a page, whole or not at all.

    Args:
        path: File of the first page of the look.
        look: What is on this one.

    Returns:
        The file written.

    Raises:
        DataError: When something else is there.
    """
    target = page_path(path, look.part.number)
    check_target(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, render_page(look, path))
    return target


def render_page(look: Look, path: Path = Path("look.html")) -> str:
    """The page's text; `path` is the file of the first page, for the links to the others."""
    names = [quote(page_path(path, number + 1).name) for number in range(len(look.part.pages))]
    links = {}
    for number, ids in enumerate(look.part.pages):
        file = "" if number + 1 == look.part.number else names[number]
        links |= {name: f"{file}#episode={quote(name, safe='')}" for name in ids}
    return render(
        f"look/{TEMPLATE}",
        document(look),
        look=look,
        view=look.view,
        names=names,
        links=links,
    )
