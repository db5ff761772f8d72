"""The gradients that an adapter learns by are those of PyTorch, tensor by tensor, after a step of learning.

Run as test_peft.py, with IMPRINT_GRADIENT=target/debug/examples/gradient. The golden run holds the first numbers of each
tensor; here both take the gradient of one and the same adapter, so that all numbers can be held.
"""

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # Everything is in files; nothing is looked up.

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

# f32 sums in other orders, through thirty blocks and back: of a tensor's norm, and of its largest number.
TOLERANCE = 1e-3

MODEL = Path(os.environ["IMPRINT_MODEL"])


class GradientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        logging.disable_progress_bar()
        cls.scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.scratch.cleanup)
        cls.dir = Path(cls.scratch.name)
        golden = json.loads((Path(__file__).parent.parent / "fixtures/lora.json").read_text())
        cls.texts = golden["sequences"][:2]
        (cls.dir / "ids.json").write_text(json.dumps(cls.texts))
        cls.base = AutoModelForCausalLM.from_pretrained(MODEL.parent, gguf_file=MODEL.name, dtype=torch.float32).eval()

    def hold(self, device):
        out = self.dir / device
        command = [os.environ["IMPRINT_GRADIENT"], MODEL, self.dir / "ids.json", device, out]
        subprocess.run(command, check=True)
        model = PeftModel.from_pretrained(self.base, out / "after", is_trainable=True).eval()
        ids = torch.tensor([self.texts[1]])
        model(ids, labels=ids).loss.backward()
        expected = {
            name.replace(".default", ""): weight.grad for name, weight in model.named_parameters() if "lora_" in name
        }
        model.unload()
        found = load_file(out / "gradient" / "adapter_model.safetensors")
        self.assertEqual(found.keys(), expected.keys())
        for name, ours in found.items():
            theirs = expected[name]
            error = (ours - theirs).double()
            self.assertGreater(theirs.norm(), 0, name)
            self.assertLessEqual(error.norm() / theirs.double().norm(), TOLERANCE, name)
            self.assertLessEqual(error.abs().max() / theirs.abs().max(), TOLERANCE, name)

    def test_the_processors_gradients_are_those_of_pytorch(self):
        self.hold("cpu")

    def test_the_gpus_gradients_are_those_of_pytorch(self):
        self.hold("gpu")


if __name__ == "__main__":
    unittest.main()
