"""One request from files to an unlearned model that passed its own check, or a clear word that it did not.

Ghosts, rows, training, check: ``RUN/ghosts.jsonl``, ``RUN/data/``, ``RUN/assistant/`` and ``RUN/unlearned/``,
``RUN/check.json``. Each is done once; ``resume`` goes on after the last that is there.
"""

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from unlogit.data.content_words import common_words
from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.data.ghosts import names_of
from unlogit.data.neutral import GENERAL
from unlogit.data.prepare import check_replaceable
from unlogit.data.sources import check_sources, read_prepared, source_in
from unlogit.data.wordings import forget_training_rows
from unlogit.device import choose_device, choose_dtype
from unlogit.errors import ConfigError
from unlogit.evaluate.leaks import KeptAnswers, Leak, asker, find_kept, find_leaks
from unlogit.evaluate.results import read_json
from unlogit.files import write_json
from unlogit.model.loading import load_target, load_tokenizer, load_unlearned
from unlogit.runs.checks import check_run, check_train
from unlogit.runs.folder import RunFolder
from unlogit.runs.ghosts import write_ghosts
from unlogit.runs.lock import in_sole_use
from unlogit.runs.prepare import prepare_run
from unlogit.runs.train import train_run
from unlogit.settings.options import LoopOptions, RunConfig
from unlogit.terminal import scoring_bar
from unlogit.training.recipe import combines, recipes_of

log = logging.getLogger(__name__)

GHOSTS = 32
"""Ghosts of every forget row."""
WRONG_ANSWERS = 8
"""Of these, so many answers are wrong answers to the row itself, with its own names."""
FEW_ROWS = 20
"""Requests of so many rows are sampled, and take more uniform rows a step."""
SAMPLES = 16
UNIFORM_ROWS = 24
"""Rows of the uniform side in a step, at least."""
MAX_STEPS = 300
"""Steps after which a small request is given up; larger ones have ten passes."""
LEARNT_NATS = 0.1
UNIFORM_NATS = 0.02
"""A training has succeeded when its forget term, and its KL from uniform on rows it never saw, are at most these."""
COMMON_FRACTION = 0.03
LEAST_KEPT = 0.95
"""KeptAnswers answers that stay word for word, at least."""
LEAST_GENERAL = 0.98
"""General answers that stay right, at least."""
MAX_NEW_TOKENS = 64
GENERAL_ROWS = 60


@dataclass(frozen=True)
class Outcome:
    """What a request came to."""

    folder: Path
    leaks: list[Leak]
    retained: KeptAnswers
    """Answers to the rows to keep that are scored, or to ghosts where there are none."""
    retained_are_ghosts: bool
    """A stranger's number is made up digit by digit, and changes easily: ghosts are shown, not judged."""
    general: KeptAnswers
    combination: dict[str, Any]
    training: dict[str, Any]
    problems: list[str]
    """Why the check was not passed; empty where it was."""

    @property
    def passed(self) -> bool:
        """Whether the rows are forgotten and the others kept."""
        return not self.problems


