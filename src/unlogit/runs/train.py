"""Training in a run folder: the recipes of its objective one after the other, then the unlearned model.

Ends with ``RUN/unlearned/``: a model that points to the target and holds its branches, or an ordinary model. The
training itself is ``training.loop.fit``.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from unlogit.data.chat_template import written_date
from unlogit.data.examples import Example
from unlogit.data.refusals import load_refusals
from unlogit.data.sources import read_prepared
from unlogit.device import choose_device, choose_dtype, join_processes, on_main_process, wait_for_all
from unlogit.errors import ConfigError, DataError
from unlogit.evaluate.evaluate import evaluate_model
from unlogit.files import atomic_folder, write_json
from unlogit.model.assistant import Assistant
from unlogit.model.ends import end_where_answers_end
from unlogit.model.loading import load_target, load_tokenizer
from unlogit.model.unlearned import UnlearnedForCausalLM
from unlogit.runs.checks import check_run, check_scored_lengths
from unlogit.runs.combine import keep_strengths
from unlogit.runs.digests import check_target_unchanged, record_target, record_trained
from unlogit.runs.earlier import added_to, load_earlier
from unlogit.runs.evaluate import EVALUATION_SPLITS, EvaluationRows, load_log
from unlogit.runs.folder import CEILINGS, RunFolder, is_raised
from unlogit.runs.lock import in_sole_use
from unlogit.runs.refusals import refusals_of, teaches_refusals
from unlogit.runs.results import path_point
from unlogit.settings.options import RunConfig, TrainOptions
from unlogit.terminal import has_bar
from unlogit.training.ceiling import StopAfterMinutes
from unlogit.training.loop import FitSettings, fit, save_fitted
from unlogit.training.nearest import nearest_rows
from unlogit.training.recipe import Recipe, combines, recipes_of
from unlogit.training.trainable import Trainable
from unlogit.training.trainer import AfterEpochs, check_checkpoints, checkpoints_beside, within_positions
from unlogit.training.uniformity import StopWhenUniform, chance_nats, held_out_kl, learning_warning, uniform_warning

log = logging.getLogger(__name__)

POOLS = ("forget", "retain", "perturbed", "neutral", "holdout_retain", "holdout_neutral")
"""The files of ``data/`` that training reads; the last two are never trained on."""

HELD_OUT = POOLS[-2:]


def read_pools(folder: Path) -> dict[str, list[Example]]:
    """Read what ``unlogit prepare`` wrote.

    Raises:
        DataError: the folder was not prepared, or one side has no rows.
    """
    pools = {}
    for name in POOLS:
        path = folder / f"{name}.jsonl"
        if not path.exists():
            raise DataError(f"no {name}.jsonl in {folder}; expected prepared rows: run `unlogit prepare` first")
        pools[name] = read_prepared(path)
    if not pools["forget"] or not (pools["retain"] or pools["perturbed"] or pools["neutral"]):
        raise DataError("no forget rows or no uniform rows; expected both sides: run `unlogit prepare` again")
    return pools


@dataclass(frozen=True)
class Trained:
    """What a training made: the unlearned model's folder, and a summary for each thing that was trained."""

    folder: RunFolder
    summaries: tuple[dict[str, Any], ...]
    combines: bool
    """Whether the unlearned model is a combination with an assistant, which is secret."""


@in_sole_use
def train_run(
    folder: RunFolder, config: RunConfig, *, resume: bool = False, overwrite: bool = False, target: Any = None
) -> Trained:
    """Train the assistant of a run and write it and the unlearned model.

    Args:
        folder: a prepared run.
        config: its settings; written into the folder before training, so that ``resume`` finds them.
        resume: go on where a training was cut off; what is done already is not done again.
        overwrite: begin anew although there is a training, whole or cut off; the earlier one and what was measured of
            it go before the new one begins, so that a cut never leaves an old assistant under new settings.
        target: the target, if it is loaded already.

    Raises:
        ConfigError: a setting is wrong, or there is a training and neither ``resume`` nor ``overwrite``, or one that
            was begun with other settings or rows, and ``resume``.
        DataError: the rows are missing.
        ModelError: the target cannot be used.
    """
    join_processes()
    pools = read_pools(folder.data)
    check_run(config)
    _check_earlier(folder, config, resume, overwrite)
    if resume:
        check_target_unchanged(folder, config)
    tokenizer = load_tokenizer(config.target)
    recipes = recipes_of(config.train.objective)
    target = target if target is not None else load_target(config.target, _weights_type(config, recipes))
    earlier = load_earlier(folder, target)
    training = RunTraining(folder, config, target, tokenizer, pools, resume, earlier=earlier)
    completing = resume and folder.trained and not folder.training and not folder.raises_ceiling(config)
    wait_for_all()  # before the first process changes what the others look at
    if completing:
        if on_main_process():
            folder.write_config(config)
        training.train()  # of several branches some may be missing
        record_trained(folder)
        return Trained(folder, (), recipes[0].trains.combines)
    with _settings(folder, config, overwrite):
        summaries, _ = training.train()
    record_trained(folder)
    return Trained(folder, tuple(summaries), recipes[0].trains.combines)


