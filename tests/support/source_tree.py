"""The modules of the package and what they import, by their syntax trees."""

import ast
import functools
from collections import defaultdict

from support import ROOT


@functools.cache
def modules():
    """Name: (file, syntax tree) of every module, the Triton kernels as fastblackout.kernels."""
    found = {}
    for folder in ("fastblackout", "kernels"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(("fastblackout", *parts) if folder == "kernels" else parts).removesuffix(".__init__")
            found[name] = path, ast.parse(path.read_text())
    return found


@functools.cache
def imports(for_types=False):
    """Module: the modules that it imports, inside functions too. for_types: those, too, that only types need."""
    known, edges = modules(), defaultdict(set)
    for name, (path, tree) in known.items():
        types = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
            for each in node.body
            for inner in ast.walk(each)
        }
        package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or (id(node) in types and not for_types):
                continue
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            target = ".".join(filter(None, (base, node.module)))
            for alias in node.names:
                whole = f"{target}.{alias.name}"
                found = whole if whole in known else target
                if found in known and found != name:
                    edges[name].add(found)
    return edges
