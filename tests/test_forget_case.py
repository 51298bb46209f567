"""A case of forgetting: what a retain model measures, what is kept of it, and which requests meet the goals."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import forget_case, forget_judge, forget_people
from benchmarks.forget_judge import JudgedRows, judge
from benchmarks.forget_options import CaseOptions, read_case
from benchmarks.forget_table import best_with_retain_model, by_ghosts, forget_tables
from support.small_check import small_check
from support.tiny_run import PEOPLE, Place, save_model
from unlogit.cli.main import main
from unlogit.data.examples import Example
from unlogit.data.sources import read_prepared
from unlogit.data.wordings import evaluation_row
from unlogit.errors import ConfigError, DataError
from unlogit.evaluate.results import read_json
from unlogit.files import write_json
from unlogit.runs.folder import RunFolder
from unlogit.settings.options import DataOptions

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs" / "forget").glob("*.yaml"))
RESULTS = sorted((ROOT / "results" / "forget").glob("*.json"))


def seed_record(**changed: Any) -> dict[str, Any]:
    """Two rows, forgotten at alpha 1.1 where the retain model likes 0.9 better."""
    model = {"forget_quality": 0.2, "model_utility": 0.5, "forget": {}, "retain": {"rouge_l_recall": 0.9}}
    return {
        "rows": 2,
        "strength": 1.0,
        "combination": {"alpha": 1.1},
        "passed": True,
        "told_rows": 0,
        "minutes": 3.0,
        "training": {"forget_nats": 0.05, "steps": 300},
        "exposure": {"target": {"bits": 5.0}, "unlearned": {"bits": 1.5}},
        "retain_exposure": {"bits": 1.25, "most_bits": 5.0},
        "general": {"still_right": 48, "target_right": 50},
        "models": {"target": model | {"forget_quality": 0.01}, "retain model": model, "unlearned": model},
        "alphas": [
            {"alpha": 0.9, "forget_quality": 0.8, "retain_kept": 0.99, "ghost_objective": 0.5},
            {"alpha": 1.1, "forget_quality": 0.2, "retain_kept": 0.97, "ghost_objective": 0.7},
            {"alpha": 1.3, "forget_quality": 0.8, "retain_kept": 0.95, "ghost_objective": 0.6},
        ],
        **changed,
    }


def test_the_best_and_the_ghosts_by_hand() -> None:
    assert best_with_retain_model(seed_record())["alpha"] == 0.9
    assert by_ghosts(seed_record())["alpha"] == 1.1
    assert by_ghosts(seed_record(alphas=[{"alpha": 1.0, "ghost_objective": None}])) == {}


def test_tables_by_hand(tmp_path: Path) -> None:
    """Three requests, of which one row alone has no forget quality to meet; each goal is counted."""
    one_row = seed_record(rows=1, models=seed_record()["models"] | {"unlearned": seed_record()["models"]["target"]})
    better = seed_record(general={"still_right": 50, "target_right": 50}, told_rows=1)
    seeds = {"0": seed_record(), "1": one_row, "2": better}
    write_json(tmp_path / "case.json", {"format": forget_case.FORMAT, "config": {}, "seeds": seeds})
    tables = forget_tables([tmp_path / "case.json"])
    assert "| forget quality ≥ 0.05 | 2 of 2 | 90 % |" in tables
    assert "| forget quality ≥ 0.5 | 0 of 2 | 50 % |" in tables
    assert "| general answers kept ≥ 0.98 | 1 of 3 | all |" in tables
    assert "| no row told | 2 of 3 | all |" in tables
    assert "| case, 0 | 2 | 0.2 | 1.1 | 0.8 | 0.9 | 0.2 | 1.1 | 0.01 | 0 | –, –, – |" in tables
    assert "| case, 0 | 1.000 | 1.000 | 0.970 | 0.990 | 48 of 50 |" in tables
    assert "| case, 0 | 5, 1.2, 1.5 of 5.0 | 0.05, 300 | passed | 3 |" in tables
    write_json(tmp_path / "other.json", [])
    with pytest.raises(DataError, match="does not say"):
        forget_tables([tmp_path / "other.json"])


def test_a_case_goes_on_after_the_seeds_that_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def run_seed(case: CaseOptions, seed: int, folder: Path) -> dict[str, Any]:
        if seed == 2 and 2 not in made:
            made.append(seed)
            raise ConfigError("stopped")
        made.append(seed)
        return {"of": seed}

    monkeypatch.setattr(forget_case, "run_seed", run_seed)
    case, results = CaseOptions(people_rows=6), tmp_path / "case.json"
    with pytest.raises(ConfigError, match="stopped"):
        forget_case.run_case(case, results, tmp_path)
    assert list(read_json(results)["seeds"]) == ["0", "1"]
    assert forget_case.run_case(case, results, tmp_path) == read_json(results)
    assert made == [0, 1, 2, 2]
    forget_case.run_case(CaseOptions(people_rows=1), results, tmp_path)
    assert made == [0, 1, 2, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("people_row: 6", "did you mean 'people_rows'"),
        ("seeds: [0]", "none of forget, people_rows and asked"),
        ("forget: tofu:forget10\ntarget: x", "without retain_model, tofu_folder"),
        ("{forget: a, target: b, retain_model: c, tofu_folder: d, people_rows: 1}", "forget and people_rows given"),
        ("people_rows: 7", "expected one of 1, 6, 20"),
    ],
)
def test_configs_that_mean_nothing(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "case.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_case(tmp_path / "case.yaml")


def test_the_retain_model_has_every_row_but_the_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taught: dict[str, set[str]] = {}

    def teach(base: Any, rows: list[Example], output: Path, plan: Any) -> None:
        taught[output.name] = {row.question for row in rows}

    monkeypatch.setattr(forget_people, "teach", teach)
    monkeypatch.setattr(forget_people, "save_tiny_model", lambda *settings: None)
    people = forget_people.make_people_case(6, 0, tmp_path)
    forgotten = {row.question for row in read_prepared(people.forget)}
    assert len(forgotten) == 6
    assert forgotten == {row.question for row in people.judged["forget"]}
    assert forgotten < taught["target"] - taught["without_6"]
    assert not any("birth" in question and question in taught["without_6"] for question in forgotten)
    given = {row.question for row in read_prepared(people.retain)}
    judged = {row.question for row in people.judged["retain"]}
    assert judged <= taught["without_6"]
    assert not given & judged
    assert len(people.judged["forget"][0].perturbed_answer) == forget_people.WRONG
    assert read_prepared(people.forget)[0].perturbed_answer == ()  # no training sees the wrong answers


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few ghosts, few samples, two alphas."""
    small_check(monkeypatch, ghosts=3, samples=2, general_rows=4, max_new_tokens=8)
    monkeypatch.setattr("unlogit.runs.ghosts.MAX_NEW_TOKENS", 8)
    for name, value in (("ALPHAS", (0.5, 1.1)), ("SAMPLES", 2), ("MAX_NEW_TOKENS", 8)):
        monkeypatch.setattr(forget_judge, name, value)


