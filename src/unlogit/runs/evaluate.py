"""Scoring the models of a run on the run's evaluation rows: retain model, target, unlearned, and what was picked.

Where a combination is picked, the rows are split first: those that choose are never among those that are reported.
The metrics are those of ``evaluate``; nothing is computed here.
"""

import hashlib
import logging
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from unlogit.data.chat_template import written_date
from unlogit.data.examples import Example
from unlogit.data.sources import read_prepared
from unlogit.device import choose_device, choose_dtype
from unlogit.errors import DataError
from unlogit.evaluate.evaluate import evaluate_model, running_text, wordless_answers
from unlogit.evaluate.ghost_reference import GhostReference, ghost_reference
from unlogit.evaluate.metrics.truth_ratio import score_truth_ratios
from unlogit.evaluate.pick import Picked, pick_combination, split_validation
from unlogit.evaluate.results import Results, TruthRatios, row_digest
from unlogit.evaluate.scoring.score import score_examples
from unlogit.evaluate.subset import on_rows
from unlogit.model.loading import load_target, load_tokenizer
from unlogit.runs.checks import retain_log
from unlogit.runs.folder import RunFolder
from unlogit.runs.results import load_retain
from unlogit.settings.options import CombinationOptions, RunConfig
from unlogit.terminal import scoring_bar

log = logging.getLogger(__name__)

EVALUATION_SPLITS = ("forget", "retain", "real_authors", "world_facts", "general", "holdout", "retain_holdout")
"""Evaluation rows by name; only the first two are there always."""

VALIDATION_SPLITS = ("forget", "retain")
"""Splits of which some rows choose the combination."""

NO_WRONG_ANSWERS = (
    "no forget row has a perturbed_answer; expected some, since forget quality compares truth ratios: give wrong "
    "answers, or leave retain_model out"
)

NEUTRAL_ROWS = 60
"""Most held-out neutral rows that help to choose, and most that remain to judge the choice by."""


@dataclass(frozen=True)
class EvaluationRows:
    """Rows to be scored, and rows to choose a combination on (none where it is not picked).

    Held-out neutral rows help to choose, too; ``neutral`` are those of them that do not.
    """

    scored: Mapping[str, list[Example]]
    validation: Mapping[str, list[Example]] = field(default_factory=dict)
    neutral: list[Example] = field(default_factory=list)

    @classmethod
    def read(cls, folder: RunFolder, config: RunConfig) -> "EvaluationRows":
        """Read the rows of a run, the first ``max_rows`` of each split, split if one is (or could be) picked.

        Raises:
            DataError: the run was not prepared, or a split has too few rows to be split.
        """
        rows: dict[str, list[Example]] = {}
        for name in EVALUATION_SPLITS:
            path = folder.data / "evaluation" / f"{name}.jsonl"
            if name in VALIDATION_SPLITS or path.exists():
                examples = read_prepared(path)
                rows[name] = examples[: config.evaluate.max_rows or len(examples)]
        if not config.pick.enabled and config.evaluate.part == "all":
            return cls(rows)
        splits = {
            name: split_validation(rows[name], config.pick.validation_fraction, config.data.seed)
            for name in VALIDATION_SPLITS
        }
        scored = rows | {name: test for name, (_, test) in splits.items()}
        chooses, neutral = _held_out_neutral(folder, config)
        return cls(
            scored, {name: validation for name, (validation, _) in splits.items()} | {"neutral": chooses}, neutral
        )


@dataclass(frozen=True)
class Retain:
    """What is known of the retain model: for forget quality, for picking, and for a row in the table."""

    compare: Results | TruthRatios | None = None
    choose: Results | TruthRatios | None = None
    shown: Results | None = None


class Scorer:
    """Scores one model after another on the same rows, in the same type, with a line or a bar for each."""

    def __init__(self, config: RunConfig, rows: EvaluationRows) -> None:
        self.config, self.rows = config, rows
        dtype, reason = choose_dtype(config.train.dtype, choose_device())
        self.dtype = str(dtype).removeprefix("torch.")
        log.info(f"Computing in {self.dtype}: {reason}.")
        for line in wordless_answers(rows.scored, config.evaluate.protocol):
            log.warning(line)
        self.retain = Retain()

    def score(self, name: str, model: Any, tokenizer: Any, combination: CombinationOptions | None = None) -> Results:
        """Score a model on the rows; forget quality is there once ``score_retain`` was called."""
        counts = ", ".join(f"{len(rows)} {split}" for split, rows in self.rows.scored.items())
        log.info(f"Scoring the {name} on {counts} rows.")
        with scoring_bar(name) as progress:
            return evaluate_model(
                model,
                tokenizer,
                self.rows.scored,
                self.config.evaluate,
                self.retain.compare,
                progress,
                config={
                    "combination": None if combination is None else asdict(combination),
                    "chat_template_date": written_date(tokenizer),
                },
            )

    def score_retain(self) -> None:
        """Read or score the retain model, if there is one.

        Raises:
            DataError: forget rows have no wrong answers, or the retain model's results are of other rows.
            ModelError: there is no such model.
        """
        name = self.config.evaluate.retain_model
        if not name:
            return
        scored, validation = self.rows.scored["forget"], self.rows.validation.get("forget", [])
        compares = self.config.pick.enabled or not running_text(scored)
        for rows in filter(None, (scored, validation)):
            if compares and not any(row.perturbed_answer for row in rows):
                raise DataError(NO_WRONG_ANSWERS)
        results_file = retain_log(name)
        if results_file is not None:
            protocol = self.config.evaluate.protocol
            retain_results = load_retain(results_file, protocol)
            self.retain = _from_log(retain_results, [*scored, *validation], self.rows.scored, protocol)
            return
        model, tokenizer = load_target(name, self.dtype), load_tokenizer(name)
        choose = None
        if validation and compares:
            choose = self._truth_ratios(model, tokenizer, validation)
        results = self.score("retain model", model, tokenizer)
        self.retain = Retain(results, choose, results)

    def _truth_ratios(self, model: Any, tokenizer: Any, rows: Sequence[Example]) -> TruthRatios:
        usable = [row for row in rows if row.perturbed_answer]
        scores = score_examples(model, tokenizer, usable, batch_size=self.config.evaluate.batch_size, generate=False)
        return score_truth_ratios(str(model.name_or_path), usable, scores)

    def pick(self, model: Any, tokenizer: Any) -> Picked:
        """Choose the combination on the validation rows; without a retain model, by ghosts.

        Raises:
            DataError: no forget row has ghosts, where there is no retain model.
        """
        forget, retain = (self.rows.validation[name] for name in VALIDATION_SPLITS)
        neutral = self.rows.validation.get("neutral", [])
        counts = f"{len(forget)} forget and {len(retain)} retain rows" + (
            f", {len(neutral)} neutral" if neutral else ""
        )
        reference = self.retain.choose or stand_in(model.target, tokenizer, forget, self.config)
        log.info(f"Choosing the combination on {counts}.")
        with scoring_bar("choosing") as progress:
            return pick_combination(
                model,
                tokenizer,
                forget,
                retain,
                reference,
                self.config.pick,
                batch_size=self.config.evaluate.batch_size,
                progress=progress,
                neutral_rows=neutral,
            )


