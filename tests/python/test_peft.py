"""Adapters cross between Imprint and the real PEFT library, over the default model, and give the same numbers.

    pip install -r tests/python/requirements.txt
    cargo build -p imprint-core --examples
    IMPRINT_MODEL=… IMPRINT_PEFT=target/debug/examples/peft IMPRINT_GRADIENT=target/debug/examples/gradient python3 -m unittest discover -v -s tests/python

transformers builds the base from the same GGUF file that Imprint reads.
"""

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # Everything is in files; nothing is looked up.

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.utils import logging

# Both engines sum the same f32 products in other orders.
TOLERANCE = 1e-3
# An adapter that moves no token by this much would show nothing.
LEAST_EFFECT = 0.1

KINDS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
MODEL = Path(os.environ["IMPRINT_MODEL"])


def texts():
    golden = json.loads((Path(__file__).parent.parent / "fixtures/smollm2.json").read_text())
    return [prompt["ids"] for prompt in golden["prompts"][:3]]


def measure(model, ids):
    """Negative log-likelihood of each id after the first, and the logits after the last."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    nll = -torch.log_softmax(logits[:-1].double(), -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    return nll, logits[-1].double()


def worst(pairs):
    return max((a - b).abs().max().item() for a, b in pairs)


class PeftTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        logging.disable_progress_bar()
        cls.scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.scratch.cleanup)
        cls.dir = Path(cls.scratch.name)
        (cls.dir / "ids.json").write_text(json.dumps(texts()))
        base = AutoModelForCausalLM.from_pretrained(MODEL.parent, gguf_file=MODEL.name, dtype=torch.float32).eval()
        cls.plain = [measure(base, ids) for ids in texts()]

        # Ranks and factors that differ from place to place, so that a pair in the wrong place cannot hide.
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=8,
            lora_alpha=16,
            target_modules=KINDS,
            rank_pattern={"layers.7.self_attn.q_proj": 3, r"layers\.1\d\.mlp\.up_proj": 5},
            alpha_pattern={r"layers\.\d\.self_attn\.k_proj": 4},
        )
        model = get_peft_model(base, config)
        torch.manual_seed(0)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    weight.copy_(torch.randn_like(weight) * 0.02)
        model.save_pretrained(cls.dir / "theirs")
        cls.theirs = [measure(model, ids) for ids in texts()]
        cls.base = model.unload()

        command = [os.environ["IMPRINT_PEFT"], MODEL, cls.dir / "ids.json", cls.dir / "theirs", cls.dir / "ours"]
        said = subprocess.run(command, check=True, capture_output=True).stdout
        report = json.loads(said)
        cls.ours = [tuple(map(torch.tensor, pair)) for pair in zip(report["nll"], report["logits"])]

    def assert_same(self, found, expected):
        for part, name in enumerate(["nll", "logits"]):
            error = worst((a[part], b[part]) for a, b in zip(found, expected, strict=True))
            self.assertLessEqual(error, TOLERANCE, name)

    def test_the_adapter_changes_every_text(self):
        for with_adapter, without in zip(self.theirs, self.plain):
            self.assertGreater(worst([(with_adapter[0], without[0])]), LEAST_EFFECT)

    def test_an_adapter_that_peft_wrote_gives_its_logits_here(self):
        self.assert_same(self.ours, self.theirs)

    def test_an_adapter_that_imprint_wrote_gives_its_logits_there(self):
        model = PeftModel.from_pretrained(self.base, self.dir / "ours").eval()
        self.assert_same([measure(model, ids) for ids in texts()], self.ours)


if __name__ == "__main__":
    unittest.main()
