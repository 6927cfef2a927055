"""What kind of handler file this is, read from its source without running it."""

import ast
import importlib.util
from enum import StrEnum
from pathlib import Path

from exatlas.errors import ConfigError


class WorkerKind(StrEnum):
    """Who runs a handler file."""

    RUNPOD = "runpod"
    """The file itself: it calls `runpod.serverless.start`."""
    BUILTIN = "builtin"
    """exatlas' own worker, in a process of its own: the file defines `handler`."""


def choose_worker(path: Path, wanted: str) -> WorkerKind:
    """Decide who runs the file. ``wanted`` is ``auto`` or the name of a kind.

    Raises:
        ConfigError: there is no such file, it is not Python, or it cannot be run in the way that is wanted.
    """
    if wanted not in ("auto", *WorkerKind):
        raise ConfigError(f"worker: expected auto, runpod or builtin, got {wanted!r}")
    tree = _parse(path)
    kind = WorkerKind(wanted) if wanted != "auto" else _guess(tree)
    if kind is None:
        raise ConfigError(
            f"{path.name} neither calls runpod.serverless.start nor defines `handler` at its top level; "
            "if it does the former through another module, say worker='runpod'"
        )
    if kind is WorkerKind.RUNPOD and importlib.util.find_spec("runpod") is None:
        raise ConfigError(
            f"{path.name} needs the runpod package, which is not installed: pip install 'exatlas[demo]', "
            "or say worker='builtin' if it defines `handler` and imports runpod only where it starts it"
        )
    if kind is WorkerKind.BUILTIN and not _defines_handler(tree):
        raise ConfigError(f"{path.name} does not define `handler` at its top level")
    return kind


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), filename=path.name)
    except OSError as error:
        raise ConfigError(f"cannot read the handler file {path}: {error.strerror}") from error
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{path} is not Python: {error}") from error


def _guess(tree: ast.Module) -> WorkerKind | None:
    if _calls_start(tree):
        return WorkerKind.RUNPOD
    return WorkerKind.BUILTIN if _defines_handler(tree) else None


def _calls_start(tree: ast.Module) -> bool:
    """Whether the file imports runpod, anywhere and under any name, and calls something named `start`."""
    imports, calls = False, False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports |= any(alias.name.partition(".")[0] == "runpod" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imports |= (node.module or "").partition(".")[0] == "runpod" and node.level == 0
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
            calls |= name == "start"
    return imports and calls


def _defines_handler(tree: ast.Module) -> bool:
    return any("handler" in _names(node) for node in tree.body)


def _names(node: ast.stmt) -> set[str]:
    """The names that a statement at the top level binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}
