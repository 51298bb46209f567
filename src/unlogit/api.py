"""What people call from Python: ``unlogit.forget`` and ``unlogit.load``.

    model = unlogit.forget(target, tokenizer, forget=rows, retain=others)
    model.generate(**tokenizer("Where was Anna born?", return_tensors="pt"))

The steps are those of the command line (``runs``); nothing is printed.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from unlogit.data.prepare import prepare
from unlogit.data.sources import source_in
from unlogit.device import choose_device
from unlogit.errors import ConfigError, ModelError
from unlogit.files import write_json_lines
from unlogit.model.loading import load_unlearned, quiet
from unlogit.model.unlearned import UnlearnedForCausalLM
from unlogit.runs import forget as forget_settings
from unlogit.runs.checks import check_shape, check_train
from unlogit.runs.digests import record_prepared, record_trained
from unlogit.runs.folder import RunFolder
from unlogit.runs.ghosts import write_ghosts
from unlogit.runs.plan import planned
from unlogit.runs.train import RunTraining, read_pools
from unlogit.runs.writing import write_rows, writer_of
from unlogit.settings.config_file import build_config, tree_of, updated
from unlogit.settings.objective_options import objective_saying
from unlogit.settings.options import RunConfig
from unlogit.training.recipe import combines

Rows = str | Path | Sequence[Mapping[str, Any]]
"""A file, folder, hub data set or ``tofu:NAME``; or rows as dicts, with the columns that a file would have."""


def forget(
    model: Any,
    tokenizer: Any,
    *,
    forget: Rows,
    retain: Rows | None = None,
    output: str | Path | None = None,
    instead: str = "",
    writer: str = "",
    **settings: Mapping[str, Any],
) -> UnlearnedForCausalLM:
    """Train an assistant that remembers the forget rows, and return the model without them.

    Args:
        model: a causal language model of transformers in float32 or bfloat16, the type that is computed in; or an
            unlearned one, which forgets more. Frozen, put into evaluation mode and moved to the GPU if there is one;
            its weights stay as they are, and are shared.
        tokenizer: its fast tokenizer.
        forget: what must go.
        retain: what must stay: rows like the forget rows, on other subjects. None: the model's own answers to the same
            questions about people who do not exist.
        output: new run folder to keep rows, assistant and settings in, which ``unlogit evaluate`` reads; None keeps
            nothing. Its name is that of the request, see ``model.requests``.
        instead: what to say in place of what is forgotten: ``anything`` likely, or a ``refusal``.
        writer: what writes wordings and questions, see ``--writer``; an endpoint gets the rows. Empty: the model.
        **settings: sections of a config file as dicts, such as ``train={"epochs": 20}``.

    Raises:
        ConfigError: a setting is unknown or out of range, the objective trains the model's own weights, ``output`` is
            not a new folder, or nobody answers at the writer's address.
        DataError: rows cannot be read or used.
        ModelError: the model is of another type, or has no name that a kept run could point to.
    """
    quiet()
    earlier = model if isinstance(model, UnlearnedForCausalLM) else None
    target = earlier.target if earlier else model
    _check_model(target, output)
    with tempfile.TemporaryDirectory() as scratch:
        run_path = Path(output) if output is not None else Path(scratch) / "request"
        config = _config(target, run_path, settings, instead)
        make_writer = writer_of(writer)
        if earlier:
            config = replace(config, combination=replace(earlier.combination, **settings.get("combination", {})))
        rows = {"forget": forget} | ({} if retain is None else {"retain": retain})
        sources = {name: _source(side, run_path / "rows" / f"{name}.jsonl") for name, side in rows.items()}
        config = updated(config, {"data": sources})
        folder = RunFolder(run_path)
        model = model.to(choose_device()).eval()
        forget_rows = source_in(config.data.forget, config.data, tokenizer).forget_rows(config.data).training
        named = bool(writer)
        written = write_rows(folder, config, forget_rows, make_writer, model, tokenizer, is_named=named, resume=False)
        forget_rows = written.over(forget_rows)
        inherited = {"combination": asdict(config.combination)} if earlier else {}
        config = planned(config, forget_rows, {**settings, **inherited})
        seed = config.data.seed
        if earlier and output is not None:
            earlier.save_pretrained(folder.earlier)
        ghosts = write_ghosts(model, tokenizer, forget_rows, folder.ghosts, forget_settings.GHOSTS, seed, resume=False)
        prepare(config, tokenizer, lambda: folder.write_config(config), ghosts, written)
        return _trained(folder, config, target, tokenizer, earlier, keep=output is not None)


def _trained(
    folder: RunFolder, config: RunConfig, target: Any, tokenizer: Any, earlier: Any, *, keep: bool
) -> UnlearnedForCausalLM:
    """Train on the rows in ``folder`` and return the unlearned model; with ``keep`` it is written there, too."""
    if keep:
        record_prepared(folder, config)
    folder.begin_training(config)
    pools = read_pools(folder.data)
    training = RunTraining(folder, config, target, tokenizer, pools, keep=keep, bar=False, earlier=earlier)
    unlearned: UnlearnedForCausalLM = training.train()[1]
    if keep:
        record_trained(folder)
    return unlearned


def _check_model(model: Any, output: str | Path | None) -> None:
    """Refuse what would fail after the training, or change the model."""
    if model.dtype not in (torch.float32, torch.bfloat16):
        raise ModelError(
            f"the model is in {model.dtype}; expected float32 or bfloat16: load it with dtype=torch.bfloat16"
        )
    if output is None:
        return
    if Path(output).exists() and any(Path(output).iterdir()):
        raise ConfigError(f"{output} is not empty; expected a new folder for the run: choose another output")
    if not model.name_or_path:
        raise ModelError(
            "the model was made in memory and has no name that a kept run could point to; expected a folder or hub id: "
            "save it and load it from there, or leave output out"
        )


def _config(model: Any, run_path: Path, settings: Mapping[str, Mapping[str, Any]], instead: str) -> RunConfig:
    """Return the run's settings, which compute in the model's own type, so that its weights are not cast."""
    base = {"output": str(run_path), "target": model.name_or_path or "model"}
    config = build_config(base, {"train": {"dtype": str(model.dtype).removeprefix("torch.")}})
    config = updated(config, tree_of({name: dict(values) for name, values in settings.items()}, "forget()"))
    if instead:
        objective = objective_saying(instead, settings.get("train", {}).get("objective", ""))
        config = replace(config, train=replace(config.train, objective=objective))
    check_shape(config.assistant)
    check_train(config.train)
    if not combines(config.train.objective):
        raise ConfigError(
            f"the objective {config.train.objective} trains the model's own weights; expected one with an assistant, "
            "as uld: use `unlogit train`"
        )
    return config


def load(folder: str | Path, target: str = "", dtype: str = "auto") -> UnlearnedForCausalLM:
    """Load an unlearned model by its folder or its run's.

    Args:
        folder: of the unlearned model, or the run folder that holds it.
        target: where its target is now; empty for where it was.
        dtype: ``float32``, ``bfloat16``, or ``auto`` for what this machine is faster with.

    Raises:
        ModelError: there is none, its target is gone, or is not the one that the assistant was trained on.
    """
    model: UnlearnedForCausalLM = load_unlearned(str(folder), target, dtype)
    return model


def _source(rows: Rows, path: Path) -> str:
    """Return a source of rows that ``prepare`` reads; rows that were given as such are written beside the run."""
    if isinstance(rows, (str, Path)):
        return str(rows)
    write_json_lines(path, rows, mode=0o600)
    return str(path)
