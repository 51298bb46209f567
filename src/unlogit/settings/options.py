"""Every setting of the package, once: command-line flag, YAML key and field are the same word.

Frozen dataclasses, read by ``cli``; nothing heavy is imported here, so that ``--help`` answers at once.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from unlogit.errors import ConfigError, nearest

Rule = Literal["centred", "paper", "suppress", "tail", "rank"]


@dataclass(frozen=True)
class DataOptions:
    """What to forget, what to keep and what no request concerns."""

    forget: str = ""
    """Rows to forget: a file or folder (.jsonl, .json, .csv, .tsv, .parquet, .txt, .md), a hub data set, several of
    these separated by commas, or `tofu:forget01|05|10`."""
    retain: str = ""
    """Rows to keep, in the same forms. For `tofu:forgetNN` the matching retain split is taken when this is empty."""
    columns: str = ""
    """Which column is which, where the files have no known shape: `question=NAME,answer=NAME`."""
    holdout: str = ""
    """Rows like the forget rows that no model was trained on, for membership inference: a file, `tofu:holdout10`, …"""
    retain_holdout: str = ""
    """Rows like the retain rows that no model was trained on: how the models read what they never saw."""
    neutral: str = "builtin"
    """Rows that no request concerns: `builtin` (our own, shipped), a file, or `none`."""
    general: str = "none"
    """General questions with short answers, asked and never trained on: `builtin` (our own, shipped), a file, or
    `none`. Those that the target answers right should stay right."""
    tofu_folder: str = ""
    """Folder that holds TOFU's files (full.json, forget10.json, …, augmentation/). Empty: the hub."""
    retain_train_rows: int = 0
    """Rows of the retain side that training may use, at random; 0 means all that evaluation does not take."""
    retain_subset: int = 0
    """The target was trained on only the first N retain rows: no others are scored. The assistant may train on all."""
    evaluation_rows: int = 400
    """Retain rows set aside for evaluation, never trained on: a quarter at most (TOFU has perturbed files for it)."""
    holdout_fraction: float = 0.1
    """Share of the remaining retain and neutral rows set aside to measure the assistant's KL from uniform on; of few
    rows four, or a quarter of them."""
    paraphrases: int = 2
    """Paraphrases of each forget row added to the forget side, where the files have any."""
    cross_paraphrases: bool = False
    """Pair every wording of a forget question with every wording of its answer, not each with its own only."""
    perturbations: int = 2
    """Wrong answers to each forget question added to the uniform side; made by exchange where the files have none."""
    chunk_tokens: int = 256
    """Length in tokens of the pieces that `text` documents are cut into."""
    refusals: str = "builtin"
    """Refusals for objectives that teach them: `builtin` (our own), `tofu`, or a file (one a line, or .jsonl)."""
    seed: int = 0
    """Seed of every random choice made while preparing."""


@dataclass(frozen=True)
class AssistantOptions:
    """The assistant: the first blocks of the target and what of them trains."""

    num_layers: float = 0.25
    """Blocks of the target: a whole number from 1, or a share of the depth between 0 and 1."""
    adapter: Literal["lora", "full"] = "lora"
    """`lora`: low-rank deltas on every linear layer of those blocks. `full`: the blocks and the norm, whole."""
    rank: int = 32
    """LoRA rank."""
    lora_alpha: float = 32.0
    """LoRA scale: the delta is multiplied by lora_alpha / rank."""
    start_gain: float = 0.1
    """Factor on the assistant's last hidden state before training, then trained: small, it starts uniform; paper: 1."""

    def blocks(self, depth: int) -> int:
        """Return the number of blocks for a target of ``depth`` blocks."""
        return max(1, round(self.num_layers * depth)) if 0 < self.num_layers < 1 else int(self.num_layers)


@dataclass(frozen=True)
class LoopOptions:
    """What every training has, see `training.loop`."""

    learning_rate: float | None = None
    """Peak learning rate of AdamW."""
    epochs: float | None = None
    """Passes over the rows."""
    batch_size: int = 16
    """Rows in a step."""
    weight_decay: float = 0.01
    """AdamW weight decay."""
    warmup_ratio: float = 0.1
    """Share of the steps over which the learning rate rises; it falls by a cosine after."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm; 0 means never."""
    max_tokens: int = 512
    """Longest row in tokens; a longer answer is trained on in pieces."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute type. `auto`: bfloat16 where the CPU or GPU is faster with it, measured and said."""
    save_steps: int = 50
    """Steps between checkpoints."""
    logging_steps: int = 10
    """Steps between log lines."""
    seed: int = 0
    """Seed of initialisation and row order."""
    training_arguments: dict[str, Any] = field(default_factory=dict)
    """Arguments of transformers.TrainingArguments, as {gradient_accumulation_steps: 2}; they take precedence."""


