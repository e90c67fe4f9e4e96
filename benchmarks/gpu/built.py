"""What was compiled, kept beside the results: a machine that has it already need not compile it again."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import torch

from gpu import ROOT
from gpu.results import digest

SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


class Built:
    """The modules of fastblackout/ in the folder `built` of `work`: of these sources, this Python and capability."""

    def __init__(self, work: Path, root: Path = ROOT) -> None:
        major, minor = torch.cuda.get_device_capability(0) if torch.cuda.is_available() else (0, 0)
        self.folder, self.package = work / "built" / f"sm_{major}{minor}", root / "fastblackout"
        sources = digest("csrc", "setup.py", "fastblackout/reference/philox.py", root=root)
        self.key = f"{sources} {SUFFIX}"

    def take(self) -> bool:
        """Puts them where Python finds them, if they are there."""
        key = self.folder / "key"
        if not key.exists() or key.read_text() != self.key:
            return False
        for file in self.folder.iterdir():
            if file != key:
                shutil.copy2(file, self.package / file.name)
        return True

    def keep(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for file in (*self.package.glob(f"_*{SUFFIX}"), self.package / "_build.json"):
            shutil.copy2(file, self.folder / file.name)
        (self.folder / "key").write_text(self.key)  # last: what was cut off is not taken
