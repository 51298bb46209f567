"""Training in a run folder, by the kind of the objective: branches, rewritten weights, or an offset model.

Each way ends with ``RUN/unlearned/``: a model that points to the target and holds its branches, or an ordinary model.
The training itself is that of ``train`` and ``rewrite``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unlogit.model.assistant import Assistant
from unlogit.training.branches import BRANCHES
from unlogit.data.refusals import load_refusals
from unlogit.device import choose_device
from unlogit.evaluate.evaluate import evaluate_model
from unlogit.evaluate.results import Results
from unlogit.files import atomic_folder, write_json
from unlogit.model.unlearned import UnlearnedForCausalLM
from unlogit.objectives import OBJECTIVES
from unlogit.settings.options import RunConfig, TrainOptions
from unlogit.training.rewrite import OFFSET_WEIGHTS, new_offset, rewrite_model, train_offset
from unlogit.runs.evaluate import EVALUATION_SPLITS, EvaluationRows, load_log
from unlogit.runs.folder import RunFolder
from unlogit.terminal import has_bar
from unlogit.training.train import TrainingRows, defaults_for, near_rows, train_assistant
from unlogit.training.trainer import EachEpoch


@dataclass(frozen=True)
class RunTraining:
    """What every way to train a run needs."""

    folder: RunFolder
    config: RunConfig
    target: Any
    tokenizer: Any
    rows: TrainingRows
    resume: bool

    def train(self) -> list[dict[str, Any]]:
        """Train and write the unlearned model; return a summary for each thing that was trained."""
        kind = OBJECTIVES[self.config.train.objective]
        if kind == "branches":
            return self.branches()
        parameters = sum(p.numel() for p in self.target.parameters())
        options, note = defaults_for(self.config.train, self.config.assistant.adapter, parameters, kind)
        print(note, flush=True)
        return self.weights(options) if kind == "weights" else self.offset(options)

    def branches(self) -> list[dict[str, Any]]:
        """Train the branches one after the other. A path needs all of them: it is that of the last one's passes."""
        branches = BRANCHES[self.config.train.objective]
        assistants: list[Assistant] = []
        summaries = []
        weights = [branch.weight for branch in branches]
        near = None
        if len(branches) > 1 and any("near" in branch.remember for branch in branches):  # the same for all of them
            self.target.to(choose_device()).eval()
            near = near_rows(self.target, self.tokenizer, self.rows, self.config.train)
        for branch, place in zip(branches, self.folder.assistants, strict=False):
            last = len(assistants) == len(branches) - 1
            if summary := self._done(place):
                assistants.append(Assistant.load(place, self.target))
            else:
                assistant, summary = train_assistant(
                    self.target,
                    self.tokenizer,
                    self.rows,
                    place,
                    self.config.assistant,
                    self.config.train,
                    resume=self.resume,
                    bar=has_bar(),
                    branch=branch,
                    near=near,
                    each_epoch=self._path_of(weights, assistants) if last else None,
                )
                assistants.append(assistant)
            summaries.append(summary)
        self.combine(assistants, weights)
        return summaries

    def weights(self, options: TrainOptions) -> list[dict[str, Any]]:
        """Rewrite the target's weights, in memory; its files stay as they are."""
        if summary := self._done(self.folder.unlearned):
            return [summary]
        _, summary = rewrite_model(
            self.target,
            self.tokenizer,
            self.rows.forget,
            self.rows.retain,
            self._refusals(),
            self.folder.unlearned,
            self.config.assistant,
            options,
            resume=self.resume,
            bar=has_bar(),
            each_epoch=self._path() if self.config.evaluate.path_rows else None,
        )
        return [summary]

    def offset(self, options: TrainOptions) -> list[dict[str, Any]]:
        """Train an offset model; the second branch is the same at its start."""
        if done := self._done(self.folder.assistant):
            offset = Assistant.load(self.folder.assistant, self.target)
            _, start = new_offset(self.target, self.config.assistant, self.config.train.seed)
            self.combine([offset, start], OFFSET_WEIGHTS)
            return [done]
        assistants, summary = train_offset(
            self.target,
            self.tokenizer,
            self.rows.forget,
            self.rows.retain,
            self._refusals(),
            self.folder.assistant,
            self.config.assistant,
            options,
            self.config.combination,
            resume=self.resume,
            bar=has_bar(),
            each_epoch=self._path_of(OFFSET_WEIGHTS),
        )
        self.combine(assistants, OFFSET_WEIGHTS)
        return [summary]

    def combine(self, assistants: list[Assistant], weights: Any) -> None:
        """Write the unlearned model."""
        model = self._combined(assistants, weights)
        with atomic_folder(self.folder.unlearned) as temporary:
            model.save_pretrained(temporary)
            self.tokenizer.save_pretrained(temporary)

    def _combined(self, assistants: list[Assistant], weights: Any) -> UnlearnedForCausalLM:
        return UnlearnedForCausalLM.build(self.target, assistants, weights, self.config.combination)

    def _done(self, place: Path) -> dict[str, Any] | None:
        """Return how what stands in ``place`` was trained, if it is not to be trained again."""
        summary = self.folder.summary_of(place) if self.resume else None
        if summary:
            print(f"{place} is trained already.")
        return summary

    def _refusals(self) -> list[str]:
        return load_refusals(self.config.data.refusals, self.config.data.tofu_folder)

    def _path_of(self, weights: Any, trained: Sequence[Assistant] = ()) -> Callable[[Any], EachEpoch] | None:
        """Return how the path of branches is measured, as combined with ``weights``; ``trained`` stand before them."""
        if not self.config.evaluate.path_rows:
            return None
        measure, before = self._path(), list(trained)
        return lambda found: measure(
            self._combined([*before, *([found] if isinstance(found, Assistant) else found)], weights)
        )

    def _path(self) -> Callable[[Any], EachEpoch]:
        """Return what makes, of a model in training, the function that scores it after each pass into ``path.json``."""
        options = self.config.evaluate
        rows = EvaluationRows.read(self.folder, self.config).scored
        rows = {name: rows[name][: options.path_rows] for name in EVALUATION_SPLITS if name in rows}
        retain = load_log(options.retain_model, rows["forget"], options.conventions)
        points: list[dict[str, Any]] = self.folder.read_path() if self.resume else []

        def measured(model: Any) -> EachEpoch:
            def score(epoch: int) -> None:
                settings = replace(options, max_rows=0)
                results = evaluate_model(model, self.tokenizer, rows, settings, retain)
                points[:] = [point for point in points if point["epoch"] < epoch] + [path_point(epoch, results)]
                write_json(self.folder.path_points, points)

            return score

        return measured


def path_point(epoch: int, results: Results) -> dict[str, Any]:
    """Return the figures of one point of a path, those of a table's row."""
    point: dict[str, Any] = {"epoch": epoch}
    for name, metric in (("forget_quality", results.forget_quality), ("model_utility", results.model_utility)):
        point[name] = None if metric is None else metric.value
    for split in ("forget", "retain"):
        metrics = results.splits[split].metrics
        point |= {
            f"{split}_{name}": metrics[name].value for name in ("probability", "rouge_l_recall") if name in metrics
        }
    return point
