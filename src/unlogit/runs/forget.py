"""One request from files to an unlearned model that passed its own check, or a clear word that it did not.

What a writer adds, ghosts, rows, training, check: ``RUN/written.json``, ``RUN/ghosts.jsonl``, ``RUN/data/``,
``RUN/assistant/`` and ``RUN/unlearned/``, ``RUN/check.json``. Each is done once; ``resume`` goes on after
the last that is there.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from unlogit.data.chat_template import thinks
from unlogit.data.encode import has_thought
from unlogit.data.examples import Example
from unlogit.data.ghosts import names_of
from unlogit.data.prepare import check_replaceable
from unlogit.data.sources import check_sources, source_in
from unlogit.data.wordings import forget_training_rows, sections
from unlogit.data.written import Written
from unlogit.device import choose_device, choose_dtype
from unlogit.errors import ConfigError
from unlogit.evaluate.ghost_losses import AmongGhosts, losses_among_ghosts
from unlogit.files import write_json
from unlogit.model.loading import embedding_rows_of, load_target, load_tokenizer
from unlogit.model.requests import with_strength
from unlogit.model.unlearned import UnlearnedForCausalLM
from unlogit.model.vocabulary import check_readable
from unlogit.runs.checks import check_run, check_train
from unlogit.runs.combine import change_requests, own_request, request_strengths
from unlogit.runs.digests import check_sources_unchanged, check_trained
from unlogit.runs.earlier import keep_earlier, load_earlier, on_its_target
from unlogit.runs.earlier_rows import (
    earlier_requests,
    rows_of,
)
from unlogit.runs.estimate import Phases, measure_costs, plan_text
from unlogit.runs.folder import CEILINGS, RunFolder
from unlogit.runs.ghosts import BATCH_SIZE, questions_about_ghosts, write_ghosts
from unlogit.runs.ghosts import MAX_NEW_TOKENS as GHOST_TOKENS
from unlogit.runs.lock import in_sole_use
from unlogit.runs.outcome import Outcome
from unlogit.runs.plan import planned
from unlogit.runs.prepare import prepare_run
from unlogit.runs.request import begin_request, check_settings, request_of
from unlogit.runs.request_check import (
    GENERAL_ROWS,
    SAMPLES,
    THOUGHT_TOKENS,
    TargetSays,
    check_request,
    is_sampled,
    max_answer_tokens,
    scored_rows,
    words_of_many,
)
from unlogit.runs.train import train_run
from unlogit.runs.writing import WRITTEN, write_rows, writer_of
from unlogit.settings.options import RunConfig
from unlogit.strength.choose import MOST_CHECKS, choose_strength
from unlogit.strength.exposure import unknown_rows
from unlogit.training.recipe import combines, recipes_of

log = logging.getLogger(__name__)

GHOSTS = 32
"""Ghosts of every forget row."""


@in_sole_use
def forget_run(
    config: RunConfig, given: Mapping[str, Any], *, writer: str = "", resume: bool = False, overwrite: bool = False
) -> Outcome:
    """Forget the rows of ``config.data.forget``, check it, and return what was found.

    Args:
        config: output, sides and target, or an unlearned model for the next request; what training needs is found out.
        given: what of the settings the user gave, by section and key, which stays as it is.
        writer: what writes paraphrases, wrong answers and questions about documents, see ``writing.writer_of``.
        resume: go on with a request that was cut off.
        overwrite: begin anew although there is one.

    Raises:
        ConfigError: a setting is wrong, or the folder holds a request without ``resume`` or ``overwrite``, or another.
        DataError: rows cannot be read or used.
        ModelError: the target cannot be used.
    """
    folder = RunFolder(Path(config.output))
    model_name = config.target
    config, earlier = on_its_target(config, given, resume)
    _check_before(folder, config)
    tokenizer = load_tokenizer(config.target)
    forget = _forget_rows(config, tokenizer)
    make_writer = writer_of(writer, is_done=resume and (folder.path / WRITTEN).is_file())
    plan_given = {**given, **({"combination": asdict(config.combination)} if earlier else {})}
    check_train(planned(config, forget, plan_given).train)
    goes_on = begin_request(folder, request_of(replace(config, target=model_name), forget, writer), resume, overwrite)
    keep_earlier(folder, earlier, resume=goes_on)
    given_ceilings = {name: value for name, value in given.get("train", {}).items() if name in CEILINGS}
    dtype = str(choose_dtype(config.train.dtype, choose_device())[0]).removeprefix("torch.")
    target = load_target(config.target, dtype).to(choose_device()).eval()
    model = load_earlier(folder, target) or target
    written = write_rows(folder, config, forget, make_writer, model, tokenizer, is_named=bool(writer), resume=goes_on)
    forget = written.over(forget)
    config = planned(config, forget, plan_given)
    if not (goes_on and folder.trained):
        log.info(_plan(folder, config, forget, target, tokenizer, given))
    ghosts = write_ghosts(model, tokenizer, forget, folder.ghosts, GHOSTS, config.data.seed, resume=goes_on)
    if not (goes_on and folder.trained):
        _warn_of_unknown(losses_among_ghosts(forget, ghosts, model, tokenizer))
    if goes_on and folder.prepared:
        check_settings(folder.read_config(), config, given)
        config = replace(folder.current_config(), output=config.output)
        check_sources_unchanged(folder, config)
        config = replace(config, train=replace(config.train, **given_ceilings))
    else:
        prepare_run(config, overwrite=overwrite, ghosts=ghosts, written=written)
    is_trained = folder.trained and folder.combined and not folder.training and not folder.raises_ceiling(config)
    if goes_on and is_trained:
        check_trained(folder, config)
    else:
        folder.check.unlink(missing_ok=True)  # it is of another assistant, whose strength is not this one's
        train_run(folder, config, resume=resume, overwrite=overwrite, target=target)
    outcome = _at_best_strength(folder, config, model, tokenizer, ghosts, given, written)
    exposures = {name: asdict(bits) for name, bits in outcome.exposures.items()}
    record = {**asdict(outcome), "folder": str(outcome.folder), "passed": outcome.passed, "exposure": exposures}
    write_json(folder.check, record, mode=0o600)  # it has the rows to forget
    if outcome.passed:
        folder.drop_checkpoints()  # there is nothing to go on to
    return outcome


def _warn_of_unknown(losses: Sequence[AmongGhosts]) -> None:
    """Say before training which rows the model may never have seen, of those that have ghosts."""
    unknown = unknown_rows([(row.loss, row.ghosts) for row in losses])
    if unknown:
        numbers = ", ".join(str(losses[i].number + 1) for i in unknown[:10]) + (", …" if len(unknown) > 10 else "")
        log.warning(
            f"{len(unknown)} of {len(losses)} rows to forget ({numbers}): the model finds them no likelier than the "
            "same facts about made-up people, and may not know them"
        )


def _check_before(folder: RunFolder, config: RunConfig) -> None:
    """Refuse what can be seen before anything is loaded."""
    check_sources(config.data.forget, config.data.retain, config.data.neutral)
    check_run(config)
    check_replaceable(folder.data)
    if not combines(config.train.objective):
        raise ConfigError(
            f"the objective {config.train.objective} trains the model's own weights; expected one with an assistant, "
            "as uld: use `unlogit prepare` and `unlogit train`"
        )


def _forget_rows(config: RunConfig, tokenizer: Any) -> list[Example]:
    """Return the rows to forget; refuse those that the target cannot read, or be asked about."""
    forget = source_in(config.data.forget, config.data, tokenizer).forget_rows(config.data).training
    check_readable(forget, tokenizer, embedding_rows_of(config.target))
    retain = config.data.retain or source_in(config.data.forget, config.data).default_retain()
    if not retain and not any(row.kind == "text" or names_of(row.question) for row in forget):
        raise ConfigError(
            "no question to forget names anybody, so that the target cannot be asked about others; expected rows to "
            "keep: give retain"
        )
    return forget


def _plan(
    folder: RunFolder,
    config: RunConfig,
    forget: Sequence[Example],
    target: Any,
    tokenizer: Any,
    given: Mapping[str, Any],
) -> str:
    """Return what is going to be done and how long it may take, in words."""
    questions = [row for row in forget if row.kind != "text"]
    ghosts = len(questions_about_ghosts(forget, GHOSTS, config.data.seed))
    rows = forget_training_rows(list(forget), config.data.paraphrases, config.data.cross_paraphrases)
    rows += sections(forget)
    steps = 0
    for recipe in recipes_of(config.train.objective):
        ways = sum(2 if recipe.thinks and has_thought(row, tokenizer) else 1 for row in rows)
        steps += math.ceil((config.train.epochs or 1) * math.ceil(ways / config.train.batch_size))
    longest = max_answer_tokens(questions, tokenizer)

    def tokens(answers: int, thoughts: int) -> int:
        """Return the tokens of so many answers with and without a thought, a batch at once."""
        return math.ceil(answers / BATCH_SIZE) * longest + math.ceil(thoughts / BATCH_SIZE) * THOUGHT_TOKENS

    earlier = rows_of(earlier_requests(folder))
    thoughts = len(questions) + len(earlier) if thinks(tokenizer) else 0
    samples = len(questions) * SAMPLES if is_sampled(questions) else 0
    thinking_samples = samples // 2 if thoughts else 0
    answers = len(questions) + len(earlier) + config.data.evaluation_rows + GENERAL_ROWS
    target_tokens = tokens(answers, thoughts)
    thinking_ghosts = ghosts // 2 if thoughts else 0
    drawn_tokens = tokens(ghosts - thinking_ghosts, thinking_ghosts) if samples else 0
    phases = Phases(
        rows=len(forget),
        ghosts=ghosts,
        ghost_batches=math.ceil(ghosts / BATCH_SIZE),
        ghost_tokens=GHOST_TOKENS,
        steps=steps,
        target_tokens=target_tokens + drawn_tokens,
        unlearned_tokens=target_tokens + tokens(samples - thinking_samples, thinking_samples),
        strengths=1 if "alpha" in given.get("combination", {}) else MOST_CHECKS,
    )
    return plan_text(phases, measure_costs(target, tokenizer, config, forget, BATCH_SIZE), config.train.minutes)


def _at_best_strength(
    folder: RunFolder,
    config: RunConfig,
    model: Any,
    tokenizer: Any,
    ghosts: list[Example],
    given: Mapping[str, Any],
    written: Written,
) -> Outcome:
    """Check the request at the strength that was set, or find one: see ``choose_strength``."""
    name = own_request(folder)
    rows = scored_rows(folder, ghosts)[1]
    losses = losses_among_ghosts(rows, ghosts, model, tokenizer, words_of_many(folder))
    target_says = TargetSays(losses, ghosts, earlier_requests(folder))
    target = model.target if isinstance(model, UnlearnedForCausalLM) else model
    unlearned = UnlearnedForCausalLM.from_pretrained(folder.unlearned, target=target)
    if folder.check.is_file() or "alpha" in given.get("combination", {}):
        outcome = check_request(folder, config, model, unlearned, tokenizer, target_says, written)
        return replace(outcome, strength=request_strengths(folder)[name])

    def check(strength: float) -> Outcome:
        unlearned.config.branches = with_strength(unlearned.config.branches, name, strength)
        log.info(f"Checking at strength {strength:g}.")
        return check_request(folder, config, model, unlearned, tokenizer, target_says, written)

    choice = choose_strength(check)
    change_requests(folder, strength=f"{name}={choice.strength}")
    return replace(choice.checked, strength=choice.strength, why=choice.why)
