"""The site, built by `sphinx-build -W -n -b html docs build/site` with what the extra `docs` installs.

`_toc.yml` has the order of the pages, so that the pages themselves are plain Markdown, as GitHub shows it.
"""

import re
from typing import Any

from sphinx.application import Sphinx

import fastblackout

REPOSITORY = "https://github.com/fastblackout/fastblackout"

project = "fastblackout"
copyright = "the authors of fastblackout"
release = version = fastblackout.__version__
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_external_toc",
    "sphinx-mathjax-offline",  # formulas without a foreign host
]
exclude_patterns = ["_templates"]
suppress_warnings = ["etoc.toctree"]  # of autosummary, which puts the pages it makes below the page that lists them
templates_path = ["_templates"]
external_toc_path = "_toc.yml"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3  # links such as page.md#a-heading work as on GitHub

highlight_language = "text"  # of the equations in docstrings
autodoc_typehints = "none"  # the sections Parameters and Returns have the types
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# Inventories of other projects, as Debian's packages of their documentation have them: a build needs no network.
intersphinx_mapping = {
    name: (address, f"inventories/{name}.inv")
    for name, address in {
        "numpy": "https://numpy.org/doc/stable",
        "python": "https://docs.python.org/3",
        "scipy": "https://docs.scipy.org/doc/scipy",
    }.items()
}

html_theme = "pydata_sphinx_theme"
html_title = "fastblackout"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "icon_links": [{"name": "GitHub", "url": REPOSITORY, "icon": "fa-brands fa-github"}],
    "footer_start": [],
    "footer_end": ["copyright"],
}


# Pages that show a file from outside of docs/.
INCLUDED = {
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/results/tables.md": "tables.md",
    "fastblackout/cells/metrics.py": "api/cells.rst",
}


def lead_to_pages(app: Sphinx, *given: Any) -> None:
    """Links to a file that a page shows lead to the page. The last argument is a list that holds the text."""
    text = given[-1]
    text[0] = re.sub(
        r"\]\(\.\./examples/(?:(\w+)\.py)?\)",
        lambda found: f"](examples/{(found[1] or 'index').replace('_', '-')}.rst)",
        text[0],
    )
    for file, page in INCLUDED.items():
        text[0] = text[0].replace(f"](../{file}", f"]({page}").replace(f"]({file}", f"]({page}")


def lead_docstrings_to_pages(app: Sphinx, *given: Any) -> None:
    """Addresses of pages in docstrings, which `help()` shows as they stand, lead to the pages of the site."""
    lines = given[-1]
    lines[:] = [re.sub(rf"{REPOSITORY}/blob/main/docs/([\w-]+)\.md", r":doc:`\1 </\1>`", line) for line in lines]


def is_of_others(app: Sphinx, what: str, name: str, member: object, skip: bool, options: object) -> bool | None:
    """Whether a class has a member of another project, such as of torch's modules: these are not shown."""
    owner = getattr(member, "__objclass__", member)  # of methods in C, such as those of dict
    home = getattr(getattr(member, "fget", owner), "__module__", None) or project
    return None if home.startswith(project) else True


def setup(app: Sphinx) -> None:
    app.connect("source-read", lead_to_pages)
    app.connect("include-read", lead_to_pages)
    app.connect("autodoc-process-docstring", lead_docstrings_to_pages)
    app.connect("autodoc-skip-member", is_of_others)
