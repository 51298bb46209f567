"""What is measured: Llamas and assistants with random weights, and rows as long as TOFU's."""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.cache_utils import DynamicCache

from benchmarks.options import BenchOptions
from unlogit.data.batches import LENGTH_POOL_BATCHES, two_sided_steps
from unlogit.data.encode import Encoded
from unlogit.data.examples import Example
from unlogit.demo.people import make_people
from unlogit.demo.tiny import tiny_tokenizer
from unlogit.device import choose_device, choose_dtype
from unlogit.model.assistant import Assistant, new_assistant
from unlogit.model.unlearned import UnlearnedForCausalLM
from unlogit.settings.options import AssistantOptions, CombinationOptions

ATTENTION = "sdpa"
"""Of all models: target, unlearned model, and what trains."""
HEAD_SIZE = 64
KEY_VALUE_SHARE = 2  # query heads for each head of keys and values
LOGIT_SPREAD = 4.0
"""Standard deviation of the target's logits, by which a softmax over 32 thousand tokens is about as sure as a trained
model's."""
DELTA_SPREAD = 0.02
MLP_TIMES = 4
"""Width of an MLP, in widths of the model."""
PROMPT_TOKENS, ANSWER_TOKENS = (18, 32), (20, 64)
"""The least and the most of a row; TOFU's are about so long."""


@dataclass(frozen=True)
class Setting:
    """What all benchmarks of a run share."""

    options: BenchOptions
    dtype_name: str

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return choose_device()

    @property
    def dtype(self) -> torch.dtype:
        """What is computed in."""
        dtype: torch.dtype = getattr(torch, self.dtype_name)
        return dtype

    @property
    def branch_layers(self) -> int:
        """K, a quarter of the depth."""
        return max(1, self.options.layers // 4)

    def of_depth(self, layers: int, hidden: int | None = None) -> "Setting":
        """The same with another number of blocks, and another size."""
        return replace(self, options=replace(self.options, layers=layers, hidden=hidden or self.options.hidden))

    def values(self) -> dict[str, Any]:
        """For a process of its own, which makes it again by ``setting_from``."""
        return {"options": asdict(self.options), "dtype_name": self.dtype_name}


def described(setting: Setting) -> dict[str, Any]:
    """What stands beside the findings: the random model, its type, attention and cache, the same on both sides."""
    return asdict(setting.options) | {"dtype": setting.dtype_name, "attention": ATTENTION, "cache": "DynamicCache"}


def setting_for(options: BenchOptions) -> tuple[Setting, str]:
    """Return the setting and why it computes in its type."""
    dtype, reason = choose_dtype(options.dtype, choose_device())
    return Setting(options, str(dtype).removeprefix("torch.")), reason


def setting_from(values: dict[str, Any]) -> Setting:
    """Make a setting from ``Setting.values``."""
    options = values["options"]
    return Setting(BenchOptions(**options | {"vocabularies": tuple(options["vocabularies"])}), values["dtype_name"])


def random_target(setting: Setting, vocabulary: int, dtype: torch.dtype | None = None) -> Any:
    """Make a Llama with random weights and tied embeddings, made in its type: nothing larger stands in between."""
    options = setting.options
    heads = max(1, options.hidden // HEAD_SIZE)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=options.hidden,
        intermediate_size=MLP_TIMES * options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // KEY_VALUE_SHARE),
        max_position_embeddings=16_384,
        tie_word_embeddings=True,
        attn_implementation=ATTENTION,
    )
    torch.manual_seed(options.seed)
    default_dtype = torch.get_default_dtype()
    torch.set_default_dtype(dtype or setting.dtype)
    try:
        target = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(default_dtype)
    spread = config.initializer_range * options.hidden**0.5
    nn.init.constant_(target.model.norm.weight, LOGIT_SPREAD / spread)
    return target.to(setting.device).eval().requires_grad_(False)


def random_assistant(setting: Setting, target: Any, **shape: Any) -> Assistant:
    """Make an assistant on a quarter of the blocks whose deltas are not zero."""
    assistant = new_assistant(target, AssistantOptions(**{"num_layers": setting.branch_layers} | shape), "random")
    for name, parameter in assistant.named_parameters():
        if name.endswith("lora_B"):
            nn.init.normal_(parameter, std=DELTA_SPREAD)
    return assistant.to(setting.device)


def unlearned_model(setting: Setting, target: Any, branches: int = 1, **shape: Any) -> UnlearnedForCausalLM:
    """Combine the target with random assistants, at the settings that a run has by default."""
    assistants = [random_assistant(setting, target, **shape) for _ in range(branches)]
    for assistant in assistants:
        assistant.cast_deltas(setting.dtype)  # as a loaded model has them
    return UnlearnedForCausalLM.build(target, assistants, combination=CombinationOptions())


def filled_cache(setting: Setting, model: Any, rows: int, tokens: int) -> DynamicCache:
    """Return a key-value cache as it stands after ``tokens`` tokens, with random content."""
    config = model.config.get_text_config()
    cache = DynamicCache(config=config)
    shape = rows, config.num_key_value_heads, tokens, HEAD_SIZE
    content = torch.randn(2, *shape, dtype=setting.dtype, device=setting.device)
    for layer in range(config.num_hidden_layers):
        cache.update(content[0].clone(), content[1].clone(), layer)
    return cache


def random_rows(setting: Setting, count: int, vocabulary: int) -> list[Encoded]:
    """Make rows of random tokens, as long as TOFU's."""
    dice = random.Random(setting.options.seed)
    rows = []
    for _ in range(count):
        prompt, answer = dice.randint(*PROMPT_TOKENS), dice.randint(*ANSWER_TOKENS)
        rows.append(Encoded(tuple(dice.randrange(vocabulary) for _ in range(prompt + answer)), prompt))
    return rows


def random_batches(setting: Setting, a_side: int, vocabulary: int) -> list[tuple[list[Encoded], list[Encoded]]]:
    """Return the rows to forget and to keep of each step in a pass, put together in the product's own order."""
    count = a_side * LENGTH_POOL_BATCHES
    rows = random_rows(setting, 2 * count, vocabulary)
    lengths = [len(row.input_ids) for row in rows]
    steps = two_sided_steps([lengths[:count], lengths[count:]], [a_side, a_side], setting.options.seed, epoch=0)
    batches = [[rows[i] for i in step] for step in steps]
    return [(batch[:a_side], batch[a_side:]) for batch in batches]


def bytes_of(modules: Sequence[nn.Module]) -> int:
    """Bytes of all parameters, each storage once."""
    parameters = {p.data_ptr(): p for module in modules for p in module.parameters()}
    return sum(p.numel() * p.element_size() for p in parameters.values())


def made_up(count: int) -> tuple[list[Example], Any]:
    """Return questions about made-up people with paraphrased and wrong answers, at most ``count``, and a tokenizer."""
    people = make_people(max(2, min(200, count // 8 + 2)))
    rows = people.retain + people.forget
    return rows[:count], tiny_tokenizer(rows)
