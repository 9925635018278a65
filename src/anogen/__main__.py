"""`python -m anogen`, the same as the shell command `anogen`."""

import os
import sys

if __name__ == "__main__":
    if sys.path[:1] in ([""], [os.getcwd()]):  # noqa: PTH109  (nothing is imported before)
        del sys.path[0]  # where a file could take the place of any module
    from anogen.cli.main import run

    run()
