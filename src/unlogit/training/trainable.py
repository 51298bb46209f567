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

import inspect
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unlogit.errors import ModelError
from unlogit.model.assistant import Assistant, new_assistant
from unlogit.model.decoder import answer_logits
from unlogit.model.ends import end_where_answers_end
from unlogit.model.logit_difference import combined
from unlogit.objectives.head import FrozenHead
from unlogit.settings.options import AssistantOptions, CombinationOptions


class Trainable(nn.Module, ABC):
    """A model in training."""

    head: FrozenHead | None = None
    """The frozen head that reads what ``forward`` returns; None where that is logits."""
    reference_model: Any
    """The language model that the objective's reference values are measured on, before the first step."""
    reference_head_frozen = True

    @property
    @abstractmethod
    def language_model(self) -> Any:
        """The transformers model that is run in a step."""

    @abstractmethod
    def result(self) -> Any:
        """What was trained: the assistants to be combined, or a model."""

    @abstractmethod
    def save(self, folder: Path, tokenizer: Any) -> None:
        """Write what was trained."""

    def load(self, folder: Path, target: Any) -> None:
        """Take what ``save`` wrote, where that is an adapter."""
        raise NotImplementedError

    def uniform_assistant(self) -> Assistant | None:
        """The assistant that is to know nothing but what it remembers, whose KL from uniform is measured; or None."""
        return None

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None, **how: Any
    ) -> None:
        """Compute activations again in the backward pass in place of keeping them; ``how`` is for transformers."""
        given = {"use_reentrant": False} | (gradient_checkpointing_kwargs or {})
        lm = self.language_model
        if hasattr(lm, "activation_checkpointing_enable"):  # its name in newer transformers
            lm.activation_checkpointing_enable(activation_checkpointing_kwargs=given, **how)
        else:
            lm.gradient_checkpointing_enable(gradient_checkpointing_kwargs=given, **how)
        self.train(self.training)

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **how: Any
    ) -> None:
        """The same, by the name that newer transformers call."""
        self.gradient_checkpointing_enable(activation_checkpointing_kwargs, **how)

    def train(self, mode: bool = True) -> "Trainable":
        """Set the mode; blocks compute activations again in training mode only, dropout of a frozen model stays off."""
        super().train(mode)
        for module in self.language_model.modules():
            if getattr(module, "gradient_checkpointing", False):
                module.training = mode
        return self


class AssistantModel(Trainable):
    """An assistant that learns by itself; the target's weights are shared and frozen."""

    def __init__(self, target: Any, options: AssistantOptions, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.assistant = new_assistant(target, options, target.name_or_path)
        self.__dict__["head"] = FrozenHead(self.assistant.view)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, keep: Tensor) -> Tensor:
        """Return the assistant's hidden states [N, H] at the kept positions."""
        return self.assistant.hidden(input_ids, attention_mask, keep)

    @property
    def language_model(self) -> Any:
        """The assistant's view of the target."""
        return self.assistant.view

    def result(self) -> list[Assistant]:
        """The assistant, ready to be combined."""
        return [self.assistant.eval()]

    def uniform_assistant(self) -> Assistant | None:
        """The assistant."""
        return self.assistant

    def load(self, folder: Path, target: Any) -> None:
        """Take the adapter that ``save`` wrote."""
        self.assistant = Assistant.load(folder, target)

    def save(self, folder: Path, tokenizer: Any) -> None:
        """Write the adapter."""
        self.assistant.save(folder)


class OffsetModel(AssistantModel):
    """An assistant whose change since its start is added to the target's logits; the start follows from the seed."""

    WEIGHTS = (-1.0, 1.0)
    """Weights of the offset model and of the same at its start: what it has learnt is added to the target's logits."""
    start: Assistant

    def __init__(self, target: Any, options: AssistantOptions, seed: int, combination: CombinationOptions) -> None:
        super().__init__(target, options, seed)
        start = new_assistant(target, options, target.name_or_path)
        start.load_state_dict(self.assistant.state_dict())
        self.__dict__["start"] = start.eval().requires_grad_(False)
        self.__dict__["reference_model"] = target
        self.__dict__["head"] = None
        self.combination = combination

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

    def uniform_assistant(self) -> None:
        """None: it is to know what the target knows."""


class WeightsModel(Trainable):
    """The model itself, in place: all of its weights, or LoRA deltas that are merged at the end."""

    def __init__(self, model: Any, lora: AssistantOptions | None, seed: int) -> None:
        super().__init__()
        if "logits_to_keep" not in inspect.signature(type(model).forward).parameters:
            raise ModelError(
                f"{type(model).__name__} takes no logits_to_keep; expected a causal language model of transformers "
                "that does: choose another"
            )
        if lora is None:
            model.requires_grad_(True)
        self.model = model if lora is None else with_lora(model, lora, seed)
        self.__dict__["reference_model"] = model
        self.reference_head_frozen = lora is not None

    def forward(self, input_ids: Tensor, attention_mask: Tensor, keep: Tensor) -> Tensor:
        """Return the model's logits [N, V] at the kept positions."""
        return answer_logits(self.reference_model, input_ids, attention_mask, keep)

    @property
    def language_model(self) -> Any:
        """The model."""
        return self.reference_model

    def result(self) -> Any:
        """The trained model, LoRA merged."""
        if self.model is not self.reference_model:
            self.model = self.__dict__["reference_model"] = self.model.merge_and_unload()
        return self.model.eval().requires_grad_(False)

    def save(self, folder: Path, tokenizer: Any) -> None:
        """Write the whole model with its tokenizer; ``generate`` stops where its answers end."""
        model = self.result()
        end_where_answers_end(model, tokenizer)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def with_lora(model: Any, shape: AssistantOptions, seed: int) -> Any:
    """Return the model with deltas on every linear layer but the head, wrapped by peft; the deltas alone train."""
    import peft

    torch.manual_seed(seed)
    config = peft.LoraConfig(
        r=shape.rank,
        lora_alpha=shape.lora_alpha,  # type: ignore[arg-type]
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for what has a new name
        return peft.get_peft_model(model, config)
