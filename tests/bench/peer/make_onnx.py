"""Makes the directory that transformers.js reads a model from, out of a GGUF file of the llama family, and checks it.

    python make_onnx.py MODEL.gguf GOLDEN.json DIRECTORY

No hub serves the model with just these weights, so the graph is built here, as the hub's own `model_q4.onnx` has it: attention
as `GroupQueryAttention` with its rotation inside, projections as `MatMulNBits` in blocks of 32, norms that take the residual
with them. The embedding, which is the head too, keeps its 8 bits. What is made is run by onnxruntime on the processor and
held to the scores in GOLDEN.json; where it strays, nothing is left in DIRECTORY.

The last line that is printed is one JSON object: `nll` and `golden_nll`, the means over all tokens of the texts, and
`agreement`, the share of the golden run's greedy tokens that are greedy here too.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from gguf import GGMLQuantizationType, GGUFReader, dequantize
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
BLOCK = 32
HEADS = ("num_attention_heads", "num_key_value_heads", "head_dim")
PROJECTIONS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
CONTROL, USER_DEFINED = 3, 4
# Blocks whose scale is searched at once: more only take memory.
SEARCHED = 1 << 18
# Four bits with whole zero points hold Q4_1 blocks only nearly: 0.13 is measured, and 77 of 100 greedy tokens. A graph that is
# wired wrongly is off by whole units and agrees on next to nothing.
ALLOWED_NLL = 0.25
ALLOWED_AGREEMENT = 0.65


def blocks_of_four(data):
    """Rows of Q4_1 as `MatMulNBits` takes them: packed values, a scale a block, packed whole zero points.

    `w = d·q + m` becomes `s·(p - z)` with a whole `z`, so `m` can be met only nearly: scales about `d` are tried, and for each
    the two zero points next to `-m / s`; the least square error wins.
    """
    rows, row_bytes = data.shape
    raw = data.reshape(-1, 20)
    d, m = (raw[:, at : at + 2].copy().view(np.float16).astype(np.float32) for at in (0, 2))
    packed = raw[:, 4:]
    weights = d * np.concatenate([packed & 15, packed >> 4], axis=1) + m
    scales = np.empty(len(raw), np.float32)
    zeros = np.empty(len(raw), np.uint8)
    values = np.empty(weights.shape, np.uint8)
    for start in range(0, len(raw), SEARCHED):
        part = slice(start, start + SEARCHED)
        scales[part], zeros[part], values[part] = nearest(weights[part], d[part, 0], m[part, 0])
    per_row = row_bytes // 20
    pairs = values.reshape(rows, per_row, BLOCK // 2, 2)
    zeros = zeros.reshape(rows, per_row)
    if per_row % 2:
        zeros = np.pad(zeros, ((0, 0), (0, 1)))
    zeros = zeros.reshape(rows, -1, 2)
    return pairs[..., 0] | pairs[..., 1] << 4, scales.reshape(rows, per_row), zeros[..., 0] | zeros[..., 1] << 4


def nearest(weights, d, m):
    """The scale, zero point and values of each block that come nearest to `weights`."""
    least = np.full(len(weights), np.inf, np.float32)
    scale, zero = np.ones_like(d), np.zeros_like(d)
    values = np.zeros(weights.shape, np.uint8)
    for factor in np.linspace(0.88, 1.12, 13, dtype=np.float32):
        s = np.where(d == 0, np.maximum(np.abs(m), 1e-8), d * factor)
        inverse = weights / s[:, None]
        for z in (np.floor(-m / s), np.ceil(-m / s)):
            z = np.clip(z, 0, 15)
            q = np.clip(np.rint(inverse) + z[:, None], 0, 15)
            error = np.square((q - z[:, None]) * s[:, None] - weights).sum(axis=1)
            better = error < least
            least = np.where(better, error, least)
            scale, zero = np.where(better, s, scale), np.where(better, z, zero)
            values[better] = q[better]
    return scale, zero.astype(np.uint8), values


def rows_by_halves(data, heads):
    """Undoes the order of rows that GGUF gives queries and keys: pairs of a head's rotation become its two halves."""
    rows = data.shape[0]
    return data.reshape(heads, rows // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows, -1)


class Graph:
    """An ONNX graph that grows node by node."""

    def __init__(self):
        self.nodes, self.constants, self.inputs, self.outputs = [], [], [], []

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind, inputs, outputs, domain="", **attributes):
        outputs = [outputs] if isinstance(outputs, str) else outputs
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=f"/{outputs[0]}", domain=domain, **attributes))
        return outputs[0]

    def input(self, name, kind, shape):
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name, shape):
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def linear(self, x, name, tensors, out):
        """A projection over rows of Q4_1, one tensor below the other."""
        values, scales, zeros = (np.concatenate(parts) for parts in zip(*map(blocks_of_four, tensors), strict=True))
        inputs = [x, *map(self.constant, (f"{name}.q4", f"{name}.scale", f"{name}.zero"), (values, scales, zeros))]
        rows, per_row, _ = values.shape
        shape = {"K": per_row * BLOCK, "N": rows, "bits": 4, "block_size": BLOCK}
        return self.node("MatMulNBits", inputs, out, MICROSOFT, **shape)

    def model(self):
        graph = helper.make_graph(self.nodes, "main", self.inputs, self.outputs, self.constants)
        imports = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=10)


