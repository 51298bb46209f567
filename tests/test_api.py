"""``unlogit.forget`` and ``unlogit.load``: what they return, what they leave alone, what they refuse first."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

import unlogit
from support.tiny_run import PEOPLE, Place, tiny_config, tiny_tokenizer
from unlogit.errors import ConfigError, DataError, ModelError
from unlogit.runs.digests import changes, check_sources_unchanged
from unlogit.runs.folder import RunFolder

FORGET = [row.to_row() for row in PEOPLE.forget]
RETAIN = [row.to_row() for row in PEOPLE.retain]
SHORT: dict[str, Any] = {
    "train": {"epochs": 2, "batch_size": 4},
    "assistant": {"num_layers": 2, "rank": 4},
    "data": {"evaluation_rows": 6, "neutral": "none"},
}


@pytest.fixture(autouse=True)
def few_ghosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlogit.runs.forget.GHOSTS", 2)
    monkeypatch.setattr("unlogit.runs.ghosts.MAX_NEW_TOKENS", 4)


def model_in_memory(dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(tiny_config()).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_model_is_left_as_it_is(dtype: torch.dtype, capsys: pytest.CaptureFixture[str]) -> None:
    """Type and weights stay; what comes out differs from it at an alpha above 0, and generates."""
    model, tokenizer = model_in_memory(dtype), tiny_tokenizer()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    unlearned = unlogit.forget(model, tokenizer, forget=FORGET, retain=RETAIN, **SHORT)
    assert model.dtype == dtype
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    ids = tokenizer("Question: Where?\nAnswer:", return_tensors="pt").input_ids
    with torch.no_grad():
        assert not torch.equal(unlearned(ids).logits, model(ids).logits)
    assert unlearned.generate(ids, max_new_tokens=3, do_sample=False).shape[1] == ids.shape[1] + 3
    assert capsys.readouterr().out == ""


def test_without_rows_to_keep(tmp_path: Path) -> None:
    """The model's own answers to the same questions about nobody stand in; the assistant is frozen."""
    place = Place.make(tmp_path)
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(place.folder / "target")
    unlearned = unlogit.forget(model, tiny_tokenizer(), forget=FORGET, output=place.run, **SHORT)
    ghosts = [json.loads(line) for line in (place.run / "ghosts.jsonl").read_text().splitlines()]
    assert 0 < len(ghosts) <= 2 * len(FORGET)
    assert not {row["question"] for row in ghosts} & {row["question"] for row in FORGET}
    assert not any(p.requires_grad for p in unlearned.parameters())


def test_rows_that_changed_are_seen(tmp_path: Path) -> None:
    """Rows that were given as dicts stand in the run's folder, and its hashes are those of a run by command."""
    place = Place.make(tmp_path)
    model = LlamaForCausalLM.from_pretrained(place.folder / "target")
    unlogit.forget(model, tiny_tokenizer(), forget=FORGET, retain=RETAIN, output=place.run, **SHORT)
    folder = RunFolder(place.run)
    digests = json.loads(folder.digests.read_text())
    assert set(digests["sources"]) == {"forget", "retain"}
    assert {"target", "tokenizer"} <= set(digests)
    assert "unlearned/assistant/assistant.safetensors" in digests["trained"]
    assert changes(folder, folder.read_config()) == []
    check_sources_unchanged(folder, folder.read_config())
    (place.run / "rows" / "forget.jsonl").write_text('{"question": "Who?", "answer": "Me."}\n')
    with pytest.raises(ConfigError, match="the rows of forget"):
        check_sources_unchanged(folder, folder.read_config())


def test_a_kept_run_is_loaded_again(tmp_path: Path) -> None:
    """From files, into a folder that the command line goes on with; alike after ``load``."""
    from transformers import AutoModelForCausalLM

    from unlogit.cli.main import main

    place = Place.make(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(place.folder / "target")
    sides = {side: str(place.folder / f"{side}.jsonl") for side in ("forget", "retain")}
    unlearned = unlogit.forget(model, tiny_tokenizer(), output=place.run, **sides, **SHORT)
    again = unlogit.load(place.run, dtype="float32")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, unlearned(ids).logits)
    assert main(["evaluate", str(place.run), "--max_new_tokens=3"]) == 0
    with pytest.raises(ConfigError, match="is not empty"):
        unlogit.forget(model, tiny_tokenizer(), output=place.run, **sides, **SHORT)


def test_what_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()

    def call(model: Any = None, **changes: Any) -> Any:
        rows = {"forget": FORGET, "retain": RETAIN}
        return unlogit.forget(model or model_in_memory(), tokenizer, **{**rows, **SHORT, **changes})

    with pytest.raises(ConfigError, match="epoch is unknown"):
        call(train={"epoch": 1})
    with pytest.raises(ConfigError, match="trian is unknown"):
        call(trian={"epochs": 1})
    with pytest.raises(ConfigError, match="npo_kl trains the model's own weights"):
        call(train={"objective": "npo_kl"})
    with pytest.raises(ModelError, match="made in memory"):
        call(output=tmp_path / "run")
    with pytest.raises(ModelError, match="float16"):
        call(model_in_memory(torch.float16))
    with pytest.raises(DataError):
        call(forget=[{"question": "Who?"}])
    with pytest.raises(ConfigError, match="cannot be reached"):
        call(writer="http://127.0.0.1:9/v1#m")
    assert list(tmp_path.iterdir()) == []
