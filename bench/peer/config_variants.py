"""Logits of tiny models under unusual keys of config.json, from transformers in float64, for test/model/variants.test.ts.

python bench/peer/config_variants.py packages/core/test/fixtures/config-variants

Writes base-<family>.safetensors once per family and variants.json: for each case the changes of config.json (null removes a
key), the stored tensors that are added ("copy": of another one, "scale": times a factor) or left out, and the last row of logits.
"""
import json
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
tokens = [1, 7, 30, 12, 5, 5, 41, 22, 9, 33, 2, 17]
common = dict(vocab_size=48, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=64)
bases = {
    "llama": dict(common, model_type="llama", architectures=["LlamaForCausalLM"], intermediate_size=24,
                  num_key_value_heads=1, hidden_act="silu", rms_norm_eps=1e-5, tie_word_embeddings=False),
    "mistral": dict(common, model_type="mistral", architectures=["MistralForCausalLM"], intermediate_size=24,
                    num_key_value_heads=1, hidden_act="silu", rms_norm_eps=1e-5, tie_word_embeddings=False),
    "gpt_neox": dict(common, model_type="gpt_neox", architectures=["GPTNeoXForCausalLM"], intermediate_size=24,
                     hidden_act="gelu", layer_norm_eps=1e-5, tie_word_embeddings=False),
}
llama3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
cases = [
    ("llama", "plain", {}, {}),
    ("llama", "tied, and the stored head differs", dict(tie_word_embeddings=True), {}),
    ("llama", "tied, and the stored head equals the embedding", dict(tie_word_embeddings=True),
     {"lm_head.weight": {"copy": "model.embed_tokens.weight"}}),
    ("llama", "tied, and only the head is stored", dict(tie_word_embeddings=True), {"model.embed_tokens.weight": None}),
    ("llama", "rope_scaling hides rope_parameters", dict(
        rope_theta=500.0, rope_parameters=dict(rope_type="default", rope_theta=20.0), rope_scaling=dict(type="linear", factor=4.0)), {}),
    ("llama", "an empty rope_scaling hides nothing", dict(
        rope_parameters=dict(rope_type="default", rope_theta=20.0), rope_scaling={}), {}),
    ("llama", "rope_parameters before the top level", dict(rope_theta=500.0, rope_parameters=dict(rope_type="default", rope_theta=20.0)), {}),
    ("llama", "rope_parameters without a theta", dict(rope_theta=500.0, rope_parameters=dict(rope_type="linear", factor=2.0)), {}),
    ("llama", "partial_rotary_factor, nested", dict(rope_parameters=dict(rope_type="default", rope_theta=20.0, partial_rotary_factor=0.5)), {}),
    ("llama", "partial_rotary_factor, top level", dict(rope_theta=20.0, partial_rotary_factor=0.5), {}),
    ("llama", "llama3, original positions at the top level", dict(
        rope_theta=30.0, original_max_position_embeddings=16, rope_scaling=dict(llama3, original_max_position_embeddings=32)), {}),
    ("llama", "llama3, original positions nested", dict(rope_theta=30.0, rope_scaling=dict(llama3, original_max_position_embeddings=32)), {}),
    ("llama", "llama3 without original positions", dict(rope_theta=30.0, rope_scaling=dict(llama3)), {}),
    ("llama", "no hidden_act", dict(hidden_act=None), {}),
    ("llama", "no max_position_embeddings", dict(max_position_embeddings=None), {}),
    ("llama", "stored rotary buffers", {}, {"model.layers.0.self_attn.rotary_emb.inv_freq": {"copy": "model.norm.weight"}}),
    ("mistral", "plain", dict(sliding_window="null"), {}),
    ("mistral", "a window of 4", dict(sliding_window=4), {}),
    ("mistral", "no sliding_window", {}, {}),
    ("gpt_neox", "plain", {}, {}),
    ("gpt_neox", "rope_theta at the top level", dict(rope_theta=20.0), {}),
    ("gpt_neox", "rotary_emb_base", dict(rotary_emb_base=20.0), {}),
    ("gpt_neox", "rope_parameters", dict(rotary_emb_base=500.0, rotary_pct=0.25,
                                         rope_parameters=dict(rope_type="default", rope_theta=20.0, partial_rotary_factor=0.75)), {}),
    ("gpt_neox", "rotary_pct", dict(rotary_pct=1.0), {}),
    ("gpt_neox", "no hidden_act", dict(hidden_act=None), {}),
    ("gpt_neox", "tied, and the stored head differs", dict(tie_word_embeddings=True), {}),
    ("gpt_neox", "stored attention masks", {}, {"gpt_neox.layers.0.attention.masked_bias": {"copy": "gpt_neox.final_layer_norm.bias"}}),
]

weights = {}
for family, config in bases.items():
    torch.manual_seed(7)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config))
        from transformers import AutoConfig
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
        model.save_pretrained(folder)
        weights[family] = load_file(Path(folder, "model.safetensors"))
save_file(weights["llama"], out / "base-llama.safetensors", metadata={"format": "pt"})
weights["mistral"] = weights["llama"]
save_file(weights["gpt_neox"], out / "base-gpt_neox.safetensors", metadata={"format": "pt"})

written = []
for family, title, changes, tensors in cases:
    config = dict(bases[family])
    for key, value in changes.items():
        if value is None:
            config.pop(key, None)
        else:
            config[key] = None if value == "null" else value
    stored = dict(weights[family])
    for name, rule in tensors.items():
        if rule is None:
            del stored[name]
        else:
            stored[name] = stored[rule["copy"]].clone()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config))
        save_file(stored, Path(folder, "model.safetensors"), metadata={"format": "pt"})
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
        with torch.no_grad():
            logits = model(torch.tensor([tokens])).logits[0, -1]
    written.append(dict(family=family, title=title, config=config, tensors=tensors, logits=[round(x, 7) for x in logits.tolist()]))
(out / "variants.json").write_text(json.dumps(dict(tokens=tokens, cases=written)) + "\n")
