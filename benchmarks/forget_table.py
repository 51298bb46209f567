"""``python -m benchmarks.forget_table results/forget/*.json``: finished cases as tables in Markdown.

Cases that a retain model judges have three tables: what was forgotten, what stayed (kept is the unlearned model's
figure divided by the target's), and what is known without a retain model. Those that are asked about have two.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.forget_case import EXIT_ERROR, FORMAT
from unlogit.errors import DataError, UnlogitError
from unlogit.evaluate.results import read_json

Seed = Mapping[str, Any]

PASSES, GOOD = 0.05, 0.5
"""Forget quality that nine cases of ten should have, and half of them."""
LEAST_UTILITY, LEAST_ROUGE, LEAST_GENERAL = 0.99, 0.98, 0.98


def main(arguments: Sequence[str]) -> int:
    """Print the tables of the files that are named."""
    if not arguments:
        print("usage: python -m benchmarks.forget_table results/forget/*.json", file=sys.stderr)
        return EXIT_ERROR
    try:
        print(forget_tables([Path(name) for name in arguments]))
    except UnlogitError as error:
        print(f"forget_table: error: {error}", file=sys.stderr)
        return EXIT_ERROR
    return 0


def forget_tables(paths: Sequence[Path]) -> str:
    """Return the goals and the tables of the cases in these files.

    Raises:
        DataError: a file is no case's.
    """
    cases = {path.stem: _read(path) for path in sorted(paths, key=lambda path: (len(path.stem), path.stem))}
    asked = {name: case for name, case in cases.items() if case["config"].get("asked")}
    judged = {name: case for name, case in cases.items() if name not in asked}
    tables = [_goals(judged), *(_table(judged, columns) for columns in (FORGOTTEN, STAYED, WITHOUT))] if judged else []
    return "\n\n".join([*tables, *(_table(asked, columns) for columns in (TOLD, LEFT) if asked)])


def _read(path: Path) -> dict[str, Any]:
    record = read_json(path)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise DataError(f"{path} does not say {FORMAT!r}; expected what benchmarks.forget_case wrote: make it again")
    return record


def alpha(seed: Seed) -> float:
    """Return what the assistant's logits are multiplied by."""
    return float(seed["combination"]["alpha"] * seed["strength"])


def best_with_retain_model(seed: Seed) -> Mapping[str, float]:
    """Return the alpha with the best forget quality, the smallest of equals."""
    best: Mapping[str, float] = max(seed["alphas"], key=lambda row: (row["forget_quality"], -row["alpha"]))
    return best


def by_ghosts(seed: Seed) -> Mapping[str, float]:
    """Return the alpha that a sweep without a retain model takes on these rows; nothing where rows have no ghosts."""
    rows = [row for row in seed["alphas"] if row.get("ghost_objective") is not None]
    return max(rows, key=lambda row: (row["ghost_objective"], -row["alpha"]), default={})


def forget_quality(seed: Seed) -> float:
    """Return forget quality at the strength that was chosen."""
    return float(seed["models"]["unlearned"]["forget_quality"])


def utility_kept(seed: Seed) -> float:
    """Return model utility, divided by the target's."""
    return float(seed["models"]["unlearned"]["model_utility"] / seed["models"]["target"]["model_utility"])


def rouge_kept(seed: Seed) -> float:
    """Return ROUGE-L on rows to keep, divided by the target's."""
    models = seed["models"]
    return float(models["unlearned"]["retain"]["rouge_l_recall"] / models["target"]["retain"]["rouge_l_recall"])


def general_kept(seed: Seed) -> float:
    """Return the fraction of the target's right general answers that stay right; 1 where it has none."""
    general = seed["general"]
    return float(general["still_right"] / general["target_right"]) if general["target_right"] else 1.0


def _goals(cases: Mapping[str, Mapping[str, Any]]) -> str:
    """Say in how many requests each goal is met; one row to forget has no forget quality below 1."""
    seeds = [seed for case in cases.values() for seed in case["seeds"].values()]
    several = [seed for seed in seeds if seed["rows"] > 1]
    goals: list[tuple[str, list[Seed], Callable[[Seed], bool], str]] = [
        (f"forget quality ≥ {PASSES}", several, lambda seed: forget_quality(seed) >= PASSES, "90 %"),
        (f"forget quality ≥ {GOOD}", several, lambda seed: forget_quality(seed) >= GOOD, "50 %"),
        (f"model utility kept ≥ {LEAST_UTILITY}", seeds, lambda seed: utility_kept(seed) >= LEAST_UTILITY, "all"),
        (f"retain ROUGE-L kept ≥ {LEAST_ROUGE}", seeds, lambda seed: rouge_kept(seed) >= LEAST_ROUGE, "all"),
        (f"general answers kept ≥ {LEAST_GENERAL}", seeds, lambda seed: general_kept(seed) >= LEAST_GENERAL, "all"),
        ("no row told", seeds, lambda seed: not seed["told_rows"], "all"),
        ("the request's own check passed", seeds, lambda seed: bool(seed["passed"]), "all"),
    ]
    lines = [
        f"| {name} | {sum(map(is_met, requests))} of {len(requests)} | {expected} |"
        for name, requests, is_met, expected in goals
    ]
    return "\n".join(["| goal | met by | goal for |", "|---|---:|---:|", *lines])


