"""What has changed since a step: refused where a run would go on with it, said where it is measured."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.tiny_run import Place, save_model
from unlogit.cli.main import main
from unlogit.runs import digests
from unlogit.runs.digests import changes, check_target_unchanged
from unlogit.runs.folder import RunFolder

EVALUATE = ["--max_rows=1", "--max_new_tokens=2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run by a config file, whole."""
    place = Place.make(tmp_path_factory.mktemp("place"))
    save_model(place.folder / "retain_model", seed=1)
    assert main(run_line(place)) == 0
    return place


def run_line(place: Place, *more: str) -> list[str]:
    """The whole run by a config file."""
    config = {
        "output": str(place.run),
        "target": str(place.folder / "target"),
        "data": {
            **{side: str(place.folder / f"{side}.jsonl") for side in ("forget", "retain")},
            "neutral": "none",
            "paraphrases": 0,
            "evaluation_rows": 6,
        },
        "assistant": {"rank": 4, "num_layers": 2},
        "train": {"batch_size": 4, "epochs": 1, "dtype": "float32", "save_steps": 1, "logging_steps": 1},
        "evaluate": {"retain_model": str(place.folder / "retain_model"), "max_rows": 1, "max_new_tokens": 2},
    }
    path = place.folder / "config.yaml"
    path.write_text(json.dumps(config))
    return ["run", str(path), *more]


@pytest.fixture
def changing(trained: Place) -> Iterator[Callable[[Path, bytes], None]]:
    """Write into a file of the run, and put it back after the test."""
    originals: dict[Path, bytes] = {}

    def change(path: Path, content: bytes) -> None:
        originals.setdefault(path, path.read_bytes())
        path.write_bytes(content)

    yield change
    for path, content in originals.items():
        path.write_bytes(content)


def test_nothing_has_changed(trained: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(run_line(trained, "--resume")) == 0
    assert "The results are in" in capsys.readouterr().out
    folder = RunFolder(trained.run)
    assert changes(folder, folder.read_config()) == []


def test_changed_rows_are_not_gone_on_with(
    trained: Place, changing: Callable[[Path, bytes], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained.folder / "forget.jsonl"
    changing(path, path.read_bytes().replace(b"a", b"e", 1))
    assert main(run_line(trained, "--resume")) == 2
    assert f"the rows of forget ({path}) have changed since" in capsys.readouterr().err


def test_a_changed_target_is_not_gone_on_with(
    trained: Place, changing: Callable[[Path, bytes], None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """By a whole run, and by a training."""
    other = save_model(tmp_path / "other", seed=5)
    changing(trained.folder / "target" / "model.safetensors", (other / "model.safetensors").read_bytes())
    for line in (run_line(trained, "--resume"), ["train", str(trained.run), "--resume"]):
        assert main(line) == 2
        assert "has other weights than when" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("run/data/evaluation/retain.jsonl", b"a", b"e", "the rows to score have changed since"),
        ("run/assistant/assistant.safetensors", b"\x00", b"\x01", "assistant/assistant.safetensors"),
        ("run/unlearned/tokenizer.json", b"{", b"{ ", "tokenizer of unlearned"),
        ("target/tokenizer.json", b"{", b"{ ", "the tokenizer of the target"),
        (
            "retain_model/tokenizer_config.json",
            b"{",
            b'{"chat_template": "x",',
            "the chat template of the retain model",
        ),
    ],
)
def test_what_changed_is_said(
    trained: Place, changing: Callable[[Path, bytes], None], name: str, old: bytes, new: bytes, message: str
) -> None:
    path = trained.folder / name
    content = path.read_bytes()
    assert old in content
    changing(path, content.replace(old, new, 1))
    folder = RunFolder(trained.run)
    lines = changes(folder, folder.read_config())
    assert len(lines) == 1
    assert message in lines[0]


def test_an_evaluation_says_it(
    trained: Place, changing: Callable[[Path, bytes], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained.run / "data" / "evaluation" / "retain.jsonl"
    changing(path, path.read_bytes().replace(b"a", b"e", 1))
    assert main(["evaluate", str(trained.run), *EVALUATE]) == 0
    shown = capsys.readouterr()
    assert "the rows to score have changed" in shown.out + shown.err


def test_an_earlier_version_and_what_is_gone_pass(trained: Place, tmp_path: Path) -> None:
    shutil.copytree(trained.run, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    config = folder.read_config()
    recorded = json.loads(folder.digests.read_text())
    assert set(recorded) == {"sources", "target", "tokenizer", "evaluation", "retain_model", "trained"}
    assert set(recorded["sources"]) == {"forget", "retain"}
    folder.digests.unlink()
    check_target_unchanged(folder, config)
    assert changes(folder, config) == []


def test_large_files_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that reaches all of a file is seen in the samples; the last bytes are among these."""
    for name, value in (("WHOLE_BYTES", 100), ("SAMPLES", 4), ("SAMPLE_BYTES", 8)):
        monkeypatch.setattr(digests, name, value)
    path = tmp_path / "model.safetensors"
    hashes = []
    for content in (bytes(1000), bytes([1]) * 1000, bytes(999) + b"1"):
        path.write_bytes(content)
        hashes.append(digests._digest([path]))
    assert len(set(hashes)) == 3
