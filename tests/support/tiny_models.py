"""Tiny random models of every architecture that is tried, and assistants that differ a lot from them.

The initialisation is large (standard deviation 0.4): at transformers' 0.02 all logits are alike, and a broken cache or
a forgotten reorder goes unseen.
"""

import copy
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PhiConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from unlogit.model.assistant import GAIN_SPEED, Assistant, new_assistant
from unlogit.settings.options import AssistantOptions

VOCABULARY = 64
DEPTH = 4

COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.4,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}

CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**COMMON),
    "qwen2": Qwen2Config(**COMMON),
    "qwen3": Qwen3Config(**COMMON, head_dim=8),
    "mistral": MistralConfig(**COMMON, sliding_window=4),
    "gemma": GemmaConfig(**COMMON, head_dim=8),
    "gemma2": Gemma2Config(**COMMON, head_dim=8, sliding_window=4, query_pre_attn_scalar=8),
    "gemma3": Gemma3TextConfig(**COMMON, head_dim=8, sliding_window=4, query_pre_attn_scalar=8),
    "phi": PhiConfig(**COMMON),
    "gpt_neox": GPTNeoXConfig(**COMMON),
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=DEPTH,
        n_head=4,
        n_positions=64,
        initializer_range=0.4,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    ),
}


def tiny_target(architecture: str = "llama", seed: int = 0) -> Any:
    """A random target in evaluation mode, the same for the same seed."""
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[architecture])).eval()  # training changes it


def random_assistant(target: Any, num_layers: int = 2, adapter: Any = "lora", seed: int = 1) -> Assistant:
    """An assistant far from its target: LoRA deltas about as large as the weights, or blocks with other weights."""
    options = AssistantOptions(num_layers, adapter, rank=4, lora_alpha=4.0)
    assistant = new_assistant(target, options, "tiny")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in assistant.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name == "gain":
                parameter.copy_((1 + 0.3 * noise) / GAIN_SPEED)
            elif adapter == "lora":
                parameter.copy_(0.3 * noise)
            elif name.startswith("blocks"):
                parameter.add_(0.2 * noise)
    return assistant.eval()


def truncated(target: Any, assistant: Assistant) -> Any:
    """The assistant as a plain model of K blocks with its deltas merged: nothing of ours runs in it."""
    blocks = assistant.settings.num_layers
    config = copy.deepcopy(target.config)
    config.num_hidden_layers = blocks
    if getattr(config, "layer_types", None) is not None:
        config.layer_types = config.layer_types[:blocks]
    model = AutoModelForCausalLM.from_config(config).eval()
    model.load_state_dict(target.state_dict(), strict=False)
    inner = model.base_model
    own = inner.h if hasattr(inner, "h") else inner.layers
    last = next(n for n in ("norm", "ln_f", "final_layernorm", "final_layer_norm") if hasattr(inner, n))
    gain = GAIN_SPEED * assistant.gain.detach()
    getattr(inner, last).register_forward_hook(lambda module, args, output: output * gain)
    with torch.no_grad():
        if assistant.settings.adapter == "full":
            own.load_state_dict(assistant.blocks.state_dict())
            getattr(inner, last).load_state_dict(assistant.norm.state_dict())
        else:
            for block, deltas in zip(own, assistant.deltas, strict=True):
                for path, delta in deltas.items():
                    linear = block.get_submodule(path.replace("/", "."))
                    change = delta.scale * delta.lora_B @ delta.lora_A  # [outputs, inputs]
                    linear.weight += change if isinstance(linear, torch.nn.Linear) else change.T
    return model


class Reference:
    """The unlearned model written the slow way: separate models, no cache, no padding, the formula by hand."""

    def __init__(self, target: Any, assistants: list[Assistant], weights: list[float]) -> None:
        self.target, self.weights = target, weights
        self.assistants = [truncated(target, assistant) for assistant in assistants]

    @torch.no_grad()
    def logits(self, row: list[int], alpha: float = 0.75, filter_rate: float = 0.001) -> torch.Tensor:
        """Rule ``centred`` for one row of T tokens: [T, V]."""
        ids = torch.tensor([row])
        target = self.target(ids, use_cache=False).logits[0].double()
        difference = torch.zeros_like(target)
        for model, weight in zip(self.assistants, self.weights, strict=True):
            logits = model(ids, use_cache=False).logits[0].double()
            difference += weight * (logits - logits.mean(-1, keepdim=True))
        probabilities = target.softmax(-1)
        kept = probabilities >= filter_rate * probabilities.amax(-1, keepdim=True)
        return torch.where(kept, target - alpha * difference, target).float()

    def greedy(self, row: list[int], count: int) -> list[int]:
        """The likeliest next token, ``count`` times over, each from a full forward."""
        for _ in range(count):
            row = [*row, int(self.logits(row)[-1].argmax())]
        return row
