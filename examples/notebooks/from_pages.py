"""The pages docs/start-*.md as notebooks: `python examples/notebooks/from_pages.py` writes them beside this file.

A code block becomes a cell, one in bash by %%bash. What a page shows as printed is left out: the cells print it.
"""

import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCS = HERE.parent.parent / "docs"
PAGES = {"images": "start-images", "cells": "start-cells", "photons": "start-photons"}
ONLINE = "https://github.com/fastblackout/fastblackout/blob/main/docs/"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def notebook(page: str) -> str:
    """The notebook of a page, given as Markdown."""
    pictures = ONLINE.replace("github.com", "raw.githubusercontent.com").replace("/blob/", "/")
    page = re.sub(r"(!\[[^]]*\]\()(?!https?:)", rf"\1{pictures}", page)
    page = re.sub(r"(?<!!)(\[[^]]*\]\()(?!https?:)", rf"\1{ONLINE}", page)
    cells, end = [], 0
    for block in [*BLOCK.finditer(page), None]:
        text = page[end : block.start() if block else None].strip()
        if text:
            cells.append(cell("markdown", text))
        if block:
            end = block.end()
            if block[1] != "text":
                cells.append(cell("code", ("%%bash\n" if block[1] == "bash" else "") + block[2].strip()))
    about = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    whole = {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 4}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def cell(kind: str, text: str) -> dict[str, Any]:
    of_code: dict[str, Any] = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "metadata": {}, **of_code, "source": text.splitlines(keepends=True)}


if __name__ == "__main__":
    for name, page in PAGES.items():
        (HERE / f"{name}.ipynb").write_text(notebook((DOCS / f"{page}.md").read_text()))
