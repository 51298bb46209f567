"""What `unlogit compare` reads and does: methods beside each other on one split, each an ordinary run.

    methods × seeds ──▶ OUTPUT/METHOD/seed-N/  (prepare → train → evaluate, a process of its own)
    target, retain model ──▶ OUTPUT/reference/results.json

A method is a set of settings over the common ones. Its run can be looked at, evaluated again or served like any other.
A process of its own gives each its own peak memory, and a method that fails does not take the others along.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from unlogit.data.sources import source_of
from unlogit.errors import ConfigError, nearest
from unlogit.runs.checks import retain_log
from unlogit.runs.folder import RunFolder
from unlogit.settings.config_file import build_config, differences, load_yaml, recorded, tree_of, updated, write_config
from unlogit.settings.options import RunConfig

log = logging.getLogger(__name__)

METHOD_KEYS = ("train", "assistant", "combination", "pick", "data")
"""Sections that a method may have settings in; what is scored, and how, is common to all."""

TRAINING_DATA = {"retain_train_rows", "paraphrases", "cross_paraphrases", "perturbations", "refusals", "neutral"}
"""Settings of ``data`` that choose what is trained on alone."""

WORDINGS = {"paraphrases", "cross_paraphrases", "perturbations"}
"""Of these, those that choose what is scored, too, where the rows are not TOFU's."""

REFERENCE = "reference"
"""The run of target and retain model."""


@dataclass(frozen=True)
class Method:
    """A row of the table: a name, its settings over the common ones, and its seeds."""

    name: str
    config: RunConfig
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Comparison:
    """Common settings and methods."""

    base: RunConfig
    methods: tuple[Method, ...]

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        return Path(self.base.output)

    @property
    def reference(self) -> RunFolder:
        """The run of target and retain model."""
        return RunFolder(self.folder / REFERENCE)

    def runs(self) -> Iterator[tuple[Method, int, RunFolder]]:
        """Yield every method with every seed, and its run folder."""
        for method in self.methods:
            for seed in method.seeds:
                yield method, seed, RunFolder(self.folder / method.name / f"seed-{seed}")

    def finished(self) -> dict[tuple[str, int], RunFolder]:
        """Return the run folders that have results made with these settings, by method and seed."""
        from unlogit.runs.results import RunResults

        folders = {}
        for method, seed, folder in self.runs():
            config = self.config_of(method, seed, folder)
            if folder.results.is_file() and RunResults.read(folder.results).made_with(config):
                folders[method.name, seed] = folder
        return folders

    def outdated(self) -> list[str]:
        """Return the methods that have results made with other settings."""
        finished = self.finished()
        return list(
            dict.fromkeys(
                method.name
                for method, seed, folder in self.runs()
                if folder.results.is_file() and (method.name, seed) not in finished
            )
        )

    def config_of(self, method: Method, seed: int, folder: RunFolder) -> RunConfig:
        """Return the settings of one run. The target is not scored anew, the retain model neither: where it is no log,
        its results are read from the reference."""
        config = method.config
        picks = any(other_method.config.pick.enabled for other_method in self.methods)
        evaluate = replace(config.evaluate, with_target=False, part="test" if picks else "all")
        if seed != method.seeds[0]:  # one path shows the way; each costs an evaluation after every pass
            evaluate = replace(evaluate, path_rows=0)
        if evaluate.retain_model and retain_log(evaluate.retain_model) is None:
            evaluate = replace(evaluate, retain_model=str(self.reference.results))
        train = replace(config.train, seed=seed)
        return replace(config, output=str(folder.path), train=train, evaluate=evaluate)


def read_comparison(path: Path, output: str = "") -> Comparison:
    """Read a comparison: a run's settings, ``seeds`` and ``methods``.

    A method's name is its objective where it does not give one. ``output`` goes before the file's.

    Raises:
        ConfigError: the file is missing or not YAML; a key or value is unknown or of the wrong type; a method's name
            is no objective and it gives none; or there are no methods.
    """
    value = load_yaml(path)
    methods, seeds = value.pop("methods", None), value.pop("seeds", [0])
    if not isinstance(methods, dict) or not methods:
        meant = [str(key) for key in value if nearest(str(key), ["methods"])]
        has = f" (it has {meant[0]!r})" if meant else ""
        raise ConfigError(f"{path} has no methods{has}; expected a section `methods:` with a name for each: write one")
    base = build_config(tree_of(value, str(path)), {"output": output} if output else {})
    return Comparison(
        base,
        tuple(
            _method(f"{path}: methods.{name}", str(name), settings, base, seeds) for name, settings in methods.items()
        ),
    )


