"""The pages of the site: every public name and every page has its place, and the notebooks are what the pages say.

.ci/run builds the site, which finds the links and names that lead nowhere.
"""

import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

import fastblackout as fb
from support import ROOT

DOCS = ROOT / "docs"
MODULES = ("cells", "data", "distributions", "evaluation", "jax", "models", "processes")
ABSENT = "" if importlib.util.find_spec("diffusers") else "fastblackout.diffusers"  # an extra that tests do not ask for
MODULES += () if ABSENT else ("diffusers",)


def documented():
    """What the pages of docs/api list, by name: the names of their tables, each of the module above it."""
    found, module = {}, None
    for path in sorted((DOCS / "api").glob("*.rst")):
        for line in path.read_text().splitlines():
            if given := re.fullmatch(r"\.\. currentmodule:: (\S+)", line):
                module = given[1]
            elif module != ABSENT and (given := re.fullmatch(r"   (\w[\w.]*)", line)):
                name = f"{module}.{given[1]}"
                assert name not in found, f"{path.name}: {name} is listed twice"
                found[name] = pkgutil.resolve_name(name)
    return found


def public():
    """Every public name. The name of a module stands for the names in it."""
    for module in (fb, *(importlib.import_module(f"fastblackout.{name}") for name in MODULES)):
        for name in module.__all__:
            if not name.startswith("__") and not hasattr(value := getattr(module, name), "__path__"):
                yield f"{module.__name__}.{name}", value
    conversion = fb.processes.conversion
    for name, value in vars(conversion).items():
        if getattr(value, "__module__", None) == conversion.__name__ and not name.startswith("_"):
            yield f"{conversion.__name__}.{name}", value


def test_every_public_name_is_on_a_page():
    there, names = documented(), dict(public())
    assert len(names) > 120
    values = {id(value) for value in there.values()}
    missing = [name for name, value in names.items() if name not in there and id(value) not in values]
    assert missing == ["fastblackout.processes.conversion"]  # the names in it are


def test_every_page_is_in_the_table_of_contents():
    table = (DOCS / "_toc.yml").read_text()
    listed, globs = re.findall(r"(?:file|root): (\S+)", table), re.findall(r"glob: (\S+)", table)
    pages = [path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.*") if path.suffix in (".md", ".rst")]
    pages = [page for page in pages if "generated" not in page.parts and "_templates" not in page.parts]
    assert {Path(name) for name in listed} <= set(pages) and len(listed) == len(set(listed))
    lost = [page for page in pages if page.as_posix() not in listed and not any(map(page.match, globs))]
    assert lost == []


def test_every_example_has_a_page():
    shown = re.findall(r"literalinclude:: (\S+)", "".join(path.read_text() for path in DOCS.glob("examples/*.rst")))
    assert sorted(path.removeprefix("../../examples/") for path in shown) == sorted(
        path.name for path in (ROOT / "examples").glob("*.py")
    )


def test_notebooks_are_what_the_pages_say():
    """So the test of the pages runs their cells."""
    spec = importlib.util.spec_from_file_location("from_pages", ROOT / "examples/notebooks/from_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    there = {path.stem: path.read_text() for path in module.HERE.glob("*.ipynb")}
    made = {name: module.notebook((DOCS / f"{page}.md").read_text()) for name, page in module.PAGES.items()}
    assert made == there, "run python examples/notebooks/from_pages.py"
    assert all("%%bash" in text and '"outputs": []' in text for text in made.values())
