"""`python -m leadline`, which is how `torchrun -m leadline` starts the command line."""

from __future__ import annotations

from leadline.cli.app import main

main()
