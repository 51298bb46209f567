"""The page of text at the end of a request: what was asked before and after, what was kept, the strength, a verdict.

It fits 80 columns, and breaks no word.
"""

from textwrap import fill

from unlogit.evaluate.leaks import Leak
from unlogit.files import atomic_file
from unlogit.runs.folder import RunFolder
from unlogit.runs.outcome import Outcome

SHOWN_ROWS = 20
COLUMNS = 80


def write_page(outcome: Outcome) -> str:
    """Write the page beside what it was read from, and return it."""
    page = forget_page(outcome)
    with atomic_file(RunFolder(outcome.folder).check.with_suffix(".txt"), mode=0o600) as path:  # it has rows to forget
        path.write_text(page + "\n", encoding="utf-8")
    return page


def forget_page(outcome: Outcome) -> str:
    """Return the whole page."""
    lines = [*_row_lines(outcome), "", *(_wrapped(line) for line in _kept_lines(outcome)), ""]
    lines += [_wrapped(f"Warning: {warning}.") for warning in outcome.warnings]
    if outcome.passed:
        lines.append(_wrapped(f"Passed: the unlearned model is in {outcome.folder / 'unlearned'}."))
    else:
        lines += [_wrapped(f"Not passed: {problem}.") for problem in outcome.problems]
    return "\n".join(lines)


def _row_lines(outcome: Outcome) -> list[str]:
    """Return a row to forget after the other, at most ``SHOWN_ROWS``: question, answer before, answer after."""
    lines = []
    for number, leak in enumerate(outcome.leaks[:SHOWN_ROWS], start=1):
        lines.append(_wrapped(leak.question, f"{number:2} "))
        lines.append(_wrapped(leak.target_answer or "(nothing)", "   before  "))
        lines.append(_wrapped(leak.unlearned_answer or "(nothing)", "   after   "))
        lines.append(f"   told    {_told(leak)}")
    if (hidden := len(outcome.leaks) - SHOWN_ROWS) > 0:
        lines.append(f"   and {hidden} more, all of them in check.json")
    return lines


def _told(leak: Leak) -> str:
    """Say whether a row is told, by the answer that is shown or by samples."""
    verdict = "still" if leak.unlearned_tells else "no longer"
    if leak.unlearned_guesses:
        verdict = "a guess: others have it, too"
    if not leak.target_tells:
        verdict = "not known before" + (", but now" if leak.unlearned_tells else "")
    return verdict + (f"; by {leak.samples_that_tell} of {leak.samples} samples" if leak.samples else "")


def _kept_lines(outcome: Outcome) -> list[str]:
    """Say what was forgotten and kept, how it was trained, and how strongly it is combined."""
    leaks, retained, general, training = outcome.leaks, outcome.retained, outcome.general, outcome.training
    lines = [
        f"Asked: {len(leaks)} rows to forget. The target told {sum(leak.target_tells for leak in leaks)} of them, the "
        f"unlearned model tells {sum(leak.unlearned_tells for leak in leaks)}.",
    ]
    if sampled := sum(leak.samples for leak in leaks):
        telling = sum(leak.samples_that_tell for leak in leaks)
        lines.append(f"Sampled: {telling} of {sampled} answers drawn at temperature 1 tell a row.")
    if tests := outcome.tests:
        tests_by_target = sum(leak.target_tells for leak in tests)
        lines.append(
            f"Of these, {len(tests)} are questions about the documents that were not trained on. The target told "
            f"{tests_by_target} of them, the unlearned model tells {sum(leak.unlearned_tells for leak in tests)}."
        )
    if (form := outcome.form) and form.rows:
        lines.append(
            f"Form: {form.fitting} of {form.rows} answers have the form of the target's about people who do not exist, "
            f"of which {form.strangers_fitting} of {form.strangers_answers} have the form of another one."
        )
    lines += _recitation_lines(outcome)
    if (foreign := outcome.foreign) and foreign.values:
        lines.append(
            f"Other rows' private values ({foreign.values} of them): in {foreign.unlearned} of "
            f"{foreign.unlearned_answers} answers and {foreign.sampled} of {foreign.sampled_answers} samples; of the "
            f"target's answers to these questions and to those about people who do not exist, in {foreign.target} of "
            f"{foreign.target_answers}, and of samples about the latter in {foreign.target_sampled} of "
            f"{foreign.target_sampled_answers}."
        )
    kept_rows, reason = "rows to keep", ""
    if outcome.retained_are_ghosts:
        kept_rows, reason = "questions about people who do not exist", ", whose answers are made up and change easily,"
    if outcome.refused is not None:
        lines.append(
            f"Refused: {outcome.refused} of {len(leaks)} rows to forget; of what the target answers, "
            f"{retained.refused} of {retained.rows} {kept_rows} and {general.refused} of {general.rows} general "
            "questions."
        )
    combination = outcome.combination
    return [
        *lines,
        *_earlier_line(outcome),
        f"Kept: {retained.same} of {retained.rows} {kept_rows}{reason} have the target's answer word for word.",
        f"General questions: of {general.target_right} right answers {general.still_right} are still right; "
        f"{general.same} of {general.rows} are the target's word for word.",
        f"Training: {training['steps']} steps in {training['seconds']} seconds"
        + (f", stopped at its ceiling in {training['ceiling']}." if training["ceiling"] else "."),
        *_loss_line(outcome),
        *_exposure_line(outcome),
        f"Strength: {outcome.strength:g} ({outcome.why}) of alpha {combination['alpha']}, rule {combination['rule']}, "
        f"filter rate {combination['filter_rate']}; change it with `unlogit combine`.",
        *(f"Written: {note}." for note in outcome.notes),
    ]


