"""Run as `python -m dsactl`, which is how torchrun starts it."""

import os
import sys

from dsactl.cli.main import is_of_several, main

if __name__ == "__main__":
    try:
        main()
    except SystemExit as end:
        if not is_of_several():
            raise
        # The group's threads may outlive it, and abort a process whose interpreter goes down under them.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 0)