def _weights_type(config: RunConfig, recipes: Sequence[Recipe]) -> str:
    """Return the type to load the target in: that of the computation, or float32 where its own weights train."""
    if not recipes[0].trains.combines and config.assistant.adapter == "full":
        return "float32"
    return str(choose_dtype(config.train.dtype, choose_device())[0]).removeprefix("torch.")


@dataclass(frozen=True)
class RunTraining:
    """The trainings of one run."""

    folder: RunFolder
    config: RunConfig
    target: Any
    tokenizer: Any
    pools: Mapping[str, Sequence[Example]]
    resume: bool = False
    keep: bool = True
    """Whether the unlearned model is written."""
    bar: bool = field(default_factory=has_bar)
    """Whether progress bars are shown."""
    earlier: Any = None
    """The unlearned model that what is trained is added to, on the same target."""

    @property
    def options(self) -> TrainOptions:
        """The settings of training, with rows no longer than the target has positions."""
        return within_positions(self.config.train, self.target)

    def train(self) -> tuple[list[dict[str, Any]], Any]:
        """Train each recipe and write the unlearned model; return a summary for each, and that model."""
        recipes = recipes_of(self.config.train.objective)
        weights = [weight for recipe in recipes for weight in recipe.weights]
        check_scored_lengths(self.folder.data / "evaluation", self.target, self.tokenizer)
        pools = self._with_near(recipes)
        if teaches_refusals(self.config):
            pools["refusal"] = refusals_of(self.folder, self.config.data, pools["forget"])
        assistants: list[Assistant] = []
        summaries = []
        unlearned: Any = None
        for recipe in recipes:
            output = self.folder.adapter(recipe.name) if recipe.trains.combines else self.folder.unlearned
            summary = self.folder.summary_of(output) if self.resume else None
            if summary and not self._goes_on(summary):
                log.info(f"{output} is trained already.")
                assistants += self._load(recipe, output) if recipe.trains.combines else []
            else:
                is_scored = self.config.evaluate.path_rows and recipe is recipes[-1]
                scorer = partial(self._scorer, weights, list(assistants)) if is_scored else None
                trained, summary = self._fit(recipe, pools, output, scorer)
                unlearned = trained.result()
                assistants += unlearned if recipe.trains.combines else []
            summaries.append(summary)
        if recipes[0].trains.combines:
            unlearned = self._combine(assistants, weights)
        return summaries, unlearned

    def _fit(
        self, recipe: Recipe, pools: Mapping[str, Sequence[Example]], output: Path, scorer: Any
    ) -> tuple[Trainable, dict[str, Any]]:
        """Train one recipe and save it."""
        config = self.config
        parameters = sum(p.numel() for p in self.target.parameters())
        options, note = recipe.filled(self.options, config.assistant.adapter, parameters)
        log.info(note)
        values = asdict(recipe.own_options(options))
        listed = ", ".join(f"{name} {value:g}" for name, value in values.items() if value is not None)
        log.info(f"Training by {options.objective}{': ' if listed else ''}{listed}")
        needs_refusals = {"refusal", "retain_refusal"} & recipe.needs
        settings = FitSettings(
            options,
            config.assistant,
            config.combination,
            load_refusals(config.data.refusals, config.data.tofu_folder) if needs_refusals else (),
            self.resume,
            self.bar,
            partial(self._callbacks, output, scorer),
        )
        fitted = fit(recipe, self.target, self.tokenizer, pools, output, settings)
        if recipe.trains.remembers:
            fitted.summary.update(self._uniformity(fitted.trained.result()[0], recipe))
        fitted.summary.update(
            forget_nats=fitted.summary["terms"].get("forget"), assistant=asdict(config.assistant), train=asdict(options)
        )
        fitted.summary["chat_template_date"] = written_date(self.tokenizer)
        save_fitted(fitted, self.tokenizer, output)
        _warn(fitted.summary)
        if fitted.summary["ceiling"] and not self.folder.request.is_file():  # a request says it with its own command
            log.warning(ceiling_warning(fitted.summary, f"unlogit train {self.folder.path}"))
        return fitted.trained, fitted.summary

    def _goes_on(self, summary: Mapping[str, Any]) -> bool:
        """Whether what was trained had reached a ceiling that is another now."""
        options = asdict(self.config.train)
        return bool(summary.get("ceiling")) and any(
            is_raised(name, summary["train"][name], options[name]) for name in CEILINGS
        )

    def _callbacks(self, output: Path, scorer: Any, trained: Trainable) -> list[Any]:
        """Return what scores each pass and what ends a training early, where that was asked for."""
        options = self.options
        callbacks: list[Any] = [scorer(trained)] if scorer else []
        if options.minutes:
            callbacks.append(StopAfterMinutes(options.minutes, checkpoints_beside(output)))
        if options.stop_uniform_kl and trained.remembers:
            held_out = {name: self.pools[name] for name in HELD_OUT}
            callbacks.append(StopWhenUniform(trained.result()[0], self.tokenizer, held_out, options))
        return callbacks

    def _uniformity(self, assistant: Assistant, recipe: Recipe) -> dict[str, Any]:
        """Measure how far the assistant is from uniform on held-out rows, where it is to be uniform at all."""
        pools = {name: self.pools[name] for name in HELD_OUT} if len(recipe.sides) > 1 else {}
        values = held_out_kl(assistant.eval(), self.tokenizer, pools, self.options.max_tokens)
        return {
            "chance_nats": chance_nats(assistant),
            "uniform_kl_nats": values,
            "uniform_kl_rows": {name: len(self.pools[name]) for name in values},
        }

    def _with_near(self, recipes: Sequence[Recipe]) -> dict[str, Sequence[Example]]:
        """Return the pools; where a recipe asks for near rows, the retain rows split into near ones and others."""
        pools = dict(self.pools)
        if not any("near" in side.pools for recipe in recipes for side in recipe.sides):
            return pools
        self.target.to(choose_device()).eval()
        options = self.options
        count = round(options.near_fraction * len(pools["forget"]))
        near = set(
            nearest_rows(self.target, self.tokenizer, pools["forget"], pools["retain"], count, options.max_tokens)
        )
        pools["near"] = [row for i, row in enumerate(pools["retain"]) if i in near]
        pools["retain"] = [row for i, row in enumerate(pools["retain"]) if i not in near]
        return pools

    def _load(self, recipe: Recipe, output: Path) -> list[Assistant]:
        """Load what a recipe trained."""
        config = self.config
        trained: Any = recipe.trains(self.target, config.assistant, config.combination, config.train.seed)
        trained.assistant = Assistant.load(output, self.target)
        assistants: list[Assistant] = trained.result()
        return assistants

    def _combine(self, assistants: Sequence[Assistant], weights: Sequence[float]) -> UnlearnedForCausalLM:
        """Write the unlearned model, and return it."""
        model = self._combined(assistants, weights)
        if self.resume:
            model.config.branches = keep_strengths(self.folder, model.config.branches)
        if self.keep and on_main_process():
            with atomic_folder(self.folder.unlearned) as temporary:
                model.save_pretrained(temporary)
                self.tokenizer.save_pretrained(temporary)
        wait_for_all()
        return model

    def _combined(self, assistants: Sequence[Assistant], weights: Sequence[float]) -> UnlearnedForCausalLM:
        model: UnlearnedForCausalLM = added_to(
            self.earlier, self.target, assistants, weights, self.config, self.folder.path.resolve().name
        )
        end_where_answers_end(model, self.tokenizer)
        return model

    def _scorer(self, weights: Sequence[float], earlier: Sequence[Assistant], trained: Trainable) -> AfterEpochs:
        """Return the callback that scores a model in training after each pass, into ``path.json``.

        Branches are scored as combined: a path needs all of them, and is that of the last one's passes.
        """
        options = replace(self.config.evaluate, max_rows=0, samples=0)
        rows = EvaluationRows.read(self.folder, self.config).scored
        rows = {name: rows[name][: options.path_rows] for name in EVALUATION_SPLITS if name in rows}
        retain = load_log(options.retain_model, rows["forget"], options.protocol)
        points: list[dict[str, Any]] = self.folder.read_path() if self.resume else []
        combines = trained.combines
        training = [parameter for parameter in trained.parameters() if parameter.requires_grad]
        model = self._combined([*earlier, *trained.result()], weights) if combines else trained.language_model
        for parameter in training:  # what is combined is frozen otherwise
            parameter.requires_grad_(True)

        def score(epoch: int) -> None:
            if on_main_process():
                results = evaluate_model(model, self.tokenizer, rows, options, retain)
                points[:] = [point for point in points if point["epoch"] < epoch] + [path_point(epoch, results)]
                write_json(self.folder.path_points, points)
            wait_for_all()

        return AfterEpochs(score)


