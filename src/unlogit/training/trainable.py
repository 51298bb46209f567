"""What a training trains: an assistant, the target's own weights, or an offset model beside it.

Each is the module that the Trainer holds and whose forward is computed, so that DDP, FSDP and gradient accumulation
see every step. ``forward`` returns the predictions at the kept positions: hidden states [N, H] where a frozen ``head``
reads them, else logits [N, V].

* **Assistant** (ULD, Ji et al., arXiv 2406.08607): the target's first blocks with LoRA; the target is not run.
* **Weights**: the target itself, whole or by LoRA (peft, merged at the end).
* **Offset** (δ-unlearning, Huang et al., arXiv 2404.11045): the loss is taken on the combined distribution
  ``z_target + alpha · (z_offset − z_offset at its start)``; gradients go into the offset model alone.

Shape legend: B rows, T tokens, N kept positions, H hidden, V vocabulary.
"""

import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unlogit.device import cast_weights
from unlogit.model.assistant import Assistant, new_assistant
from unlogit.model.decoder import answer_logits
from unlogit.model.ends import end_where_answers_end
from unlogit.model.logit_difference import combined
from unlogit.objectives.head import FrozenHead
from unlogit.settings.options import AssistantOptions, CombinationOptions


class Trainable(nn.Module, ABC):
    """A model in training; models that it only computes with are no modules of it."""

    combines = True
    """Whether what comes out are branches beside the target; else it is an ordinary model."""
    remembers = False
    """Whether it is an assistant, which knows nothing but the rows that it remembers."""
    head: FrozenHead | None = None
    """The frozen head that reads what ``forward`` returns; None where that is logits."""
    language_model: Any
    """The transformers model that trains in a step."""
    reference_model: Any
    """The language model that the objective's reference values are measured on, before the first step."""

    @abstractmethod
    def __init__(self, target: Any, shape: AssistantOptions, combination: CombinationOptions, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)

    @abstractmethod
    def result(self) -> Any:
        """What was trained: the assistants to be combined, or a model."""

    @abstractmethod
    def save(self, folder: Path, tokenizer: Any) -> None:
        """Write what was trained."""

    def activation_checkpointing_enable(self, **how: Any) -> None:
        """Compute activations again in the backward pass in place of keeping them."""
        self.language_model.activation_checkpointing_enable(**how)

    def gradient_checkpointing_enable(self, **how: Any) -> None:
        """The same, by the name that older versions of transformers call."""
        self.language_model.gradient_checkpointing_enable(**how)

    def train(self, mode: bool = True) -> "Trainable":
        """Set the mode; blocks compute activations again in training mode only, dropout of a frozen model stays off."""
        super().train(mode)
        for module in self.language_model.modules():
            if getattr(module, "gradient_checkpointing", False):
                module.training = mode
        return self


class AssistantModel(Trainable):
    """An assistant that learns by itself; the target's weights are shared and frozen."""

    remembers = True

    def __init__(self, target: Any, shape: AssistantOptions, combination: CombinationOptions, seed: int) -> None:
        super().__init__(target, shape, combination, seed)
        self.assistant = new_assistant(target, shape, target.name_or_path)
        self.head = FrozenHead(self.assistant.view)
        self.__dict__.update(language_model=self.assistant.view)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, keep: Tensor) -> Tensor:
        """Return the assistant's hidden states [N, H] at the kept positions."""
        return self.assistant.hidden(input_ids, attention_mask, keep)

    def result(self) -> list[Assistant]:
        """The assistant, ready to be combined."""
        return [self.assistant.eval()]

    def save(self, folder: Path, tokenizer: Any) -> None:
        """Write the adapter."""
        self.assistant.save(folder)


class OffsetModel(AssistantModel):
    """An assistant whose change since its start is added to the target's logits; the start follows from the seed."""

    remembers = False
    WEIGHTS = (-1.0, 1.0)
    """Weights of the offset model and of the same at its start: what it has learnt is added to the target's logits."""
    start: Assistant

    def __init__(self, target: Any, shape: AssistantOptions, combination: CombinationOptions, seed: int) -> None:
        super().__init__(target, shape, combination, seed)
        start = new_assistant(target, shape, target.name_or_path)
        start.load_state_dict(self.assistant.state_dict())
        self.__dict__.update(start=start.eval().requires_grad_(False), reference_model=target)
        self.head, self.combination = None, combination

    def forward(self, input_ids: Tensor, attention_mask: Tensor, keep: Tensor) -> Tensor:
        """Return the combined logits [N, V] at the kept positions."""
        with torch.no_grad():
            target, start = (
                answer_logits(lm, input_ids, attention_mask, keep) for lm in (self.reference_model, self.start.view)
            )
        offset = self.assistant(input_ids, attention_mask, keep)
        return combined(target.float(), [offset, start], self.WEIGHTS, self.combination)

    def result(self) -> list[Assistant]:
        """The offset model and the same at its start."""
        return [self.assistant.eval(), self.start]


class WeightsModel(Trainable):
    """The model itself, in place: all of its weights, or LoRA deltas that are merged at the end."""

    combines = False

    def __init__(self, target: Any, shape: AssistantOptions, combination: CombinationOptions, seed: int) -> None:
        super().__init__(target, shape, combination, seed)
        self.model = with_lora(target, shape) if shape.adapter == "lora" else target.requires_grad_(True)
        self.__dict__.update(language_model=target, reference_model=target)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, keep: Tensor) -> Tensor:
        """Return the model's logits [N, V] at the kept positions."""
        return answer_logits(self.language_model, input_ids, attention_mask, keep)

    def result(self) -> Any:
        """The trained model, LoRA merged."""
        if self.model is not self.language_model:
            cast_weights(self.model, torch.float32)  # else small deltas would be rounded away
            self.model = self.model.merge_and_unload()
        return self.model.eval().requires_grad_(False)

    def save(self, folder: Path, tokenizer: Any) -> None:
        """Write the whole model with its tokenizer; ``generate`` stops where its answers end."""
        model = self.result()
        end_where_answers_end(model, tokenizer)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def with_lora(model: Any, shape: AssistantOptions) -> Any:
    """Return the model with deltas on every linear layer but the head, wrapped by peft; the deltas alone train."""
    import peft

    scale: Any = shape.lora_alpha
    config = peft.LoraConfig(r=shape.rank, lora_alpha=scale, target_modules="all-linear")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for what has a new name
        return peft.get_peft_model(model, config)
