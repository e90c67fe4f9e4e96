"""The tree: what imports what, where an op's parts lie. CONTRIBUTING.md describes it."""

import ast
import inspect
import re

import fastblackout.ops  # noqa: F401  # which declares them
from fastblackout.call.declared import DECLARED
from support import ROOT
from support.source_tree import imports, modules

# What a folder may import lies in the same or a lower line.
LAYERS = (
    ("ground", "arrays", "atomic_files", "philox", "probability", "typing", "_version"),
    ("reference", "kernels"),
    ("backends",),
    ("call",),
    ("ops", "schedule"),
    ("heads",),
    ("models", "processes", "data", "distributions", "jax"),
    ("sampling",),
    ("likelihood", "evaluation"),
    ("blackout",),
    ("training", "tuning"),
    ("pretrained", "diffusers", "cells", "photons"),
    ("cli",),
)
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}


def part_of(module):
    """ "ops" of fastblackout.ops.thin."""
    return (module.split(".") + [""])[1]


def test_the_root_holds_the_ground_and_single_files():
    names = {path.name for path in (ROOT / "fastblackout").glob("*.py")}
    public = {
        "arrays.py",
        "atomic_files.py",
        "distributions.py",
        "philox.py",
        "photons.py",
        "probability.py",
        "typing.py",
    }
    assert names - {"__main__.py"} == {"__init__.py", "_version.py"} | public


def test_imports_point_down():
    assert imports()["fastblackout.ops.thin"] >= {"fastblackout.call.operation", "fastblackout.typing"}
    up = [
        (module, other)
        for module, others in imports().items()
        for other in others
        if part_of(module) in RANK and RANK[part_of(module)] < RANK.get(part_of(other), -1)
    ]
    assert up == []
    assert {part_of(module) for module in modules()} - set(RANK) == {"", "__main__"}


def test_no_module_imports_itself_through_others():
    """For types alone neither."""
    done = set()

    def visit(module, above):
        assert module not in above, [*above[above.index(module) :], module]
        if module not in done:
            for other in sorted(imports(for_types=True)[module]):
                visit(other, (*above, module))
            done.add(module)

    for module in list(modules()):
        visit(module, ())


def test_every_op_has_its_files():
    """A file of ops/ that declares an op has kernels; a draw that is made of other ops' has none. All have a law."""
    declared, draws = set(), set()
    for path in (ROOT / "fastblackout/ops").glob("*.py"):
        tree = ast.parse(path.read_text())
        calls = [node.value for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)]
        if any(getattr(call.func, "id", "") in ("Operation", "Loss") for call in calls):
            declared.add(path.stem)
        own = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == path.stem]
        draws |= {each.name for each in own if "rng" in [given.arg for given in each.args.kwonlyargs]}
    assert len(declared) > 15 and len(draws - declared) > 2
    laws = " ".join(path.read_text() for path in (ROOT / "tests/battery").glob("*.py"))
    assert [stem for stem in declared | draws if not re.search(rf'fb\.{stem}[(_]|"{stem}[",]', laws)] == []
    for stem in declared:
        for path in (
            f"fastblackout/reference/{stem}.py",
            f"kernels/{stem}.py",
            f"csrc/cpu/{stem}.cpp",
            f"csrc/cuda/{stem}.cu",
        ):
            assert (ROOT / path).is_file(), path


def test_the_reference_takes_the_fields_of_the_record():
    """By name and in their order: its signature is what a reader and a type checker know a record by."""
    fields = {name: list(op.fields) for name, op in DECLARED.items()}
    taken = {name: list(inspect.signature(op.twin).parameters)[: len(op.fields)] for name, op in DECLARED.items()}
    assert len(fields) > 20 and taken == fields


def test_tests_lie_in_folders_and_share_by_support():
    folders = {path.relative_to(ROOT / "tests").parts[:-1] for path in (ROOT / "tests").rglob("test_*.py")}
    names = "ops backends with_torch processes sampling training cells command_line project ptx"
    assert folders == {(name,) for name in names.split()}
    for path in (ROOT / "tests").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) (\S+\.)?test_", path.read_text(), re.MULTILINE), path


# Rules of arguments that are written once. The reference has its own, as it is called alone, too.
RULES = (
    "must be finite{bound}", "exactly one of logits and births must be given", "must not overlap {other_name}",
    "must not be given together with generator", "must be a fastblackout.Philox", "must be given, {missing}",
    "must be a torch tensor like the other argument", "elements per sample must be below 2^32",
)  # fmt: skip


def test_the_rules_of_arguments_are_written_once():
    texts = [path.read_text() for name, (path, _) in modules().items() if part_of(name) not in ("kernels", "reference")]
    assert {rule: sum(text.count(rule) for text in texts) for rule in RULES} == dict.fromkeys(RULES, 1)


def test_every_package_is_installed():
    """Those that pyproject.toml lists are those there are: one that is missing is missed by an installed copy alone."""
    listed = re.search(r"\npackages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.S).group(1)
    there = {name for name, (path, _) in modules().items() if path.name == "__init__.py"}
    assert set(re.findall('"(.*?)"', listed)) == there
