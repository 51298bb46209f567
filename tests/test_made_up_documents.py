"""Made-up documents: the same by the same seed, with nobody's real telephone number, and questions that they answer."""

import re
import subprocess
import sys
from pathlib import Path

from unlogit.data.ghosts import names_of
from unlogit.data.secrets import secrets_of, tells
from unlogit.data.sources import read_examples
from unlogit.demo.documents import make_documents


def test_documents(tmp_path: Path) -> None:
    forget, keep = make_documents()
    assert list(forget) == list(keep) == ["person", "firm", "bridge"]
    assert (forget, keep) == make_documents() != make_documents(seed=1)
    documents = [*forget.values(), *keep.values()]
    assert all(number.startswith("555-01") for number in re.findall(r"\b555-\d+-\d+", forget["firm"].text))
    names = [{name for name in names_of(document.text) if " " in name} for document in documents]
    assert not any(a & b for i, a in enumerate(names) for b in names[:i])
    command = [sys.executable, "-m", "unlogit.demo.documents", str(tmp_path / "made")]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    texts = {path.stem: path.read_text().strip() for path in (tmp_path / "made/forget").iterdir()}
    assert texts == {kind: document.text for kind, document in forget.items()}
    kept = read_examples(str(tmp_path / "made/kept.jsonl"))
    assert kept == [row for document in keep.values() for row in document.questions]


def test_questions_are_answered_by_their_document_in_other_words() -> None:
    for document in make_documents()[0].values():
        for row, other in zip(document.questions, document.reworded, strict=True):
            assert row.answer == other.answer not in document.text
            assert row.question != other.question
            assert all(tells(document.text, [secret]) for secret in secrets_of(row))
