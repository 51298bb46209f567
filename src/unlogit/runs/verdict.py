"""Whether a request passed its check: why not, what to do, and what should be known besides."""

import shlex
from pathlib import Path
from typing import Any

from unlogit.evaluate.foreign_values import ForeignValues
from unlogit.evaluate.ghost_losses import GhostLosses
from unlogit.evaluate.leaks import KeptAnswers, Leak
from unlogit.evaluate.recitation import Recitation
from unlogit.evaluate.results import read_json
from unlogit.runs.folder import RunFolder
from unlogit.runs.plan import LEARNT_NATS, UNIFORM_NATS
from unlogit.runs.refusals import teaches_refusals
from unlogit.runs.train import ceiling_warning
from unlogit.settings.options import RunConfig
from unlogit.strength.exposure import over_suppressed

LEAST_KEPT = 0.95
"""Least fraction of other answers that stay word for word."""
LEAST_GENERAL = 0.98
"""Least fraction of right general answers that stay right."""

NOT_KNOWN = (
    "the target does not know these rows: none of its answers tells them. Check that it is the model that was trained "
    "on them, and that the questions are worded as there"
)


def find_problems(
    run: Path,
    leaks: list[Leak],
    retained: KeptAnswers | None,
    general: KeptAnswers,
    training: dict[str, Any],
    foreign: ForeignValues | None = None,
    command: str = "unlogit forget",
    recitation: Recitation | None = None,
    request: str = "",
) -> list[str]:
    """Return why a request did not pass, each with what to do.

    ``command`` is that of the request, ``request`` its name in the model where that is not its folder's.
    """
    again = "run it again with --overwrite"
    at_ceiling = bool(training.get("ceiling"))
    is_known = any(leak.target_tells for leak in leaks) or bool(recitation and recitation.target_recites)
    problems = [] if is_known else [NOT_KNOWN]
    if leaking := [leak for leak in leaks if leak.unlearned_tells or leak.samples_that_tell]:
        problems.append(
            f"{len(leaking)} of {len(leaks)} rows are still told. Give other wordings of the questions "
            f"(paraphrased_question) and {again}, or more strength (unlogit combine {run} --strength "
            f"{request or run.name}=1.5) and check again with --resume"
        )
    problems += _recitation_problems(recitation, again)
    nats = training.get("forget_nats")
    if nats is not None and nats > 2 * LEARNT_NATS:
        problems.append(
            f"the assistant did not learn the rows within {training.get('steps')} steps ({nats:.2f} nats a token, "
            f"expected {LEARNT_NATS})" + ("" if at_ceiling else f". Give more --train.epochs, and {again}")
        )
    for name, value in (training.get("uniform_kl_nats") or {}).items():
        if value > 2 * UNIFORM_NATS:
            problems.append(
                f"the assistant is not uniform on {name.removeprefix('holdout_')} rows that it never saw ({value:.2f} "
                f"nats, expected {UNIFORM_NATS}), so that others' answers are lost. Give rows to keep (--retain)"
                + ("" if at_ceiling else f", or more --train.epochs, and {again}")
            )
    if retained and loses_others(retained):
        problems.append(
            f"only {retained.same} of {retained.rows} other answers stayed word for word. Give more rows to keep "
            f"(--retain) and {again}, or lower the strength (unlogit combine {run} --alpha 0.5) and check again with "
            "--resume"
        )
    if loses_general(general):
        problems.append(
            f"only {general.still_right} of {general.target_right} general answers stayed right. Lower the strength "
            f"(unlogit combine {run} --alpha 0.5) and check again with --resume"
        )
    problems += _foreign_problems(foreign, run, again)
    if problems and at_ceiling and is_known:
        problems.append(ceiling_warning(training, command, "train."))
    return problems


def loses_others(retained: KeptAnswers) -> bool:
    """Whether fewer answers to rows to keep stay word for word than should."""
    return retained.same < LEAST_KEPT * retained.rows


def loses_general(general: KeptAnswers) -> bool:
    """Whether fewer general answers stay right than should; one may go."""
    return general.still_right < LEAST_GENERAL * general.target_right - 1


def _recitation_problems(recitation: Recitation | None, again: str) -> list[str]:
    if not recitation or not recitation.unlearned_recites:
        return []
    return [
        f"{recitation.unlearned_recites} of {recitation.windows} windows of the documents are still recited. Give a "
        f"higher --combination.alpha, and {again}"
    ]


def _foreign_problems(foreign: ForeignValues | None, run: Path, again: str) -> list[str]:
    if not foreign or not foreign.more_often:
        return []
    return [
        f"other rows' private values stand in {foreign.unlearned} of {foreign.unlearned_answers} answers and in "
        f"{foreign.sampled} of {foreign.sampled_answers} samples, more often than in the target's ({foreign.target} of "
        f"{foreign.target_answers}, {foreign.target_sampled} of {foreign.target_sampled_answers}). Give more rows to "
        f"keep (--retain) and {again}, or another strength (unlogit combine {run} --alpha 0.5) and check again with "
        "--resume"
    ]


def contradictions(folder: RunFolder) -> list[str]:
    """Return why rows that are to be forgotten and kept at once do not pass."""
    rows = read_json(folder.data / "summary.json")["forget"].get("contradictions", [])
    if not rows:
        return []
    return [
        f"rows contradict: questions to forget with another answer among the rows to keep: {len(rows)} (first: "
        f"{rows[0]}). Take them out of one of the two, and run it again with --overwrite"
    ]


def strength_warnings(run: Path, losses: list[GhostLosses]) -> list[str]:
    """Say that the strength is too high, where it is."""
    if not over_suppressed([(row.unlearned, row.ghosts) for row in losses]):
        return []
    return [
        "over-suppressed: together, the answers to forget are less likely than the target finds the same of people who "
        f"do not exist ({sum(row.over for row in losses)} of {len(losses)} less likely than of any), so that it can be "
        "seen that something was taken away. "
        f"Lower the strength (unlogit combine {run} --alpha 0.5) and check again with --resume"
    ]


def command_of(config: RunConfig) -> str:
    """Return the command line that this request is of."""
    flags = {
        "model": config.target,
        "forget": config.data.forget,
        "retain": config.data.retain,
        "columns": config.data.columns,
        "output": config.output,
        "instead": "refusal" if teaches_refusals(config) else "",
        "data.seed": config.data.seed,
    }
    return " ".join(["unlogit forget", *(f"--{name} {shlex.quote(str(v))}" for name, v in flags.items() if v)])
