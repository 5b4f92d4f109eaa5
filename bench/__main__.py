"""``python -m annlib_bench``: the same as ``annlib bench``."""

import sys

from annlib.cli import main

sys.exit(main(["bench", *sys.argv[1:]]))
