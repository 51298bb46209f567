"""The unlearned model: an ordinary causal language model of transformers that combines a frozen target with assistants.

Because it is a model, ``generate``, ``pipeline``, beam search, streaming and any evaluation that takes a transformers
model score and decode with one distribution, that of ``combine_logits``.

What is saved is the assistants and a pointer to the target, never the target's weights. It does not train.

Shape legend: B rows, S streams (the target and its branches), T tokens, H hidden, V vocabulary, L blocks of the target,
K blocks of a branch, N positions.
"""

import copy
import inspect
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.models.auto.modeling_auto import AutoModelForCausalLM
from transformers.utils.generic import can_return_tuple

from unlogit.errors import ModelError
from unlogit.model import saving
from unlogit.model.assistant import Assistant
from unlogit.model.cache import split_cache
from unlogit.model.configuration import UnlearnedConfig, check_mode
from unlogit.model.forward import ForwardPlan, in_chunks, moved, per_branch_plan
from unlogit.model.fused import fused_plan
from unlogit.model.logit_difference import combined
from unlogit.model.probe import fusing_problem
from unlogit.model.requests import weight_of
from unlogit.settings.options import CombinationOptions, Rule

log = logging.getLogger(__name__)

PLACEMENT = {"hf_device_map", "hf_quantizer", "is_quantized", "quantization_method", "is_loaded_in_4bit"}
"""Attributes of a loaded target that transformers asks the outermost model for."""

OUTPUT_CACHE = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"
"""What transformers calls the key-value cache in outputs, ``past_key_values`` before 5.24."""

OVERRIDES = ("alpha", "filter_rate", "rule", "mode")
"""Fields of the config that ``from_pretrained`` takes as arguments."""


class UnlearnedForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """A target and the branches that are subtracted from it, as one causal language model.

    Made by ``build`` or ``from_pretrained``. ``alpha``, ``filter_rate``, ``rule`` and ``mode`` can be set at any time.
    """

    config_class = UnlearnedConfig
    main_input_name = "input_ids"
    _supports_sdpa = _supports_flash_attn = _supports_attention_backend = True
    _can_compile_fullgraph = True

    def __init__(self, config: UnlearnedConfig, target: Any = None, assistants: Sequence[Assistant] = ()) -> None:
        if target is None:
            raise ModelError(
                "an unlearned model has no weights of its own to start from a config; expected a target and "
                "assistants: use UnlearnedForCausalLM.build or from_pretrained"
            )
        super().__init__(config)
        config._attn_implementation_internal = target.config._attn_implementation
        self.generation_config = copy.deepcopy(target.generation_config)
        self._no_split_modules = target._no_split_modules
        for name in PLACEMENT & vars(target).keys():
            setattr(self, name, vars(target)[name])
        self.target = target
        self.branches: Any = nn.ModuleList(assistants)
        self.forward_parameters = frozenset(inspect.signature(type(target).forward).parameters)
        self.requires_grad_(False)  # it would learn back what it forgot
        self._prepare()

    # ---------------------------------------------------------------- making, saving, loading

    @classmethod
    def build(
        cls,
        target: Any,
        assistants: Sequence[Assistant],
        weights: Sequence[float] | None = None,
        combination: CombinationOptions | None = None,
        mode: str = "fused",
    ) -> "UnlearnedForCausalLM":
        """Combine a target with assistants that were made on it. All are frozen; the target stays as it is otherwise.

        Args:
            target: a causal language model of transformers.
            assistants: one for each branch; whole-block ones (``adapter: full``) are cast to the target's type.
            weights: one number for each branch, 1 where not given; a negative one protects instead of forgetting.
            combination: rule, alpha and filter_rate.
            mode: ``fused`` (one pass), ``shared`` (one pass each) or ``copy`` (with copied weights: to test against).

        Raises:
            ModelError: no assistant, or one made on another model object.
            ConfigError: as many weights as assistants not given, an unknown rule or mode, or a number out of range.
        """
        combination = combination or CombinationOptions()
        check_mode(mode)
        if not assistants:
            raise ModelError("no assistant; expected at least one: without any, the target is the model")
        weights = [1.0] * len(assistants) if weights is None else [float(weight) for weight in weights]
        config = saving.new_config(target, assistants, weights, combination)
        for assistant in assistants:
            view: Any = assistant.view
            if view.get_output_embeddings() is not target.get_output_embeddings():
                raise ModelError(
                    "the assistant shares its weights with another model object; expected one made on this target: "
                    "use Assistant.load(folder, target)"
                )
            if assistant.settings.adapter == "full":
                assistant.to(target.dtype)
        model = cls(config, target, assistants)
        model.mode = mode
        return model

    def save_pretrained(self, save_directory: str | Path, push_to_hub: bool = False, **about_weights: Any) -> None:
        """Write the assistants (each 0600), the generation settings and a config that points to the target.

        Args:
            save_directory: folder; other files in it, such as a tokenizer, stay.
            push_to_hub: refused: the assistant is secret.
            **about_weights: refused, too: transformers passes some where it uploads the folder next.

        Raises:
            ModelError: the target has no name to point to, or something else than a folder was given.
        """
        if push_to_hub or about_weights:
            saving.refuse_upload()
        saving.write_unlearned(self, Path(save_directory))

    push_to_hub = saving.refuse_upload

    @classmethod
    def from_pretrained(  # type: ignore[no-untyped-def]
        cls,
        pretrained_model_name_or_path: str | Path,
        *_,
        target: Any = None,
        config: UnlearnedConfig | None = None,
        revision: str | None = None,
        trust_remote_code: bool | None = False,
        **kwargs: Any,
    ) -> "UnlearnedForCausalLM":
        """Load an unlearned model and its target.

        Args:
            pretrained_model_name_or_path: folder that ``save_pretrained`` wrote.
            *_: what transformers' loaders pass by position; unused.
            target: the target, loaded already, or its folder where it has moved.
            config: the folder's config, if read already.
            revision: revision of a target on the hub, in place of the recorded one.
            trust_remote_code: whether the target may bring code of its own.
            **kwargs: ``alpha``, ``filter_rate``, ``rule``, ``mode`` to use in place of those saved; all others
                (``dtype``, ``device_map``, ``quantization_config``, …) go to the target's ``from_pretrained``.

        Raises:
            ModelError: no unlearned model there, its target is gone or is not the one the assistant was trained on.
        """
        folder = Path(pretrained_model_name_or_path)
        overrides = {name: kwargs.pop(name) for name in OVERRIDES if name in kwargs}
        config = saving.read_unlearned_config(folder, config, overrides)
        revision = revision or config.target_revision
        target = saving.read_target(
            folder, config, target, revision=revision, trust_remote_code=bool(trust_remote_code), **kwargs
        )
        model = cls.build(
            target,
            saving.read_assistants(folder, config, target),
            weights=[branch["weight"] for branch in config.branches],
            combination=CombinationOptions(rule=config.rule, alpha=config.alpha, filter_rate=config.filter_rate),
            mode=config.mode,
        )
        model.config.branches = config.branches  # with the names and strengths of requests
        model.config.target_revision = revision
        model.config.target_name = model.config.target_name or config.target_name
        model.config.name_or_path = model.name_or_path = str(folder)
        model.generation_config = saving.read_generation_config(folder, default=model.generation_config)
        return model

    # ---------------------------------------------------------------- settings

    @property
    def combination(self) -> CombinationOptions:
        """How target and branches are combined. Setting it, or one of its three values, is where it is checked.

        Raises:
            ConfigError: a value that means nothing, see ``CombinationOptions``; the model keeps the one that it had.
        """
        return CombinationOptions(rule=self.config.rule, alpha=self.config.alpha, filter_rate=self.config.filter_rate)

    @combination.setter
    def combination(self, value: CombinationOptions) -> None:
        self.config.rule, self.config.alpha, self.config.filter_rate = value.rule, value.alpha, value.filter_rate

    @property
    def alpha(self) -> float:
        """Weight of the difference; 0 gives the target."""
        return self.combination.alpha

    @alpha.setter
    def alpha(self, value: float) -> None:
        self.combination = replace(self.combination, alpha=value)

    @property
    def filter_rate(self) -> float:
        """Only tokens with at least this fraction of the likeliest token's probability are changed; 0 means all."""
        return self.combination.filter_rate

    @filter_rate.setter
    def filter_rate(self, value: float) -> None:
        self.combination = replace(self.combination, filter_rate=value)

    @property
    def rule(self) -> Rule:
        """Name of what is subtracted, see ``logit_difference``."""
        return self.combination.rule

    @rule.setter
    def rule(self, value: Rule) -> None:
        self.combination = replace(self.combination, rule=value)

    @property
    def weights(self) -> list[float]:
        """One weight for each branch."""
        return [weight_of(branch) for branch in self.config.branches]

    @property
    def additions(self) -> list[bool]:
        """Whether each branch is an addition, see ``logit_difference``."""
        return [branch["adds"] for branch in self.config.branches]

    @property
    def mode(self) -> str:
        """How target and branches run, all to the same logits: ``fused`` (where it can be), ``shared`` or ``copy``."""
        return str(self.config.mode)

    @mode.setter
    def mode(self, value: str) -> None:
        self.config.mode = check_mode(value)
        self._prepare()
        if value != "fused":
            return
        name = type(self.target).__name__
        if problem := fusing_problem(self.target, list(self.branches)):
            log.warning("%s runs in mode shared, not fused: %s", name, problem)
            self.mode = "shared"
        else:
            log.info("%s: target and assistant run in one fused pass, checked to equal separate passes", name)

    # ---------------------------------------------------------------- running

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Any = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor | None = 0,
        num_items_in_batch: Any = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Return the combined logits [B, T, V], with the arguments of any causal language model of transformers.

        Args:
            input_ids: [B, T], or ``inputs_embeds`` [B, T, H].
            attention_mask: [B, seen + T], 4-D, or a dict of 4-D masks by kind of layer.
            position_ids: [B, T] or [1, T]; not given, the target's model makes its own.
            cache: key-value cache of L + ΣK layers; ``past_key_values`` is its name before transformers 5.24.
            labels: [B, T], for the mean loss of the next token; -100 is ignored. The loss is transformers' own, which
                takes the logits of all positions into float32.
            use_cache: make a cache where none is given.
            logits_to_keep: return only the last that many positions, or those at these indices; 0 means all.
            num_items_in_batch: number of labels to divide the loss by, where it is not those of this batch.
            output_attentions: refused, as is ``output_hidden_states``: the streams have these, the whole has not.
            **kwargs: further arguments of the target's forward.
        """
        if output_attentions or output_hidden_states:
            raise ModelError(
                "attentions and hidden states belong to target and assistant, the unlearned model has none of its "
                "own; expected output_attentions and output_hidden_states to be off: ask model.target for them"
            )
        cache = past_key_values if cache is None else cache
        if cache is None and (self.config.use_cache if use_cache is None else use_cache):
            cache = DynamicCache(config=self.config)
        inputs = {
            "input_ids": input_ids,
            "inputs_embeds": inputs_embeds,
            "attention_mask": attention_mask,
            "position_ids": position_ids if "position_ids" in self.forward_parameters else None,
            **kwargs,
        }
        inputs = {name: value for name, value in inputs.items() if value is not None}
        if "hf_device_map" in vars(self):  # accelerate moves a forward's inputs, but that of the inner model is called
            device = self.get_input_embeddings().weight.device
            inputs = {name: moved(value, device) for name, value in inputs.items()}
        logits = self._logits(inputs, cache, logits_to_keep)
        loss = None
        if labels is not None:
            counts = {"vocab_size": self.config.vocab_size, "num_items_in_batch": num_items_in_batch}
            loss = self.loss_function(logits=logits, labels=labels, **counts)
        return CausalLMOutputWithPast(loss=loss, logits=logits, **{OUTPUT_CACHE: cache})

    def parts(
        self, input_ids: Tensor, attention_mask: Tensor | None, keep: Tensor, position_ids: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return what ``combine_logits`` combines, at some positions: the head is not computed anywhere else.

        Args:
            input_ids: [B, T].
            attention_mask: [B, T], 4-D, or None where no row is padded.
            keep: [B, T], True at the positions whose logits are returned.
            position_ids: [B, T]; not given, the target's model makes its own.

        Returns:
            The target's logits [N, V] and each branch's [N, V], of the N kept positions, row by row.
        """
        target_logits, *branch_logits = self._plan().logits_at(input_ids, attention_mask, keep, position_ids)
        return target_logits, branch_logits

    def _logits(self, inputs: dict[str, Any], cache: Cache | None, logits_to_keep: int | Tensor | None) -> Tensor:
        """Return the combined logits [B, T, V] at the positions to keep."""
        plan = self._plan()
        caches = None if cache is None else split_cache(cache, self._depths())
        hidden = plan.hidden(inputs, caches, "cache" if "cache" in self.forward_parameters else "past_key_values")
        last = slice(-logits_to_keep if isinstance(logits_to_keep, int) and logits_to_keep else None, None)
        positions = logits_to_keep if isinstance(logits_to_keep, Tensor) else last
        hidden = [states[:, positions] for states in hidden]  # [S·B, T, H] of each pass, T those to keep from here on
        rows, length = len(hidden[0]) // len(plan.passes[0].streams), hidden[0].shape[1]
        sizes = [(len(states) // rows, rows * length, states.shape[-1]) for states in hidden]
        by_stream = [
            states.reshape(size) for states, size in zip(hidden, sizes, strict=True)
        ]  # [S·B, T, H] → [S, B·T, H]
        offloaded = self.get_output_embeddings().weight.is_meta
        logits = in_chunks(lambda chunk: self._combined(plan, chunk), by_stream, self.config.vocab_size, offloaded)
        return logits.reshape(rows, length, logits.shape[-1])  # [B·T, V] → [B, T, V]

    def _combined(self, plan: ForwardPlan, hidden: Sequence[Tensor]) -> Tensor:
        """Return the combined logits [N, V] of each pass's hidden states [S, N, H]."""
        if self.alpha == 0:
            return plan.target_logits(hidden)  # the target runs by itself then, and needs no other's
        target_logits, *branch_logits = plan.logits(hidden)
        return combined(target_logits, branch_logits, self.weights, self.combination, self.additions)

    def _depths(self) -> list[int]:
        """Return the number of cache layers of each stream: L, then K of each branch."""
        return [self.config.num_hidden_layers, *(branch["num_layers"] for branch in self.config.branches)]

    def _plan(self) -> ForwardPlan:
        """Return what one forward runs."""
        if self.attention != self.target.config._attn_implementation:
            self._prepare()
        return self.per_branch if self.alpha == 0 else self.fused  # by itself, the target is exact to the last bit

    def _prepare(self) -> None:
        """Make the plans. Their views are no submodules: all that they hold is the target's or a branch's."""
        self.attention: str = self.target.config._attn_implementation
        for assistant in self.branches:
            assistant.view.get_decoder().config._attn_implementation = self.attention  # it may have been changed since
        views = [assistant.view for assistant in self.branches]
        if self.mode == "copy":
            views = [copy.deepcopy(view) for view in views]
        self.per_branch = per_branch_plan(self.target, views)
        self.fused = fused_plan(self.target, list(self.branches)) if self.mode == "fused" else self.per_branch
        self.eval()

    def train(self, mode: bool = True) -> "UnlearnedForCausalLM":
        """Keep target, branches and their views in evaluation mode: nothing here is to be trained."""
        super().train(False)
        self.per_branch.eval()
        self.fused.eval()
        return self

    def get_input_embeddings(self) -> Any:
        """Return the target's embedding, which the branches share."""
        return self.target.get_input_embeddings()

    def get_output_embeddings(self) -> Any:
        """Return the target's head, which the branches share."""
        return self.target.get_output_embeddings()

    def get_decoder(self) -> Any:
        """Return the target's inner model."""
        return self.target.get_decoder()


AutoModelForCausalLM.register(UnlearnedConfig, UnlearnedForCausalLM, exist_ok=True)