def stand_in(target: Any, tokenizer: Any, forget: Sequence[Example], config: RunConfig) -> GhostReference:
    """Return what stands in for a retain model: the target on the forget rows about people who do not exist."""
    log.info(
        "There is no retain model: answers to forget should be as the target finds them of people who do not exist. "
        "What stands as forget quality is a p-value against these."
    )
    with scoring_bar("made-up people") as progress:
        return ghost_reference(
            forget, target, tokenizer, config.data.seed, batch_size=config.evaluate.batch_size, progress=progress
        )


def _held_out_neutral(folder: RunFolder, config: RunConfig) -> tuple[list[Example], list[Example]]:
    """Part neutral rows that nothing was trained on into two halves, by chance: those that choose, those that judge.

    A single one chooses.
    """
    path = folder.data / "holdout_neutral.jsonl"
    rows = read_prepared(path) if path.exists() else []
    most = 2 * min(NEUTRAL_ROWS, config.evaluate.max_rows or NEUTRAL_ROWS)
    if len(rows) > most:
        rows = [rows[i] for i in sorted(random.Random(config.data.seed).sample(range(len(rows)), most))]
    return split_validation(rows, 0.5, config.data.seed) if len(rows) > 1 else (rows, [])


def _from_log(
    retain_results: Results | TruthRatios, rows: Sequence[Example], scored: Mapping[str, list[Example]], protocol: str
) -> Retain:
    """Take what was measured before, if it was measured on these rows; show it only as far as on no others."""
    if isinstance(retain_results, Results) and running_text(scored["forget"]):
        on_our_rows = on_rows(
            retain_results, {split: tuple(map(row_digest, examples)) for split, examples in scored.items()}
        )
        return Retain(on_our_rows, None, on_our_rows)
    ratios = retain_results.truth_ratios() if isinstance(retain_results, Results) else retain_results
    usable = tuple(row_digest(row) for row in rows if row.perturbed_answer)
    ratios.on_rows(usable, "this run", protocol)  # an error now, not after the scoring
    if not ratios.rows:
        log.info(
            f"{ratios.source} does not name its rows: its {len(ratios.values)} truth ratios are compared with those of "
            f"this run's {len(usable)} forget rows as they stand; that they are the same rows is not checked.",
        )
    shown = None
    if isinstance(retain_results, Results):
        digests = {split: tuple(map(row_digest, examples)) for split, examples in scored.items()}
        with suppress(DataError):  # it lacks some: a published log, or one of fewer rows
            shown = on_rows(retain_results, digests)
    return Retain(retain_results, retain_results, shown)


def load_log(retain_model: str, forget: Sequence[Example], protocol: str) -> Results | TruthRatios | None:
    """Return the results that ``retain_model`` names, if it names results by these protocol and these forget rows
    are among them."""
    results_file = retain_log(retain_model) if retain_model else None
    if results_file is None:
        return None
    retain_results = load_retain(results_file, protocol)
    ratios = retain_results.truth_ratios() if isinstance(retain_results, Results) else retain_results
    try:
        ratios.on_rows([row_digest(row) for row in forget if row.perturbed_answer], "this run", protocol)
    except DataError:
        return None
    return retain_results


def combination_words(combination: CombinationOptions) -> str:
    """Return a combination in a few words for a table."""
    return f"{combination.rule}, α {combination.alpha:g}, filter {combination.filter_rate:g}"


def other_results(folder: RunFolder, model: str) -> Path:
    """Return where the results of another model on a run's rows go: another file for each folder or hub id.

    The last part of the name is for reading; folders of the same name in two places differ in the digest.
    """
    path = Path(model).expanduser()
    full_name = str(path.resolve()) if path.is_dir() else model
    digest = hashlib.sha256(full_name.encode()).hexdigest()[:8]
    return folder.path / f"results_{path.resolve().name}_{digest}.json"
