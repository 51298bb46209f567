"""OpenUnlearning's protocol and files: its formulas by hand and by an independent reference, and the way back."""

import functools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ks_2samp

from support.models_for_tests import tiny_llama
from support.tiny_run import PEOPLE, Place, save_model
from test_metrics import split
from unlogit.cli.main import main
from unlogit.errors import DataError
from unlogit.evaluate.evaluate import compare_with_retain, evaluate_model
from unlogit.evaluate.open_unlearning.files import is_open_unlearning, read_open_unlearning, write_open_unlearning
from unlogit.evaluate.protocol import PROTOCOLS
from unlogit.evaluate.published_logs import read_published_log
from unlogit.evaluate.results import AnswerLosses, Results, SplitResult, TruthRatios
from unlogit.evaluate.subset import on_rows
from unlogit.runs.results import RETAIN, RunResults, load_retain
from unlogit.settings.options import EvaluateOptions

THEIRS = PROTOCOLS["open_unlearning"]


# Files

OURS = EvaluateOptions(max_new_tokens=4, batch_size=4)
LIKE_THEM = replace(OURS, protocol="open_unlearning", open_unlearning=True)
ROWS = {"forget": PEOPLE.forget[:5], "retain": PEOPLE.retain[:2]}


def evaluated(tokenizer: Any, options: EvaluateOptions, seed: int, retain: Any = None) -> Results:
    return evaluate_model(
        tiny_llama(len(tokenizer), seed), tokenizer, ROWS, options, retain, name=f"model {seed}", keep_generated=True
    )


@pytest.fixture
def retain(byte_tokenizer: Any) -> Results:
    return evaluated(byte_tokenizer, LIKE_THEM, 1)


def test_the_files_hold_what_was_measured(retain: Results, byte_tokenizer: Any, tmp_path: Path) -> None:
    results = evaluated(byte_tokenizer, LIKE_THEM, 0, retain)
    write_open_unlearning(results, tmp_path)
    whole = json.loads((tmp_path / "TOFU_EVAL.json").read_text())
    about = whole.pop("unlogit")
    assert about["protocol"] == results.protocol == "open_unlearning"
    forget = {f"forget_Q_A_{name}" for name in ("Prob", "PARA_Prob", "PERT_Prob", "ROUGE")}
    retained = {f"retain_Q_A_{name}" for name in ("Prob", "PARA_Prob", "PERT_Prob", "ROUGE")} | {"retain_Truth_Ratio"}
    others = {"forget_truth_ratio", "extraction_strength", "exact_memorization", "forget_quality"}
    assert set(whole) == forget | retained | others
    assert list(whole) == sorted(whole)
    summary = json.loads((tmp_path / "TOFU_SUMMARY.json").read_text())
    assert summary == {name: entry["agg_value"] for name, entry in whole.items()}
    metrics = results.splits["forget"].metrics
    assert summary["exact_memorization"] == metrics["exact_memorisation"].value
    assert summary["forget_truth_ratio"] == metrics["truth_ratio"].value
    rouge = whole["forget_Q_A_ROUGE"]["value_by_index"]
    assert [row["rougeL_recall"] for row in rouge.values()] == list(metrics["rouge_l_recall"].per_example)
    assert [row["generation"] for row in rouge.values()] == list(results.splits["forget"].generated)


def losses_of(entry: dict[str, Any]) -> Any:
    return np.array([row["avg_loss"] for row in entry["value_by_index"].values()])


def test_their_code_would_find_the_same_numbers(retain: Results, byte_tokenizer: Any, tmp_path: Path) -> None:
    """From the losses in the file alone, by their formulas: truth ratios, p-value and probabilities."""
    results = evaluated(byte_tokenizer, LIKE_THEM, 0, retain)
    files = {}
    for name, one in (("own", results), ("retain", retain)):
        write_open_unlearning(one, tmp_path / name)
        files[name] = json.loads((tmp_path / name / "TOFU_EVAL.json").read_text())
    ratios = {}
    for name, file in files.items():
        true, wrong = losses_of(file["forget_Q_A_PARA_Prob"]), losses_of(file["forget_Q_A_PERT_Prob"])
        ratios[name] = np.exp(-wrong.mean(1)) / (np.exp(-true) + 1e-10)
        for metric in ("forget_Q_A_PARA_Prob", "forget_Q_A_PERT_Prob", "forget_Q_A_Prob"):
            probabilities = np.exp(-losses_of(file[metric]))
            assert np.array([row["prob"] for row in file[metric]["value_by_index"].values()]) == pytest.approx(
                probabilities
            )
            assert file[metric]["agg_value"] == pytest.approx(probabilities.mean(), abs=1e-12)
    own = files["own"]
    assert [row["score"] for row in own["forget_truth_ratio"]["value_by_index"].values()] == pytest.approx(
        ratios["own"].tolist(), rel=1e-12
    )
    assert own["forget_quality"]["agg_value"] == pytest.approx(
        ks_2samp(ratios["own"], ratios["retain"]).pvalue, rel=1e-9
    )


