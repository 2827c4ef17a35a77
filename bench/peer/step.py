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


def batch(prefix):
    rows = [(prefix + p["prompt"], p["chosen"]) for p in setup["pairs"]]
    rows += [(prefix + p["prompt"], p["rejected"]) for p in setup["pairs"]]
    width = max(len(x) + len(y) for x, y in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    attention = torch.zeros(len(rows), width, dtype=torch.long)
    response = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, (x, y) in enumerate(rows):
        ids[i, : len(x) + len(y)] = torch.tensor(x + y)
        attention[i, : len(x) + len(y)] = 1
        response[i, len(x) : len(x) + len(y)] = True
    return ids, attention, response


plain, augmented = batch([]), batch(setup["augmentation"])


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
    cached = logps(reference, plain)
    cached_augmented = logps(reference, augmented)


def step(kind):
    if kind == "dpo-online":
        with torch.no_grad():
            ref = logps(reference, plain)
    else:
        ref = cached
    delta = 0.0
    if kind == "sr-dpo-cached":
        with torch.no_grad():
            c, r = logps(model, augmented)
            delta = beta * ((c - cached_augmented[0]) - (r - cached_augmented[1]))
    c, r = logps(model, plain)
    margin = (c - ref[0]) - (r - ref[1])
    loss = -torch.nn.functional.logsigmoid(beta * margin - lam * delta).mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
    optimizer.step()
    optimizer.zero_grad()


print(json.dumps({"versions": {"torch": torch.__version__, "transformers": transformers.__version__}}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if "report" in request:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"peakRssBytes": peak}), flush=True)
        continue
    start = time.perf_counter()
    step(request["step"])
    print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)
