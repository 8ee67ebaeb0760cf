"""`python -m proxymix` is `proxymix`."""

import sys

from proxymix.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
