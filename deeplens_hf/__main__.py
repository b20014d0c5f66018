"""`python -m deeplens_hf`: the `deeplens` command."""

import sys

from .cli import main

sys.exit(main())