class Checkpoint:
    """What the file holds: its tensors by name and its metadata."""

    def __init__(self, path):
        reader = GGUFReader(path)
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.fields = reader.fields
        if self["general.architecture"] != "llama":
            raise SystemExit(f"only models of the llama family can be made: this one is {self['general.architecture']}")

    def __getitem__(self, name):
        return self.fields[name].contents()

    def plain(self, name):
        tensor = self.tensors[name]
        return dequantize(tensor.data, tensor.tensor_type).astype(np.float32)

    def data(self, name, kind):
        tensor = self.tensors[name]
        if tensor.tensor_type != kind:
            raise SystemExit(f"{name} is {tensor.tensor_type.name}, only {kind.name} can be made there")
        return tensor.data


def shape_of(file):
    d_model, n_heads = file["llama.embedding_length"], file["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": d_model,
        "intermediate_size": file["llama.feed_forward_length"],
        "max_position_embeddings": file["llama.context_length"],
        "num_attention_heads": n_heads,
        "num_hidden_layers": file["llama.block_count"],
        "num_key_value_heads": file["llama.attention.head_count_kv"],
        "head_dim": d_model // n_heads,
        "rms_norm_eps": file["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": file["llama.rope.freq_base"],
        "tie_word_embeddings": True,
        "vocab_size": len(file["tokenizer.ggml.tokens"]),
        "bos_token_id": file["tokenizer.ggml.bos_token_id"],
        "eos_token_id": file["tokenizer.ggml.eos_token_id"],
        "pad_token_id": file["tokenizer.ggml.padding_token_id"],
        "torch_dtype": "float32",
    }


def lengths(graph):
    """What attention wants to know: the last place of each text, and how long all is."""
    mask = graph.input("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"])
    one = graph.constant("one", np.array([1], np.int64))
    count = graph.node("ReduceSum", [mask, one], "mask.sum", keepdims=0)
    last = graph.node("Sub", [count, one], "mask.last")
    places = graph.node("Cast", [last], "seqlens_k", to=TensorProto.INT32)
    shape = graph.node("Shape", [mask], "mask.shape")
    at = graph.constant("axis", np.array(1, np.int64))
    total = graph.node("Gather", [shape, at], "mask.total", axis=0)
    return places, graph.node("Cast", [total], "total_sequence_length", to=TensorProto.INT32)


def embedding(file, graph):
    """The embedding in its 8 bits; gives the vectors of the input, and the two parts for the head.

    The web's runtime has no operator that gathers and scales at once, so it is spelled out for the few rows that are read.
    """
    ids = graph.input("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"])
    data = file.data("token_embd.weight", GGMLQuantizationType.Q8_0)
    rows = len(data)
    raw = data.reshape(rows, -1, 34)
    scales = raw[..., :2].copy().view(np.float16).astype(np.float32)
    # `MatMulNBits` counts from 128.
    values = graph.constant("embedding.q8", raw[..., 2:] ^ np.uint8(128))
    scales = graph.constant("embedding.scale", scales[..., 0])
    middle = graph.constant("embedding.middle", np.array(128, np.float32))
    read = graph.node("Gather", [values, ids], "embedding.rows", axis=0)
    read = graph.node("Cast", [read], "embedding.cast", to=TensorProto.FLOAT)
    read = graph.node("Sub", [read, middle], "embedding.whole")
    last = graph.constant("embedding.last", np.array([-1], np.int64))
    scale = graph.node("Gather", [scales, ids], "embedding.row_scales", axis=0)
    scale = graph.node("Unsqueeze", [scale, last], "embedding.scales")
    read = graph.node("Mul", [read, scale], "embedding.blocks")
    flat = graph.constant("embedding.shape", np.array([0, 0, -1], np.int64))
    return graph.node("Reshape", [read, flat], "embedded"), values, scales