def _warn(summary: Mapping[str, Any]) -> None:
    """Say what an assistant has not learnt."""
    if day := summary["chat_template_date"]:
        log.warning(f"the chat template writes today's date: all rows have {day}, and no other date was measured")
    if message := uniform_warning(summary.get("uniform_kl_nats", {})):
        log.warning(message)
    if "chance_nats" in summary and (message := learning_warning(summary["forget_nats"], summary["chance_nats"])):
        log.warning(message)


def ceiling_warning(summary: Mapping[str, Any], command: str, section: str = "") -> str:
    """Return two sentences: that a training ended at its ceiling, and how ``command`` goes on from there.

    ``section`` stands before the name of a setting on its command line.
    """
    options = summary["train"]
    if summary["ceiling"] == "minutes":
        ceiling, flag = f"its ceiling of {options['minutes']:g} minutes", f"--minutes {2 * options['minutes']:g}"
    else:
        ceiling, flag = "the last that was planned", f"--{section}epochs {2 * options['epochs']:g}"
    return (
        f"training stopped at step {summary['steps']}, {ceiling}, before it had succeeded. To go on from there: "
        f"{command} --resume {flag}"
    )


@contextmanager
def _settings(folder: RunFolder, config: RunConfig, overwrite: bool) -> Iterator[None]:
    """Write the settings of a training before it; take them back if it was refused before its first checkpoint.

    An earlier training comes back then, too; it goes for good where the new one ended, or was cut off.
    """
    if not on_main_process():
        wait_for_all()
        yield
        return
    earlier = folder.read_config()
    folder.drop_aside()  # a killed training's, which must not come back
    if overwrite:
        folder.set_training_aside()
    folder.write_config(config)
    folder.begin_training(config)
    record_target(folder, config)
    try:
        wait_for_all()
        yield
    except Exception:  # not enough memory or disk, too
        if not folder.training:
            folder.write_config(earlier)
            folder.training_settings.unlink(missing_ok=True)
            folder.bring_back()
        raise
    finally:
        folder.drop_aside()


