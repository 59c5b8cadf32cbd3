#!/usr/bin/env python3
"""Makes the small random checkpoints of families without experts and what a forward pass must give for them.

usage: make_dense.py [--variant a|b] [--seed N] DIR
writes DIR/NAME/{config.json,model.safetensors,golden.safetensors}

Variant b has other shapes: odd widths, one to six queries to a key, other bases and scalings. The
pass below is written from the published formulas in plain numpy, float32 throughout: RMS norm, rotary embedding with
pairs (i, i + D/2), grouped-query attention, SwiGLU. Needs numpy and safetensors.
"""
import argparse
import json
import math
import os

import numpy as np
from safetensors.numpy import save_file

N_TOK, N_SEQ = 24, 2


def base(architecture, model_type, **more):
    c = dict(architectures=[architecture], model_type=model_type, hidden_act="silu", hidden_size=40,
             intermediate_size=56, num_attention_heads=4, num_hidden_layers=3, num_key_value_heads=2,
             max_position_embeddings=512, rms_norm_eps=1e-3, rope_theta=100.0, vocab_size=96, bos_token_id=0,
             eos_token_id=1, tie_word_embeddings=False, torch_dtype="float32", use_cache=True)
    c.update(more)
    return {k: v for k, v in c.items() if v is not None}


MODELS = {
    # all three ranges of the scaling: 2 of 6 frequencies kept, 2 between, 2 divided
    "llama": base("LlamaForCausalLM", "llama", head_dim=12, attention_bias=False, mlp_bias=False,
                  rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                    original_max_position_embeddings=64)),
    "llama_bias": base("LlamaForCausalLM", "llama", attention_bias=True, tie_word_embeddings=True, rope_scaling=None),
    "qwen2": base("Qwen2ForCausalLM", "qwen2", tie_word_embeddings=True, use_sliding_window=False, sliding_window=4,
                  max_window_layers=3),
    "qwen3": base("Qwen3ForCausalLM", "qwen3", head_dim=16, attention_bias=False, use_sliding_window=False,
                  rope_theta=None, rope_parameters=dict(rope_theta=10000.0, rope_type="default"),
                  layer_types=["full_attention"] * 3),
}

# What variant b changes.
OTHER = {
    "llama": dict(hidden_size=44, intermediate_size=39, num_attention_heads=6, head_dim=10, num_hidden_layers=4,
                  vocab_size=131, rms_norm_eps=1e-2, rope_theta=300.0, attention_bias=True,
                  rope_scaling=dict(rope_type="llama3", factor=4.0, low_freq_factor=2.0, high_freq_factor=3.0,
                                    original_max_position_embeddings=40)),
    "llama_bias": dict(hidden_size=48, intermediate_size=50, num_attention_heads=3, num_key_value_heads=3,
                       num_hidden_layers=2, vocab_size=77, tie_word_embeddings=False, rope_theta=1000.0),
    "qwen2": dict(hidden_size=36, intermediate_size=71, num_attention_heads=6, num_key_value_heads=1,
                  num_hidden_layers=4, max_window_layers=4, vocab_size=101, tie_word_embeddings=False, rope_theta=50.0),
    "qwen3": dict(hidden_size=52, intermediate_size=33, num_attention_heads=3, num_key_value_heads=3, head_dim=6,
                  num_hidden_layers=5, layer_types=["full_attention"] * 5, vocab_size=89, tie_word_embeddings=True,
                  rms_norm_eps=1e-2, rope_parameters=dict(rope_theta=500.0, rope_type="default")),
}


