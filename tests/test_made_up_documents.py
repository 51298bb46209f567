"""Made-up documents: the same by the same seed, and with nobody's real telephone number."""

import re
import subprocess
import sys
from pathlib import Path

from unlogit.data.ghosts import names_of
from unlogit.demo.documents import make_documents


def test_documents(tmp_path: Path) -> None:
    documents = make_documents()
    assert set(documents) == {"person", "firm", "bridge"}
    assert documents == make_documents()
    assert documents != make_documents(seed=1)
    assert re.findall(r"\b555-\d+-\d+", documents["firm"])[0].startswith("555-01")
    names = [{name for name in names_of(text) if " " in name} for text in documents.values()]
    assert not names[0] & names[1] | names[0] & names[2] | names[1] & names[2]
    command = [sys.executable, "-m", "unlogit.demo.documents", str(tmp_path / "made")]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert {path.stem: path.read_text().strip() for path in (tmp_path / "made").iterdir()} == documents
