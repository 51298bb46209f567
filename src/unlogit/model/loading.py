"""Loading models and tokenizers by folder or hub id, with one line for whatever can be wrong with them."""

import logging
import os
from pathlib import Path
from typing import Any

import torch

from unlogit.device import choose_device, choose_dtype
from unlogit.errors import ModelError
from unlogit.model.recorded_target import check_target_folder
from unlogit.model.vocabulary import check_vocabulary

UNLEARNED = "unlearned"
"""The folder of the unlearned model inside a run folder."""


def quiet() -> None:
    """Turn off transformers' progress bars and advice, and the hub client's word on each retry: we say what is due."""
    import transformers

    transformers.logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    transformers.logging.disable_progress_bar()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else a warning for each forked worker


def model_place(name: str) -> str:
    """Return where the model is that ``name`` means: of a run folder its unlearned model, else ``name`` itself.

    Raises:
        ModelError: ``name`` is empty, or a folder without a model, or can be neither a folder nor a hub id.
    """
    folder = Path(name).expanduser()
    if name and (folder / UNLEARNED / "config.json").is_file():
        return str(folder / UNLEARNED)
    if name and folder.is_dir():
        if (folder / "config.json").is_file():
            return str(folder)
        if (folder / "config.yaml").is_file():
            raise ModelError(f"the run {name} has no unlearned model yet; expected one: run `unlogit train {name}`")
        raise ModelError(f"the folder {name} has no config.json; expected a saved model: check the path")
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith("/")
    looks_like_path = looks_like_path or ("/" in name and folder.parent.is_dir())  # runs/mien, where runs/mine is
    if not name.strip() or looks_like_path or folder.exists():
        raise ModelError(f"{name!r} is no folder; expected a model's folder or hub id (owner/name): check the path")
    return name


def load_tokenizer(name: str) -> Any:
    """Load the tokenizer of a model.

    Raises:
        ModelError: there is none, it is no fast tokenizer, it has no end-of-text token, or is of another model.
    """
    from transformers import AutoTokenizer

    quiet()
    location = model_place(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(location)
    except Exception as error:  # transformers raises whatever its many tokenizers raise
        raise ModelError(
            f"the tokenizer of {name!r} cannot be loaded ({_reason(error)}); expected one beside the model: "
            "check the name, or save the tokenizer into the model's folder"
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"the tokenizer of {name!r} gives no character offsets; expected a fast one (tokenizer.json): "
            "convert it with AutoTokenizer.from_pretrained(…, use_fast=True).save_pretrained(…)"
        )
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer of {name!r} has no end-of-text token; expected one, since the model must learn where an "
            "answer ends: set eos_token in its tokenizer_config.json"
        )
    rows = embedding_rows_of(name)
    if rows is not None:
        check_vocabulary(tokenizer, rows, name)
    return tokenizer


def load_target(name: str, dtype: str | torch.dtype = "float32") -> Any:
    """Load a causal language model in evaluation mode, on the GPU if there is one.

    The weights are read into ``dtype`` one by one, so that a model in bfloat16 never needs the memory of float32.
    Full weights that train are the exception: they are master weights, and load in float32.

    Args:
        name: folder or hub id; a run folder means its unlearned model.
        dtype: type of the weights: a type of torch, or the name of one (``float32``, ``bfloat16``), or ``auto`` for
            what this machine is faster with.

    Raises:
        ModelError: there is no such model, or it is none that generates text.
    """
    from transformers import AutoModelForCausalLM

    quiet()
    location = model_place(name)
    device = choose_device()
    weights_dtype = dtype if isinstance(dtype, torch.dtype) else choose_dtype(dtype, device)[0]
    try:
        model = AutoModelForCausalLM.from_pretrained(location, dtype=weights_dtype)
    except (ModelError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # missing, unreachable, of an unknown type, cut off, not safetensors, …
        if "No space left" in str(error):
            raise
        raise _not_loaded(name, error) from error
    return model.to(device).eval()


def new_model(name: str, seed: int) -> Any:
    """Return a model of the shape of another, with random weights that depend on ``seed`` alone, in float32.

    Raises:
        ModelError: there is no such model, or it is none that generates text.
    """
    from transformers import AutoModelForCausalLM

    config = _config(name)
    torch.manual_seed(seed)
    try:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except ValueError as error:
        raise _not_loaded(name, error) from error
    return model.to(choose_device())


def load_unlearned(folder: str, target: str = "", dtype: str = "auto") -> Any:
    """Load an unlearned model by its folder or run folder.

    Args:
        folder: see ``model_place``.
        target: where its target is; empty for where it was when the assistant was trained.
        dtype: see ``load_target``.

    Raises:
        ModelError: there is none, its target is gone, or is not the one that the assistant was trained on.
    """
    from unlogit.model.configuration import UnlearnedConfig
    from unlogit.model.unlearned import UnlearnedForCausalLM

    config = _config(folder)
    if not isinstance(config, UnlearnedConfig):
        raise ModelError(
            f"{folder!r} holds a model of type {config.model_type!r}; expected an unlearned model: give a run folder, "
            "or its unlearned/"
        )
    model_folder = Path(model_place(folder))
    if not target:
        check_target_folder(config.target_name, model_folder)
    model = load_target(target or config.target_name, dtype)
    return UnlearnedForCausalLM.from_pretrained(model_folder, target=model, config=config)


def is_combined(name: str) -> bool:
    """Whether a folder or hub id, or a run's unlearned model, is a target with branches and no model of its own.

    Raises:
        ModelError: there is no such model.
    """
    from unlogit.model.configuration import UnlearnedConfig

    return isinstance(_config(name), UnlearnedConfig)


def check_ordinary(name: str) -> None:
    """Refuse an unlearned model where a model is asked for that has weights of its own.

    Raises:
        ModelError: it is one, or there is no such model.
    """
    from unlogit.model.configuration import UnlearnedConfig

    config = _config(name)
    if isinstance(config, UnlearnedConfig):
        raise ModelError(
            f"{name!r} is an unlearned model, which has no weights of its own; expected an ordinary model: use "
            f"`unlogit forget --model {name}` to forget more, or give its target, {config.target_name}"
        )


def depth_of(name: str) -> int | None:
    """Return a model's number of blocks from its config alone; None where it does not say.

    Raises:
        ModelError: there is no such model.
    """
    depth: int | None = getattr(_config(name).get_text_config(), "num_hidden_layers", None)
    return depth


def embedding_rows_of(name: str) -> int | None:
    """Return how many token ids a model has a row for, from its config alone; None where it does not say.

    Raises:
        ModelError: there is no such model.
    """
    rows: int | None = getattr(_config(name).get_text_config(), "vocab_size", None)
    return rows


def _config(name: str) -> Any:
    from transformers import AutoConfig

    quiet()
    location = model_place(name)
    try:
        return AutoConfig.from_pretrained(location)
    except Exception as error:  # as in load_target
        raise _not_loaded(name, error) from error


def _not_loaded(name: str, error: Exception) -> ModelError:
    return ModelError(
        f"the model {name!r} cannot be loaded ({_reason(error)}); expected a folder or hub id of a causal language "
        "model: check the name, or download it and give its folder"
    )


def _reason(error: Exception) -> str:
    """Return the first line of an error's message, which for transformers is the one that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200].rstrip(" .:;")