def _method(location: str, name: str, settings: Any, base: RunConfig, seeds: Any) -> Method:
    from unlogit.training.recipe import OBJECTIVES

    if not isinstance(settings, dict | None):
        raise ConfigError(f"{location} is {settings!r}; expected settings in sections, or nothing: write them so")
    if not name.replace("_", "").replace("-", "").isalnum():
        raise ConfigError(f"{location} cannot be a folder's name; expected letters, digits, - and _: choose another")
    tree = dict(settings or {})
    own_seeds = tree.pop("seeds", seeds)
    wrong = not isinstance(own_seeds, list) or not own_seeds
    if wrong or not all(isinstance(seed, int) and 0 <= seed < 2**32 for seed in own_seeds):
        raise ConfigError(f"{location}.seeds is {own_seeds!r}; expected a list of whole numbers, as [0, 1, 2]: fix it")
    if unknown := [key for key in tree if key not in METHOD_KEYS]:
        near = nearest(str(unknown[0]), list(METHOD_KEYS))
        raise ConfigError(f"{location}.{unknown[0]} is unknown{near}; expected one of {', '.join(METHOD_KEYS)}, seeds")
    typed = tree_of(tree, location)
    if "seed" in typed.get("train", {}):
        raise ConfigError(
            f"{location}.train.seed is given; expected the seeds of a method as a list: give seeds: [0, 1]"
        )
    if "objective" not in typed.get("train", {}):
        if name not in OBJECTIVES:
            raise ConfigError(
                f"{location} gives no objective, and its name is none{nearest(name, list(OBJECTIVES))}; expected one: "
                "give train.objective"
            )
        typed = typed | {"train": {**typed.get("train", {}), "objective": name}}
    return Method(name, updated(base, typed), tuple(own_seeds))


def check_comparison(comparison: Comparison) -> None:
    """Refuse what cannot work in any method before the first one begins.

    Raises:
        ConfigError, DataError, ModelError: as ``checks.check_run``, with the method's name; or a method would be scored
            on other rows than the others.
    """
    from unlogit.runs.checks import check_run

    for method in comparison.methods:
        try:
            check_run(method.config)
            _check_same_rows(method.config, comparison.base)
        except ConfigError as error:
            raise ConfigError(f"method {method.name}: {error}") from error


def _check_same_rows(config: RunConfig, base: RunConfig) -> None:
    """Refuse settings of a method by which other rows would be scored than by the common ones."""
    free = TRAINING_DATA if source_of(base.data.forget).has_evaluation else TRAINING_DATA - WORDINGS
    same = {name: getattr(base.data, name) for name in free}
    changed = differences(replace(config, data=replace(config.data, **same)), base, ("data",))
    share, common = config.pick.validation_fraction, base.pick.validation_fraction
    if share != common:
        changed.append(f"pick.validation_fraction {share!r} → {common!r}")
    if changed:
        raise ConfigError(
            f"its rows to score are not those of the others ({'; '.join(changed)} in common); expected the same for "
            "all: give these settings to all methods at once, outside of methods"
        )


def score_reference(comparison: Comparison, again: bool) -> None:
    """Score target and retain model on all evaluation rows, unless that was done with these settings.

    What the methods were measured against is then another one: their results go, and they are measured again.
    """

    from unlogit.model.loading import load_target, load_tokenizer
    from unlogit.runs import evaluate as runs
    from unlogit.runs.prepare import prepare_run
    from unlogit.runs.results import RETAIN, RunResults
    from unlogit.settings.config_file import record

    folder = comparison.reference
    pick = replace(comparison.base.pick, enabled=False)
    config = replace(comparison.base, output=str(folder.path), pick=pick)
    if folder.results.is_file() and not again:
        done = recorded(RunResults.read(folder.results).config)
        if (done.target, done.data, done.evaluate) == (config.target, config.data, config.evaluate):
            log.info(f"Target and retain model were scored already: {folder.results}.")
            return
    prepare_run(config, overwrite=True)
    scorer = runs.Scorer(config, runs.EvaluationRows.read(folder, config))
    scorer.score_retain()
    models = {"target": scorer.score("target", load_target(config.target, scorer.dtype), load_tokenizer(config.target))}
    if scorer.retain.shown is not None:
        models[RETAIN] = scorer.retain.shown
    for _, _, run in comparison.runs():  # before: cut off in between, none may stay that was measured against the old
        run.results.unlink(missing_ok=True)
    RunResults(models, record(config), "all", folder.trainings(config)).write(folder.results)


