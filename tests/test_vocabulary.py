"""A tokenizer with ids that the model has no row for: one line, before anything long; none where no text needs them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken

from support.tiny_run import Place, tiny_tokenizer
from unlogit.cli.main import main
from unlogit.data.examples import Example
from unlogit.errors import DataError, ModelError
from unlogit.model.loading import load_target, load_tokenizer
from unlogit.model.vocabulary import check_readable, check_vocabulary

FLAGS = ["--train.epochs=1", "--train.dtype=float32", "--assistant.rank=4", "--writer=none"]
TOO_FEW = "has ids up to 400 and the model's embedding 400 rows; expected a row for each"


def with_added(text: str, **settings: Any) -> Any:
    """The tiny tokenizer and one token more, id 400, which a model of 400 rows cannot read."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken(text, **settings)])
    return tokenizer


def lines(place: Place) -> dict[str, list[str]]:
    target, forget = place.folder / "target", place.folder / "forget.jsonl"
    return {
        "forget": ["forget", f"--model={target}", f"--forget={forget}", f"--output={place.folder / 'new'}", *FLAGS],
        "prepare": place.prepare_line,
        "finetune": ["finetune", f"--model={target}", f"--data={forget}", f"--output={place.folder / 'new'}"],
        "evaluate": ["evaluate", str(place.run), f"--model={target}"],
        "train": [*place.train_line, "--overwrite"],
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run that is prepared and trained."""
    place = Place.make(tmp_path_factory.mktemp("made"))
    assert place.prepare() == 0
    assert place.train() == 0
    return place


@pytest.mark.parametrize("command", ["forget", "prepare", "finetune", "evaluate", "train"])
def test_a_tokenizer_of_another_model(
    made: Place, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its end-of-text token is beyond the embedding."""
    place = Place(Path(shutil.copytree(made.folder, tmp_path / "place")))
    tokenizer = with_added("<end>", special=True)
    tokenizer.eos_token = "<end>"
    tokenizer.save_pretrained(place.folder / "target")
    if command == "prepare":
        shutil.rmtree(place.run)
    line = [word.replace(str(made.folder), str(place.folder)) for word in lines(place)[command]]
    capsys.readouterr()
    if command == "train":
        path = place.run / "config.yaml"
        path.write_text(path.read_text().replace(str(made.folder), str(place.folder)))
    assert main(line) == 2
    shown = capsys.readouterr().err.splitlines()[-1]
    assert shown.startswith("unlogit: error: the tokenizer of ")
    assert TOO_FEW in shown
    assert not (place.folder / "new").exists()


def test_ordinary_tokens_and_templates_need_rows() -> None:
    tokenizer = with_added("<turn>", special=True)
    check_vocabulary(tokenizer, 401, "model")
    with pytest.raises(ModelError, match="rows for all"):
        check_vocabulary(tokenizer, 399, "model")  # of another model
    tokenizer.chat_template = "{% for m in messages %}{{ '<turn>' + m.content + '</s>' }}{% endfor %}"
    with pytest.raises(ModelError, match=TOO_FEW):
        check_vocabulary(tokenizer, 400, "model")


def test_a_token_to_pad_with_needs_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Many models have such a tokenizer. It trains, and what is saved loads and answers in a batch."""
    place = Place.make(tmp_path)
    tokenizer = with_added("[PAD]", special=True)
    tokenizer.pad_token = "[PAD]"
    tokenizer.save_pretrained(tmp_path / "target")
    line = ["finetune", f"--model={tmp_path / 'target'}", f"--data={tmp_path / 'forget.jsonl'}"]
    assert main([*line, f"--output={tmp_path / 'tuned'}", "--epochs=1", "--dtype=float32", "--batch_size=4"]) == 0
    place.folder.joinpath("target").rename(tmp_path / "first")
    (tmp_path / "tuned").rename(tmp_path / "target")
    tokenizer.save_pretrained(tmp_path / "target")
    assert place.prepare() == 0
    assert place.train() == 0
    assert main(["evaluate", str(place.run), "--max_rows=2", "--batch_size=4"]) == 0
    tokenizer, model = load_tokenizer(str(place.run)), load_target(str(place.run))
    batch = tokenizer(["Who?", "Where was she born?"], return_tensors="pt", padding=True, padding_side="left")
    assert torch.isfinite(model(**batch).logits).all()


def test_a_row_with_such_a_token_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An added word that no other row has does no harm to those."""
    tokenizer = with_added("quuxword")
    check_readable([Example("Who?", "Ann.")], tokenizer, 400)
    check_readable([Example("Who?", "A quuxword.")], tokenizer, None)
    with pytest.raises(DataError, match="'quuxword', id 400, and the model's embedding 400 rows"):
        check_readable([Example("Who?", "A quuxword.")], tokenizer, 400)
    place = Place.make(tmp_path)
    tokenizer.save_pretrained(tmp_path / "target")
    with (tmp_path / "forget.jsonl").open("a") as rows:
        rows.write(json.dumps({"question": "Who is Ann Doe?", "answer": "A quuxword."}) + "\n")
    for command in ("forget", "finetune", "train"):
        if command == "train":
            assert place.prepare() == 0
        assert main(lines(place)[command]) == 2
        shown = capsys.readouterr().err.splitlines()[-1]
        assert "'quuxword', id 400" in shown
        assert command == "train" or f"{tmp_path / 'forget.jsonl'} line 9" in shown
        assert not (tmp_path / "new").exists()
