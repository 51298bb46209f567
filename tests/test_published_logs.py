"""Published logs: TOFU's own files give TOFU's own figures, and a made-up log is read as its form says."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from unlogit.data.examples import Example
from unlogit.errors import DataError
from unlogit.evaluate.metrics.forget_quality import forget_quality
from unlogit.evaluate.published_logs import load_retain_truth_ratios, question_of, read_published_log
from unlogit.evaluate.results import Results, row_digest


@pytest.fixture
def logs_folder(shared_folder: Path) -> Path:
    return shared_folder / "data" / "tofu_eval_logs"


@pytest.mark.parametrize("model", ["full", "retain90"])
def test_published_figures_are_reproduced(model: str, logs_folder: Path) -> None:
    """Probability, ROUGE-L and truth ratio of four splits, and model utility, to 1e-9."""
    wanted = json.loads((logs_folder / "expected.json").read_text())["values"][model]
    results = read_published_log(logs_folder / f"llama2-7b_{model}.json")
    for split, values in wanted.items():
        if split == "model_utility":
            assert results.model_utility is not None
            assert results.model_utility.value == pytest.approx(values, abs=1e-9)
            assert results.model_utility.count == 9
        else:
            found = {name: results.splits[split].metrics[name].value for name in values}
            assert found == pytest.approx(values, abs=1e-9)


def test_published_forget_quality_is_reproduced(logs_folder: Path) -> None:
    """The target against the retain model, 300 rows: compared relatively, as it is 1.8e-21."""
    wanted = json.loads((logs_folder / "expected.json").read_text())["values"]["forget_quality full vs retain90"]
    full = load_retain_truth_ratios(logs_folder / "llama2-7b_full.json")
    retain = load_retain_truth_ratios(logs_folder / "llama2-7b_retain90.json")
    result = forget_quality(full.values, retain.on_rows(full.rows, "full"))
    assert result.value == pytest.approx(wanted["pvalue"], rel=1e-9)
    assert result.parts["ks_statistic"] == pytest.approx(wanted["statistic"], abs=1e-9)
    assert result.count == wanted["n"][0]


LOG: dict[str, Any] = {
    "avg_gt_loss": {"0": 0.0, "1": math.log(2)},
    "num_token_gt": {"0": 3, "1": 4},
    "avg_paraphrased_loss": {"0": math.log(2), "1": math.log(8)},
    "average_perturb_loss": {"0": [math.log(4), math.log(16)], "1": [math.log(2), math.log(2)]},
    "generated_text": {"0": ["[INST] who? [/INST]", "Anna", "Anna"], "1": ["[INST] where? [/INST]", "Oslo", "Rome"]},
}


def write(folder: Path, value: Any) -> Path:
    path = folder / "log.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_a_log_by_hand(tmp_path: Path) -> None:
    """Probability (1 + 1/2)/2; ROUGE-L (1 + 0)/2; TR: 2/8 and 8/2, so forget (1/4 + 1/4)/2 and retain (3/4 + 0)/2."""
    results = read_published_log(write(tmp_path, {"eval_log_forget.json": LOG, "eval_log.json": LOG}))
    for split, ratio in (("forget", 0.25), ("retain", 0.375)):
        found = {name: metric.value for name, metric in results.splits[split].metrics.items()}
        wanted = {"probability": 0.75, "rouge_l_recall": 0.5, "repetition": 0.0, "truth_ratio": ratio}
        wanted |= {"paraphrase_probability": (1 / 2 + 1 / 8) / 2} if split == "forget" else {}
        assert found == pytest.approx(wanted)
    assert results.splits["forget"].rows[0] == row_digest(Example("who?", "Anna"))
    assert results.model_utility is not None
    assert results.model_utility.count == 3


def test_our_own_results_give_the_same_truth_ratios(tmp_path: Path) -> None:
    log = write(tmp_path, {"eval_log_forget.json": LOG})
    wanted = load_retain_truth_ratios(log)
    read_published_log(log).write(tmp_path / "results.json")
    for path in (tmp_path, tmp_path / "results.json"):
        found = load_retain_truth_ratios(path)
        assert (found.values, found.rows) == (wanted.values, wanted.rows)
    assert isinstance(Results.read(tmp_path / "results.json"), Results)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"eval_log_forget.json": {"avg_gt_loss": {"0": 1}}}, "eval_log_forget.json"),
        ({"something": 1}, "results.json"),
        ([], "results.json"),
        ({"eval_log.json": LOG}, "truth ratios"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_retain_truth_ratios(write(tmp_path, value))


def test_missing_and_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"eval_log\.json"):
        read_published_log(write(tmp_path, {}))
    with pytest.raises(DataError, match=r"no\.json"):
        load_retain_truth_ratios(tmp_path / "no.json")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"broken\.json"):
        load_retain_truth_ratios(tmp_path / "broken.json")


def test_logs_with_lists(logs_folder: Path) -> None:
    """The retain model that ULD's authors ship: 40 forget rows; ROUGE-L as the log itself has it, row for row."""
    path = logs_folder / "uld_retain99_llama_lists.json"
    log = json.loads(path.read_text())
    results = read_published_log(path)
    for split, name, count in (("forget", "eval_log_forget.json", 40), ("retain", "eval_log.json", 300)):
        metrics = results.splits[split].metrics
        assert metrics["rouge_l_recall"].per_example == pytest.approx(log[name]["rougeL_recall"], abs=1e-9)
        assert metrics["probability"].per_example == pytest.approx([math.exp(-x) for x in log[name]["avg_gt_loss"]])
        assert metrics["truth_ratio"].count == count
    assert results.model_utility is not None
    assert results.model_utility.value == pytest.approx(0.62, abs=0.01)  # Table 2 of their paper


def test_lists_and_dicts_give_the_same(tmp_path: Path) -> None:
    by_row = read_published_log(write(tmp_path, {"eval_log_forget.json": LOG}))
    lists = {name: list(values.values()) for name, values in LOG.items()}
    assert read_published_log(write(tmp_path, {"eval_log_forget.json": lists})).splits == by_row.splits
    shorter = lists | {"num_token_gt": [3]}
    with pytest.raises(DataError, match="missing or misplaced"):
        read_published_log(write(tmp_path, {"eval_log_forget.json": shorter}))


@pytest.mark.parametrize(
    "prompt",
    [
        "[INST] Who is it? [/INST]",
        "<s>[INST] Who is it? [/INST] ",
        "[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nWho is it? [/INST]",
        "Question: Who is it?\n",
        "Question: Who is it?\nAnswer: ",
        "### Question: Who is it?\n### Answer: ",
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nWho is it?<|im_end|>\n<|im_start|>assistant\n",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|><|start_header_id|>user"
        "<|end_header_id|>\n\nWho is it?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "system\n\nBe kind.\nuser\n\nWho is it?assistant\n\n",
        "<|user|>\nWho is it?<|end|>\n<|assistant|>\n",
        "<bos><start_of_turn>user\nWho is it?<end_of_turn>\n<start_of_turn>model\n",
        "Who is it?",
    ],
)
def test_prompts_of_several_models(prompt: str) -> None:
    assert question_of(prompt) == "Who is it?"
