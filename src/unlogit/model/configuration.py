"""What an unlearned model's ``config.json`` holds: a pointer to the target, the branches, and how they are combined.

Light enough to be read without loading torch's models; ``unlogit`` registers it with transformers' ``AutoConfig``.
"""

import copy
from typing import Any, ClassVar

from transformers.configuration_utils import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, AutoConfig

from unlogit.errors import ConfigError, nearest
from unlogit.model.requests import DEFAULTS
from unlogit.settings.options import CombinationOptions

MODES = ("fused", "shared", "copy")
"""How target and branches run: one pass over all rows, one pass each with shared weights, or with copied weights."""


class UnlearnedConfig(PreTrainedConfig):  # type: ignore[misc]
    """Configuration of ``UnlearnedForCausalLM``.

    ``get_text_config()`` is the target's text config with L + ΣK layers, so that everything that sizes a key-value
    cache from a config (``generate``, ``DynamicCache``, ``StaticCache``) makes room for the branches too.
    """

    model_type = "unlogit"
    sub_configs: ClassVar[dict[str, Any]] = {"target_config": AutoConfig}
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["cache", "past_key_values"]

    target_name: str = ""
    """Hub id or absolute folder of the target."""
    target_revision: str | None = None
    """Commit, branch or tag of a target on the hub; None is its main branch."""
    target_config: Any = None
    """The target's own config."""
    branches: Any = None
    """One dict for each branch: ``folder`` (relative to this config's), ``weight``, ``request``, ``strength`` and
    ``adds`` (see ``requests``), and its ``AssistantConfig``."""
    rule: Any = CombinationOptions.rule
    alpha: Any = CombinationOptions.alpha
    filter_rate: Any = CombinationOptions.filter_rate
    mode: str = "fused"
    pad_token_id: Any = None
    bos_token_id: Any = None
    eos_token_id: Any = None
    tie_word_embeddings: bool = False
    use_cache: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        """Turn ``target_config`` into a config object and take the token ids from it."""
        if isinstance(self.target_config, dict):
            registered = self.target_config.get("model_type") in CONFIG_MAPPING
            make = AutoConfig.for_model if registered else PreTrainedConfig  # else the target's own code brings it
            self.target_config = make(**self.target_config)
        self.branches = [DEFAULTS | dict(branch) for branch in self.branches or ()]
        if self.target_config is not None:
            text = self.target_config.get_text_config()
            for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
                setattr(self, name, getattr(text, name, None))
            self.tie_word_embeddings = bool(getattr(text, "tie_word_embeddings", False))
            # set on all sub-configs below, even to None: keep what the target runs with
            kwargs.setdefault("attn_implementation", self.target_config._attn_implementation)
        super().__post_init__(**kwargs)

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PreTrainedConfig:
        """Return the target's text config with L + ΣK layers, the branches' after the target's."""
        if self.target_config is None:
            return self
        text = self.target_config.get_text_config(decoder=decoder, encoder=encoder)
        depths = [int(branch["num_layers"]) for branch in self.branches]
        config = copy.copy(text)
        types = getattr(text, "layer_types", None)
        config.num_hidden_layers = text.num_hidden_layers + sum(depths)
        if types is not None:
            config.layer_types = list(types) + [kind for depth in depths for kind in types[:depth]]
        return config


def _of_target(name: str) -> property:
    def read(self: UnlearnedConfig) -> Any:
        if self.target_config is None:
            raise AttributeError(name)
        return getattr(self.target_config.get_text_config(), name)

    return property(read, doc=f"The target's {name}.")


for _name in (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "head_dim",
):
    setattr(UnlearnedConfig, _name, _of_target(_name))


def check_mode(mode: str) -> str:
    """Return ``mode``.

    Raises:
        ConfigError: it is none of ``MODES``.
    """
    if mode not in MODES:
        raise ConfigError(f"unknown mode {mode!r}{nearest(mode, list(MODES))}; expected one of {', '.join(MODES)}")
    return mode


AutoConfig.register(UnlearnedConfig.model_type, UnlearnedConfig, exist_ok=True)