@in_sole_use
def forget_run(
    config: RunConfig, given: Mapping[str, Any], *, resume: bool = False, overwrite: bool = False
) -> Outcome:
    """Forget the rows of ``config.data.forget``, check it, and return what was found.

    Args:
        config: output, target and the sides; what training needs is found out.
        given: what of the settings the user gave, by section and key, which stays as it is.
        resume: go on with a request that was cut off.
        overwrite: begin anew although there is one.

    Raises:
        ConfigError: a setting is wrong, or there is a request and neither ``resume`` nor ``overwrite``, or another
            one and ``resume``.
        DataError: rows cannot be read or used.
        ModelError: the target cannot be used.
    """
    folder = RunFolder(Path(config.output))
    check_sources(config.data.forget, config.data.retain, config.data.neutral)
    check_run(config)
    check_replaceable(folder.data)
    if not combines(config.train.objective):
        raise ConfigError(
            f"the objective {config.train.objective} trains the model's own weights; expected one with an assistant, "
            "as uld: use `unlogit prepare` and `unlogit train`"
        )
    tokenizer = load_tokenizer(config.target)
    forget = source_in(config.data.forget, config.data, tokenizer).forget_rows(config.data).training
    if all(row.kind == "text" for row in forget):
        raise ConfigError(
            "all that is to be forgotten is running text, about which nothing can be asked; expected questions: give "
            "some about the documents, or use `unlogit prepare` and `unlogit train` to forget the text alone"
        )
    retain = config.data.retain or source_in(config.data.forget, config.data).default_retain()
    if not retain and not any(names_of(row.question) for row in forget):
        raise ConfigError(
            "no question to forget names anybody, so that the target cannot be asked about others; expected rows to "
            "keep: give retain"
        )
    config = planned(config, forget, given)
    check_train(config.train)
    goes_on = _begin(folder, _request_of(config, forget), resume, overwrite)
    dtype = str(choose_dtype(config.train.dtype, choose_device())[0]).removeprefix("torch.")
    target = load_target(config.target, dtype).to(choose_device()).eval()
    ghosts = write_ghosts(target, tokenizer, forget, folder.ghosts, GHOSTS, config.data.seed, resume=goes_on)
    if goes_on and folder.prepared:
        config = replace(folder.current_config(), output=config.output)
    else:
        prepare_run(config, overwrite=overwrite, ghosts=ghosts)
        if overwrite:
            folder.set_training_aside()  # it is of other rows; now, so that --resume can go on after a cut
            folder.drop_aside()
    if goes_on and folder.trained and folder.combined and not folder.training:
        folder.check_training(config)
    else:
        train_run(folder, config, resume=resume, overwrite=overwrite, target=target)
    outcome = check_request(folder, config, target, tokenizer, ghosts)
    record = {**asdict(outcome), "folder": str(outcome.folder), "passed": outcome.passed}
    write_json(folder.check, record, mode=0o600)  # it has the rows to forget
    return outcome


def _request_of(config: RunConfig, forget: Sequence[Example]) -> dict[str, Any]:
    """Return what tells one request from another, without its text."""
    rows = json.dumps([row.to_row() for row in forget], sort_keys=True)
    return {
        "target": config.target,
        **{name: getattr(config.data, name) for name in ("forget", "retain", "columns", "seed")},
        "rows": hashlib.sha256(rows.encode()).hexdigest(),
    }


def _begin(folder: RunFolder, request: dict[str, Any], resume: bool, overwrite: bool) -> bool:
    """Write down which request this is; return whether an earlier one is gone on with."""
    earlier = read_json(folder.request) if folder.request.is_file() else None
    if not earlier and folder.path.exists() and any(folder.path.iterdir()) and not overwrite:
        raise ConfigError(
            f"{folder.path} is not empty and holds no request; expected a new folder: choose another output"
        )
    if earlier and not (resume or overwrite):
        raise ConfigError(
            f"{folder.path} holds an earlier request; expected a new folder: choose another output, or give --resume "
            "to go on with it, or --overwrite to begin anew"
        )
    if earlier and resume and earlier != request:
        changed = ", ".join(name for name in request if earlier.get(name) != request[name])
        raise ConfigError(
            f"{folder.path} holds another request ({changed} changed); expected the same to go on with: give "
            "--overwrite to begin anew, or choose another output"
        )
    if not resume:
        for path in (folder.ghosts, folder.check, folder.check.with_suffix(".txt")):
            path.unlink(missing_ok=True)
    folder.path.mkdir(parents=True, exist_ok=True)
    write_json(folder.request, request)
    return bool(earlier) and resume


def planned(config: RunConfig, forget: Sequence[Example], given: Mapping[str, Any]) -> RunConfig:
    """Return the settings for a request of these rows; what was ``given``, by section and key, stays."""
    data, train = config.data, config.train
    rows = len(forget_training_rows(list(forget), data.paraphrases, data.cross_paraphrases))
    batch = train.batch_size if "batch_size" in given.get("train", {}) else min(train.batch_size, rows)
    steps_a_pass = math.ceil(rows / batch)
    plan: dict[str, dict[str, Any]] = {
        "data": {"evaluation_rows": 60, "perturbations": WRONG_ANSWERS},
        "train": {
            "batch_size": batch,
            "uniform_ratio": max(1.0, UNIFORM_ROWS / batch),
            "common_fraction": COMMON_FRACTION,
            "epochs": max(10, math.ceil(MAX_STEPS / steps_a_pass)),
            "stop_uniform_kl": UNIFORM_NATS,
            "stop_forget_nats": LEARNT_NATS,
        },
    }
    own_options = {field.name for recipe in recipes_of(train.objective)[:1] for field in fields(recipe.options)}
    general = {field.name for field in fields(LoopOptions)}
    for section, values in plan.items():
        allowed = own_options | general if section == "train" else set(values)
        changes = {k: v for k, v in values.items() if k in allowed and k not in given.get(section, {})}
        config = replace(config, **{section: replace(getattr(config, section), **changes)})
    return config


