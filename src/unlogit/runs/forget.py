"""One request from files to an unlearned model that passed its own check, or a clear word that it did not.

Ghosts, rows, training, check: ``RUN/ghosts.jsonl``, ``RUN/data/``, ``RUN/assistant/`` and ``RUN/unlearned/``,
``RUN/check.json``. Each is done once; ``resume`` goes on after the last that is there.
"""

import logging
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from unlogit.data.content_words import common_words
from unlogit.data.examples import Example
from unlogit.data.ghosts import strangers_answers
from unlogit.data.neutral import GENERAL
from unlogit.data.sources import read_prepared, source_in
from unlogit.device import choose_device, choose_dtype
from unlogit.errors import ConfigError
from unlogit.evaluate.leaks import KeptAnswers, Leak, asker, find_kept, find_leaks
from unlogit.files import write_json, write_json_lines
from unlogit.model.loading import load_target, load_tokenizer, load_unlearned
from unlogit.runs.checks import check_run
from unlogit.runs.folder import RunFolder
from unlogit.runs.ghosts import write_ghosts
from unlogit.runs.lock import in_sole_use
from unlogit.runs.prepare import prepare_run
from unlogit.runs.train import train_run
from unlogit.settings.options import RunConfig
from unlogit.terminal import scoring_bar

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
LEARNT_NATS = 0.2
UNIFORM_NATS = 0.05
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
def forget_run(config: RunConfig, *, resume: bool = False, overwrite: bool = False) -> Outcome:
    """Forget the rows of ``config.data.forget``, check it, and return what was found.

    Args:
        config: output, target and the sides; what training needs is found out.
        resume: go on with a request that was cut off.
        overwrite: begin anew although there is one.

    Raises:
        ConfigError: a setting is wrong, or there is a request and neither ``resume`` nor ``overwrite``.
        DataError: rows cannot be read or used.
        ModelError: the target cannot be used.
    """
    folder = RunFolder(Path(config.output))
    if folder.prepared and not (resume or overwrite):
        raise ConfigError(
            f"{folder.path} holds an earlier request; expected a new folder: choose another output, or give --resume "
            "to go on with it, or --overwrite to begin anew"
        )
    if resume and folder.prepared:
        config = replace(folder.current_config(), output=config.output)
    check_run(config)
    tokenizer = load_tokenizer(config.target)
    dtype = str(choose_dtype(config.train.dtype, choose_device())[0]).removeprefix("torch.")
    target = load_target(config.target, dtype).to(choose_device()).eval()
    if resume and folder.prepared:
        ghosts = read_prepared(folder.ghosts) if folder.ghosts.is_file() else []
    else:
        config, ghosts = with_ghosts(config, target, tokenizer, resume=resume)
        prepare_run(config, overwrite=overwrite)
    if not (resume and folder.trained and folder.combined and not folder.training):
        train_run(folder, config, resume=resume, overwrite=overwrite, target=target)
    outcome = check_request(folder, config, target, tokenizer, ghosts)
    record = {**asdict(outcome), "folder": str(outcome.folder), "passed": outcome.passed}
    write_json(folder.path / "check.json", record, mode=0o600)  # it has the rows to forget
    return outcome


def with_ghosts(
    config: RunConfig, target: Any, tokenizer: Any, *, resume: bool = False
) -> tuple[RunConfig, list[Example]]:
    """Ask the target about ghosts, and return the settings for the request, see ``planned``, with the ghosts.

    Raises:
        ConfigError: no question names anybody, and there are no rows to keep.
        DataError: rows cannot be read.
    """
    folder = RunFolder(Path(config.output))
    forget = source_in(config.data.forget, config.data, tokenizer).forget_rows(config.data).training
    ghosts = write_ghosts(target, tokenizer, forget, folder.ghosts, GHOSTS, config.data.seed, resume)
    if ghosts:
        rows = [
            replace(row, perturbed_answer=row.perturbed_answer or strangers_answers(row, ghosts, WRONG_ANSWERS))
            for row in forget
        ]
        write_json_lines(folder.request, (row.to_row() for row in rows), mode=0o600)
        config = replace(config, data=replace(config.data, forget=str(folder.request), columns=""))
    if not ghosts and not config.data.retain:
        raise ConfigError(
            "no question to forget names anybody, so that the target cannot be asked about others; expected rows to "
            "keep: give retain"
        )
    return planned(config, len(forget), folder.ghosts if ghosts else None), ghosts