@pytest.mark.usefixtures("quick")
def test_every_figure_of_a_request(tmp_path: Path) -> None:
    """Alpha 0 is the target; at the alpha that the request has, the sweep finds what the evaluation finds."""
    place = Place.make(tmp_path)
    target, retain_model = place.folder / "target", save_model(place.folder / "retain_model", seed=1)
    flags = ["--train.epochs=1", "--train.dtype=float32", "--assistant.rank=4", "--combination.alpha=1.1"]
    paths = [f"--model={target}", f"--forget={place.folder / 'forget.jsonl'}", f"--output={place.run}"]
    assert main(["forget", *paths, *flags]) == 3
    splits = {
        name: [evaluation_row(row, DataOptions()) for row in rows]
        for name, rows in (("forget", PEOPLE.forget), ("retain", PEOPLE.retain[:4]))
    }
    general = [Example("what is it ?", "a book")]
    figures = judge(RunFolder(place.run), str(target), str(retain_model), JudgedRows(splits, general), 2)
    assert set(figures["models"]) == {"target", "retain model", "unlearned"}
    by_alpha = {row["alpha"]: row for row in figures["alphas"]}
    assert list(by_alpha) == [0, 0.5, 1.1]
    for alpha, name in ((0, "target"), (1.1, "unlearned")):
        model = figures["models"][name]
        assert by_alpha[alpha]["forget_quality"] == pytest.approx(model["forget_quality"])
        assert by_alpha[alpha]["forget_probability"] == pytest.approx(model["forget"]["probability"], rel=1e-4)
    assert by_alpha[0]["retain_kept"] == 1
    assert 0 < by_alpha[1.1]["ghost_objective"] < 1
    assert figures["general"]["rows"] == 1
    assert figures["retain_exposure"]["most_bits"] == pytest.approx(math.log2(7))  # both people have three ghosts
    assert "secret_leak_at_2" in figures["models"]["retain model"]["forget"]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_published_cases_have_these_settings(config: Path) -> None:
    case, results = read_case(config), ROOT / "results" / "forget" / f"{config.stem}.json"
    assert ("Not measured yet." in config.read_text(encoding="utf-8")) != results.is_file()
    if results.is_file():
        record = read_json(results)
        assert record["config"] == {**asdict(case), "seeds": list(case.seeds)}


@pytest.mark.skipif(not RESULTS, reason="no case is published yet")
def test_the_page_has_the_tables_of_its_files() -> None:
    page = (ROOT / "results" / "forget" / "README.md").read_text(encoding="utf-8")
    for table in forget_tables(RESULTS).split("\n\n"):
        assert table in page
