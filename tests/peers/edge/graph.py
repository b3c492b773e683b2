"""BERT as an ONNX graph, in two spellings of the same function.

* `plain`: standard operators only, as exporters write it; any runtime reads it.
* `fused`: the operators of ONNX Runtime (com.microsoft) that its own optimizer turns `plain` into;
  written directly, so that no pattern goes unrecognized.

Inputs are `input_ids` and `token_type_ids` [1, T]; the output is `last_hidden_state` [1, T, H].
There is no mask: one sentence has no padding.
"""

import math

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

ROWS = [1, "tokens"]


class Graph:
    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, name, values):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind, inputs, name, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def model(self, output, hidden, integer, opsets):
        inputs = [
            helper.make_tensor_value_info(name, integer, ROWS)
            for name in ("input_ids", "token_type_ids")
        ]
        outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, [*ROWS, hidden])]
        graph = helper.make_graph(self.nodes, "bert", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid(domain, version) for domain, version in opsets]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        if len(opsets) == 1:
            checker.check_model(model)
        return model


def plain(checkpoint):
    graph, c = Graph(), checkpoint
    heads, width = c.heads, c.hidden // c.heads

    def norm(x, source, name):
        gain, bias = c.norm(source)
        scale = [graph.constant(f"{name}.gain", gain), graph.constant(f"{name}.bias", bias)]
        return graph.node("LayerNormalization", [x, *scale], name, axis=-1, epsilon=c.epsilon)

    def dense(x, weight, bias, name):
        weight = graph.constant(f"{name}.weight", weight.T)
        x = graph.node("MatMul", [x, weight], f"{name}.product")
        return graph.node("Add", [x, graph.constant(f"{name}.bias", bias)], name)

    def add(a, b, name):
        return graph.node("Add", [a, b], name)

    by_head = graph.constant("by_head", np.array([0, 0, heads, width], np.int64))
    by_row = graph.constant("by_row", np.array([0, 0, c.hidden], np.int64))
    scale = graph.constant("scale", np.float32(math.sqrt(width)))
    root = graph.constant("root", np.float32(math.sqrt(2)))
    one = graph.constant("one", np.float32(1))
    half = graph.constant("half", np.float32(0.5))

    # Positions 0 … T − 1 are the first T rows of the table.
    table = {name: graph.constant(name, c.table(name)) for name in ("word", "position", "token_type")}
    word = graph.node("Gather", [table["word"], "input_ids"], "word.rows")
    segment = graph.node("Gather", [table["token_type"], "token_type_ids"], "token_type.rows")
    zero = graph.constant("zero", np.array([0], np.int64))
    shape = graph.node("Shape", ["input_ids"], "shape")
    tokens = graph.node(
        "Gather", [shape, graph.constant("at", np.array([1], np.int64))], "tokens", axis=0
    )
    position = graph.node("Slice", [table["position"], zero, tokens, zero], "position.rows")
    x = add(add(word, segment, "embedded.word"), position, "embedded")
    x = norm(x, "embeddings", "embedded.norm")

    for layer in range(c.layers):
        at = f"layer{layer}"

        def heads_of(name, weights, order):
            split = graph.node(
                "Reshape", [dense(x, *weights, f"{at}.{name}"), by_head], f"{at}.{name}.heads"
            )
            return graph.node("Transpose", [split], f"{at}.{name}.turned", perm=order)

        query, key, value = c.query_key_value(layer)
        query = heads_of("query", query, [0, 2, 1, 3])
        key = heads_of("key", key, [0, 2, 3, 1])
        value = heads_of("value", value, [0, 2, 1, 3])
        scores = graph.node("MatMul", [query, key], f"{at}.scores")
        scores = graph.node("Div", [scores, scale], f"{at}.scaled")
        weights = graph.node("Softmax", [scores], f"{at}.weights", axis=-1)
        context = graph.node("MatMul", [weights, value], f"{at}.context")
        context = graph.node("Transpose", [context], f"{at}.context.turned", perm=[0, 2, 1, 3])
        context = graph.node("Reshape", [context, by_row], f"{at}.context.rows")
        name = f"encoder.layer.{layer}"
        out = dense(context, *c.dense(layer, "attention.output.dense"), f"{at}.attended")
        x = norm(add(out, x, f"{at}.attended.sum"), f"{name}.attention.output", f"{at}.attended.norm")
        wide = dense(x, *c.dense(layer, "intermediate.dense"), f"{at}.wide")
        # GELU: x · (1 + erf(x / √2)) · ½
        erf = graph.node("Erf", [graph.node("Div", [wide, root], f"{at}.gelu.in")], f"{at}.gelu.erf")
        product = graph.node("Mul", [wide, add(erf, one, f"{at}.gelu.sum")], f"{at}.gelu.product")
        wide = graph.node("Mul", [product, half], f"{at}.gelu")
        out = dense(wide, *c.dense(layer, "output.dense"), f"{at}.out")
        last = layer + 1 == c.layers
        x = norm(
            add(out, x, f"{at}.sum"), f"{name}.output", "last_hidden_state" if last else f"{at}.norm"
        )
    return graph.model(x, c.hidden, TensorProto.INT64, [("", 17)])


def fused(checkpoint):
    graph, c = Graph(), checkpoint
    own = "com.microsoft"

    def scale_of(source, name):
        gain, bias = c.norm(source)
        return [graph.constant(f"{name}.gain", gain), graph.constant(f"{name}.bias", bias)]

    def product(x, weight, name):
        return graph.node("MatMul", [x, graph.constant(f"{name}.weight", weight.T)], f"{name}.product")

    def norm_of_sum(x, skip, bias, source, name):
        inputs = [x, skip, *scale_of(source, name), graph.constant(f"{name}.dense.bias", bias)]
        return graph.node("SkipLayerNormalization", inputs, name, domain=own, epsilon=c.epsilon)

    tables = [graph.constant(name, c.table(name)) for name in ("word", "position", "token_type")]
    inputs = ["input_ids", "token_type_ids", *tables, *scale_of("embeddings", "embedded")]
    graph.nodes.append(
        helper.make_node(
            "EmbedLayerNormalization",
            inputs,
            ["embedded", "embedded.unmasked"],
            name="embedded",
            domain=own,
            epsilon=c.epsilon,
        )
    )
    x = "embedded"
    for layer in range(c.layers):
        at, name = f"layer{layer}", f"encoder.layer.{layer}"
        weights, biases = zip(*c.query_key_value(layer))
        weight = graph.constant(f"{at}.qkv.weight", np.concatenate([w.T for w in weights], axis=1))
        bias = graph.constant(f"{at}.qkv.bias", np.concatenate(biases))
        context = graph.node(
            "Attention", [x, weight, bias], f"{at}.context", domain=own, num_heads=c.heads
        )
        weight, bias = c.dense(layer, "attention.output.dense")
        out = product(context, weight, f"{at}.attended")
        x = norm_of_sum(out, x, bias, f"{name}.attention.output", f"{at}.attended.norm")
        weight, bias = c.dense(layer, "intermediate.dense")
        wide = product(x, weight, f"{at}.wide")
        bias = graph.constant(f"{at}.wide.bias", bias)
        wide = graph.node("BiasGelu", [wide, bias], f"{at}.gelu", domain=own)
        weight, bias = c.dense(layer, "output.dense")
        out = product(wide, weight, f"{at}.out")
        last = layer + 1 == c.layers
        x = norm_of_sum(
            out, x, bias, f"{name}.output", "last_hidden_state" if last else f"{at}.norm"
        )
    return graph.model(x, c.hidden, TensorProto.INT32, [("", 17), (own, 1)])
