"""Where an unlearned model's target is found: the name that is recorded of it, and loading it by that name."""

from pathlib import Path
from typing import Any

from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from unlogit.errors import ModelError


def absolute_name(name: str) -> str:
    """Return a folder as an absolute path, a hub id as it is."""
    return str(Path(name).resolve()) if name and Path(name).is_dir() else name


def check_there(place: str, folder: Path) -> None:
    """Refuse a target of the unlearned model in ``folder`` that was a folder and is gone.

    Raises:
        ModelError: it is.
    """
    if Path(place).is_absolute() and not Path(place).is_dir():
        raise ModelError(f"the target's folder {place} is gone; {_mend(folder)}")


def _mend(folder: Path) -> str:
    return (
        f"expected the model that {folder} was made from: give its folder or hub id, as --target or "
        "from_pretrained(…, target=…)"
    )


def load_target(place: str, folder: Path, **kwargs: Any) -> Any:
    """Load the target of the unlearned model in ``folder``.

    Args:
        place: hub id or folder of the target.
        folder: for messages.
        **kwargs: arguments of ``AutoModelForCausalLM.from_pretrained``; those that only an Auto class passes on are
            left out.

    Raises:
        ModelError: there is no model in that place.
    """
    check_there(place, folder)
    arguments = {key: value for key, value in kwargs.items() if not key.startswith("_") and key != "adapter_kwargs"}
    try:
        return AutoModelForCausalLM.from_pretrained(place, **arguments)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"the target {place!r} cannot be loaded ({reason}); {_mend(folder)}") from error