def run_methods(
    comparison: Comparison,
    only: Sequence[str],
    again: Sequence[str],
    jobs: int,
    report: Callable[[str, float, str], None],
) -> list[str]:
    """Run every method that has no results with these settings yet, ``jobs`` at once.

    Args:
        comparison: what to run.
        only: names of methods to run.
        again: names of methods to begin anew.
        jobs: processes at once, 1 or more; each has its share of the threads, and no more than ``OMP_NUM_THREADS``
            says: threads that wait for each other on too few CPU cores are ten times as slow.
        report: called with a run's name, its seconds and what went wrong (or nothing) when it has ended.

    Returns:
        What went wrong, a line for each run that failed.
    """
    threads, finished = _threads(jobs), comparison.finished()
    processes = Processes()

    def run_one(run: tuple[Method, int, RunFolder]) -> str:
        """Train and score one method with one seed; return what went wrong, or nothing."""
        method, seed, folder = run
        name, started = f"{method.name}, seed {seed}", time.monotonic()
        config = comparison.config_of(method, seed, folder)
        problem = _run(config, folder, threads, processes, overwrite=method.name in again)
        if processes.stopped:
            return ""
        report(name, time.monotonic() - started, problem)
        return f"{name}: {problem}" if problem else ""

    with ThreadPoolExecutor(jobs) as pool:
        selected = [(method, seed, folder) for method, seed, folder in comparison.runs() if method.name in only]
        pending = [run for run in selected if run[0].name in again or (run[0].name, run[1]) not in finished]
        try:
            return [problem for problem in pool.map(run_one, pending) if problem]
        except KeyboardInterrupt:
            processes.stop()  # they keep what is needed to go on; else the pool would wait until they have ended
            raise


def _threads(jobs: int) -> int:
    """Return the threads of each of so many processes."""
    share = max(1, (os.cpu_count() or 1) // jobs)
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(allowed)) if allowed.isdecimal() and int(allowed) else share


class Processes:
    """The runs' processes, which are interrupted together; none begins after that."""

    def __init__(self) -> None:
        self.stopped = False
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = Lock()

    def run(self, line: Sequence[str], **options: Any) -> int:
        """Run a command line to its end and return its exit code."""
        with self._lock:
            if self.stopped:
                return -signal.SIGINT
            process = subprocess.Popen(line, **options)
            self._running.add(process)
        code = process.wait()
        with self._lock:
            self._running.discard(process)
        return code

    def stop(self) -> None:
        """Interrupt all of them, as Ctrl-C does where the terminal sends it to the whole group."""
        with self._lock:
            self.stopped = True
            for process in self._running:
                process.send_signal(signal.SIGINT)


def _run(config: RunConfig, folder: RunFolder, threads: int, processes: Processes, overwrite: bool) -> str:
    """Run one method in a process of its own; return the last line of what went wrong, or nothing."""
    settings = folder.path.parent / f"{folder.path.name}.yaml"
    write_config(settings, config)
    log = folder.path.parent / f"{folder.path.name}.log"
    line = [sys.executable, "-m", "unlogit", "run", str(settings), "--overwrite" if overwrite else "--resume"]
    # Unbuffered, its log has what went wrong last, not what was printed before it.
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    with log.open("w", encoding="utf-8") as file:
        code = processes.run(line, stdout=file, stderr=subprocess.STDOUT, env=environment)
    if code == 0:
        return ""
    lines = [text for text in log.read_text(encoding="utf-8").splitlines() if text.strip()]
    last = lines[-1].replace("--overwrite instead of --resume", f"--again {folder.path.parent.name}") if lines else ""
    return f"exit code {code}, {last or 'no output'} (whole log: {log})"
