"""The peer of the step benchmark: PyTorch + transformers, chosen and rejected padded into one batch, as TRL does it.

Reads JSON lines: first the set-up, then requests {"step": "dpo-online" | "dpo-cached" | "sr-dpo-cached"} or
{"report": true}; answers each with one line. Used for measuring only.
"""
import json
import resource
import sys
import time

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

setup = json.loads(sys.stdin.readline())
torch.set_num_threads(setup["threads"])
torch.manual_seed(0)
config = AutoConfig.for_model(**setup["config"])
model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").float()
reference = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").float()
reference.load_state_dict(model.state_dict())
reference.eval()
optimizer = torch.optim.RMSprop(model.parameters(), lr=5e-7)
autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=setup["dtype"] == "bf16")
beta, lam = 0.1, 0.3


def batch(prefix, pairs):
    rows = [(prefix + p["prompt"], p["chosen"]) for p in pairs]
    rows += [(prefix + p["prompt"], p["rejected"]) for p in pairs]
    width = max(len(x) + len(y) for x, y in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    attention = torch.zeros(len(rows), width, dtype=torch.long)
    response = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, (x, y) in enumerate(rows):
        ids[i, : len(x) + len(y)] = torch.tensor(x + y)
        attention[i, : len(x) + len(y)] = 1
        response[i, len(x) : len(x) + len(y)] = True
    return ids, attention, response


size = setup["microbatchPairs"]
micro = [setup["pairs"][i : i + size] for i in range(0, len(setup["pairs"]), size)]
plain = [batch([], pairs) for pairs in micro]
augmented = [batch(setup["augmentation"], pairs) for pairs in micro]


def logps(net, inputs):
    ids, attention, response = inputs
    with autocast:
        logits = net(input_ids=ids, attention_mask=attention, use_cache=False).logits
    logits = logits[:, :-1].float()
    labels = ids[:, 1:]
    chosen = torch.gather(logits, 2, labels.unsqueeze(2)).squeeze(2)
    token = chosen - torch.logsumexp(logits, dim=-1)
    sums = (token * response[:, 1:]).sum(1)
    half = len(sums) // 2
    return sums[:half], sums[half:]


with torch.no_grad():
    cached = [logps(reference, inputs) for inputs in plain]
    cached_augmented = [logps(reference, inputs) for inputs in augmented]


def accumulate(kind, i):
    if kind == "dpo-online":
        with torch.no_grad():
            ref = logps(reference, plain[i])
    else:
        ref = cached[i]
    delta = 0.0
    if kind == "sr-dpo-cached":
        with torch.no_grad():
            c, r = logps(model, augmented[i])
            delta = beta * ((c - cached_augmented[i][0]) - (r - cached_augmented[i][1]))
    c, r = logps(model, plain[i])
    margin = (c - ref[0]) - (r - ref[1])
    loss = -torch.nn.functional.logsigmoid(beta * margin - lam * delta).sum() / len(setup["pairs"])
    loss.backward()


def step(kind):
    for i in range(len(micro)):
        accumulate(kind, i)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
    optimizer.step()
    optimizer.zero_grad()


versions = {"torch": torch.__version__, "transformers": transformers.__version__}
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if "report" in request:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"peakRssBytes": peak, "versions": versions}), flush=True)
        continue
    start = time.perf_counter()
    step(request["step"])
    print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)