def test_what_was_not_measured_is_not_written(byte_tokenizer: Any, tmp_path: Path) -> None:
    """Without losses and without a retain model; the probability's loss is minus its logarithm."""
    results = evaluated(byte_tokenizer, OURS, 0)
    write_open_unlearning(results, tmp_path)
    whole = json.loads((tmp_path / "TOFU_EVAL.json").read_text())
    assert not {name for name in whole if "PARA" in name or "PERT" in name}
    assert "forget_quality" not in whole
    assert "model_utility" not in whole
    assert whole["unlogit"]["protocol"] == "unlogit"
    for row in whole["forget_Q_A_Prob"]["value_by_index"].values():
        assert math.exp(-row["avg_loss"]) == pytest.approx(row["prob"], rel=1e-12)


def test_all_splits_and_overall_numbers_by_their_names(tmp_path: Path) -> None:
    """Real authors and world facts: the mean of the metric is over the choices, the answer's own stands beside it."""
    values = {"probability": 0.5, "rouge_l_recall": 0.25, "truth_ratio": 0.125}
    splits = {
        name: replace(split(name, **values), losses=(AnswerLosses(math.log(4), None, (math.log(2), math.log(8))),))
        for name in ("retain", "real_authors", "world_facts")
    }
    members = replace(split("x", membership=0.7).metrics["membership"], parts={"loss": 0.6, "min_k": 0.7})
    leak = split("x", privleak=-40.0).metrics["privleak"]
    found = THEIRS.model_utility(splits)
    results = Results("mine", splits, model_utility=found, membership_inference=members, privleak=leak)
    write_open_unlearning(results, tmp_path)
    summary = json.loads((tmp_path / "TOFU_SUMMARY.json").read_text())
    for prefix in ("ra", "wf"):
        assert summary[f"{prefix}_Q_A_Prob_normalised"] == 0.5
        assert summary[f"{prefix}_Q_A_Prob"] == pytest.approx(0.25)
        assert summary[f"{prefix}_Q_A_PERT_Prob"] == pytest.approx((0.5 + 0.125) / 2)
        assert summary[f"{prefix}_Q_A_ROUGE"] == 0.25
        assert summary[f"{prefix}_Truth_Ratio"] == 0.125
    assert summary["model_utility"] == pytest.approx(3 / (1 / 0.5 + 1 / 0.25 + 1 / 0.125))
    assert (summary["mia_loss"], summary["mia_min_k"], summary["privleak"]) == (0.6, 0.7, -40.0)


def test_the_way_back_gives_the_same_forget_quality(retain: Results, byte_tokenizer: Any, tmp_path: Path) -> None:
    """To the bit, by the names of the rows: in any order, and refused on other rows. Exact memorisation of rows is not
    in these files."""
    write_open_unlearning(retain, tmp_path)
    found = load_retain(tmp_path / "TOFU_EVAL.json", "open_unlearning")
    assert found == replace(retain.truth_ratios(), exact_memorisation=())
    results = evaluated(byte_tokenizer, LIKE_THEM, 0, retain)
    assert compare_with_retain(results, found) == results.forget_quality
    backwards = {"forget": ROWS["forget"][::-1]}
    again = evaluate_model(tiny_llama(len(byte_tokenizer)), byte_tokenizer, backwards, LIKE_THEM, found)
    assert again.forget_quality == results.forget_quality
    with pytest.raises(DataError, match="5 of 'model 1'"):
        evaluate_model(
            tiny_llama(len(byte_tokenizer)), byte_tokenizer, {"forget": [PEOPLE.retain[0]]}, LIKE_THEM, found
        )


def their_log(folder: Path, scores: list[float]) -> Path:
    """A retain model's log as their code writes it; more than we look at, and no name of a row."""
    entry = {"agg_value": 0.5, "value_by_index": {str(i): {"score": one} for i, one in enumerate(scores)}}
    log = {"exact_memorization": {"agg_value": 0.1}, "forget_quality": {"agg_value": None}, "forget_truth_ratio": entry}
    path = folder / "TOFU_EVAL.json"
    path.write_text(json.dumps(log, indent=4))
    return path


