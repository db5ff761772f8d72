"""Adapters cross between Imprint and llama.cpp, over the default model, and both say the same next.

    pip install -r tests/python/requirements.txt
    cargo build -p imprint-core --examples
    IMPRINT_MODEL=… IMPRINT_PEFT=target/debug/examples/peft python3 -m unittest discover -v -s tests/python -p test_llama_cpp.py

The adapter is written with the `gguf` package as llama.cpp's converter writes one; llama.cpp is the one that xllamacpp
ships. It rounds activations to eight bits, Imprint does not: single scores differ, choices and means must not.
"""

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFType, GGUFWriter, Keys

from llama import Llama

MODEL = Path(os.environ["IMPRINT_MODEL"])
PROMPTS = 50
# Ids of a prompt.
LENGTH = 16
# Prompts that tell whether anything was read at all.
FEW = 10
# Mean negative log-likelihood, of itself.
NLL = 0.015
# Mean difference of a token's likelihood, in nats: rounding moves tokens by 0.09, rows of q and k in the wrong order by 0.26.
TOKEN = 0.15
# Scores closer than this may fall either way with rounded activations.
MARGIN = 0.5
# An adapter that moved tokens by less, in nats, would show nothing; this one moves them by 0.56.
LEAST_EFFECT = 0.3

RANK = 8
ALPHA = 16.0


def prompts():
    """Stretches of the golden texts."""
    golden = json.loads((Path(__file__).parent.parent / "fixtures/smollm2.json").read_text())
    ids = [id for prompt in golden["prompts"] for id in prompt["ids"]]
    step = (len(ids) - LENGTH) // PROMPTS
    return [ids[at * step : at * step + LENGTH] for at in range(PROMPTS)]


def write_adapter(path):
    """A random adapter of every projection, in half precision."""
    random = np.random.default_rng(7)
    writer = GGUFWriter(path, "llama")
    writer.add_type(GGUFType.ADAPTER)
    writer.add_string(Keys.Adapter.TYPE, "lora")
    writer.add_float32(Keys.Adapter.LORA_ALPHA, ALPHA)
    kinds = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    for tensor in GGUFReader(MODEL).tensors:
        if tensor.name.startswith("blk.") and tensor.name.split(".")[2] in kinds:
            d_in, d_out = map(int, tensor.shape)
            a = random.uniform(-1, 1, (RANK, d_in)) / np.sqrt(d_in)
            b = random.normal(0, 0.1, (d_out, RANK))
            writer.add_tensor(f"{tensor.name}.lora_a", a.astype(np.float16))
            writer.add_tensor(f"{tensor.name}.lora_b", b.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def likelihoods(logits, ids):
    """Negative log-likelihood of each id after the first."""
    highest = logits.max(-1, keepdims=True)
    log_sum = np.log(np.exp(logits - highest).sum(-1, keepdims=True)) + highest
    return (log_sum - logits)[np.arange(len(ids) - 1), ids[1:]]


class LlamaCppTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        cls.dir = Path(scratch.name)
        (cls.dir / "ids.json").write_text(json.dumps(prompts()))
        write_adapter(cls.dir / "theirs.gguf")
        arguments = [MODEL, cls.dir / "ids.json", cls.dir / "theirs.gguf", cls.dir / "ours"]
        said = subprocess.run([os.environ["IMPRINT_PEFT"], *arguments], check=True, capture_output=True).stdout
        report = json.loads(said)
        cls.nll = np.array(report["nll"])
        cls.logits = np.array(report["logits"])
        cls.llama = Llama(MODEL)
        cls.addClassCleanup(cls.llama.close)
        cls.plain = cls.read(FEW)

    @classmethod
    def read(cls, count=PROMPTS):
        """What llama.cpp makes of the first prompts: likelihoods, and scores after each."""
        scores = [(cls.llama.logits(ids), ids) for ids in prompts()[:count]]
        return np.array([likelihoods(*pair) for pair in scores]), np.array([logits[-1] for logits, _ in scores])

    def assert_same(self, nll, logits):
        expected_nll, expected = self.nll[: len(nll)], self.logits[: len(logits)]
        self.assertLessEqual(abs(nll.mean() / expected_nll.mean() - 1), NLL, "mean likelihood")
        self.assertLessEqual(abs(nll - expected_nll).mean(), TOKEN, "tokens' likelihoods")
        # How much the other's choice is behind one's own.
        behind = expected.max(-1) - expected[np.arange(len(expected)), logits.argmax(-1)]
        self.assertLessEqual(behind.max(), MARGIN, f"prompt {behind.argmax()}")
        second, first = np.partition(expected, -2)[:, -2:].T
        self.assertGreaterEqual((first - second > MARGIN).mean(), 0.5, "most choices are clear")

    def test_the_adapter_changes_what_llama_cpp_says(self):
        nll, logits = self.plain
        self.assertGreater(abs(self.nll[:FEW] - nll).mean(), LEAST_EFFECT)
        self.assertTrue((logits.argmax(-1) != self.logits[:FEW].argmax(-1)).any())

    def test_an_adapter_in_llama_cpps_layout_says_here_what_it_says_there(self):
        self.assertTrue(self.llama.attach(self.dir / "theirs.gguf"))
        self.assert_same(*self.read(FEW))

    def test_an_adapter_that_imprint_wrote_says_there_what_it_says_here(self):
        self.assertTrue(self.llama.attach(self.dir / "ours/adapter.gguf"))
        self.assert_same(*self.read())


if __name__ == "__main__":
    unittest.main()
