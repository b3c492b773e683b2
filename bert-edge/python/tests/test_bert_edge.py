"""What the package answers, beside what bert-core answers; run with the folder of the models in MODELS."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Iterator, Tuple

import bert_edge

MODELS = Path(os.environ["MODELS"])
EXPECTED = json.loads((MODELS / "expected.json").read_text(encoding="utf-8"))
TEXTS = EXPECTED["texts"]


def model(task: str) -> bert_edge.Model:
    return bert_edge.Model(MODELS / f"{task}.bert")


def cases(task: str) -> Iterator[Tuple[str, str, Any]]:
    """A text, the next one, and what bert-core answers."""
    for i, (text, answer) in enumerate(zip(TEXTS, EXPECTED["answers"][task])):
        yield text, TEXTS[(i + 1) % len(TEXTS)], answer


class Answers(unittest.TestCase):
    def test_labels(self) -> None:
        one, two, several = model("classify"), model("pair"), model("multi-label")
        for text, _, expected in cases("classify"):
            found = one.classify(text)
            self.assertEqual([found.label, found.probability], list(expected.values())[:2])
            self.assertEqual(tuple(found.probabilities), one.labels)
            self.assertEqual(max(found.probabilities, key=found.probabilities.__getitem__), found.label)
            self.assertAlmostEqual(sum(found.probabilities.values()), 1.0, places=5)
        for text, pair, expected in cases("pair"):
            found = two.classify(text, pair)
            self.assertEqual([found.label, found.probability], list(expected.values())[:2])
        for text, _, expected in cases("multi-label"):
            self.assertEqual([list(label) for label in several.classify_labels(text).labels], expected["labels"])
            self.assertEqual(len(several.classify_labels(text, threshold=0.0).labels), 5)
        self.assertTrue(one.classify("a " * 100).truncated)

    def test_offsets_are_characters(self) -> None:
        tags, joint = model("tag"), model("joint")
        for text, _, expected in cases("tag"):
            found = tags.tag(text)
            self.assertIsNone(found.label)
            self.assertEqual([[t.word, text[t.start : t.end], t.name] for t in found.tags], expected["tags"])
        for text, _, expected in cases("joint"):
            found = joint.tag(text)
            assert found.label is not None
            self.assertEqual(found.label.name, expected["label"])
            self.assertEqual([[s.name, s.text] for s in found.slots], expected["slots"])
            self.assertTrue(all(text[s.start : s.end] == s.text for s in found.slots))

    def test_numbers(self) -> None:
        regress = model("regress")
        for text, pair, expected in cases("regress"):
            self.assertEqual(regress.regress(text).values, expected["values"])
            self.assertEqual(regress.regress(text, pair).values, expected["pair"])

    def test_passages(self) -> None:
        span = model("span")
        for text, _, expected in cases("span"):
            found = span.answer("what", text, n_best=20, no_answer_threshold=0.5)
            self.assertEqual([[p.text, p.score, p.probability] for p in found.passages], expected["passages"])
            self.assertEqual(found.has_answer, expected["has_answer"])
            self.assertEqual(found.best, found.passages[0] if found.has_answer else None)

    def test_vectors_of_every_task(self) -> None:
        for task in EXPECTED["answers"]:
            asked = model(task)
            self.assertEqual(asked.task, task)
            asked.self_test()
            for text, _, expected in cases(task):
                self.assertEqual(asked.embed(text).vector, expected["vector"])
        vector = model("embed").embed("abc", normalize=True, pooling="mean", layer=1).vector
        self.assertAlmostEqual(sum(x * x for x in vector), 1.0, places=5)

    def test_a_model_tells_what_it_is(self) -> None:
        joint = model("joint")
        self.assertEqual((joint.hidden, joint.layers, joint.max_tokens), (32, 2, 24))
        self.assertEqual((len(joint.labels), len(joint.tags)), (5, 7))
        self.assertEqual(repr(joint), "<bert_edge.Model joint: 2 layers of 32>")
        self.assertRegex(bert_edge.__version__, r"^\d+\.\d+\.\d+$")


class Refusals(unittest.TestCase):
    def test_files(self) -> None:
        with self.assertRaisesRegex(FileNotFoundError, "nowhere.bert"):
            bert_edge.Model("nowhere.bert")
        data = (MODELS / "joint.bert").read_bytes()
        self.assertEqual(bert_edge.Model.from_bytes(data).task, "joint")
        changed = bytearray(data)
        changed[len(data) // 2] ^= 1
        with self.assertRaisesRegex(bert_edge.ModelError, "checksum"):
            bert_edge.Model.from_bytes(bytes(changed))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "text.bert"
            path.write_text("anything")
            with self.assertRaisesRegex(bert_edge.ModelError, "text.bert: not a model file"):
                bert_edge.Model(path)

    def test_questions(self) -> None:
        joint = model("joint")
        with self.assertRaisesRegex(bert_edge.ModelError, 'its task is "joint"'):
            joint.regress("a")
        with self.assertRaisesRegex(bert_edge.ModelError, "layer 3 is needed"):
            joint.embed("a", layer=3)
        with self.assertRaisesRegex(ValueError, "pooling"):
            joint.embed("a", pooling="max")
        with self.assertRaises(TypeError):
            joint.classify(b"bytes")  # type: ignore[arg-type]
        with self.assertRaises(UnicodeEncodeError):
            joint.classify("\ud800")


class Threads(unittest.TestCase):
    def test_many_threads_ask_one_model(self) -> None:
        asked = model("joint")
        expected = [asked.tag(text) for text in TEXTS]
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(asked.tag, TEXTS * 50))
        self.assertEqual(found, expected * 50)

    def test_the_interpreter_is_free_meanwhile(self) -> None:
        asked, context = model("span"), "a b c d e f g h " * 20_000
        started, answered = threading.Event(), threading.Event()

        def ask() -> None:
            started.set()
            asked.answer("what", context)
            answered.set()

        # Nobody takes the interpreter from a thread that does not give it away.
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1000.0)
        try:
            thread = threading.Thread(target=ask)
            thread.start()
            started.wait()
            free = not answered.is_set()
            thread.join()
        finally:
            sys.setswitchinterval(interval)
        self.assertTrue(free)


if __name__ == "__main__":
    unittest.main()
