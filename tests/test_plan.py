"""Steps that succeed in place of passes: what `prepare`, `run` and `train` plan, and what they leave as it was set."""

from pathlib import Path

import pytest

from support.tiny_run import Place
from unlogit.cli.main import main
from unlogit.runs.folder import RunFolder
from unlogit.settings.config_file import read_config, read_yaml
from unlogit.settings.options import CombinationOptions, TrainOptions

ROOT = Path(__file__).resolve().parents[1]


def options(place: Place) -> TrainOptions:
    return RunFolder(place.run).read_config().train


def test_prepare_plans_the_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """8 rows are one batch; 24 rows of the uniform side are three times that; 300 steps are 300 passes."""
    place = Place.make(tmp_path)
    assert place.prepare() == 0
    train = options(place)
    assert (train.batch_size, train.uniform_ratio, train.epochs, train.common_fraction) == (8, 3.0, 300.0, 0.03)
    assert (train.stop_uniform_kl, train.stop_forget_nats, train.minutes, train.lift_weight) == (0.02, 0.1, 120.0, 0.05)
    assert "Planned from the rows to forget, for what was not given: epochs 300" in capsys.readouterr().out


def test_what_a_file_sets_stays_although_it_is_the_default(tmp_path: Path) -> None:
    place = Place.make(tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text("train: {uniform_ratio: 1.0, epochs: 7, stop_uniform_kl: 0.0, lift_weight: 0.0}\n")
    assert place.prepare(f"--config={config}") == 0
    train = options(place)
    assert (train.uniform_ratio, train.epochs, train.stop_uniform_kl, train.batch_size) == (1.0, 7.0, 0.0, 8)
    assert train.lift_weight == 0.0


def test_without_rows_held_out_there_is_no_goal(tmp_path: Path) -> None:
    place = Place.make(tmp_path)
    assert place.prepare("--holdout_fraction=0") == 0
    assert options(place).stop_uniform_kl == 0.0
    assert place.train() == 0


def test_another_objective_is_not_trained_by_the_plan(tmp_path: Path) -> None:
    """Full-model unlearning of 300 passes would ruin the model; passes that are given stay."""
    place = Place.make(tmp_path)
    assert place.prepare() == 0
    flags = ["--objective=npo_kl", "--save_steps=50", "--dtype=float32", "--adapter=full"]
    assert main(["train", str(place.run), *flags]) == 0
    train = options(place)
    assert (train.epochs, train.batch_size, train.minutes, train.stop_uniform_kl) == (None, 16, 0.0, 0.0)
    assert RunFolder(place.run).read_config().combination.alpha == CombinationOptions.alpha
    assert main(["train", str(place.run), *flags, "--overwrite", "--epochs=2", "--objective=simnpo"]) == 0
    assert options(place).epochs == 2.0


def test_run_goes_on_from_its_ceiling(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The training that did not succeed says how it goes on, and does: one pass of one step, then two."""
    place = Place.make(tmp_path)
    assert place.prepare() == 0
    flags = ["--save_steps=5", "--dtype=float32", "--rank=4"]
    assert main(["train", str(place.run), *flags, "--epochs=1"]) == 0
    said = capsys.readouterr().err
    assert "training stopped at step 1, the last that was planned, before it had succeeded" in said
    assert "hardly learnt" in said
    assert f"To go on from there: unlogit train {place.run} --resume --epochs 2" in said
    assert main(["train", str(place.run), "--resume"]) == 0
    assert "step " not in capsys.readouterr().out
    assert main(["train", str(place.run), "--resume", "--epochs=2"]) == 0
    assert "step 2/2" in capsys.readouterr().out
    checkpoints = sorted((place.run / "assistant.checkpoints").iterdir())
    assert main(["train", str(place.run), "--overwrite", "--max_tokens=3"]) == 2  # refused: all is as it was
    assert "raise max_tokens" in capsys.readouterr().err
    assert sorted((place.run / "assistant.checkpoints").iterdir()) == checkpoints
    assert main(["train", str(place.run), "--resume", "--epochs=3", "--rank=8"]) == 2
    assert "assistant.rank 4 → 8" in capsys.readouterr().err


def test_a_whole_run_plans_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place.make(tmp_path)
    config = tmp_path / "config.yaml"
    data = f"forget: {place.folder / 'forget.jsonl'}, retain: {place.folder / 'retain.jsonl'}, neutral: none"
    config.write_text(
        f"output: {place.run}\ntarget: {place.folder / 'target'}\ndata: {{{data}, paraphrases: 0}}\n"
        "train: {epochs: 1, dtype: float32}\nevaluate: {max_rows: 2, max_new_tokens: 2}\n"
    )
    assert main(["run", str(config)]) == 0
    said = capsys.readouterr()
    assert "Planned from the rows to forget, for what was not given: batch_size 8, " in said.out
    assert f"unlogit train {place.run} --resume --epochs 2" in said.err
    assert main(["run", "--train.epochs=2", str(config), "--resume"]) == 0
    assert "step 2/2" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["gutenberg_smollm2", "gutenberg_tiny", "tofu_forget10_smollm2", "tofu_forget10_tiny"])
def test_published_configs_leave_nothing_to_plan(name: str) -> None:
    path = ROOT / "configs" / f"{name}.yaml"
    planned = {"batch_size", "uniform_ratio", "common_fraction", "epochs", "minutes"}
    assert planned | {"stop_uniform_kl", "stop_forget_nats"} <= set(read_yaml(path)["train"])
    assert read_config(path).train.minutes == 0.0
