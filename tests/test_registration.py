"""``import unlogit`` is quick, and transformers' Auto classes know our model after it, whichever was imported first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(code: str) -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_is_light() -> None:
    """Below a tenth of a second of processor time, and nothing heavy is imported."""
    code = (
        "import sys, time; start = time.process_time(); import unlogit; "
        "print(time.process_time() - start, [m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    seconds, _, heavy = min(run(code) for _ in range(3)).partition(" ")
    assert heavy == "[]"
    assert float(seconds) < 0.1


AUTO = "from transformers import AutoConfig, AutoModelForCausalLM"


@pytest.mark.parametrize(
    "imports",
    [
        f"import unlogit; {AUTO}",
        f"{AUTO}; import unlogit",
        f"from unlogit.model.unlearned import UnlearnedForCausalLM; {AUTO}",
    ],
    ids=["ours first", "theirs first", "model first"],
)
def test_auto_classes_know_the_model(imports: str, tmp_path: Path) -> None:
    """And transformers' module is left with its ordinary loader, so that its source can be read."""
    (tmp_path / "config.json").write_text('{"model_type": "unlogit", "target_config": {"model_type": "llama"}}')
    code = (
        f"{imports}; import inspect, sys; config = AutoConfig.from_pretrained({str(tmp_path)!r}); "
        "auto = sys.modules[AutoModelForCausalLM.__module__]; assert 'class AutoModel' in inspect.getsource(auto); "
        "print(AutoModelForCausalLM._model_mapping[type(config)].__name__, type(auto.__spec__.loader).__name__)"
    )
    assert run(code) == "UnlearnedForCausalLM SourceFileLoader"


def test_lazy_names() -> None:
    import unlogit

    for name in unlogit.__all__:
        assert getattr(unlogit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'combine_logit'"):
        unlogit.combine_logit  # noqa: B018