def _earlier_line(outcome: Outcome) -> list[str]:
    """Say whether the requests of before are still forgotten."""
    facts = [
        f"the rows of {leaks.name} are not at hand, and were not asked about"
        if leaks.rows is None
        else f"of {leaks.rows} rows of {leaks.name}, {len(leaks.told_again) or 'none'} told again"
        for leaks in outcome.earlier
    ]
    return [f"Earlier requests: {'; '.join(facts)}."] if facts else []


def _exposure_line(outcome: Outcome) -> list[str]:
    """Say how far the rows stand out among their ghosts, before and after."""
    if not (exposures := outcome.exposures):
        return []
    target, unlearned = exposures["target"], exposures["unlearned"]
    return [
        f"Exposure, in bits of {target.most_bits:.1f}: {target.bits:.1f} before (p {target.p_value:.2g}), "
        f"{unlearned.bits:.1f} after (p {unlearned.p_value:.2g}). 0 bits: less likely than for every made-up "
        "person; 1.3: as likely as for them. A small p: the model knows the rows."
    ]


def _recitation_lines(outcome: Outcome) -> list[str]:
    """Say how much of the documents is continued, and whether nothing else could be asked about them."""
    recitation = outcome.recitation
    if not recitation:
        return []
    lines = [
        f"Recited: of {recitation.windows} windows of the documents the target continued {recitation.target_recites} "
        f"(ROUGE-L recall {recitation.target_recall:.2f} on average), the unlearned model continues "
        f"{recitation.unlearned_recites} ({recitation.unlearned_recall:.2f})."
    ]
    if not outcome.leaks:
        lines.append("Only recitation was forgotten: no question about the documents could be made.")
    return lines


def _loss_line(outcome: Outcome) -> list[str]:
    """Say how likely the answers are before and after, and of people who do not exist."""
    losses = outcome.ghost_losses
    if not losses:
        return []
    ghosts = [loss for row in losses for loss in row.ghosts]
    target, unlearned, stranger = (
        sum(values) / len(values)
        for values in ([row.target for row in losses], [row.unlearned for row in losses], ghosts)
    )
    return [
        f"Loss of the answers to forget, in nats a token: {target:.2f} before, {unlearned:.2f} after; of the same "
        f"answers about people who do not exist, {stranger:.2f} ({min(ghosts):.2f} to {max(ghosts):.2f})."
    ]


def _wrapped(text: str, heading: str = "") -> str:
    """Return a text in lines of at most ``COLUMNS``, words whole, below each other behind a heading."""
    indent = " " * len(heading)
    return fill(
        " ".join(text.split()),
        COLUMNS,
        initial_indent=heading,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