def test_their_retain_log_gives_forget_quality(byte_tokenizer: Any, tmp_path: Path) -> None:
    """Its rows have no names: as many rows, as they stand, or none. Ten and more are sorted as numbers."""
    scores = [0.1 * i for i in range(1, 13)]
    found = read_open_unlearning(their_log(tmp_path, scores))
    assert found.values == tuple(scores)
    assert (found.rows, found.protocol) == ((), "open_unlearning")
    log = load_retain(their_log(tmp_path, scores[:5]), "open_unlearning")
    results = evaluated(byte_tokenizer, LIKE_THEM, 0, log)
    own = results.truth_ratios().values
    assert results.forget_quality is not None
    assert results.forget_quality.value == ks_2samp(own, scores[:5]).pvalue
    with pytest.raises(DataError, match=r"12 rows.*'model 0' has 5"):
        evaluated(byte_tokenizer, LIKE_THEM, 0, found)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"forget_quality": 0.3, "model_utility": 0.6}, "TOFU_EVAL.json"),
        ({"forget_Q_A_Prob": {"agg_value": 0.5}}, "forget_truth_ratio"),
        ({"forget_truth_ratio": {"agg_value": 1, "value_by_index": {"0": {}}}}, "forget_truth_ratio"),
        ({"forget_truth_ratio": {"agg_value": 1, "value_by_index": {}}}, "0 truth ratios"),
        ({"forget_truth_ratio": {"value_by_index": {"0": {"score": math.nan}}}}, "no finite number"),
        ({"something": 1}, "expected a TOFU_EVAL.json"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, value: Any, message: str) -> None:
    path = tmp_path / "TOFU_EVAL.json"
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match=message) as error:
        read_open_unlearning(path)
    assert "\n" not in str(error.value)


def test_each_kind_of_file_is_recognised(retain: Results, tmp_path: Path) -> None:
    retain.write(tmp_path / "ours.json")
    RunResults({RETAIN: retain}).write(tmp_path / "run.json")
    for name in ("ours", "run"):
        assert not is_open_unlearning(json.loads((tmp_path / f"{name}.json").read_text()))
        found = load_retain(tmp_path / f"{name}.json")
        assert (found.truth_ratios() if isinstance(found, Results) else found) == retain.truth_ratios()


# Never mixed


def test_conventions_are_never_mixed(retain: Results, byte_tokenizer: Any) -> None:
    for one in (retain, retain.truth_ratios()):
        with pytest.raises(DataError, match=r"'unlogit'.*'model 1'.*'open_unlearning'") as error:
            evaluated(byte_tokenizer, OURS, 0, one)
        assert "\n" not in str(error.value)
    ours = evaluated(byte_tokenizer, OURS, 0)
    with pytest.raises(DataError, match="--protocol"):
        compare_with_retain(ours, retain)
    with pytest.raises(DataError, match="--protocol"):
        compare_with_retain(retain, ours)
    with pytest.raises(DataError, match="--protocol"):
        RunResults({"unlearned": ours, RETAIN: retain})


def test_results_remember_their_conventions(retain: Results, byte_tokenizer: Any, tmp_path: Path) -> None:
    """Results of before there was a choice are ours."""
    retain.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == retain
    assert Results.read(tmp_path / "results.json").protocol == "open_unlearning"
    assert Results("old", {"forget": SplitResult("forget", {}, ())}).protocol == "unlogit"
    assert TruthRatios("old", (), ()).protocol == "unlogit"


def test_results_on_fewer_rows_keep_their_conventions(retain: Results, byte_tokenizer: Any) -> None:
    """Rows 4 and 1 of all are what scoring just these gives, losses included; a truth ratio of 0 has an inverse."""
    chosen = [ROWS["forget"][4], ROWS["forget"][1]]
    wanted = evaluate_model(tiny_llama(len(byte_tokenizer), 1), byte_tokenizer, {"forget": chosen}, LIKE_THEM)
    found = on_rows(retain, {"forget": wanted.splits["forget"].rows})
    assert found.model_utility is None
    for ours, theirs_ in zip(found.splits["forget"].losses, wanted.splits["forget"].losses, strict=True):
        assert ours.answer == pytest.approx(theirs_.answer, rel=1e-5)
    for name, metric in wanted.splits["forget"].metrics.items():
        assert found.splits["forget"].metrics[name].value == pytest.approx(metric.value, rel=1e-5)
    assert THEIRS.truth_ratio([0.0, 1.0], "forget") == pytest.approx(0.5)


