"""Digits, 1,797 images of 1x8x8, counts 0 to 16: our best is the preset of the data set, which data/__init__.py has
number by number. The paper has none.
"""

from .recipe import Recipe

DIGITS = {
    "best": Recipe(
        about="the preset, a small network for a CPU",
        options={},
        sample="",
        time="4 minutes on one thread of a Zen 4 CPU (measured)",
    )
}
