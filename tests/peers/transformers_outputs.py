"""What Transformers computes with a checkpoint directory, for `tests/tests/transformers.rs`.

    python tests/peers/transformers_outputs.py DIRECTORY CLASS < request.json

The request has `sequences` (lists of ids), `segments` (as long) and `texts`.
The answer has `hidden` (rows of the last layer, packed), `logits` (for pre-training `mlm` and `nsp`) and
`ids` of the texts, all as nested lists; and `unexpected` and `missing` keys of the checkpoint.
"""

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


def main():
    directory, name = sys.argv[1:]
    request = json.load(sys.stdin)
    cls = getattr(transformers, name)
    model, info = cls.from_pretrained(directory, output_loading_info=True, dtype=torch.float32)
    model = model.eval()
    answer = {
        "hidden": [],
        "logits": [],
        "mlm": [],
        "nsp": [],
        "missing": sorted(map(str, info["missing_keys"])),
        "unexpected": sorted(map(str, info["unexpected_keys"])),
    }
    with torch.no_grad():
        for ids, segments in zip(request["sequences"], request["segments"]):
            out = model(
                input_ids=torch.tensor([ids]),
                token_type_ids=torch.tensor([segments]),
                output_hidden_states=True,
            )
            answer["hidden"] += out.hidden_states[-1][0].tolist()
            if name == "BertForPreTraining":
                answer["mlm"] += out.prediction_logits[0].tolist()
                answer["nsp"] += out.seq_relationship_logits.tolist()
            elif "logits" in out:
                logits = out.logits
                answer["logits"] += (logits[0] if logits.dim() == 3 else logits).tolist()
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    answer["ids"] = [tokenizer(text)["input_ids"] for text in request["texts"]]
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
