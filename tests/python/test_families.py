"""Adapters of every family cross between Imprint, PEFT and llama.cpp and give the same numbers.

    pip install -r tests/python/requirements.txt
    cargo build -p imprint-core --examples
    IMPRINT_PEFT=target/debug/examples/peft python3 -m unittest discover -v -s tests/python -p test_families.py

The models are the tiny random ones of `tests/fixtures/families`, built again by the script that made them.
"""

import copy
import functools
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # Everything is in files; nothing is looked up.

import torch
from peft import LoHaConfig, LoraConfig, PeftModel, get_peft_model
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from llama import Llama

FIXTURES = Path(__file__).parent.parent / "fixtures"
sys.path.insert(0, str(FIXTURES))
sys.dont_write_bytecode = True

from make_families import FAMILIES, KINDS, random_model

# Both engines sum the same f32 products in other orders; the scores are of the order of ten.
TOLERANCE = 2e-3
# An adapter that moves no token by this much would show nothing.
LEAST_EFFECT = 0.5
# What llama.cpp's rounding of activations to eight bits moves tokens by, of what the adapter moves them by.
ROUNDING = 0.1

CONFIGS = {
    # Ranks and factors that differ from place to place, so that a pair in the wrong place cannot hide.
    "patterns": dict(
        r=4,
        lora_alpha=6,
        target_modules=KINDS,
        rank_pattern={"layers.1.self_attn.q_proj": 3, r"layers\.0\.mlp\.\w+_proj": 2},
        alpha_pattern={r"^model\.(language_model\.)?layers\.0\.self_attn\.k_proj": 2, "layers.1.mlp.up_proj": 9},
    ),
    # The other factor, and only some projections of one block.
    "rslora": dict(
        r=4, lora_alpha=8, use_rslora=True, target_modules=["q_proj", "k_proj", "down_proj"], layers_to_transform=[1]
    ),
}


@functools.cache
def made(name):
    return random_model(FAMILIES[name][1])


def base(name):
    """The family's model, for one use: PEFT writes into what it is given."""
    return copy.deepcopy(made(name))


def sequences(name):
    return json.loads((FIXTURES / f"families/{name}.json").read_text())["sequences"]


def with_pictures(alone):
    """The same Gemma beside a part that reads pictures: the paths of its projections are other ones."""
    vision = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, image_size=28)
    config = Gemma3Config(text_config=alone.config.to_dict(), vision_config=vision, mm_tokens_per_image=4)
    config._attn_implementation = "eager"
    model = Gemma3ForConditionalGeneration(config).eval()
    model.model.language_model.load_state_dict(alone.model.state_dict())
    model.lm_head.weight = model.model.language_model.embed_tokens.weight
    return model


def adapted(model, config, seed):
    """The model with a random adapter."""
    model = get_peft_model(model, config)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn_like(weight) * 0.3)
    return model.eval()


def measure(logits, ids):
    """Negative log-likelihood of each id after the first, and the scores after the last."""
    nll = -torch.log_softmax(logits[:-1].double(), -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    return nll, logits[-1].double()


def read(model, texts):
    with torch.no_grad():
        return [measure(model(input_ids=torch.tensor([ids])).logits[0], ids) for ids in texts]


def ours(name, adapter, out):
    """What Imprint makes of the family's texts with an adapter, which it writes again to `out`."""
    ids = out.with_suffix(".json")
    ids.write_text(json.dumps(sequences(name)))
    command = [os.environ["IMPRINT_PEFT"], FIXTURES / f"families/{name}.gguf", ids, adapter, out]
    done = subprocess.run(command, capture_output=True)
    if done.returncode != 0:
        return done.stderr.decode()
    report = json.loads(done.stdout)
    return [tuple(torch.tensor(part).double() for part in pair) for pair in zip(report["nll"], report["logits"])]


class FamiliesTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.dir = Path(scratch.name)

    def assert_same(self, found, expected, what):
        for at, pairs in enumerate(zip(found, expected, strict=True)):
            for a, b in zip(*pairs):
                self.assertLessEqual((a - b).abs().max().item(), TOLERANCE, f"{what}, text {at}")

    def cross(self, name, model_of, kind):
        """Brings an adapter over from PEFT, back to it, and on to llama.cpp."""
        texts, what = sequences(name), f"{name} with {kind}"
        out = self.dir / what.replace(" ", "-")
        folder = self.dir / f"{out.name}-theirs"
        plain = read(model_of(), texts)
        config = LoraConfig(**CONFIGS[kind], exclude_modules=".*vision_tower.*")
        model = adapted(model_of(), config, seed=len(what))
        model.save_pretrained(folder)
        theirs = read(model, texts)
        moved = sum((a[0] - b[0]).abs().sum() for a, b in zip(theirs, plain))
        self.assertGreater(max((a[0] - b[0]).abs().max() for a, b in zip(theirs, plain)), LEAST_EFFECT, what)
        found = ours(name, folder, out)
        self.assertNotIsInstance(found, str, found)
        self.assert_same(found, theirs, f"{what}, from PEFT")
        back = PeftModel.from_pretrained(base(name), out).eval()
        self.assert_same(read(back, texts), theirs, f"{what}, back to PEFT")
        llama = Llama(FIXTURES / f"families/{name}.gguf")
        self.addCleanup(llama.close)
        self.assertTrue(llama.attach(out / "adapter.gguf"), what)
        there = [measure(torch.from_numpy(llama.logits(ids)), ids) for ids in texts]
        off = sum((a[0] - b[0]).abs().sum() for a, b in zip(there, found))
        self.assertLess(off / moved, ROUNDING, f"{what}, on to llama.cpp")
        self.assert_same(ours(name, out / "adapter.gguf", self.dir / f"{out.name}-again"), found, f"{what}, from llama.cpp")

    def test_adapters_of_every_family_cross_to_peft_and_llama_cpp_and_back(self):
        for name in FAMILIES:
            for kind in CONFIGS:
                with self.subTest(name=name, kind=kind):
                    self.cross(name, lambda: base(name), kind)

    def test_an_adapter_of_a_model_that_reads_pictures_too_crosses_to_its_language_model(self):
        self.cross("gemma3", lambda: with_pictures(base("gemma3")), "patterns")

    def test_what_is_no_plain_lora_is_refused_by_name(self):
        plain = dict(r=2, target_modules=["q_proj"])
        cases = {
            "use_dora": LoraConfig(**plain, use_dora=True),
            "bias": LoraConfig(**plain, bias="lora_only"),
            "lora_bias": LoraConfig(**plain, lora_bias=True),
            "modules_to_save": LoraConfig(**plain, modules_to_save=["lm_head"]),
            "LOHA": LoHaConfig(r=2, target_modules=["q_proj"]),
            "embed_tokens": LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"]),
        }
        for at, (word, config) in enumerate(cases.items()):
            with self.subTest(word=word):
                folder = self.dir / f"strange-{at}"
                get_peft_model(base("qwen3"), config).save_pretrained(folder)
                said = ours("qwen3", folder, self.dir / f"out-{at}")
                self.assertIsInstance(said, str)
                self.assertIn("AdapterUnsupported", said)
                self.assertIn(word, said)


if __name__ == "__main__":
    unittest.main()
