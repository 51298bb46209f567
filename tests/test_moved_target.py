"""A target that was moved is named once, and found from then on."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from support.tiny_run import Place, save_model
from unlogit.cli.main import main
from unlogit.errors import ModelError
from unlogit.model.unlearned import UnlearnedForCausalLM


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place.make(tmp_path_factory.mktemp("place"))
    assert place.prepare() == 0
    assert place.train() == 0
    return place


@pytest.fixture
def moved(trained: Place, tmp_path: Path) -> Place:
    """A copy of the run whose target has gone to ``moved/``."""
    place = Place(tmp_path)
    shutil.copytree(trained.folder, tmp_path, dirs_exist_ok=True)
    path = place.run / "unlearned" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"target_name": str(tmp_path / "target")}))
    (tmp_path / "target").rename(tmp_path / "moved")
    return place


CHAT = ["--question=Who?", "--max_new_tokens=2"]


def test_named_once_to_chat(moved: Place, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["chat", str(moved.run), *CHAT]
    assert main(line) == 2
    assert "is gone" in capsys.readouterr().err
    assert main([*line, f"--target={moved.folder / 'moved'}"]) == 0
    assert main(line) == 0
    assert UnlearnedForCausalLM.from_pretrained(moved.run / "unlearned").target.name_or_path == str(
        moved.folder / "moved"
    )


def test_named_once_in_python(moved: Place) -> None:
    folder = str(moved.run / "unlearned")
    with pytest.raises(ModelError, match="is gone"):
        AutoModelForCausalLM.from_pretrained(folder)
    AutoModelForCausalLM.from_pretrained(folder, target=str(moved.folder / "moved"))
    AutoModelForCausalLM.from_pretrained(folder)
    assert main(["chat", str(moved.run), *CHAT]) == 0


def test_named_once_to_combine(moved: Place) -> None:
    assert main(["combine", str(moved.run), f"--target={moved.folder / 'moved'}"]) == 0
    assert main(["chat", str(moved.run), *CHAT]) == 0
    AutoModelForCausalLM.from_pretrained(moved.run / "unlearned")


def test_another_model_is_not_recorded(moved: Place, tmp_path: Path) -> None:
    other = save_model(tmp_path / "other", seed=1)
    path = moved.run / "unlearned" / "config.json"
    before = path.read_text()
    assert main(["chat", str(moved.run), *CHAT, f"--target={other}"]) == 2
    assert path.read_text() == before


def test_a_second_place_is_not_recorded_while_the_first_is_there(trained: Place, tmp_path: Path) -> None:
    shutil.copytree(trained.folder / "target", tmp_path / "copy")
    path = trained.run / "unlearned" / "config.json"
    before = path.read_text()
    assert main(["chat", str(trained.run), *CHAT, f"--target={tmp_path / 'copy'}"]) == 0
    assert path.read_text() == before
