"""The unlearned model: an ordinary causal language model of transformers that combines a frozen target with assistants.

Because it is a model, ``generate``, ``pipeline``, beam search, streaming and any evaluation that takes a transformers
model score and decode with one distribution, that of ``combine_logits``.

What is saved is the assistants and a pointer to the target, never the target's weights. It does not train.

Shape legend: B rows, T tokens, H hidden, V vocabulary, L blocks of the target, K blocks of a branch, N kept positions.
"""

import copy
import inspect
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.models.auto.modeling_auto import AutoModelForCausalLM
from transformers.utils.generic import can_return_tuple

from unlogit.errors import ConfigError, ModelError
from unlogit.files import atomic_file
from unlogit.model.assistant import Assistant
from unlogit.model.cache import joined, split_cache
from unlogit.model.configuration import UnlearnedConfig, check_mode
from unlogit.model.decoder import alike, answer_logits, view_logits
from unlogit.model.fused import Pass, fused_passes, repeated
from unlogit.model.logit_difference import check_combination, combine_logits
from unlogit.model.target import absolute_name, load_target
from unlogit.settings.options import CombinationOptions

log = logging.getLogger(__name__)

PLACEMENT = ("hf_device_map", "hf_quantizer", "is_quantized", "quantization_method", "is_loaded_in_4bit")
"""Attributes of a loaded target that transformers asks the outermost model for."""

OUTPUT_CACHE = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"
"""What transformers calls the key-value cache in outputs, ``past_key_values`` before 5.24."""

CHUNK_LOGITS = 2**22
"""Numbers of one stream's logits that are held at once, where there are more positions than that."""

