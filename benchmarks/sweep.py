"""A hundred pairs of alpha and filter_rate on the same rows, beside one: target and assistant run once for all."""

from itertools import product

from benchmarks.findings import Finding, compared
from benchmarks.models import Setting, made_up, random_target, unlearned_model
from benchmarks.timing import Way, interleaved
from unlogit.settings.options import CombinationOptions

ALPHAS = tuple(i / 5 for i in range(1, 11))
FILTER_RATES = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.2, 0.3)
ROWS = 6
REPETITIONS = 3


def measure(setting: Setting) -> list[Finding]:
    """For each vocabulary, by the default rule."""
    findings = []
    pairs = [CombinationOptions("centred", *pair) for pair in product(ALPHAS, FILTER_RATES)]
    for vocabulary in setting.options.vocabularies:
        ways = {"all": losses(setting, vocabulary, pairs), "one": losses(setting, vocabulary, pairs[55:56])}
        seconds = interleaved(ways, REPETITIONS, setting.device)
        case = f"{len(pairs)} pairs ÷ 1, vocabulary {vocabulary}"
        findings.append(compared("sweep", case, seconds["all"], seconds["one"]))
    return findings


def losses(setting: Setting, vocabulary: int, combinations: list[CombinationOptions]) -> Way:
    """Return the scoring of every answer of a few rows under these combinations."""
    from unlogit.evaluate.scoring.score import measure_settings

    rows, tokenizer = made_up(ROWS)
    model = unlearned_model(setting, random_target(setting, vocabulary))

    def run() -> None:
        measure_settings(
            model.parts,
            tokenizer,
            rows,
            combinations,
            weights=model.weights,
            device=setting.device,
            batch_size=32,
            share=True,
        )

    return run
