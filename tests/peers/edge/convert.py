"""A checkpoint directory in the format of a peer: python convert.py DIRECTORY FORMAT OUTPUT

FORMAT is one of

* `onnx`: f32 with standard operators;
* `onnx-int8`, `onnx-int8-tensor`: its matrices in int8, a scale per channel or per matrix, activations
  quantized as they come;
* `fused-int8`, `fused-int8-tensor`: the same with ONNX Runtime's own operators;
* `openvino-int8`: NNCF's quantization after training, calibrated on random sentences, .xml and .bin;
* `ctranslate2`: a directory, which is quantized when it is loaded.

Needs the packages of requirements.txt. Nothing is left at OUTPUT if it fails.
"""

import argparse
import logging
import pathlib
import tempfile

import numpy as np

from checkpoint import Checkpoint


def onnx_f32(checkpoint, output):
    import onnx
    from graph import plain

    onnx.save(plain(checkpoint), output)


def onnx_int8(spelling, per_channel):
    def make(checkpoint, output):
        import graph
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        logging.getLogger().setLevel(logging.ERROR)
        f32 = output.with_suffix(".f32.onnx")
        onnx.save(getattr(graph, spelling)(checkpoint), f32)
        quantize_dynamic(
            f32,
            output,
            weight_type=QuantType.QInt8,
            per_channel=per_channel,
            # The quantizer infers no types behind operators that are not of the standard.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        f32.unlink()
        # tract refuses the symbolic shapes that the quantizer notes down; nobody needs them.
        model = onnx.load(output)
        del model.graph.value_info[:]
        onnx.save(model, output)

    return make


def openvino_int8(checkpoint, output):
    import nncf
    import openvino
    from graph import plain

    nncf.set_log_level(logging.ERROR)
    f32 = output.with_suffix(".onnx")
    import onnx

    onnx.save(plain(checkpoint), f32)
    draw = np.random.default_rng(1)

    def sentence(_):
        ids = draw.integers(5, len(checkpoint.pieces), (1, 64), dtype=np.int64)
        ids[0, 0], ids[0, -1] = 2, 3
        return {"input_ids": ids, "token_type_ids": np.zeros_like(ids)}

    quantized = nncf.quantize(
        openvino.convert_model(f32),
        nncf.Dataset(range(32), sentence),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=32,
    )
    openvino.save_model(quantized, output, compress_to_fp16=False)
    f32.unlink()


def ctranslate2(checkpoint, output):
    from ctranslate2.specs import common_spec, transformer_spec
    from ctranslate2.converters.utils import fuse_linear

    def set_dense(spec, weights):
        spec.weight, spec.bias = weights

    def set_norm(spec, name):
        spec.gamma, spec.beta = checkpoint.norm(name)

    encoder = transformer_spec.TransformerEncoderSpec(
        checkpoint.layers,
        checkpoint.heads,
        pre_norm=False,
        activation=common_spec.Activation.GELU,
        layernorm_embedding=True,
        num_source_embeddings=2,
        embeddings_merge=common_spec.EmbeddingsMerge.ADD,
    )
    spec = transformer_spec.TransformerEncoderModelSpec(encoder)
    encoder.scale_embeddings = False
    encoder.embeddings[0].weight = checkpoint.table("word")
    encoder.embeddings[1].weight = checkpoint.table("token_type")
    encoder.position_encodings.encodings = checkpoint.table("position")
    set_norm(encoder.layernorm_embedding, "embeddings")
    for number, layer in enumerate(encoder.layer):
        parts = [common_spec.LinearSpec() for _ in range(3)]
        for part, weights in zip(parts, checkpoint.query_key_value(number)):
            set_dense(part, weights)
        fuse_linear(layer.self_attention.linear[0], parts)
        dense = checkpoint.dense
        set_dense(layer.self_attention.linear[1], dense(number, "attention.output.dense"))
        set_norm(layer.self_attention.layer_norm, f"encoder.layer.{number}.attention.output")
        set_dense(layer.ffn.linear_0, dense(number, "intermediate.dense"))
        set_dense(layer.ffn.linear_1, dense(number, "output.dense"))
        set_norm(layer.ffn.layer_norm, f"encoder.layer.{number}.output")
    spec.register_vocabulary(checkpoint.pieces)
    spec.config.unk_token = "[UNK]"
    spec.config.layer_norm_epsilon = checkpoint.epsilon
    spec.validate()
    spec.optimize()
    output.mkdir()
    spec.save(str(output))


FORMATS = {
    "onnx": onnx_f32,
    "onnx-int8": onnx_int8("plain", True),
    "onnx-int8-tensor": onnx_int8("plain", False),
    "fused-int8": onnx_int8("fused", True),
    "fused-int8-tensor": onnx_int8("fused", False),
    "openvino-int8": openvino_int8,
    "ctranslate2": ctranslate2,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("output", type=pathlib.Path)
    args = parser.parse_args()
    checkpoint = Checkpoint(args.directory)
    with tempfile.TemporaryDirectory(dir=args.output.parent) as folder:
        made = pathlib.Path(folder) / args.output.name
        FORMATS[args.format](checkpoint, made)
        # What the benchmark looks for comes last: with it, all of the model is there.
        for path in sorted(made.parent.iterdir(), key=lambda path: path.name == made.name):
            path.rename(args.output.parent / path.name)


if __name__ == "__main__":
    main()
