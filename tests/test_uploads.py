"""The assistant is secret: no way that transformers has of uploading takes it along. The hub is faked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from transformers import AutoModelForCausalLM, PreTrainedModel, Trainer, TrainingArguments, pipeline

from support.models_for_tests import tiny_tokenizer
from support.tiny_models import random_assistant, tiny_target
from unlogit import UnlearnedForCausalLM
from unlogit.errors import ModelError

ROWS = [{"input_ids": [5, 9, 33], "labels": [5, 9, 33]}] * 2


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of all files that reach the hub."""
    paths: list[str] = []

    def create_repo(api: Any, repo_id: str, **_: Any) -> Any:
        return huggingface_hub.RepoUrl(f"https://huggingface.co/someone/{Path(repo_id).name}")

    def upload_folder(api: Any, *, folder_path: Any, run_as_future: bool = False, **_: Any) -> Any:
        paths.extend(str(path.relative_to(folder_path)) for path in Path(folder_path).rglob("*") if path.is_file())

    def create_commit(api: Any, repo_id: str, operations: Any, **_: Any) -> None:
        paths.extend(operation.path_in_repo for operation in operations)

    for function in (create_repo, upload_folder, create_commit):
        monkeypatch.setattr(huggingface_hub.HfApi, function.__name__, function)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_branch", lambda *_, **__: None)
    return paths


def ordinary(folder: Path) -> Any:
    tiny_target().save_pretrained(folder / "target")
    return AutoModelForCausalLM.from_pretrained(folder / "target")


def unlearned(folder: Path) -> Any:
    target = ordinary(folder)
    return UnlearnedForCausalLM.build(target, [random_assistant(target)])


def trainer_of(model: Any, folder: Path, **settings: Any) -> Trainer:
    arguments = TrainingArguments(
        output_dir=folder / "out", max_steps=1, save_steps=1, report_to=[], dataloader_pin_memory=False, **settings
    )
    return Trainer(model, arguments, train_dataset=ROWS, processing_class=tiny_tokenizer())


def pipeline_of(model: Any) -> Any:
    return pipeline("text-generation", model=model, tokenizer=tiny_tokenizer())


WAYS: dict[str, Callable[[Any, Path], Any]] = {
    "push": lambda model, folder: model.push_to_hub("name"),
    "another class's push": lambda model, folder: PreTrainedModel.push_to_hub(model, "name"),
    "save": lambda model, folder: model.save_pretrained(folder / "out", push_to_hub=True, repo_id="name"),
    "pipeline": lambda model, folder: pipeline_of(model).push_to_hub("name"),
    "pipeline's save": lambda model, folder: pipeline_of(model).save_pretrained(folder / "out", push_to_hub=True),
    "trainer": lambda model, folder: trainer_of(model, folder).push_to_hub(),
    "trainer's save": lambda model, folder: trainer_of(model, folder, push_to_hub=True).save_model(),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_assistant_stays(way: str, tmp_path: Path, uploads: list[str]) -> None:
    """An ordinary model arrives by the same call."""
    with pytest.raises(ModelError, match="the assistant has memorised what must be forgotten"):
        WAYS[way](unlearned(tmp_path), tmp_path)
    assert not [path for path in uploads if "assistant" in path]
    WAYS[way](ordinary(tmp_path), tmp_path)
    assert "model.safetensors" in uploads


def test_it_does_not_train(tmp_path: Path, uploads: list[str]) -> None:
    """So that no checkpoint of it is made, to be uploaded: nothing of it has a gradient, however it was made."""
    model = unlearned(tmp_path)
    assert not [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    with pytest.raises(RuntimeError, match="does not require grad"):
        trainer_of(model, tmp_path, push_to_hub=True, hub_strategy="all_checkpoints").train()
    assert not [path for path in uploads if "assistant" in path]


def test_saving_it_here_is_allowed(tmp_path: Path) -> None:
    unlearned(tmp_path).save_pretrained(tmp_path / "model")
    pipeline_of(unlearned(tmp_path)).save_pretrained(tmp_path / "pipeline")
    for name in ("model", "pipeline"):
        assert (tmp_path / name / "assistant" / "assistant.safetensors").is_file()
