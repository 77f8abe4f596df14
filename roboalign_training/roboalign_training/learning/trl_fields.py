"""Names and help of the options that TRL's trainers take, read from its source.

Importing TRL takes seconds; reading the fields of its configuration classes as text takes
milliseconds. A test compares the two.
"""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_TRANSFORMERS = ("transformers", "training_args.py", "TrainingArguments")
_TRL = ("trl", "trainer/base_config.py", "_BaseConfig")
_SOURCES = {
    "sft": (_TRANSFORMERS, _TRL, ("trl", "trainer/sft_config.py", "SFTConfig")),
    "grpo": (_TRANSFORMERS, _TRL, ("trl", "trainer/grpo_config.py", "GRPOConfig")),
    "vla": (_TRANSFORMERS,),
}
"""By stage: the configuration class of its trainer, its parents first."""


@dataclass(frozen=True)
class TrlField:
    """One option.

    Attributes:
        name: of the field and the option.
        kind: annotation, as text.
        default: as text; empty where the source computes it.
        help: one text, empty where the source has none.
    """

    name: str
    kind: str
    default: str
    help: str

    @property
    def is_bool(self) -> bool:
        """Whether the option may stand without a value."""
        return "bool" in self.kind.replace("dict[str, bool]", "")


@cache
def trl_fields(kind: str) -> dict[str, TrlField]:
    """The options by name, those of the parent classes first.

    Args:
        kind: sft, grpo or vla.

    Raises:
        ModuleNotFoundError: TRL or Transformers is not installed.
        ValueError: a class is not where it was.
    """
    found: dict[str, TrlField] = {}
    for package, file, name in _SOURCES[kind]:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"the package {package} is not installed")
        path = Path(spec.origin).parent / file
        tree = ast.parse(path.read_text("utf-8"))
        bodies = [n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name]
        if not bodies:
            raise ValueError(f"{path}: found no class {name}, expected it")
        for node in bodies[0]:
            if isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation):
                item = _field(node)
                if item is not None:
                    found[item.name] = item
    return found


def _field(node: ast.AnnAssign) -> TrlField | None:
    """A field of a dataclass; None for one that is no option."""
    name, kind, default, text = ast.unparse(node.target), ast.unparse(node.annotation), "", ""
    if isinstance(node.value, ast.Call):
        for keyword in node.value.keywords:
            if keyword.arg == "init" and ast.unparse(keyword.value) == "False":
                return None
            if keyword.arg == "default":
                default = ast.unparse(keyword.value).strip("'\"")
            if keyword.arg == "metadata" and isinstance(keyword.value, ast.Dict):
                text = _help(keyword.value)
    elif node.value is not None:
        default = ast.unparse(node.value)
    return TrlField(name, kind, default, text)


def _help(metadata: ast.Dict) -> str:
    for key, value in zip(metadata.keys, metadata.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == "help":
            parts = [n.value for n in ast.walk(value) if isinstance(n, ast.Constant)]
            text = " ".join("".join(str(part) for part in parts).split())
            return text.replace("%%", "%")
    return ""
