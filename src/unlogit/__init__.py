"""unlogit: make a large language model forget given documents by logit difference, and measure how well it forgot.

``import unlogit`` takes no time; after it, transformers' ``AutoConfig`` and ``AutoModelForCausalLM`` load our folders.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from unlogit.model import registration

if TYPE_CHECKING:
    from unlogit.api import forget, load
    from unlogit.model.configuration import UnlearnedConfig
    from unlogit.model.logit_difference import combine_logits
    from unlogit.model.unlearned import UnlearnedForCausalLM

__version__ = "0.1.0"
__all__ = ["UnlearnedConfig", "UnlearnedForCausalLM", "__version__", "combine_logits", "forget", "load"]

_HOMES = {
    "forget": "unlogit.api",
    "load": "unlogit.api",
    "UnlearnedConfig": "unlogit.model.configuration",
    "UnlearnedForCausalLM": "unlogit.model.unlearned",
    "combine_logits": "unlogit.model.logit_difference",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unlogit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


registration.install()