def check_request(folder: RunFolder, config: RunConfig, target: Any, tokenizer: Any, ghosts: list[Example]) -> Outcome:
    """Ask target and unlearned model, and judge."""
    unlearned = load_unlearned(str(folder.unlearned), config.target, str(target.dtype).removeprefix("torch."))
    unlearned.to(target.device)
    scored = read_prepared(folder.data / "evaluation" / "forget.jsonl")
    rows = [row for row in scored if row.kind != "text"]
    retain = [row for row in read_prepared(folder.data / "evaluation" / "retain.jsonl") if row.kind != "text"]
    ghost_questions = {row.question for row in ghosts}
    own_rows = [row for row in retain if row.question not in ghost_questions]
    general = read_prepared(GENERAL)[:GENERAL_ROWS]
    answer_tokens = max(encode(row, tokenizer).answer_tokens for row in [*rows, *retain])
    max_new_tokens = max(MAX_NEW_TOKENS, answer_tokens + 16)
    with scoring_bar("Checking") as progress:
        ask_target, ask_unlearned = (
            asker(model, tokenizer, max_new_tokens, progress=progress) for model in (target, unlearned)
        )
        sampled = asker(unlearned, tokenizer, max_new_tokens, seed=config.data.seed, progress=progress)
        leaks = find_leaks(
            rows,
            ask_target,
            ask_unlearned,
            sampled,
            SAMPLES if len(rows) <= FEW_ROWS else 0,
            ghosts,
            common_words(read_prepared(folder.data / "retain.jsonl"), COMMON_FRACTION),
        )
        retained = find_kept(own_rows or retain, ask_target, ask_unlearned)
        kept_general = find_kept(general, ask_target, ask_unlearned)
    training = folder.summary_of(folder.assistant) or {}
    problems = find_problems(folder.path, leaks, retained if own_rows else None, kept_general, training)
    if documents := len(scored) - len(rows):
        problems.append(f"{documents} pieces of documents were trained on and not checked. Ask questions about them")
    return Outcome(
        folder.path,
        leaks,
        retained,
        not own_rows,
        kept_general,
        asdict(folder.combination()),
        {name: training.get(name) for name in ("steps", "seconds", "forget_nats", "uniform_kl_nats")},
        problems,
    )


def find_problems(
    run: Path,
    leaks: list[Leak],
    retained: KeptAnswers | None,
    general: KeptAnswers,
    training: dict[str, Any],
) -> list[str]:
    """Return why a request did not pass, each with what to do."""
    problems = []
    again = "run it again with --overwrite"
    if not any(leak.target_tells for leak in leaks):
        problems.append(
            "the target does not know these rows: none of its answers tells them. Check that it is the model that was "
            "trained on them, and that the questions are worded as there"
        )
    if leaking := [leak for leak in leaks if leak.unlearned_tells or leak.samples_that_tell]:
        problems.append(
            f"{len(leaking)} of {len(leaks)} rows are still told. Give other wordings of the questions "
            f"(paraphrased_question), or a higher --combination.alpha, and {again}"
        )
    nats = training.get("forget_nats")
    if nats is not None and nats > 2 * LEARNT_NATS:
        problems.append(
            f"the assistant did not learn the rows within {training.get('steps')} steps ({nats:.2f} nats a token, "
            f"expected {LEARNT_NATS}). Give more --train.epochs, and {again}"
        )
    for name, value in (training.get("uniform_kl_nats") or {}).items():
        if value > 2 * UNIFORM_NATS:
            problems.append(
                f"the assistant is not uniform on {name.removeprefix('holdout_')} rows that it never saw ({value:.2f} "
                f"nats, expected {UNIFORM_NATS}), so that others' answers are lost. Give rows to keep (--retain), or "
                f"more --train.epochs, and {again}"
            )
    if retained and retained.same < LEAST_KEPT * retained.rows:
        problems.append(
            f"only {retained.same} of {retained.rows} other answers stayed word for word. Give more rows to keep "
            f"(--retain) and {again}, or lower the strength (unlogit combine {run} --alpha 0.5) and check again with "
            "--resume"
        )
    if general.still_right < LEAST_GENERAL * general.target_right - 1:
        problems.append(
            f"only {general.still_right} of {general.target_right} general answers stayed right. Lower the strength "
            f"(unlogit combine {run} --alpha 0.5) and check again with --resume"
        )
    return problems
