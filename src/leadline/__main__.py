"""`python -m leadline`, which is how `torchrun -m leadline` starts the command line."""

from leadline.cli import main

main()
