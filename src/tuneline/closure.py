"""Which files of tuneline a module imports, directly or through others, read from their text."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent


def closure(module: str) -> list[Path]:
    """Files of the package that a module needs, itself included, sorted. A module named in a string (the
    table of tasks, whatever is loaded late) counts as imported."""
    todo, found = [module], set[Path]()
    while todo:
        name = todo.pop()
        path = _file(name)
        if path is None or path in found:
            continue
        found.add(path)
        todo += [name.rpartition(".")[0], *_imports(path)]
    return sorted(found)


def _file(name: str) -> Path | None:
    parts = name.split(".")
    if parts[0] != PACKAGE.name or not all(parts):  # the prefix of a tag ends with a dot
        return None
    base = PACKAGE.joinpath(*parts[1:])
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            names.append(node.value)
    return names
