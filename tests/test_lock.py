"""One process at a time in a run folder; nothing is left behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from unlogit.errors import ConfigError
from unlogit.runs.lock import sole_use

HOLD = """
import sys, time
from pathlib import Path
from unlogit.runs.lock import sole_use
with sole_use(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    """Also where it was killed; another folder is free all the time, and a step within a step has the lock."""
    line = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            with pytest.raises(ConfigError, match="another process is at work"), sole_use(tmp_path / "run"):
                pass
            with sole_use(tmp_path / "other"):
                pass
        finally:
            process.kill()
    with sole_use(tmp_path / "run"), sole_use(tmp_path / "run"):
        pass
    assert list(tmp_path.iterdir()) == []