FEW_TOKENS = (2, 5)
"""Rows and tokens that show whether two ways give the same."""

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
        for name in PLACEMENT:
            if name in vars(target):
                setattr(self, name, vars(target)[name])
        self.target = target.requires_grad_(False)
        self.branches: Any = nn.ModuleList(assistants)
        self.attention = ""
        self.separate: list[Pass] = []
        self.together: list[Pass] = []
        self.words: set[str] = set()
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
        """Combine a target with assistants that were made on it. The target is frozen and otherwise left as it is.

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
        weights = [1.0] * len(assistants) if weights is None else [float(weight) for weight in weights]
        check_combination(combination.rule, combination.alpha, combination.filter_rate)
        check_mode(mode)
        if not assistants:
            raise ModelError("no assistant; expected at least one: without any, the target is the model")
        if len(weights) != len(assistants):
            raise ConfigError(f"{len(weights)} weights for {len(assistants)} assistants; expected one for each")
        for assistant in assistants:
            view: Any = assistant.view
            if view.get_output_embeddings() is not target.get_output_embeddings():
                raise ModelError(
                    "the assistant shares its weights with another model object; expected one made on this target: "
                    "use Assistant.load(folder, target)"
                )
            if assistant.settings.adapter == "full":
                assistant.to(target.dtype)
        names = ["assistant"] if len(assistants) == 1 else [f"assistant-{i}" for i in range(len(assistants))]
        config = UnlearnedConfig(
            target_name=absolute_name(target.name_or_path),
            target_config=target.config,
            branches=[
                {"folder": name, "weight": weight, **asdict(assistant.settings)}
                for name, weight, assistant in zip(names, weights, assistants, strict=True)
            ],
            rule=combination.rule,
            alpha=combination.alpha,
            filter_rate=combination.filter_rate,
            architectures=[cls.__name__],
        )
        model = cls(config, target, assistants)
        model.mode = mode
        return model

    def save_pretrained(self, save_directory: str | Path, push_to_hub: bool = False, **_: Any) -> None:
        """Write the assistants (each 0600), the generation settings and a config that points to the target.

        Args:
            save_directory: folder; other files in it, such as a tokenizer, stay.
            push_to_hub: refused, see below.
            **_: what transformers passes about the weights of other models; there are none to write here.

        Raises:
            ModelError: the target has no name to point to, or an upload was asked for.
        """
        if push_to_hub:
            raise ModelError(
                "the assistant has memorised what must be forgotten; expected it to stay here: upload the folder "
                "yourself if everyone may read that"
            )
        if not self.config.target_name:
            raise ModelError(
                "the target was made in memory and has no name to point to; expected a folder or hub id: save it and "
                "set model.config.target_name to its folder"
            )
        folder = Path(save_directory)
        for branch, assistant in zip(self.config.branches, self.branches, strict=True):
            assistant.save(folder / branch["folder"])
        self.generation_config.save_pretrained(folder)
        self.config.target_name = absolute_name(self.config.target_name)
        with atomic_file(folder / "config.json") as temporary:  # last: without it the folder is no model
            temporary.write_text(self.config.to_json_string(), encoding="utf-8")

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
        if not (folder / "config.json").is_file():
            raise ModelError(f"no config.json in {folder}; expected a folder that `unlogit train` made")
        if config is None:
            config = UnlearnedConfig.from_pretrained(folder)
        for name in OVERRIDES:
            if name in kwargs:
                setattr(config, name, kwargs.pop(name))
        revision = revision or config.target_revision
        if target is None or isinstance(target, (str, Path)):
            if config._attn_implementation is not None:
                kwargs.setdefault("attn_implementation", config._attn_implementation)
            place = str(target or config.target_name)
            target = load_target(place, folder, revision=revision, trust_remote_code=bool(trust_remote_code), **kwargs)
        assistants = [Assistant.load(folder / branch["folder"], target) for branch in config.branches]
        for assistant in assistants:
            assistant.narrow(target.dtype)
        model = cls.build(
            target,
            assistants,
            weights=[branch["weight"] for branch in config.branches],
            combination=CombinationOptions(rule=config.rule, alpha=config.alpha, filter_rate=config.filter_rate),
            mode=config.mode,
        )
        model.config.target_revision = revision
        model.config.target_name = model.config.target_name or config.target_name
        model.config.name_or_path = model.name_or_path = str(folder)
        if (folder / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(folder)
        return model

    # ---------------------------------------------------------------- settings

    @property
    def alpha(self) -> float:
        """Weight of the difference; 0 gives the target."""
        value: float = self.config.alpha
        return value

    @alpha.setter
    def alpha(self, value: float) -> None:
        check_combination(self.rule, value, self.filter_rate)
        self.config.alpha = value

    @property
    def filter_rate(self) -> float:
        """Only tokens with at least this share of the likeliest token's probability are changed; 0 means all."""
        value: float = self.config.filter_rate
        return value

    @filter_rate.setter
    def filter_rate(self, value: float) -> None:
        check_combination(self.rule, self.alpha, value)
        self.config.filter_rate = value

    @property
    def rule(self) -> str:
        """Name of what is subtracted, see ``logit_difference``."""
        value: str = self.config.rule
        return value

    @rule.setter
    def rule(self, value: str) -> None:
        check_combination(value, self.alpha, self.filter_rate)
        self.config.rule = value

    @property
    def weights(self) -> list[float]:
        """One weight for each branch."""
        return [branch["weight"] for branch in self.config.branches]

    @property
    def mode(self) -> str:
        """How target and branches run: ``fused``, ``shared`` or ``copy``. All give the same logits."""
        value: str = self.config.mode
        return value

    @mode.setter
    def mode(self, value: str) -> None:
        self.config.mode = check_mode(value)
        self._prepare()
        if value == "fused" and (reason := self._unfit_for_fusing()):
            log.warning("%s runs in mode shared, not fused: %s", type(self.target).__name__, reason)
            self.mode = "shared"

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
        if cache is None:
            cache = past_key_values
        if cache is None and (self.config.use_cache if use_cache is None else use_cache):
            cache = DynamicCache(config=self.config)
        inputs = {
            "input_ids": input_ids,
            "inputs_embeds": inputs_embeds,
            "attention_mask": attention_mask,
            "position_ids": position_ids if "position_ids" in self.words else None,
            **kwargs,
        }
        given = {name: value for name, value in inputs.items() if value is not None}
        if "hf_device_map" in vars(self):  # accelerate moves what a forward is given; that of the inner model is called
            first = self.get_input_embeddings().weight.device
            given = {name: _moved(value, first) for name, value in given.items()}
        wanted = logits_to_keep if isinstance(logits_to_keep, Tensor) else slice(-(logits_to_keep or 0) or None, None)
        passes = self._passes()
        hidden = [states[:, wanted] for states in self._hidden(passes, given, cache)]
        logits = self._logits(passes, hidden)
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits,
                labels=labels,
                vocab_size=self.config.vocab_size,
                num_items_in_batch=num_items_in_batch,
            )
        return CausalLMOutputWithPast(loss=loss, logits=logits, **{OUTPUT_CACHE: cache})

    def parts(
        self, input_ids: Tensor, attention_mask: Tensor | None, keep: Tensor, position_ids: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return what ``combine_logits`` combines, where it is wanted only: the head is not computed anywhere else.

        Args:
            input_ids: [B, T].
            attention_mask: [B, T], 4-D, or None where no row is padded.
            keep: [B, T], True at the positions whose logits are returned.
            position_ids: [B, T]; not given, the target's model makes its own.

        Returns:
            The target's logits [N, V] and each branch's [N, V], of the N kept positions, row by row.
        """
        logits: dict[int, Tensor] = {}
        for view, streams, _ in self._passes():
            given = (input_ids, attention_mask, keep, position_ids)
            rows = [repeated(tensor, len(input_ids), len(streams)) for tensor in given]
            logits.update(zip(streams, answer_logits(view, *rows).tensor_split(len(streams)), strict=True))
        target_logits, *assistant_logits = (logits[stream] for stream in range(len(logits)))
        return target_logits, assistant_logits

    def _hidden(self, passes: Sequence[Pass], inputs: dict[str, Any], cache: Cache | None) -> list[Tensor]:
        """Run ``passes`` and return of each what its head reads, [streams · B, T, H]."""
        rows = len(inputs["input_ids"] if "input_ids" in inputs else inputs["inputs_embeds"])
        caches = None if cache is None else split_cache(cache, self._depths())
        word = "cache" if "cache" in self.words else "past_key_values"
        found = []
        for view, streams, _ in passes:
            own: dict[str, Any] = {"use_cache": False}
            if caches is not None:
                seen = [caches[stream] for stream in streams]
                own = {"use_cache": True, word: seen[0] if len(seen) == 1 else joined(seen)}
            given = inputs if len(streams) == 1 else repeated(inputs, rows, len(streams))
            found.append(view.get_decoder()(**given, **own, return_dict=True).last_hidden_state)
        return found

    def _logits(self, passes: Sequence[Pass], hidden: Sequence[Tensor]) -> Tensor:
        """Return the combined logits [B, T, V] of what ``_hidden`` returned.

        Positions are taken a chunk at a time, so that nothing but the result is ever as large as it.
        """
        rows, length = len(hidden[0]) // len(passes[0][1]), hidden[0].shape[1]
        streams = [states.reshape(len(states) // rows, rows * length, states.shape[-1]) for states in hidden]
        size = max(1, CHUNK_LOGITS // self.config.vocab_size)  # of streams [streams, B·T, H]
        if self.get_output_embeddings().weight.is_meta:  # offloaded: it would be loaded again for every chunk
            size = rows * length
        whole = self._combined(passes, [one[:, :size] for one in streams])
        if size < rows * length:
            first, whole = whole, whole.new_empty(rows * length, whole.shape[-1])
            whole[:size] = first
            for i in range(size, rows * length, size):
                whole[i : i + size] = self._combined(passes, [one[:, i : i + size] for one in streams])
        return whole.reshape(rows, length, whole.shape[-1])

    def _combined(self, passes: Sequence[Pass], hidden: Sequence[Tensor]) -> Tensor:
        """Return the combined logits [n, V] of each pass's hidden states [streams, n, H]."""
        if self.alpha == 0:
            return self._streams(passes[:1], hidden[:1])[0]  # the target runs by itself then, and needs no other's
        target_logits, *assistant_logits = self._streams(passes, hidden)
        return combine_logits(
            target_logits,
            assistant_logits,
            self.weights,
            rule=self.rule,
            alpha=self.alpha,
            filter_rate=self.filter_rate,
        )

    def _streams(self, passes: Sequence[Pass], hidden: Sequence[Tensor]) -> list[Tensor]:
        """Return the logits [n, V] of target and branches."""
        logits: dict[int, Tensor] = {}
        for (_, streams, head), states in zip(passes, hidden, strict=True):
            found = view_logits(head, states.flatten(0, 1))  # [streams · n, V]
            logits.update(zip(streams, found.chunk(len(streams)), strict=True))
        return [logits[stream] for stream in range(len(logits))]

    def _depths(self) -> list[int]:
        """Return the number of cache layers of each stream: L, then K of each branch."""
        return [self.config.num_hidden_layers, *(branch["num_layers"] for branch in self.config.branches)]

    def _passes(self) -> Sequence[Pass]:
        """Return the passes of one forward."""
        if self.attention != self.target.config._attn_implementation:
            self._prepare()
        return self.separate if self.alpha == 0 else self.together  # by itself, the target is exact to the last bit

    def _prepare(self) -> None:
        """Make the passes. Their views are no submodules: all that they hold is the target's or a branch's."""
        attention = self.target.config._attn_implementation
        for assistant in self.branches:
            assistant.view.get_decoder().config._attn_implementation = attention  # it may have been changed since
        views = [assistant.view for assistant in self.branches]
        if self.mode == "copy":
            views = [copy.deepcopy(view) for view in views]
        separate = [Pass.of(self.target, [0])]
        separate += [Pass.of(view, [stream]) for stream, view in enumerate(views, start=1)]
        together = fused_passes(self.target, list(self.branches)) if self.mode == "fused" else separate
        words = set(inspect.signature(type(self.target).forward).parameters)
        self.attention, self.separate, self.together, self.words = attention, separate, together, words
        self.eval()

    @torch.no_grad()
    def _unfit_for_fusing(self) -> str:
        """Return why fused passes do not give what separate passes give, or an empty string.

        An architecture could mix the rows of a batch, or give its blocks tensors whose rows cannot be told: two rows
        of five tokens through both ways show it.
        """
        if self.device.type == "meta":
            return ""
        try:
            fused = self._few_logits(self.together)
        except RuntimeError as error:
            return f"its blocks cannot run the rows of several streams ({error})"
        pairs = zip(fused, self._few_logits(self.separate), strict=True)
        alone = all(alike(found, plain, self.dtype) for found, plain in pairs)
        return "" if alone else "its blocks do not keep the rows of a batch apart"

    def _few_logits(self, passes: Sequence[Pass]) -> list[Tensor]:
        """Return the logits [B, T, V] of target and branches for a few tokens."""
        ids = torch.arange(math.prod(FEW_TOKENS), device=self.device).reshape(FEW_TOKENS) % self.config.vocab_size
        hidden = self._hidden(passes, {"input_ids": ids}, None)
        logits = self._streams(passes, [states.reshape(-1, ids.numel(), states.shape[-1]) for states in hidden])
        return [one.view(*ids.shape, -1) for one in logits]

    def train(self, mode: bool = True) -> "UnlearnedForCausalLM":
        """Keep target, branches and their views in evaluation mode: nothing here is to be trained."""
        super().train(False)
        for view, _, head in (*self.separate, *self.together):
            view.train(False)
            head.train(False)
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


def _moved(value: Any, device: torch.device) -> Any:
    """Return a tensor on a device; anything else, and a place that has no memory, as it is."""
    return value.to(device) if isinstance(value, Tensor) and device.type != "meta" else value


AutoModelForCausalLM.register(UnlearnedConfig, UnlearnedForCausalLM, exist_ok=True)
