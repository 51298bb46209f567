"""One measurement in a process of its own: ``python -m benchmarks.alone module:function '{"name": value}'``."""

import json
import sys
from importlib import import_module


def main() -> None:
    """Print what the function returns, as the last line."""
    module, _, function = sys.argv[1].partition(":")
    measure = getattr(import_module(f"benchmarks.{module}"), function)
    print(json.dumps(measure(**json.loads(sys.argv[2]))))


if __name__ == "__main__":
    main()
