"""What someone waits for before anything happens: the bare import and the help."""

import subprocess
import sys
import time

from benchmarks.findings import Finding
from benchmarks.models import Setting
from benchmarks.timing import Spread

SECONDS = 0.5
COMMANDS = {
    "import unlogit": ("-c", "import unlogit"),
    "unlogit --help": ("-m", "unlogit", "--help"),
    "unlogit train --help": ("-m", "unlogit", "train", "--help"),
}
REPETITIONS = 7


def measure(setting: Setting) -> list[Finding]:
    """Each in new processes."""
    findings = []
    for name, words in COMMANDS.items():
        seconds = []
        for _ in range(REPETITIONS):
            began = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, capture_output=True)
            seconds.append(time.perf_counter() - began)
        found = Spread.of(seconds)
        limit = None if name.startswith("unlogit train") else SECONDS
        findings.append(Finding("startup", name, found.median, found.low, found.high, "s", limit))
    return findings