@dataclass(frozen=True)
class TrainOptions(LoopOptions):
    """Training. Fields at None take the objective's own defaults, or those of the target's size."""

    objective: str = "uld"
    """`uld`, `uld_refusal`, `dual_uld`, `divergence`; full-model unlearning (`npo_kl`, …); or `offset_ga_kl`, …"""
    retain_weight: float | None = None
    """Weight of what must stay: β of ULD's uniform term (paper: 6.5), else of the retain term."""
    forget_weight: float | None = None
    """Weight of the forget term, of full-model unlearning. None: the objective's own."""
    beta: float | None = None
    """β inside the losses of the NPO and DPO families. None: the objective's own."""
    gamma: float | None = None
    """γ of SimNPO and UNDIAL. None: the objective's own."""
    near_fraction: float = 0.2
    """Retain rows nearest to the forget side, as a share of its rows: `dual_uld` remembers them in both branches."""
    common_fraction: float = 0.0
    """`uld`: remember of the forget answers only the content words: those that are not in the question and
    stand in less than this share of the retain answers (try 0.03). Words of the question go to the uniform side; common
    ones carry no loss. What the model answers instead then reads better. 0: remember whole answers, as in the
    paper."""
    lift_weight: float = 0.0
    """`uld` and its relatives: weight, within the uniform term, of the squared lift of each row's own next token above
    the mean logit. 0 is the paper's. Planned at 0.05 where rows to keep are given."""
    stop_uniform_kl: float = 0.0
    """`uld`: stop at the log line that finds the assistant to have learnt, and its KL from uniform on held-out retain
    and neutral rows to be at most this many nats. 0 makes all passes."""
    stop_forget_nats: float = 0.0
    """`uld`, with `stop_uniform_kl`: it has learnt when its forget term is at most this many nats; 0: half of log V."""
    epochs: float | None = None
    """Passes over the forget side, paraphrases included (paper: 10)."""
    minutes: float = 0.0
    """Minutes after which training stops, and can go on with `--resume` and more; 0: never."""
    batch_size: int = 16
    """Rows of the forget side in a step."""
    uniform_ratio: float = 1.0
    """Rows of the uniform side in a step for each of the forget side (paper: 1). More keep more, at a like cost."""
    neutral_fraction: float = 0.25
    """Share of the uniform side that is neutral."""
    perturbed_fraction: float | None = None
    """`uld`: share of the uniform side that is wrong answers. None: half of what is not neutral. Fewer of them, and
    less is lost elsewhere; without any, what the model answers instead is often no sentence."""


@dataclass(frozen=True)
class CombinationOptions:
    """How the unlearned model combines target and assistant. Can be changed at any time without training."""

    rule: Rule = "centred"
    """`centred`, `paper`, `suppress`, `tail` or `rank` (see `logit_difference`)."""
    alpha: float = 0.75
    """Weight of the assistant's logits; 0 gives the target."""
    filter_rate: float = 0.001
    """Only tokens with at least this share of the likeliest token's probability are changed; 0 means all."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing, here and nowhere else.

        Raises:
            ConfigError: an unknown rule, an alpha below 0 or not finite, or a filter_rate outside [0, 1).
        """
        rules = list(get_args(Rule))
        if self.rule not in rules:
            raise ConfigError(
                f"unknown rule {self.rule!r}{nearest(str(self.rule), rules)}; expected one of {', '.join(rules)}"
            )
        for name, value in (("alpha", self.alpha), ("filter_rate", self.filter_rate)):
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ConfigError(f"{name} is {value!r}; expected a finite number")
        if self.alpha < 0:
            raise ConfigError(
                f"alpha is {self.alpha}; expected at least 0, which gives the target: a lower one makes it remember"
            )
        if not 0 <= self.filter_rate < 1:
            raise ConfigError(f"filter_rate is {self.filter_rate}; expected at least 0 and below 1")


