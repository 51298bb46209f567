"""Two processes train to the gradients of one, by the command line."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from support.tiny_run import Place
from unlogit.cli.main import main


@pytest.fixture
def places(tmp_path: Path) -> list[Place]:
    """Two prepared runs of one target."""
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        place = Place.make(tmp_path / name)
        assert place.prepare() == 0
        made.append(place)
    return made


def in_two_processes(words: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run a command line as two processes on the CPU, as a launcher begins them."""
    source = Path(__file__).resolve().parents[1] / "src"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    env |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    line = [sys.executable, "-m", "unlogit", *words]
    started = [
        subprocess.Popen(
            line,
            env=env | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    try:
        out, errors = zip(*(process.communicate(timeout=300) for process in started), strict=True)
    finally:
        for process in started:
            process.kill()
    code = max(abs(process.returncode) for process in started)
    return subprocess.CompletedProcess(line, code, "".join(out), "".join(errors))


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ["--objective=uld"],
        ["--objective=npo_kl", "--adapter=lora", "--learning_rate=1e-3"],
    ],
    ids=["uld", "npo_kl"],
)
def test_two_processes_train_as_one(places: list[Place], flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Rows have different lengths; what is written and printed is that of one process."""
    one, two = places
    assert one.train(*flags) == 0
    printed = capsys.readouterr().out
    done = in_two_processes([*two.train_line, *flags])
    assert done.returncode == 0, done.stderr[-3000:]
    files = sorted(path.relative_to(one.run) for path in one.run.rglob("*.safetensors"))
    assert files
    for file in files:
        found, expected = load_file(two.run / file), load_file(one.run / file)
        assert set(found) == set(expected)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5)
    everything = [sorted(str(path.relative_to(place.run)) for path in place.run.rglob("*")) for place in places]
    assert everything[0] == everything[1]
    assert done.stdout.count("Next: ") == printed.count("Next: ") == 1
    assert done.stdout.count("Trained ") == printed.count("Trained ")
    assert done.stdout.count("step 4/4") == printed.count("step 4/4") == 1
    assert main(["evaluate", str(two.run), "--max_new_tokens=2", "--max_rows=2", "--with_target=false"]) == 0
