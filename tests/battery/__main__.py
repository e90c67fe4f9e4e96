"""Makes the package and the tests importable, and runs the command."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # where `battery` and `support` lie
sys.path.insert(1, str(Path(__file__).parents[2]))

from support.installed import use_compiled_package  # noqa: E402

if (reason := use_compiled_package()) is not None:
    print(f"python tests/battery: {reason}", file=sys.stderr)
    sys.exit(2)

from battery.command import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
