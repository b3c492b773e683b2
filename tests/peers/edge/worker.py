"""A peer of Python as a worker: python worker.py KIND MODEL

KIND is `openvino` or `openvino-f32` with an .xml file, or `ctranslate2` with a directory.
Speaks the protocol of tests/peers/engines/protocol. One thread.
"""

import os
import pathlib
import sys
import time

# Libraries may print what they like; the benchmark reads what was stdout.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import numpy as np


def openvino(path, floats=None):
    """`floats` is the type of what is not int8; by default the CPU decides, as between bf16 and f32."""
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
    }
    if floats:
        settings["INFERENCE_PRECISION_HINT"] = floats
    core.set_property("CPU", settings)
    model = core.compile_model(path, "CPU")
    request = model.create_infer_request()
    floats = model.get_property("INFERENCE_PRECISION_HINT").get_type_name()

    def prepare(ids):
        ids = np.array([ids], dtype=np.int64)
        return {"input_ids": ids, "token_type_ids": np.zeros_like(ids)}

    return f"and {floats}, {openvino.__version__}", prepare, lambda inputs: request.infer(inputs)[0]


def ctranslate2(path):
    import ctranslate2

    encoder = ctranslate2.Encoder(
        path, device="cpu", intra_threads=1, inter_threads=1, compute_type="int8"
    )

    def infer(ids):
        return np.asarray(encoder.forward_batch(ids).last_hidden_state)

    return ctranslate2.__version__, lambda ids: [ids], infer


def main():
    kind, path = sys.argv[1:]
    kinds = {
        "openvino": openvino,
        "openvino-f32": lambda path: openvino(path, "f32"),
        "ctranslate2": ctranslate2,
    }
    detail, prepare, infer = kinds[kind](path)
    print("ready int8", detail, file=answers, flush=True)
    clock = time.perf_counter_ns
    for line in sys.stdin:
        request, ids, argument = line.split()
        inputs = prepare([int(word) for word in pathlib.Path(ids).read_text().split()])
        if request == "rows":
            rows = np.ascontiguousarray(infer(inputs), dtype="<f4")
            pathlib.Path(argument).write_bytes(rows.tobytes())
            print("done", rows.size, file=answers, flush=True)
            continue
        times = []
        for _ in range(int(argument)):
            start = clock()
            infer(inputs)
            times.append(clock() - start)
        print(*times, file=answers, flush=True)


if __name__ == "__main__":
    main()
