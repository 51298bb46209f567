"""``python -m benchmarks.forget_case configs/forget/NAME.yaml``: a request from one config to results/forget/NAME.json.

Each seed is a request of its own: ``unlogit forget`` at its defaults, then a retain model judges, which forgetting
never sees. Stopped, it goes on where it was: models, training and finished seeds are kept.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.forget_options import CaseOptions, read_case
from unlogit.errors import UnlogitError
from unlogit.files import write_json

FORMAT = "unlogit forget case 1"
EXIT_ERROR = 2


def main(arguments: Sequence[str]) -> int:
    """Run the cases of the configs that are named, each as far as it is not done."""
    if not arguments or arguments[0].startswith("-"):
        print("usage: python -m benchmarks.forget_case configs/forget/NAME.yaml …", file=sys.stderr)
        return EXIT_ERROR
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        for name in arguments:
            config = Path(name)
            run_case(
                read_case(config), Path("results/forget") / f"{config.stem}.json", Path("runs/forget") / config.stem
            )
    except UnlogitError as error:
        print(f"forget_case: error: {error}", file=sys.stderr)
        return EXIT_ERROR
    return 0


def run_case(case: CaseOptions, results: Path, runs: Path) -> dict[str, Any]:
    """Run the seeds that ``results`` lacks, each into a folder of ``runs``, and return what ``results`` holds."""
    from benchmarks.findings import machine_of
    from unlogit.device import choose_device
    from unlogit.evaluate.results import read_json

    config = {**asdict(case), "seeds": list(case.seeds)}
    earlier = read_json(results) if results.is_file() else {}
    is_same = {**earlier.get("config", {}), "seeds": 0} == {**config, "seeds": 0}  # more seeds may be added
    seeds = dict(earlier["seeds"]) if is_same else {}
    record = {"format": FORMAT, "config": config, "machine": machine_of(choose_device()), "seeds": seeds}
    for seed in case.seeds:
        if str(seed) not in seeds:
            seeds[str(seed)] = run_seed(case, seed, runs / f"seed{seed}")
            write_json(results, record)
    return record


def run_seed(case: CaseOptions, seed: int, folder: Path) -> dict[str, Any]:
    """Make one request, if it is not made, and return what it chose and how a retain model judges it."""
    from benchmarks.forget_asked import asked_seed
    from benchmarks.forget_in_a_row import in_a_row_seed
    from benchmarks.forget_judge import JudgedRows, judge
    from benchmarks.forget_people import make_people_case
    from unlogit.data.neutral import GENERAL
    from unlogit.data.sources import read_prepared
    from unlogit.evaluate.results import read_json
    from unlogit.runs.folder import RunFolder
    from unlogit.runs.request_check import GENERAL_ROWS

    if case.asked == "in_a_row":
        return in_a_row_seed(seed, folder, forget)
    if case.asked:
        return asked_seed(case.asked, seed, folder, forget)
    run = RunFolder(folder / "run")
    target, retain_model = case.target, case.retain_model
    data: dict[str, Any] = {"forget": case.forget, "tofu_folder": case.tofu_folder}
    if case.people_rows:
        people = make_people_case(case.people_rows, seed, folder.parents[1] / "people" / folder.name)
        target, retain_model = str(people.target), str(people.retain_model)
        data = {"forget": str(people.forget), "retain": str(people.retain)}
    minutes = forget(run, target, data, seed)
    if case.people_rows:
        rows = JudgedRows(people.judged, read_prepared(GENERAL)[:GENERAL_ROWS])
    else:
        splits = {
            name: read_prepared(run.data / "evaluation" / f"{name}.jsonl")
            for name in ("forget", "retain", "real_authors", "world_facts")
        }
        rows = JudgedRows(splits, [*splits["real_authors"], *splits["world_facts"]])
    check = read_json(run.check)
    names = ("strength", "why", "passed", "problems", "combination", "training", "exposure")
    return {
        **{name: check[name] for name in names},
        "rows": len(rows.splits["forget"]),
        "told_rows": sum(leak["unlearned_tells"] or leak["samples_that_tell"] > 0 for leak in check["leaks"]),
        "minutes": minutes,
        **judge(run, target, retain_model, rows, case.generate_rows),
    }


def forget(run: Any, target: str, data: Mapping[str, Any], seed: int) -> float:
    """Forget as ``unlogit forget`` does, if it is not done; return the minutes of all attempts together."""
    from unlogit.evaluate.results import read_json
    from unlogit.runs.forget import forget_run
    from unlogit.settings.config_file import build_config

    clock = run.path.with_name("seconds.json")
    seconds: float = read_json(clock) if clock.is_file() else 0.0
    if not run.check.is_file():
        given = {
            "output": str(run.path),
            "target": target,
            "data": {**data, "seed": seed},
            "train": {"seed": seed},
        }
        start = monotonic()
        try:
            forget_run(build_config(given), given, resume=True)
        finally:
            seconds += monotonic() - start
            run.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(clock, seconds)
    return seconds / 60


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
