"""Where an unlearned model's target is: the name that is recorded of it, and loading it by that name."""

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from unlogit.errors import ModelError
from unlogit.files import write_json

log = logging.getLogger(__name__)


def absolute_name(name: str) -> str:
    """Return a folder as an absolute path, a hub id as it is."""
    return str(Path(name).resolve()) if name and Path(name).is_dir() else name


def check_target_folder(target: str, folder: Path) -> None:
    """Refuse a target of the unlearned model in ``folder`` that was a folder and is gone.

    Raises:
        ModelError: it is.
    """
    if Path(target).is_absolute() and not Path(target).is_dir():
        raise ModelError(f"the target's folder {target} is gone; {_give_target(folder)}")


def remember_target(folder: Path, recorded: str, target: str) -> None:
    """Write where the target of the unlearned model in ``folder`` is now, if the ``recorded`` folder is gone.

    Only for a target that was loaded and recognised. A folder that cannot be written to stays as it is.
    """
    location = Path(target).expanduser()
    if not (Path(recorded).is_absolute() and not Path(recorded).is_dir() and location.is_dir()):
        return
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    with suppress(OSError):
        write_json(path, config | {"target_name": absolute_name(str(location))})
        log.info(f"{path} names {location} as the target from now on.")


def load_recorded_target(target: str, folder: Path, **kwargs: Any) -> Any:
    """Load the target of the unlearned model in ``folder``.

    Args:
        target: hub id or folder of the target, as the model's config records it or as a user gives it.
        folder: for messages.
        **kwargs: arguments of ``AutoModelForCausalLM.from_pretrained``; those that only an Auto class passes on are
            left out.

    Raises:
        ModelError: there is no model by that name.
    """
    from transformers.models.auto.modeling_auto import AutoModelForCausalLM

    check_target_folder(target, folder)
    arguments = {key: value for key, value in kwargs.items() if not key.startswith("_") and key != "adapter_kwargs"}
    try:
        return AutoModelForCausalLM.from_pretrained(target, **arguments)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"the target {target!r} cannot be loaded ({reason}); {_give_target(folder)}") from error


def _give_target(folder: Path) -> str:
    return (
        f"expected the model that {folder} was made from: give its folder or hub id, as --target or "
        "from_pretrained(…, target=…)"
    )