# On the command line


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A prepared run (rows are all that is needed to score other models on them), and a retain model."""
    made = Place.make(tmp_path_factory.mktemp("place"))
    save_model(made.folder / "retain_model", seed=1)
    assert made.prepare() == 0
    return made


def evaluate(place: Place, model: str, *flags: str) -> int:
    short = ("--max_new_tokens=4", "--max_rows=6")
    return main(["evaluate", str(place.run), f"--model={place.folder / model}", *short, *flags])


def test_evaluate_writes_their_files_and_reads_them(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A retain model, and then in its place the log that was written of it: one forget quality, to the bit."""
    like_them = ("--protocol=open_unlearning", "--open_unlearning=true")
    assert evaluate(place, "target", *like_them, f"--retain_model={place.folder / 'retain_model'}") == 0
    assert "open_unlearning" in capsys.readouterr().out
    logs = {path.parent.name: path for path in (place.run / "open_unlearning").rglob("TOFU_EVAL.json")}
    assert set(logs) == {"target", "retain_model"}
    first = json.loads(logs["target"].read_text())["forget_quality"]
    assert evaluate(place, "target", *like_them, f"--retain_model={logs['retain_model']}") == 0
    assert json.loads(logs["target"].read_text())["forget_quality"] == first
    assert "does not name its rows" not in capsys.readouterr().out
    assert evaluate(place, "target", f"--retain_model={logs['retain_model']}") == 2
    message = capsys.readouterr().err
    assert "'unlogit'" in message
    assert len(message.splitlines()) == 1
    assert evaluate(place, "target", "--protocol=mine") == 2
    assert "unlogit, open_unlearning" in capsys.readouterr().err


def test_evaluate_with_a_log_of_theirs(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with the log will do; what cannot be checked is said."""
    their_log(tmp_path, [0.1, 0.5, 0.9, 1.1, 1.5, 2.0])
    assert evaluate(place, "target", "--protocol=open_unlearning", f"--retain_model={tmp_path}") == 0
    shown = capsys.readouterr().out
    assert "does not name its rows: its 6 truth ratios are compared with those of this run's 6 forget rows" in shown


def test_a_choice_by_a_log_of_theirs_is_refused(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = their_log(tmp_path, [0.1] * 6)
    flags = ("--protocol=open_unlearning", "--pick.enabled=true", f"--retain_model={log}")
    assert main(["evaluate", str(place.run), *flags]) == 2
    assert "pick.enabled" in capsys.readouterr().err


# Published figures

published = functools.cache(read_published_log)  # ROUGE of 817 answers takes its time


@pytest.mark.parametrize("protocol", ["unlogit", "open_unlearning"])
def test_published_logs_go_the_way_back(shared_folder: Path, tmp_path: Path, protocol: str) -> None:
    """Llama-2-7b's log and its retain model's, written in their form and read again: the published forget quality."""
    logs = shared_folder / "data" / "tofu_eval_logs"
    wanted = json.loads((logs / "expected.json").read_text())["values"]
    full = published(logs / "llama2-7b_full.json", protocol)
    direct = published(logs / "llama2-7b_retain90.json", protocol)
    write_open_unlearning(direct, tmp_path)
    found = compare_with_retain(full, load_retain(tmp_path / "TOFU_EVAL.json", protocol))
    assert found == compare_with_retain(full, direct)
    figures = wanted["forget_quality full vs retain90"]
    assert found.value == pytest.approx(figures["pvalue"], rel=1e-9, abs=0)
    assert found.parts["ks_statistic"] == pytest.approx(figures["statistic"], abs=1e-12)


def test_their_formulas_on_published_logs(shared_folder: Path, tmp_path: Path) -> None:
    """The figures of the first code have no epsilon: theirs agree to 1e-7, all nine of model utility and itself."""
    logs = shared_folder / "data" / "tofu_eval_logs"
    wanted = json.loads((logs / "expected.json").read_text())["values"]["full"]
    results = published(logs / "llama2-7b_full.json", "open_unlearning")
    write_open_unlearning(results, tmp_path)
    summary = json.loads((tmp_path / "TOFU_SUMMARY.json").read_text())
    for ours, name in (("retain", "retain"), ("real_authors", "ra"), ("world_facts", "wf")):
        probability = f"{name}_Q_A_Prob" if name == "retain" else f"{name}_Q_A_Prob_normalised"
        assert summary[probability] == pytest.approx(wanted[ours]["probability"], abs=1e-7)
        assert summary[f"{name}_Q_A_ROUGE"] == pytest.approx(wanted[ours]["rouge_l_recall"], abs=1e-9)
        assert summary[f"{name}_Truth_Ratio"] == pytest.approx(wanted[ours]["truth_ratio"], abs=1e-7)
    assert summary["forget_truth_ratio"] == pytest.approx(wanted["forget"]["truth_ratio"], abs=1e-7)
    assert summary["model_utility"] == pytest.approx(wanted["model_utility"], abs=1e-7)