def head(graph, x, values, scales, shape):
    """Scores over the vocabulary, of the last places only where so many are asked for."""
    keep = graph.input("num_logits_to_keep", TensorProto.INT64, [])
    # None asked for means all: the slice then begins at 0.
    start = graph.node("Reshape", [graph.node("Neg", [keep], "keep"), "one"], "start")
    end = graph.constant("end", np.array([np.iinfo(np.int64).max], np.int64))
    x = graph.node("Slice", [x, start, end, "one"], "kept")
    d_model, vocab = shape["hidden_size"], shape["vocab_size"]
    graph.node("MatMulNBits", [x, values, scales], "logits", MICROSOFT, K=d_model, N=vocab, bits=8, block_size=BLOCK)
    graph.output("logits", ["batch_size", "kept", vocab])


class Blocks:
    """The model's blocks, which share what attention needs and what their norms do."""

    def __init__(self, file, shape, graph):
        self.file, self.shape, self.graph = file, shape, graph
        self.places, self.total = lengths(graph)
        d_head = shape["head_dim"]
        rates = shape["rope_theta"] ** (-np.arange(0, d_head, 2) / d_head)
        angles = np.outer(np.arange(shape["max_position_embeddings"]), rates)
        caches = {"cos_cache": np.cos, "sin_cache": np.sin}
        self.caches = [graph.constant(name, of(angles).astype(np.float32)) for name, of in caches.items()]

    def norm_weight(self, name):
        return self.graph.constant(f"{name}.weight", self.file.plain(f"{name}.weight"))

    def first_norm(self, x):
        eps = self.shape["rms_norm_eps"]
        inputs = [x, self.norm_weight("blk.0.attn_norm")]
        return self.graph.node("SimplifiedLayerNormalization", inputs, "blk.0.attn_norm", axis=-1, epsilon=eps, stash_type=1)

    def add_and_norm(self, residual, x, name):
        """The norm of `residual + x`, and that sum."""
        inputs, outputs = [residual, x, self.norm_weight(name)], [name, "", "", f"{name}.sum"]
        eps = self.shape["rms_norm_eps"]
        self.graph.node("SkipSimplifiedLayerNormalization", inputs, outputs, MICROSOFT, epsilon=eps)
        return name, f"{name}.sum"

    def attention(self, layer, qkv):
        n_heads, n_kv_heads, d_head = (self.shape[name] for name in HEADS)
        cached = ["batch_size", n_kv_heads, "past_sequence_length", d_head]
        names = [f"{layer}.{kind}" for kind in ("key", "value")]
        past = [self.graph.input(f"past_key_values.{name}", TensorProto.FLOAT, cached) for name in names]
        present = [f"present.{name}" for name in names]
        for name in present:
            self.graph.output(name, ["batch_size", n_kv_heads, "total_sequence_length", d_head])
        inputs = [qkv, "", "", *past, self.places, self.total, *self.caches]
        counts = {"num_heads": n_heads, "kv_num_heads": n_kv_heads, "scale": d_head**-0.5}
        rotation = {"do_rotary": 1, "rotary_interleaved": 0}
        return self.graph.node(
            "GroupQueryAttention", inputs, [f"blk.{layer}.attn", *present], MICROSOFT, **counts, **rotation
        )

    def block(self, layer, residual, x):
        """One block, of the residual and its norm; gives both for what follows."""
        graph, blk = self.graph, f"blk.{layer}"
        kind = GGMLQuantizationType.Q4_1
        q4 = {name: self.file.data(f"{blk}.{name}.weight", kind) for name in PROJECTIONS}

        def linear(x, name):
            return graph.linear(x, f"{blk}.{name}", [q4[name]], f"{blk}.{name}")

        n_heads, n_kv_heads, _ = (self.shape[name] for name in HEADS)
        q, k = rows_by_halves(q4["attn_q"], n_heads), rows_by_halves(q4["attn_k"], n_kv_heads)
        qkv = graph.linear(x, f"{blk}.qkv", [q, k, q4["attn_v"]], f"{blk}.qkv")
        x = linear(self.attention(layer, qkv), "attn_output")
        x, residual = self.add_and_norm(residual, x, f"{blk}.ffn_norm")
        gate, up = linear(x, "ffn_gate"), linear(x, "ffn_up")
        silu = graph.node("Mul", [gate, graph.node("Sigmoid", [gate], f"{blk}.sigmoid")], f"{blk}.silu")
        x = linear(graph.node("Mul", [silu, up], f"{blk}.gated"), "ffn_down")
        last = layer + 1 == self.shape["num_hidden_layers"]
        x, residual = self.add_and_norm(residual, x, "output_norm" if last else f"blk.{layer + 1}.attn_norm")
        return residual, x


