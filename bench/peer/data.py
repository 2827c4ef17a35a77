"""The peer of the data benchmark: the Rust library `tokenizers`, called from Python as transformers and datasets do.

`data.py FILE TOKENIZER_JSON encode_batch|encode_batch_fast` reads JSON lines of HH-RLHF, cuts each record into prompt and two
answers, encodes the texts a thousand records at a time, and prints figures as JSON. Used for measuring only.
"""
import json
import os
import resource
import sys

from tokenizers import Tokenizer

file, tokenizer_file, call = sys.argv[1:]
tokenizer = Tokenizer.from_file(tokenizer_file)
encode = getattr(tokenizer, call)
TURN = "\n\nAssistant:"
RECORDS = 1000


def texts_of(line):
    record = json.loads(line)
    chosen, rejected = record["chosen"], record["rejected"]
    shared = len(os.path.commonprefix([chosen, rejected]))
    end = chosen.rfind(TURN, 0, shared) + len(TURN)
    return chosen[:end], chosen[end:], rejected[end:]


pairs = tokens = 0


def finish(batch):
    global pairs, tokens
    pairs += len(batch)
    for texts in zip(*batch):
        for encoding in encode(list(texts), add_special_tokens=False):
            tokens += len(encoding.ids)


batch = []
with open(file, encoding="utf-8") as lines:
    for line in lines:
        batch.append(texts_of(line))
        if len(batch) == RECORDS:
            finish(batch)
            batch = []
if batch:
    finish(batch)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"pairs": pairs, "tokens": tokens, "peakRssBytes": peak}))