def shapes(c):
    d, f, v = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    heads, kv = c["num_attention_heads"], c["num_key_value_heads"]
    dim = c.get("head_dim", d // heads)
    yield "model.embed_tokens.weight", (v, d)
    yield "model.norm.weight", (d,)
    if not c["tie_word_embeddings"]:
        yield "lm_head.weight", (v, d)
    for layer in range(c["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        yield p + "input_layernorm.weight", (d,)
        yield p + "post_attention_layernorm.weight", (d,)
        for name, rows, cols in (("q", heads * dim, d), ("k", kv * dim, d), ("v", kv * dim, d), ("o", d, heads * dim)):
            yield f"{p}self_attn.{name}_proj.weight", (rows, cols)
            if c["model_type"] == "qwen2" and name != "o" or c.get("attention_bias"):
                yield f"{p}self_attn.{name}_proj.bias", (rows,)
        if c["model_type"] == "qwen3":
            yield p + "self_attn.q_norm.weight", (dim,)
            yield p + "self_attn.k_norm.weight", (dim,)
        for name, rows, cols in (("gate", f, d), ("up", f, d), ("down", d, f)):
            yield f"{p}mlp.{name}_proj.weight", (rows, cols)


def weights(c, rng):
    out = {}
    for name, shape in shapes(c):
        x = rng.standard_normal(shape)
        if "norm" in name:
            x = 1 + 0.2 * x
        elif name.endswith("bias"):
            x = 0.3 * x
        else:
            x = x * (1.0 if "embed" in name else 1.5 / math.sqrt(shape[1]))
        out[name] = x.astype(np.float32)
    return out


def frequencies(c, dim):
    scaling = c.get("rope_scaling")
    theta = c.get("rope_theta") or c["rope_parameters"]["rope_theta"]
    out = []
    for i in range(dim // 2):
        inv = theta ** (-2 * i / dim)
        if scaling:
            wave, o = 2 * math.pi / inv, scaling["original_max_position_embeddings"]
            low, high, factor = scaling["low_freq_factor"], scaling["high_freq_factor"], scaling["factor"]
            if wave > o / low:
                inv /= factor
            elif wave >= o / high:
                s = (o / wave - low) / (high - low)
                inv = (1 - s) * inv / factor + s * inv
        out.append(inv)
    return np.array(out, np.float32)


def norm(x, w, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True, dtype=np.float32) + np.float32(eps)) * w


def forward(c, w, ids):
    """ids [n] -> hidden states [L + 1][n, d], final [n, d], logits [n, V]"""
    heads, kv, eps, n = c["num_attention_heads"], c["num_key_value_heads"], c["rms_norm_eps"], len(ids)
    dim = c.get("head_dim", c["hidden_size"] // heads)
    angle = np.arange(n, dtype=np.float32)[:, None] * frequencies(c, dim)[None]
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    visible = np.tril(np.ones((n, n), bool))

    def linear(x, name):
        y = x @ w[name + ".weight"].T
        return y + w[name + ".bias"] if name + ".bias" in w else y

    def rotate(x):
        a, b = x[..., :dim // 2], x[..., dim // 2:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    x = w["model.embed_tokens.weight"][ids]
    hidden = [x]
    for layer in range(c["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        h = norm(x, w[p + "input_layernorm.weight"], eps)
        q, k, v = (linear(h, f"{p}self_attn.{m}_proj").reshape(n, -1, dim) for m in "qkv")
        if p + "self_attn.q_norm.weight" in w:
            q, k = (norm(y, w[f"{p}self_attn.{m}_norm.weight"], eps) for y, m in ((q, "q"), (k, "k")))
        q, k = rotate(q), rotate(k)
        mixed = np.empty((n, heads, dim), np.float32)
        for head in range(heads):
            g = head // (heads // kv)
            s = np.where(visible, q[:, head] @ k[:, g].T * np.float32(dim ** -0.5), -np.inf)
            e = np.exp(s - s.max(-1, keepdims=True))
            mixed[:, head] = e / e.sum(-1, keepdims=True) @ v[:, g]
        x = x + linear(mixed.reshape(n, -1), p + "self_attn.o_proj")
        h = norm(x, w[p + "post_attention_layernorm.weight"], eps)
        gate, up = linear(h, p + "mlp.gate_proj"), linear(h, p + "mlp.up_proj")
        x = x + linear(gate / (1 + np.exp(-gate)) * up, p + "mlp.down_proj")
        hidden.append(x)
    final = norm(x, w["model.norm.weight"], eps)
    return hidden, final, final @ w.get("lm_head.weight", w["model.embed_tokens.weight"]).T


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--variant", choices="ab", default="a")
    parser.add_argument("--seed", type=int, default=20260)
    args = parser.parse_args()
    for i, (name, c) in enumerate(MODELS.items()):
        if args.variant == "b":
            c = dict(c, **OTHER[name])
        rng = np.random.default_rng(args.seed + i)
        directory = os.path.join(args.directory, name)
        os.makedirs(directory, exist_ok=True)
        w = weights(c, rng)
        ids = rng.integers(0, c["vocab_size"], (N_SEQ, N_TOK))
        runs = [forward(c, w, row) for row in ids]
        golden = {"input_ids": ids.astype(np.int64), "final": np.stack([r[1] for r in runs]),
                  "logits": np.stack([r[2] for r in runs])}
        for layer in range(c["num_hidden_layers"] + 1):
            golden[f"hidden.{layer}"] = np.stack([r[0][layer] for r in runs])
        assert all(x.dtype in (np.float32, np.int64) for x in golden.values())
        with open(os.path.join(directory, "config.json"), "w") as f:
            json.dump(c, f, indent=2)
            f.write("\n")
        save_file(w, os.path.join(directory, "model.safetensors"), metadata={"format": "pt"})
        save_file(golden, os.path.join(directory, "golden.safetensors"))


main()
