"""A checkpoint directory of Hugging Face: sizes, and weights by the short names used here."""

import json
import pathlib

from safetensors.numpy import load_file


class Checkpoint:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        config = json.loads((self.folder / "config.json").read_text())
        self.layers = config["num_hidden_layers"]
        self.hidden = config["hidden_size"]
        self.heads = config["num_attention_heads"]
        self.epsilon = config["layer_norm_eps"]
        self.pieces = (self.folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
        self.tensors = load_file(self.folder / "model.safetensors")

    def table(self, name):
        """An embedding table [rows, H]: `word`, `position` or `token_type`."""
        return self.tensors[f"bert.embeddings.{name}_embeddings.weight"]

    def norm(self, name):
        """Gain and bias of a layer norm, both [H]."""
        name = f"bert.{name}.LayerNorm"
        return self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]

    def dense(self, layer, name):
        """Weight [outputs, inputs] and bias [outputs] of a dense part of a layer."""
        name = f"bert.encoder.layer.{layer}.{name}"
        return self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]

    def query_key_value(self, layer):
        return [self.dense(layer, f"attention.self.{part}") for part in ("query", "key", "value")]