def planned(config: RunConfig, rows: int, ghosts: Path | None) -> RunConfig:
    """Return the settings for a request of so many rows; what the user set stays."""
    data, train = config.data, config.train
    retain = ",".join(filter(None, [data.retain, str(ghosts) if ghosts else ""]))
    batch = min(train.batch_size, rows)
    steps = max(MAX_STEPS, math.ceil(10 * rows / batch))
    return replace(
        config,
        data=replace(data, retain=retain, evaluation_rows=min(data.evaluation_rows, 60), perturbations=WRONG_ANSWERS),
        train=replace(
            train,
            batch_size=batch,
            uniform_ratio=max(train.uniform_ratio, UNIFORM_ROWS / batch),
            common_fraction=train.common_fraction or COMMON_FRACTION,
            epochs=train.epochs or math.ceil(steps * batch / rows),
            stop_uniform_kl=train.stop_uniform_kl or UNIFORM_NATS,
            stop_forget_nats=train.stop_forget_nats or LEARNT_NATS,
        ),
    )


def check_request(folder: RunFolder, config: RunConfig, target: Any, tokenizer: Any, ghosts: list[Example]) -> Outcome:
    """Ask target and unlearned model, and judge."""
    unlearned = load_unlearned(str(folder.unlearned), config.target, str(target.dtype).removeprefix("torch."))
    unlearned.to(target.device)
    rows = [row for row in read_prepared(folder.data / "evaluation" / "forget.jsonl") if row.kind != "text"]
    retain = [row for row in read_prepared(folder.data / "evaluation" / "retain.jsonl") if row.kind != "text"]
    ghost_questions = {row.question for row in ghosts}
    others = [row for row in retain if row.question not in ghost_questions]
    general = read_prepared(GENERAL)[:GENERAL_ROWS]
    with scoring_bar("Checking") as progress:
        ask_target, ask_unlearned = (
            asker(model, tokenizer, MAX_NEW_TOKENS, progress=progress) for model in (target, unlearned)
        )
        sampled = asker(unlearned, tokenizer, MAX_NEW_TOKENS, seed=config.data.seed, progress=progress)
        leaks = find_leaks(
            rows,
            ask_target,
            ask_unlearned,
            sampled,
            SAMPLES if len(rows) <= FEW_ROWS else 0,
            ghosts,
            common_words(others or retain, COMMON_FRACTION),
        )
        retained = find_kept(others or retain, ask_target, ask_unlearned)
        kept_general = find_kept(general, ask_target, ask_unlearned)
    training = folder.summary_of(folder.assistant) or {}
    problems = find_problems(leaks, retained if others else None, kept_general, training)
    return Outcome(
        folder.path,
        leaks,
        retained,
        not others,
        kept_general,
        asdict(folder.combination()),
        {name: training.get(name) for name in ("steps", "seconds", "forget_nats", "uniform_kl_nats")},
        problems,
    )


def find_problems(
    leaks: list[Leak], retained: KeptAnswers | None, general: KeptAnswers, training: dict[str, Any]
) -> list[str]:
    """Return why a request did not pass, each with what to do."""
    problems = []
    told_by_target = [leak for leak in leaks if leak.target_tells]
    if not told_by_target:
        problems.append(
            "the target does not know these rows: none of its answers tells them. Check that it is the model that was "
            "trained on them, and that the questions are worded as there"
        )
    leaking = [leak for leak in leaks if leak.unlearned_tells or leak.samples_that_tell]
    if leaking:
        problems.append(
            f"{len(leaking)} of {len(leaks)} rows are still told. Raise the strength (unlogit combine RUN --alpha 1), "
            "or train longer (--train.stop_forget_nats 0.1)"
        )
    nats = training.get("forget_nats")
    if nats is not None and nats > 2 * LEARNT_NATS:
        problems.append(
            f"the assistant did not learn the rows within {training.get('steps')} steps ({nats:.2f} nats a token, "
            f"expected {LEARNT_NATS}). Train longer (--train.epochs)"
        )
    far = {name: nats for name, nats in (training.get("uniform_kl_nats") or {}).items() if nats > 2 * UNIFORM_NATS}
    for name, nats in far.items():
        problems.append(
            f"the assistant is not uniform on {name.removeprefix('holdout_')} rows that it never saw ({nats:.2f} nats, "
            f"expected {UNIFORM_NATS}), so that others' answers are lost. Give rows to keep (--retain), or train "
            "longer (--train.epochs)"
        )
    if retained and retained.same < LEAST_KEPT * retained.rows:
        problems.append(
            f"only {retained.same} of {retained.rows} other answers stayed word for word. Give rows to keep "
            "(--retain), or lower the strength (unlogit combine RUN --alpha 0.5)"
        )
    if general.still_right < LEAST_GENERAL * general.target_right - 1:
        problems.append(
            f"only {general.still_right} of {general.target_right} general answers stayed right. Lower the strength "
            "(unlogit combine RUN --alpha 0.5)"
        )
    return problems
