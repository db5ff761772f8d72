"""Writes with llama.cpp on one thread, as `imprint bench` does, and prints what it took as one JSON object.

    python llama_cpp.py MODEL.gguf PROMPT_TOKENS TOKENS

Needs the package xllamacpp, which carries llama.cpp built for many processors.
"""

import json
import os
import resource
import sys
import time

import xllamacpp

TEXT = "The sea was calm, the wind was low, and the boat went on along the coast, past the rocks and the light. "


def cpu_s():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main():
    model, prompt_tokens, tokens = sys.argv[1], *map(int, sys.argv[2:4])
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = 2048
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.warmup = True
    params.verbosity = 0
    started = time.perf_counter()
    server = xllamacpp.Server(params)
    load_ms = (time.perf_counter() - started) * 1e3

    def write(prompt, n):
        before = cpu_s()
        told = server.handle_completions(
            {"prompt": prompt, "max_tokens": n, "temperature": 0, "cache_prompt": False, "ignore_eos": True}
        )
        return told, cpu_s() - before

    # The first words alone tell how many tokens the text has.
    told, _ = write(TEXT, 2)
    each = told["usage"]["prompt_tokens"]
    prompt = TEXT * max(1, round(prompt_tokens / each))
    write(prompt, 4)
    told, with_tokens = write(prompt, tokens)
    _, alone = write(prompt, 1)
    timings = told["timings"]
    sample = {
        "load_ms": load_ms,
        "prefill_tokens_per_s": timings["prompt_per_second"],
        "decode_tokens_per_s": timings["predicted_per_second"],
        "cpu_s_per_token": max(with_tokens - alone, 0) / (tokens - 1),
        "prompt_tokens": timings["prompt_n"],
        "tokens": timings["predicted_n"],
        # Kilobytes on Linux.
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "weight_bytes": os.path.getsize(model),
        "dispatches_per_token": 0,
        "device": {"description": "processor, 1 thread"},
    }
    sys.stdout.flush()
    print(json.dumps(sample))


main()
