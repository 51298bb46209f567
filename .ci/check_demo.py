"""Checks what the demo wrote: its target knew the rows, and most of them are no longer told, whatever the CPU."""

import json
import sys
from pathlib import Path

rows = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["leaks"]
known = sum(row["target_tells"] for row in rows)
told = sum(row["unlearned_tells"] for row in rows)
print(f"demo: the target told {known} of {len(rows)} rows, the unlearned model tells {told}")
sys.exit(0 if known >= 0.75 * len(rows) and told <= 0.25 * len(rows) else 1)
