"""Quantized BERT models, with the code and the bits of the device.

>>> import bert_edge
>>> model = bert_edge.Model("model.bert")                          # doctest: +SKIP
>>> model.classify("turn on the light in the kitchen").label       # doctest: +SKIP
'turn_on'

A model may be asked by many threads at once: the interpreter is released while it computes.
"""

from __future__ import annotations

import os
from typing import Dict, List, NamedTuple, Optional, Tuple, Union

from . import _native
from ._native import ModelError, __version__

__all__ = [
    "Answers",
    "Classification",
    "Embedding",
    "Label",
    "Labels",
    "Model",
    "ModelError",
    "Passage",
    "Regression",
    "Slot",
    "Tag",
    "Tagging",
    "__version__",
]


class Label(NamedTuple):
    """A label of a text."""

    name: str
    probability: float


class Classification(NamedTuple):
    """The label of a text, or of two."""

    label: str
    probability: float
    probabilities: Dict[str, float]
    """Of every label, in the order of the labels."""
    tokens: int
    """Tokens that were read, [CLS] and [SEP] included."""
    truncated: bool
    """Whether the text was longer than the model reads, and cut."""


class Labels(NamedTuple):
    """The labels that hold for a text, each for itself."""

    labels: List[Label]
    """Those above the threshold, in the order of the labels."""
    probabilities: Dict[str, float]
    """Of every label, in the order of the labels."""
    tokens: int
    truncated: bool


class Tag(NamedTuple):
    """The tag of a word: ``text[start:end]``."""

    word: int
    """Number of the word, from 0."""
    start: int
    end: int
    name: str
    probability: float


class Slot(NamedTuple):
    """A run of words under one name: ``text[start:end]``."""

    name: str
    text: str
    start: int
    end: int
    probability: float
    """The least of its tags."""


class Tagging(NamedTuple):
    """The tags of a text's words, the slots they make, and the label of a joint model."""

    label: Optional[Label]
    tags: List[Tag]
    slots: List[Slot]
    tokens: int
    truncated: bool


class Regression(NamedTuple):
    """The numbers of a text, or of two, in the unit of the training data."""

    values: List[float]
    tokens: int
    truncated: bool


class Passage(NamedTuple):
    """A passage of a context: ``context[start:end]``."""

    text: str
    start: int
    end: int
    score: float
    probability: float


class Answers(NamedTuple):
    """The passages that answer a question best."""

    passages: List[Passage]
    """The best first."""
    has_answer: bool
    """Whether the first of them is an answer."""
    no_answer_score: float
    no_answer_probability: float
    windows: int
    """Windows in which the context was read."""

    @property
    def best(self) -> Optional[Passage]:
        """The answer; None if the context holds none."""
        return self.passages[0] if self.has_answer else None


class Embedding(NamedTuple):
    """A text as a vector."""

    vector: List[float]
    tokens: int
    truncated: bool


class Model:
    """A model file, checked and ready to answer.

    A question of another task than the model's is a ModelError; embed() is for all of them.
    """

    def __init__(self, path: Union[str, "os.PathLike[str]"]) -> None:
        """Reads a file. OSError if it cannot be read, ModelError if it is not a model."""
        self._native = _native.Model.read(os.fspath(path))

    @classmethod
    def from_bytes(cls, data: bytes) -> Model:
        """A model from the bytes of a file."""
        model = cls.__new__(cls)
        model._native = _native.Model.of_bytes(data)
        return model

    def __repr__(self) -> str:
        return f"<bert_edge.Model {self.task}: {self.layers} layers of {self.hidden}>"

    @property
    def task(self) -> str:
        """classify, pair, multi-label, tag, joint, regress, span or embed."""
        return self._native.task

    @property
    def labels(self) -> Tuple[str, ...]:
        """Names of the labels; empty if the model has none."""
        return tuple(self._native.labels)

    @property
    def tags(self) -> Tuple[str, ...]:
        """Names of the tags; empty if the model has none."""
        return tuple(self._native.tags)

    @property
    def hidden(self) -> int:
        """Numbers of a vector."""
        return self._native.sizes[0]

    @property
    def layers(self) -> int:
        """Layers."""
        return self._native.sizes[1]

    @property
    def max_tokens(self) -> int:
        """Tokens that a text may have, [CLS] and [SEP] included; longer ones are cut."""
        return self._native.sizes[2]

    def self_test(self) -> None:
        """Compares outputs with those the file promises, bit by bit; ModelError if they differ."""
        self._native.self_test()

    def classify(self, text: str, pair: Optional[str] = None) -> Classification:
        """The label of a text; of two with a model of task pair."""
        label, probability, every, tokens, truncated = self._native.classify(text, pair)
        return Classification(label, probability, dict(every), tokens, truncated)

    def classify_labels(self, text: str, threshold: float = 0.5) -> Labels:
        """The labels whose probability is above the threshold: none, one or several."""
        every, tokens, truncated = self._native.classify_labels(text)
        above = [Label(name, p) for name, p in every if p > threshold]
        return Labels(above, dict(every), tokens, truncated)

    def tag(self, text: str) -> Tagging:
        """Tags and slots of a text, and its label if the model has labels."""
        label, tags, slots, tokens, truncated = self._native.tag(text)
        return Tagging(
            None if label is None else Label(*label),
            [Tag(*tag) for tag in tags],
            [Slot(name, text[start:end], start, end, p) for name, start, end, p in slots],
            tokens,
            truncated,
        )

    def regress(self, text: str, pair: Optional[str] = None) -> Regression:
        """The numbers of a text, or of two."""
        return Regression(*self._native.regress(text, pair))

    def answer(
        self,
        question: str,
        context: str,
        *,
        n_best: int = 1,
        stride: int = 128,
        max_answer_tokens: int = 30,
        no_answer_threshold: Optional[float] = None,
    ) -> Answers:
        """The best passages of a context of any length, at most 20.

        With a threshold a question may have no answer: by how much that must score higher than the best
        passage.
        """
        passages, has_answer, score, probability, windows = self._native.answer(
            question, context, stride, max_answer_tokens, no_answer_threshold
        )
        best = [Passage(context[start:end], start, end, *rest) for start, end, *rest in passages]
        return Answers(best[:n_best], has_answer, score, probability, windows)

    def embed(
        self,
        text: str,
        *,
        normalize: bool = False,
        pooling: Optional[str] = None,
        layer: Optional[int] = None,
    ) -> Embedding:
        """The vector of a text.

        Pooling is "mean" or "first", or what the model was trained for; layer 0 is the embeddings, None
        the last. Normalized, the product of two vectors is their cosine.
        """
        return Embedding(*self._native.embed(text, normalize, pooling, layer))