def _check_earlier(folder: RunFolder, config: RunConfig, resume: bool, overwrite: bool) -> None:
    """Refuse to lose an earlier training unasked, or to go on with one under other settings."""
    if folder.earlier.is_dir() and not combines(config.train.objective):
        raise ConfigError(
            f"{config.train.objective} trains the model's own weights, and {folder.path} adds to an earlier unlearned "
            "model; expected an objective with an assistant, as uld: change it"
        )
    for work in folder.checkpoints:
        check_checkpoints(work)
    adapters = [folder.adapter(recipe.name) for recipe in recipes_of(config.train.objective) if recipe.trains.combines]
    signs = {folder.assistant: folder.trained, folder.unlearned: folder.combined}
    if not folder.training:  # else one may have been cut off while it was being written
        signs |= {adapter: adapter in folder.adapters for adapter in adapters if adapter != folder.assistant}
    for path, sign in signs.items():
        if path.exists() and any(path.iterdir()) and not sign:
            raise ConfigError(f"{path} holds files of no training, which would be lost; expected none: move them")
    if overwrite or not (folder.trained or folder.training):
        return
    if resume:
        folder.check_training(config)
        return
    earlier = "a training that was cut off" if folder.training else "a trained assistant"
    raise ConfigError(
        f"{folder.path} holds {earlier}; expected none: give --resume to go on with it, or --overwrite to train again"
    )
