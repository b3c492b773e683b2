"""A joint checkpoint for ONNX Runtime, in int8: python joint.py CHECKPOINT OUTPUT.onnx

Its own operators (`fused` of ../edge/graph.py) with the heads behind them: `intents` [1, labels] out
of the pooled row of [CLS], `tags` [1, T, tags]. Matrices are int8, a scale each, activations are
quantized as they come. Beside it OUTPUT.json has the names of labels and tags.
"""

import json
import logging
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "edge"))

import numpy as np
import onnx
from checkpoint import Checkpoint
from graph import fused
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic


def main():
    folder, output = map(pathlib.Path, sys.argv[1:])
    checkpoint = Checkpoint(folder)
    model = fused(checkpoint)
    graph, tensors = model.graph, checkpoint.tensors

    def constant(name, values):
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(kind, inputs, name, **attributes):
        graph.node.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def dense(x, source, name):
        weight = constant(f"{name}.weight", tensors[f"{source}.weight"].T)
        product = node("MatMul", [x, weight], f"{name}.product")
        return node("Add", [product, constant(f"{name}.bias", tensors[f"{source}.bias"])], name)

    rows = "last_hidden_state"
    first = node("Gather", [rows, constant("first", np.array(0, np.int64))], "cls", axis=1)
    pooled = node("Tanh", [dense(first, "bert.pooler.dense", "pooled.sum")], "pooled")
    intents = dense(pooled, "intent_classifier", "intents")
    tags = dense(rows, "slot_classifier", "tags")
    del graph.output[:]
    counts = {name: len(tensors[f"{kind}_classifier.bias"]) for name, kind in
              ((intents, "intent"), (tags, "slot"))}
    shapes = {intents: [1, counts[intents]], tags: [1, "tokens", counts[tags]]}
    for name, shape in shapes.items():
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    logging.getLogger().setLevel(logging.ERROR)
    f32 = output.with_suffix(".f32.onnx")
    onnx.save(model, f32)
    quantize_dynamic(f32, output, weight_type=QuantType.QInt8, per_channel=False,
                     extra_options={"DefaultTensorType": TensorProto.FLOAT})
    f32.unlink()
    config = json.loads((folder / "config.json").read_text())

    def names(key):
        return [config[key][str(number)] for number in range(len(config[key]))]

    labels = {"intents": names("intent_id2label"), "tags": names("id2label")}
    output.with_suffix(".json").write_text(json.dumps(labels))


if __name__ == "__main__":
    main()
