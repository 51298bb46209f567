"""What someone waits for before anything happens: the bare import and the help."""

import subprocess
import sys
import time

from benchmarks.findings import Finding
from benchmarks.models import Setting
from benchmarks.timing import Spread

COMMANDS = {
    "import unlogit": ("-c", "import unlogit"),
    "unlogit --help": ("-m", "unlogit", "--help"),
    "unlogit train --help": ("-m", "unlogit", "train", "--help"),
}
REPETITIONS = 7


def measure(setting: Setting) -> list[Finding]:
    """Each in new processes."""
    findings = []
    for name, arguments in COMMANDS.items():
        seconds = []
        for _ in range(REPETITIONS):
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            seconds.append(time.perf_counter() - start)
        spread = Spread.of(seconds)
        findings.append(Finding("startup", name, spread.median, spread.low, spread.high, "s"))
    return findings