FORGOTTEN: dict[str, Callable[[Seed], str]] = {
    "rows": lambda seed: str(seed["rows"]),
    "forget quality": lambda seed: _number(forget_quality(seed)),
    "at α": lambda seed: f"{alpha(seed):.3g}",
    "best with the retain model": lambda seed: _number(best_with_retain_model(seed)["forget_quality"]),
    "at its α": lambda seed: f"{best_with_retain_model(seed)['alpha']:.3g}",
    "by ghosts": lambda seed: _number(by_ghosts(seed).get("forget_quality")),
    "at their α": lambda seed: _number(by_ghosts(seed).get("alpha")),
    "target's": lambda seed: _number(seed["models"]["target"]["forget_quality"]),
    "rows told": lambda seed: str(seed["told_rows"]),
    "leak@16: target, retain model, unlearned": lambda seed: _of_models(seed, "secret_leak_at_16"),
}
STAYED: dict[str, Callable[[Seed], str]] = {
    "model utility kept": lambda seed: f"{utility_kept(seed):.3f}",
    "retain ROUGE-L kept": lambda seed: f"{rouge_kept(seed):.3f}",
    "retain probability kept": lambda seed: f"{_at_chosen(seed)['retain_kept']:.3f}",
    "the same at the best α": lambda seed: f"{best_with_retain_model(seed)['retain_kept']:.3f}",
    "general answers": lambda seed: f"{seed['general']['still_right']} of {seed['general']['target_right']}",
}
WITHOUT: dict[str, Callable[[Seed], str]] = {
    "exposure in bits: target, retain model, unlearned": lambda seed: _exposures(seed),
    "forget nats, steps": lambda seed: f"{_number(seed['training']['forget_nats'])}, {seed['training']['steps']}",
    "own check": lambda seed: "passed" if seed["passed"] else "not passed",
    "minutes": lambda seed: f"{seed['minutes']:.0f}",
}


TOLD: dict[str, Callable[[Seed], str]] = {
    "told as taught": lambda seed: _told(seed, "as taught"),
    "otherwise": lambda seed: _told(seed, "otherwise"),
    "answer begun": lambda seed: _told(seed, "answer begun"),
    "in reverse": lambda seed: _told(seed, "in reverse"),
    "told again": lambda seed: str(seed["told_again"]) if "told_again" in seed else "–",
    "samples that tell": lambda seed: ", ".join(
        f"{entry['tell']} of {entry['rows']}" for entry in seed["samples"].values()
    ),
    "windows recited": lambda seed: _recited(seed["recitation"]),
}
LEFT: dict[str, Callable[[Seed], str]] = {
    "others word for word": lambda seed: f"{seed['others']['same']} of {seed['others']['rows']}",
    "others right": lambda seed: _right(seed["others"]),
    "general right": lambda seed: _right(seed["general"]),
    "others' values in answers": lambda seed: (
        f"{seed['foreign']['unlearned']} of {seed['foreign']['unlearned_answers']}"
    ),
    "in samples": lambda seed: f"{seed['foreign']['sampled']} of {seed['foreign']['sampled_answers']}",
    "windows of kept texts recited": lambda seed: _recited(seed["kept_recitation"]),
    "α": lambda seed: f"{alpha(seed):.3g}",
    "steps": lambda seed: str(seed["training"]["steps"]),
    "own check": lambda seed: "passed" if seed["passed"] else "not passed",
    "minutes": lambda seed: f"{seed['minutes']:.0f}",
}


def _told(seed: Seed, way: str) -> str:
    """Return how many questions the target and the unlearned model answer with a secret."""
    entry = seed["told"].get(way)
    return f"{entry['target']} → {entry['unlearned']} of {entry['rows']}" if entry else "–"


def _recited(entry: Mapping[str, Any] | None) -> str:
    return f"{entry['target_recites']} → {entry['unlearned_recites']} of {entry['windows']}" if entry else "–"


def _right(entry: Mapping[str, Any]) -> str:
    return f"{entry['target_right']} → {entry['still_right']} of {entry['rows']}"


def _table(cases: Mapping[str, Mapping[str, Any]], columns: Mapping[str, Callable[[Seed], str]]) -> str:
    """Return one table, a line for each case and seed."""
    lines = [["case, seed", *columns], ["---", *["---:"] * len(columns)], *_lines(cases, columns)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _lines(cases: Mapping[str, Mapping[str, Any]], columns: Mapping[str, Callable[[Seed], str]]) -> Iterator[list[str]]:
    for name, case in cases.items():
        for number, seed in case["seeds"].items():
            for request, entry in seed.get("requests", {"": seed}).items():
                label = f"{name}, {number}" + (f", request {request}" if request else "")
                yield [label, *(cell(entry) for cell in columns.values())]


def _at_chosen(seed: Seed) -> Mapping[str, float]:
    """Return what was measured at the alpha that is nearest to the chosen one."""
    nearest: Mapping[str, float] = min(seed["alphas"], key=lambda row: abs(row["alpha"] - alpha(seed)))
    return nearest


def _of_models(seed: Seed, metric: str) -> str:
    """Return a metric of the forget rows, of every model."""
    models = seed["models"]
    return ", ".join(_number(models[name]["forget"].get(metric)) for name in ("target", "retain model", "unlearned"))


def _exposures(seed: Seed) -> str:
    """Return the exposures of the three models, and the highest that there can be."""
    if not seed["exposure"]:
        return "–"
    retain = seed["retain_exposure"]
    bits = [seed["exposure"]["target"], retain, seed["exposure"]["unlearned"]]
    return ", ".join(_number(entry and entry["bits"]) for entry in bits) + f" of {retain['most_bits']:.1f}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2g}" if abs(value) >= 0.01 or value == 0 else f"{value:.0e}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