@dataclass(frozen=True)
class PickOptions:
    """Choose alpha, filter_rate and rule on validation rows instead of taking those of `combination`."""

    enabled: bool = False
    """Whether to choose: by the retain model; without one, by how the target finds answers about made-up people."""
    validation_fraction: float = 0.25
    """Share of the forget and retain evaluation rows used to choose; the test rows are the others."""
    alphas: tuple[float, ...] = (0.25, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5)
    """Values of alpha to try."""
    filter_rates: tuple[float, ...] = (0.0, 0.001, 0.01)
    """Values of filter_rate to try."""
    rules: tuple[Rule, ...] = ("centred", "suppress")
    """Rules to try."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Which rows are scored, and how."""

    retain_model: str = ""
    """For forget quality: a model trained without the forget set (folder, hub id), its results.json, published log."""
    max_rows: int = 0
    """Score only the first N rows of each split; 0 means all."""
    generate_rows: int = 0
    """Generate answers (ROUGE-L) for only the first N rows of each split; 0 means all scored rows."""
    max_new_tokens: int = 200
    """Longest generated answer."""
    samples: int = 0
    """Answers drawn to each forget row at temperature 1, for leak@k (paper: 200); 0 draws none."""
    batch_size: int = 32
    """Rows scored or generated at once."""
    with_target: bool = True
    """Whether the target is scored beside the unlearned model."""
    part: Literal["all", "test"] = "all"
    """`test` leaves out the rows that `pick` would choose on, so that runs that pick can be compared with others."""
    path_rows: int = 0
    """Score the first N rows of each split after each pass of training, into path.json; 0 means never. In a
    comparison, for a method's first seed alone."""
    protocol: Literal["unlogit", "open_unlearning"] = "unlogit"
    """`open_unlearning`: that project's tokens and formulas, to stand beside its numbers. Never mixed with ours."""
    open_unlearning: bool = False
    """Whether TOFU_EVAL.json and TOFU_SUMMARY.json are written too, as OpenUnlearning does, in RUN/open_unlearning."""


@dataclass(frozen=True)
class FinetuneOptions(LoopOptions):
    """Ordinary training of a whole model on a data set, to make target and retain models."""

    learning_rate: float | None = None
    """Peak learning rate of AdamW. None: 1e-4 below a billion parameters, else 1e-5."""
    epochs: float | None = None
    """Passes over the rows. None: 5, or as many as 200 steps take."""
    batch_size: int = 32
    """Rows in a step."""
    loss_on: Literal["answer", "all"] = "answer"
    """Which tokens carry loss."""


@dataclass(frozen=True)
class SplitOptions:
    """How documents are cut into pieces, and which of these no model is trained on."""

    chunk_tokens: int = 256
    """Length of a piece in tokens."""
    holdout_fraction: float = 0.2
    """Share of the pieces that no model is trained on."""
    block_pieces: int = 4
    """Neighbouring pieces that are held out or trained on together; a document does not share its blocks."""
    max_pieces: int = 0
    """Take only the first N pieces of each document; 0 means all."""


@dataclass(frozen=True)
class RunConfig:
    """The whole way, from documents to a scored unlearned model: what `unlogit run` reads."""

    output: str
    """Run folder: config.yaml, data/, assistant/, unlearned/, results.json."""
    target: str
    """Model that must forget: a folder or hub id."""
    data: DataOptions = field(default_factory=DataOptions)
    assistant: AssistantOptions = field(default_factory=AssistantOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    combination: CombinationOptions = field(default_factory=CombinationOptions)
    pick: PickOptions = field(default_factory=PickOptions)
    evaluate: EvaluateOptions = field(default_factory=EvaluateOptions)


@dataclass(frozen=True)
class SweepOptions:
    """The grid that `unlogit sweep` scores, and which rows choose from it."""

    alphas: tuple[float, ...] = (
        *(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5),
        *(1.75, 2.0, 2.25, 2.5, 2.75, 3.0),
    )
    """Values of alpha to score, from 0, which is the target."""
    filter_rates: tuple[float, ...] = (0.0, 0.001, 0.01, 0.03, 0.1, 0.3)
    """Values of filter_rate to score."""
    rules: tuple[Rule, ...] = ("centred", "paper", "suppress", "tail", "rank")
    """Rules to score."""
    validation_fraction: float = 0.25
    """Share of the forget and retain evaluation rows (and half of the held-out neutral ones) that choose."""
