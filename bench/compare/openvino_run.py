#!/usr/bin/env python3
"""openvino_run.py MODEL.gguf PROMPT GEN DEPTH THREADS REPS [KEY=VALUE...]: speed of OpenVINO GenAI, one JSON object on the last line.

Run by compare.py with the Python of an environment that has openvino-genai. PROMPT > 0: reads a prompt of so many tokens (time to the first
token). GEN > 0: mean time of GEN tokens behind a prompt of DEPTH tokens (one at least). Tokens are random and differ each time, because the prefix
cache would answer a prompt that it has seen at once. KEY=VALUE are properties of the CPU device.
"""
import json
import sys

import numpy
import openvino
import openvino_genai


def main():
    path, (n_prompt, n_gen, depth, threads, reps) = sys.argv[1], map(int, sys.argv[2:7])
    properties = dict(pair.split("=", 1) for pair in sys.argv[7:])
    rng = numpy.random.default_rng()
    result = {"version": openvino_genai.__version__}
    try:
        pipe = openvino_genai.LLMPipeline(path, "CPU", INFERENCE_NUM_THREADS=threads, **properties)
    except Exception as problem:  # whatever it cannot read
        print(json.dumps(result | {"refused": " ".join(str(problem).split())[-300:]}))
        return
    config = openvino_genai.GenerationConfig(max_new_tokens=1 + n_gen, ignore_eos=True, do_sample=False)

    def once(n_tokens, settings):
        ids = rng.integers(100, 30000, (1, n_tokens), dtype=numpy.int64)
        inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(numpy.ones_like(ids)))
        return pipe.generate(inputs, settings).perf_metrics

    once(8, openvino_genai.GenerationConfig(max_new_tokens=2, ignore_eos=True, do_sample=False))  # warm up
    samples = []
    for _ in range(reps):
        metrics = once(n_prompt or max(depth, 1), config)
        assert metrics.get_num_generated_tokens() == 1 + n_gen
        samples.append(1e3 / metrics.get_tpot().mean if n_gen else n_prompt * 1e3 / metrics.get_ttft().mean)
    print(json.dumps(result | {"samples_ts": samples}))


if __name__ == "__main__":
    main()