def build(file, shape):
    graph = Graph()
    residual, values, scales = embedding(file, graph)
    blocks = Blocks(file, shape, graph)
    x = blocks.first_norm(residual)
    for layer in range(shape["num_hidden_layers"]):
        residual, x = blocks.block(layer, residual, x)
    head(graph, x, values, scales, shape)
    return graph.model()


def tokenizer(file):
    """The file's vocabulary as `tokenizer.json`, with the two steps that cut texts for this family of checkpoints."""
    tokens, kinds = file["tokenizer.ggml.tokens"], file["tokenizer.ggml.token_type"]
    if file["tokenizer.ggml.pre"] != "smollm":
        raise SystemExit(f"texts are cut as smollm has it, this file wants {file['tokenizer.ggml.pre']}")
    added = [
        {
            "id": id,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind == CONTROL,
        }
        for id, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind in (CONTROL, USER_DEFINED)
    ]
    bytewise = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, bytewise]},
        "post_processor": None,
        "decoder": bytewise,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {token: id for id, token in enumerate(tokens)},
            "merges": file["tokenizer.ggml.merges"],
        },
    }


def write(directory, file, shape):
    tokens = file["tokenizer.ggml.tokens"]
    named = {name: tokens[shape[f"{name}_id"]] for name in ("bos_token", "eos_token", "pad_token")}
    (directory / "onnx").mkdir(parents=True)
    texts = {
        "config.json": shape,
        "generation_config.json": {name: shape[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
        "tokenizer.json": tokenizer(file),
        "tokenizer_config.json": {
            "tokenizer_class": "GPT2Tokenizer",
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": shape["max_position_embeddings"],
            "chat_template": file["tokenizer.chat_template"],
            **named,
        },
    }
    for name, content in texts.items():
        (directory / name).write_text(json.dumps(content, ensure_ascii=False))
    onnx.save(build(file, shape), directory / "onnx/model_q4.onnx")


class Runner:
    """The made graph on the processor."""

    def __init__(self, path, shape):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        empty = np.zeros((1, shape["num_key_value_heads"], 0, shape["head_dim"]), np.float32)
        kinds = ("key", "value")
        self.none = {f"past_key_values.{i}.{k}": empty for i in range(shape["num_hidden_layers"]) for k in kinds}

    def read(self, ids, past=None, before=0, keep=0):
        """Reads `ids` after `before` others; gives the scores of the last `keep` places, or of all, and what to go on from."""
        feed = {
            "input_ids": np.array([ids], np.int64),
            "attention_mask": np.ones((1, before + len(ids)), np.int64),
            "num_logits_to_keep": np.array(keep, np.int64),
            **(past or self.none),
        }
        presents = [name.replace("past_key_values", "present") for name in self.none]
        logits, *present = self.session.run(["logits", *presents], feed)
        return logits[0], dict(zip(self.none, present, strict=True))


def check(directory, shape, golden):
    """Reads the golden texts and goes on along the golden run; ends the program where that strays from its scores."""
    runner = Runner(directory / "onnx/model_q4.onnx", shape)
    nll, golden_nll, agreed = [], [], []
    for prompt in golden["prompts"]:
        ids = prompt["ids"]
        scores, past = runner.read(ids)
        top = scores.max(axis=-1)
        log_sum = top + np.log(np.exp(scores - top[:, None]).sum(axis=-1))
        nll.extend(log_sum[:-1] - scores[np.arange(len(ids) - 1), ids[1:]])
        golden_nll.extend(prompt["nll"])
        # One token at a time along the golden text, which tries the cache.
        for step, id in enumerate(prompt["greedy_ids"]):
            agreed.append(scores[-1].argmax() == id)
            scores, past = runner.read([id], past, len(ids) + step, 1)
    nll, golden_nll, agreement = (float(np.mean(values)) for values in (nll, golden_nll, agreed))
    if abs(nll - golden_nll) > ALLOWED_NLL or agreement < ALLOWED_AGREEMENT:
        raise SystemExit(
            f"the mean NLL is {nll:.4f}, and {golden_nll:.4f} by rights; {agreement:.0%} of the greedy tokens are golden"
        )
    return {"nll": nll, "golden_nll": golden_nll, "agreement": agreement}


def main():
    model, golden, directory = map(Path, sys.argv[1:])
    file = Checkpoint(model)
    shape = shape_of(file)
    shutil.rmtree(directory, ignore_errors=True)
    try:
        write(directory, file, shape)
        told = check(directory, shape, json.loads(golden.read_text()))
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    print(json.dumps(told))


main()
