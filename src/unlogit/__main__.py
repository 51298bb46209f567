"""``python -m unlogit``: the same as the command ``unlogit``."""

import sys

from unlogit.cli.main import main

sys.exit(main())
