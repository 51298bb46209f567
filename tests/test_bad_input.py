"""What a user can do wrong: one line on stderr with what was got and how to fix it, exit code 2, nothing written."""

import errno
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.tiny_run import PEOPLE, Place, save_model
from unlogit.cli.main import main
from unlogit.errors import ModelError
from unlogit.model.loading import model_place, quiet
from unlogit.settings.config_file import read_config

Lines = list[str]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Target and rows, copied for each test."""
    return Place.make(tmp_path_factory.mktemp("original"))


@pytest.fixture
def place(original: Place, tmp_path: Path) -> Place:
    """Target and rows that a test may spoil."""
    return Place(Path(shutil.copytree(original.folder, tmp_path / "place")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run that is prepared and trained; tests only read it, or write what they take away."""
    place = Place.make(tmp_path_factory.mktemp("trained"))
    assert place.prepare() == 0
    assert place.train() == 0
    return place


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, and every folder."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


def check_refused(line: Lines, words: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with 2 and one line that has these words, and leaves the folder as it was."""
    before = contents(folder)
    capsys.readouterr()
    assert main(line) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("unlogit: error: ")
    assert shown.count("\n") == 1
    assert words in shown
    assert "expected" in shown or "did you mean" in shown
    assert contents(folder) == before


def rows(place: Place, name: str, *lines: Any) -> Lines:
    """Replace a file of rows, and return the line that prepares from it."""
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    (place.folder / f"{name}.jsonl").write_text(text)
    return place.prepare_line


def without_file(place: Place) -> Lines:
    (place.folder / "forget.jsonl").unlink()
    return place.prepare_line


def in_both(place: Place) -> Lines:
    retain = [row.to_row() for row in PEOPLE.retain]
    return rows(place, "retain", *retain, PEOPLE.forget[2].to_row())


def yaml(place: Place, text: str) -> Lines:
    """A config of this text, and the line that runs it."""
    (place.folder / "c.yaml").write_text(text.replace("HERE", str(place.folder)))
    return ["run", str(place.folder / "c.yaml")]


def model(place: Place, name: str) -> Lines:
    return [*place.prepare_line, f"--target={name}"]


def cut_off_model(place: Place) -> Lines:
    weights = place.folder / "target" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return [
        "finetune",
        f"--model={place.folder / 'target'}",
        f"--data={place.folder / 'retain.jsonl'}",
        *new_folder(place),
    ]


def new_folder(place: Place) -> Lines:
    return [f"--output={place.folder / 'new'}"]


RUN_FILE = "output: HERE/run\ntarget: HERE/target\ndata:\n  forget: HERE/forget.jsonl\n  retain: HERE/retain.jsonl\n"

PREPARING: dict[str, tuple[Callable[[Place], Lines], str]] = {
    "missing file": (without_file, "forget.jsonl does not exist"),
    "empty file": (lambda p: rows(p, "forget"), "forget.jsonl is empty"),
    "row without an answer": (lambda p: rows(p, "forget", {"question": "Who?"}), "answer"),
    "empty answer": (lambda p: rows(p, "forget", {"question": "Who?", "answer": " "}), "line 1"),
    "not JSON": (lambda p: rows(p, "retain", "{question: 1}"), "line 1: not JSON"),
    "unknown column": (lambda p: rows(p, "forget", {"question": "Who?", "anwser": "I"}), "'answer'"),
    "forget row also in retain": (in_both, "1 of 8 forget rows also stand on the retain side (forget rows 3)"),
    "wrong split": (lambda p: [*p.prepare_line, "--forget=tofu:forget11"], "tofu:forget11"),
    "wrong retain split": (lambda p: [*p.prepare_line, "--retain=tofu:retain91"], "tofu:retain91"),
    "share out of range": (lambda p: [*p.prepare_line, "--holdout_fraction=1.5"], "holdout_fraction is 1.5"),
    "no such model": (lambda p: model(p, f"{p.folder}/none"), "is no folder"),
    "no model in the folder": (lambda p: model(p, str(p.folder)), "has no config.json"),
    "hub out of reach": (lambda p: model(p, "nobody/nothing"), "'nobody/nothing' cannot be loaded"),
    "misspelled flag": (lambda p: [*p.prepare_line, "--forgett=x"], "--forgett is unknown (did you mean '--forget'?)"),
    "no YAML file": (lambda p: [*p.prepare_line, "--config=none.yaml"], "none.yaml does not exist"),
    "misspelled section": (lambda p: yaml(p, RUN_FILE + "trian: {}\n"), "trian is unknown (did you mean 'train'?)"),
    "misspelled key": (lambda p: yaml(p, RUN_FILE + "train: {lerning_rate: 1}\n"), "did you mean 'learning_rate'?"),
    "key outside its section": (lambda p: yaml(p, RUN_FILE + "rank: 3\n"), "it belongs under assistant"),
    "wrong type": (lambda p: yaml(p, RUN_FILE + "train: {batch_size: big}\n"), "train.batch_size is 'big'"),
    "null": (lambda p: yaml(p, RUN_FILE + "train: {batch_size: }\n"), "train.batch_size is null"),
    "section without keys": (lambda p: yaml(p, RUN_FILE + "train:\n"), "train is None"),
    "broken YAML": (lambda p: yaml(p, "output: [\n"), "is not YAML"),
    "empty YAML": (lambda p: yaml(p, ""), "holds no settings"),
    "no target": (lambda p: yaml(p, "output: HERE/run\n"), "target missing"),
    "deeper than the target": (lambda p: yaml(p, RUN_FILE + "assistant: {num_layers: 5}\n"), "num_layers is 5"),
    "no start": (lambda p: yaml(p, RUN_FILE + "assistant: {start_gain: 0}\n"), "start_gain is 0"),
    "empty batches": (lambda p: yaml(p, RUN_FILE + "train: {batch_size: 0}\n"), "batch_size is 0"),
    "half a character": (lambda p: rows(p, "forget", {"question": "Who\ud800?", "answer": "I"}), "half a character"),
    "half a layer": (lambda p: yaml(p, RUN_FILE + "assistant: {num_layers: 1.5}\n"), "num_layers is 1.5"),
    "unknown rule": (lambda p: yaml(p, RUN_FILE + "combination: {rule: centered}\n"), "did you mean 'centred'?"),
    "negative filter": (lambda p: yaml(p, RUN_FILE + "combination: {filter_rate: -1}\n"), "filter_rate"),
    "no retain model there": (
        lambda p: yaml(p, RUN_FILE + "evaluate: {retain_model: HERE/none}\n"),
        "is no folder",
    ),
    "no retain results there": (
        lambda p: yaml(p, RUN_FILE + "evaluate: {retain_model: HERE/none.json}\n"),
        "none.json does not exist",
    ),
    "cut-off weights": (cut_off_model, "cannot be loaded"),
    "finetune on nothing": (
        lambda p: ["finetune", f"--model={p.folder / 'target'}", "--data=none.csv", *new_folder(p)],
        "none.csv does not exist",
    ),
    "finetune in no batches": (
        lambda p: ["finetune", "--model=x", "--data=y", "--batch_size=0", *new_folder(p)],
        "batch_size is 0",
    ),
    "finetune into a full folder": (
        lambda p: ["finetune", "--model=x", "--data=y", f"--output={p.folder}"],
        "is not empty",
    ),
    "finetune --resume into a folder of other things": (
        lambda p: ["finetune", "--model=x", "--data=y", f"--output={p.folder}", "--resume"],
        "holds no model that `unlogit finetune` made",
    ),
    "finetune --overwrite of other things": (
        lambda p: ["finetune", "--model=x", "--data=y", f"--output={p.folder}", "--overwrite"],
        "holds no model that `unlogit finetune` made",
    ),
    "no run folder": (lambda p: ["train", str(p.folder)], "has no config.yaml"),
    "chat without a model": (lambda p: ["chat", str(p.folder / "target")], "expected an unlearned model"),
}


@pytest.mark.parametrize("name", PREPARING)
def test_before_anything_is_there(name: str, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, words = PREPARING[name]
    check_refused(spoil(place), words, place.folder, capsys)


def test_tokenizer_without_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place.make(tmp_path, end=False)
    check_refused(place.prepare_line, "has no end-of-text token", place.folder, capsys)


TRAINING: dict[str, tuple[Lines, str]] = {
    "deeper": (["--num_layers=9"], "num_layers is 9"),
    "option of another objective": (
        ["--objective=divergence", "--uniform_ratio=2"],
        "uniform_ratio is 2.0 and the objective divergence has no such option; expected none",
    ),
    "no rank": (["--rank=0"], "rank is 0"),
    "share out of range": (["--neutral_fraction=1.5"], "neutral_fraction is 1.5"),
    "shares beyond the whole": (["--perturbed_fraction=0.8"], "expected at least 0 and below 0.75, what neutral"),
    "unknown objective": (["--objective=ulda"], "objective 'ulda' is unknown (did you mean 'uld'?)"),
    "several at once": (["--batch_size=0", "--save_steps=0"], "batch_size is 0; expected more than 0; save_steps"),
    "trained already": ([], "holds a trained assistant"),
    "going on with other settings": (["--resume", "--seed=1"], "train.seed 0 → 1"),
    "seed below zero": (["--seed=-1", "--overwrite"], "seed is -1"),
    "prompts longer than the limit": (["--max_tokens=3", "--overwrite"], "raise max_tokens"),  # found on the way
}


@pytest.mark.parametrize("name", TRAINING)
def test_before_training(name: str, trained: Place, capsys: pytest.CaptureFixture[str]) -> None:
    flags, words = TRAINING[name]
    check_refused([*trained.train_line, *flags], words, trained.folder, capsys)


def test_rows_are_not_overwritten_unasked(trained: Place, capsys: pytest.CaptureFixture[str]) -> None:
    check_refused(trained.prepare_line, "holds the rows of an earlier run", trained.folder, capsys)


def test_settings_of_the_users_own_are_not_overwritten(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A config.yaml in a folder without rows is no run's."""
    place.run.mkdir()
    (place.run / "config.yaml").write_text("# mine")
    check_refused(place.prepare_line, "config.yaml is there already", place.folder, capsys)
    shutil.rmtree(place.run)


@pytest.mark.parametrize("command", ["evaluate", "chat"])
def test_assistant_of_another_target(command: str, trained: Place, capsys: pytest.CaptureFixture[str]) -> None:
    other = save_model(trained.folder / "other", seed=5)
    line = [command, str(trained.run), f"--target={other}"]
    check_refused(line, "the assistant belongs to", trained.folder, capsys)
    shutil.rmtree(other)


EVALUATING: dict[str, tuple[Lines, str]] = {
    "no answers": (["--max_new_tokens=0"], "max_new_tokens is 0"),
    "pick nothing": (["--pick.enabled=true", "--pick.alphas=[]"], "pick has no alphas"),
    "pick on all rows": (
        ["--pick.enabled=true", "--pick.validation_fraction=1", "--retain_model=x"],
        "pick.validation_fraction is 1",
    ),
    "rule": (["--rule=centered"], "did you mean 'centred'?"),
    "no model": (["--model=./none"], "'./none' is no folder"),
    "two models": (["--model=./none", "--target=./other"], "--model and --target were given; expected one"),
}


@pytest.mark.parametrize("name", EVALUATING)
def test_before_scoring(name: str, trained: Place, capsys: pytest.CaptureFixture[str]) -> None:
    flags, words = EVALUATING[name]
    check_refused(["evaluate", str(trained.run), *flags], words, trained.folder, capsys)


def test_retain_results_of_other_rows(trained: Place, capsys: pytest.CaptureFixture[str]) -> None:
    log = trained.folder / "log.json"
    log.write_text('{"other": 1}')
    check_refused(["evaluate", str(trained.run), f"--retain_model={log}"], "log.json", trained.folder, capsys)
    log.unlink()


def test_chat_with_a_rule_that_is_none(trained: Place, capsys: pytest.CaptureFixture[str]) -> None:
    check_refused(["chat", str(trained.run), "--rule=x"], "expected", trained.folder, capsys)


def test_full_disk(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The third file of rows does not fit any more."""
    written = []

    def write(path: Path, rows: Any, mode: int = 0o644) -> None:
        written.append(path)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_text("x")

    monkeypatch.setattr("unlogit.data.prepare.write_json_lines", write)
    check_refused(place.prepare_line, "the disk is full", place.folder, capsys)
    assert len(written) == 3


def test_full_disk_for_the_settings(
    trained: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows never stand beside the settings of others."""

    def write(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("unlogit.runs.folder.write_config", write)
    line = [*trained.prepare_line, "--overwrite", "--holdout_fraction=0.3"]
    check_refused(line, "the disk is full", trained.folder, capsys)


def test_files_of_no_training_are_not_lost(trained: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("assistant.checkpoints", "unlearned.mine"):
        (trained.run / name).mkdir()
        (trained.run / name / "mine").write_text("x")
    check_refused([*trained.train_line, "--overwrite"], "none of a training's files", trained.folder, capsys)
    (trained.run / "assistant.checkpoints" / "mine").unlink()
    (trained.run / "unlearned").rename(trained.run / "unlearned.ours")
    (trained.run / "unlearned.mine").rename(trained.run / "unlearned")
    check_refused([*trained.train_line, "--overwrite"], "files of no training", trained.folder, capsys)
    shutil.rmtree(trained.run / "unlearned")
    (trained.run / "unlearned.ours").rename(trained.run / "unlearned")
    (trained.run / "assistant.checkpoints").rmdir()
    (trained.run / "assistant-near").mkdir()  # where a second assistant goes
    (trained.run / "assistant-near" / "mine").write_text("x")
    unplanned = ["--common_fraction=0", "--stop_forget_nats=0", "--stop_uniform_kl=0"]
    line = [*trained.train_line, "--overwrite", "--objective=dual_uld", *unplanned]
    check_refused(line, "assistant-near holds files of no training", trained.folder, capsys)
    shutil.rmtree(trained.run / "assistant-near")


def test_an_earlier_assistant_outlives_a_training_that_fails(
    trained: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Memory runs out before the first checkpoint of the training that was to replace it."""

    def train(*_: Any, **__: Any) -> None:
        raise MemoryError("can't allocate memory")

    monkeypatch.setattr("unlogit.runs.train.fit", train)
    check_refused([*trained.train_line, "--overwrite"], "memory ran out", trained.folder, capsys)


def test_full_disk_in_training(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No half assistant is left when it cannot be saved."""

    def save(tensors: Any, path: Path, metadata: Any = None) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    assert place.prepare() == 0
    monkeypatch.setattr("unlogit.model.assistant.save_file", save)
    capsys.readouterr()
    assert place.train() == 2
    assert capsys.readouterr().err.startswith("unlogit: error: the disk is full")
    assert not (place.run / "assistant").exists()
    assert not (place.run / "unlearned").exists()
    assert not [path for path in place.run.rglob("*") if b"half" in (path.read_bytes() if path.is_file() else b"")]


def test_ctrl_c_while_preparing(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(path: Path, value: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("unlogit.data.prepare.write_json", write)
    before = contents(place.folder)
    assert place.prepare() == 130
    shown = capsys.readouterr().err
    assert shown.startswith("unlogit: interrupted; nothing is half-written; to go on: unlogit prepare")
    assert shown.count("\n") == 1
    assert contents(place.folder) == before


def test_ctrl_c_while_training_keeps_what_is_needed_to_go_on(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interrupted after two of four steps; without --resume it is refused to throw them away, with it, it ends."""
    from unlogit.training.loop import FitTrainer

    whole = FitTrainer.compute_loss

    def stop(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 2:
            raise KeyboardInterrupt
        return whole(self, *args, **kwargs)

    assert place.prepare() == 0
    monkeypatch.setattr(FitTrainer, "compute_loss", stop)
    assert place.train() == 130
    assert capsys.readouterr().err.splitlines()[-1].endswith("--resume")
    assert not (place.run / "assistant").exists()
    assert read_config(place.run / "config.yaml").train.batch_size == 4
    assert place.train() == 2
    assert "a training that was cut off" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(["train", str(place.run), "--resume"]) == 0
    assert "Resuming from" in capsys.readouterr().out
    assert (place.run / "unlearned" / "config.json").is_file()


def test_the_hub_clients_retries_stay_silent() -> None:
    logging.getLogger("huggingface_hub").setLevel(logging.WARNING)
    quiet()
    assert not logging.getLogger("huggingface_hub.utils._http").isEnabledFor(logging.WARNING)


def test_a_name_in_a_folder_that_is_here_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_place("runs/mien") == "runs/mien"
    (tmp_path / "runs").mkdir()
    with pytest.raises(ModelError, match="'runs/mien' is no folder"):
        model_place("runs/mien")
    assert model_place("mien") == "mien"
