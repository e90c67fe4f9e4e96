"""Makes `python benchmarks/photons` the command that run.py describes."""

import sys
from pathlib import Path

# Python puts the folder of this file there, whose modules must not be found by their bare names.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from photons.run import main  # noqa: E402

sys.exit(main())
