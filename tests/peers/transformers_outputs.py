"""What Transformers computes with a checkpoint directory, for `tests/tests/transformers.rs`.

    python tests/peers/transformers_outputs.py DIRECTORY CLASS < request.json

CLASS is one of the `BertFor…` of Transformers or `BertModel`, which is built without a pooler where the
option `--without-pooler` says so.
The request has `sequences` (lists of ids), `segments` (as long) and `texts`.
The answer has, as nested lists and where the class has it:

* `hidden`: rows of the last layer, packed; `pooled`: a row a sequence;
* `mlm`: vocabulary scores, a row a token; `nsp`: a row a sequence;
* `logits`: of any other head, a row a token (of start and end for questions) or a row a sequence;
* `ids` of the texts;
* `missing`, `unexpected` and `mismatched`: keys of the checkpoint that do not serve the class.
"""

import argparse
import json
import os
import sys
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore")

import torch
import transformers
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()

TOKENIZER_FILES = ["vocab.txt", "tokenizer.json"]


def opened(directory, name, without_pooler):
    cls = getattr(transformers, name)
    more = {"add_pooling_layer": False} if without_pooler else {}
    model, info = cls.from_pretrained(directory, output_loading_info=True, dtype=torch.float32, **more)
    keys = {kind: sorted(map(str, info[f"{kind}_keys"])) for kind in ("missing", "unexpected", "mismatched")}
    return model.eval(), keys


def rows(name, out):
    """What one sequence, passed alone, adds to the answer."""
    if name == "BertForPreTraining":
        return {"mlm": out.prediction_logits[0], "nsp": out.seq_relationship_logits}
    if name == "BertForMaskedLM":
        return {"mlm": out.logits[0]}
    if name == "BertForNextSentencePrediction":
        return {"nsp": out.logits}
    if name == "BertForQuestionAnswering":
        return {"logits": torch.stack([out.start_logits[0], out.end_logits[0]], dim=-1)}
    if name == "BertForTokenClassification":
        return {"logits": out.logits[0]}
    if name == "BertForSequenceClassification":
        return {"logits": out.logits}
    if name == "BertModel":
        return {} if out.pooler_output is None else {"pooled": out.pooler_output}
    raise SystemExit(f"{name}: this script does not know what its answer is")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("name", metavar="CLASS")
    parser.add_argument("--without-pooler", action="store_true")
    args = parser.parse_args()
    request = json.load(sys.stdin)
    model, answer = opened(args.directory, args.name, args.without_pooler)
    with torch.no_grad():
        for ids, segments in zip(request["sequences"], request["segments"]):
            out = model(
                input_ids=torch.tensor([ids]),
                token_type_ids=torch.tensor([segments]),
                output_hidden_states=True,
            )
            for key, values in {"hidden": out.hidden_states[-1][0], **rows(args.name, out)}.items():
                answer.setdefault(key, []).extend(values.tolist())
    if any(os.path.exists(os.path.join(args.directory, file)) for file in TOKENIZER_FILES):
        tokenizer = transformers.AutoTokenizer.from_pretrained(args.directory)
        answer["ids"] = [tokenizer(text)["input_ids"] for text in request["texts"]]
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
