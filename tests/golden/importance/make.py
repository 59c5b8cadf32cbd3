#!/usr/bin/env python3
"""Writes the table of importance of ../models/deepseek_v2_lite on its golden ids: make.py DIR. Needs numpy and gguf.

The model is computed here once more, in double precision and straight from its definition (DeepSeek-V2 report, section
2), noting the rows that each matrix is multiplied with; the logits must be those of golden.safetensors, which
transformers made. Names and layout are those of llama-imatrix; in attn_k_b and attn_v_b all heads count as one."""
import json
import os
import struct
import sys
import numpy as np
import gguf

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(HERE, '..', 'models', 'deepseek_v2_lite')


def load(path):
    raw = open(path, 'rb').read()
    n = struct.unpack('<Q', raw[:8])[0]
    types = {'F32': np.float32, 'I64': np.int64, 'I32': np.int32}
    out = {}
    for name, t in json.loads(raw[8:8 + n]).items():
        if name != '__metadata__':
            a, b = t['data_offsets']
            out[name] = np.frombuffer(raw[8 + n + a:8 + n + b], types[t['dtype']]).reshape(t['shape'])
    return out


C = json.load(open(os.path.join(MODEL, 'config.json')))
W = {k: v.astype(np.float64) for k, v in load(os.path.join(MODEL, 'model.safetensors')).items()}
G = load(os.path.join(MODEL, 'golden.safetensors'))
H, NOPE, ROPE, V = C['num_attention_heads'], C['qk_nope_head_dim'], C['qk_rope_head_dim'], C['v_head_dim']
RANK, E, K = C['kv_lora_rank'], C['n_routed_experts'], C['num_experts_per_tok']
sums, counts = {}, {}


def note(name, rows, matrix=0, of=1):
    """rows [n, cols] met one of `of` matrices."""
    s = sums.setdefault(name, np.zeros((of, rows.shape[1])))
    c = counts.setdefault(name, np.zeros(of))
    s[matrix] += (rows ** 2).sum(0)
    c[matrix] += len(rows)


def norm(x, name, eps):
    return x / np.sqrt((x ** 2).mean(-1, keepdims=True) + eps) * W[name]


def mul(x, hf, gguf_name):
    note(gguf_name, x)
    return x @ W[hf].T


def silu(x):
    return x / (1 + np.exp(-x))


def magnitude(factor, m):
    return 1 if factor <= 1 else 0.1 * m * np.log(factor) + 1


def angles(n):
    s, theta = C['rope_scaling'], C['rope_theta']
    inv = theta ** (-np.arange(0, ROPE, 2) / ROPE)
    dim = lambda r: ROPE * np.log(s['original_max_position_embeddings'] / (2 * np.pi * r)) / (2 * np.log(theta))
    lo = max(np.floor(dim(s['beta_fast'])), 0)
    hi = min(np.ceil(dim(s['beta_slow'])), ROPE - 1)
    ramp = np.clip((np.arange(ROPE // 2) - lo) / (hi - lo if hi > lo else 0.001), 0, 1)
    inv = inv * (1 - ramp) + inv / s['factor'] * ramp
    scale = magnitude(s['factor'], s['mscale']) / magnitude(s['factor'], s['mscale_all_dim'])
    a = np.arange(n)[:, None] * inv
    return np.cos(a) * scale, np.sin(a) * scale


def rotate(x, cos, sin):
    """x [n, ..., ROPE], neighbours are pairs."""
    cos, sin = (t.reshape(len(t), *[1] * (x.ndim - 2), -1) for t in (cos, sin))
    out = np.empty_like(x)
    out[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
    out[..., 1::2] = x[..., 1::2] * cos + x[..., 0::2] * sin
    return out


def attention(x, hf, blk):
    n = len(x)
    cos, sin = angles(n)
    q = mul(x, hf + 'q_proj.weight', blk + 'attn_q.weight').reshape(n, H, NOPE + ROPE)
    a = mul(x, hf + 'kv_a_proj_with_mqa.weight', blk + 'attn_kv_a_mqa.weight')
    latent = norm(a[:, :RANK], hf + 'kv_a_layernorm.weight', 1e-6)
    key_pe = rotate(a[:, RANK:], cos, sin)
    kv = (latent @ W[hf + 'kv_b_proj.weight'].T).reshape(n, H, NOPE + V)
    for h in range(H):
        note(blk + 'attn_k_b.weight', q[:, h, :NOPE], h, H)
        note(blk + 'attn_v_b.weight', latent, h, H)
    q_pe = rotate(q[..., NOPE:], cos, sin)
    s = C['rope_scaling']
    scale = magnitude(s['factor'], s['mscale_all_dim']) ** 2 / np.sqrt(NOPE + ROPE)
    scores = np.einsum('thd,shd->hts', q[..., :NOPE], kv[..., :NOPE]) + np.einsum('thd,sd->hts', q_pe, key_pe)
    scores = scores * scale + np.triu(np.full((n, n), -np.inf), 1)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    mixed = np.einsum('hts,shd->thd', p, kv[..., NOPE:]).reshape(n, H * V)
    return mul(mixed, hf + 'o_proj.weight', blk + 'attn_output.weight')


def ffn(x, hf, blk, end):
    g = mul(x, hf + 'gate_proj.weight', f'{blk}ffn_gate{end}.weight')
    u = mul(x, hf + 'up_proj.weight', f'{blk}ffn_up{end}.weight')
    return mul(silu(g) * u, hf + 'down_proj.weight', f'{blk}ffn_down{end}.weight')


def experts(x, hf, blk):
    logits = mul(x, hf + 'gate.weight', blk + 'ffn_gate_inp.weight')
    scores = np.exp(logits - logits.max(-1, keepdims=True))
    scores /= scores.sum(-1, keepdims=True)
    ids = np.argsort(-scores, axis=-1, kind='stable')[:, :K]
    out = ffn(x, hf + 'shared_experts.', blk, '_shexp')
    for e in range(E):
        t = np.nonzero((ids == e).any(-1))[0]
        w = [W[f'{hf}experts.{e}.{m}_proj.weight'] for m in ('gate', 'up', 'down')]
        mid = silu(x[t] @ w[0].T) * (x[t] @ w[1].T)
        note(blk + 'ffn_gate_exps.weight', x[t], e, E)
        note(blk + 'ffn_up_exps.weight', x[t], e, E)
        note(blk + 'ffn_down_exps.weight', mid, e, E)
        out[t] += scores[t, e][:, None] * (mid @ w[2].T)
    return out


def forward(ids):
    x = W['model.embed_tokens.weight'][ids]
    eps = C['rms_norm_eps']
    for layer in range(C['num_hidden_layers']):
        hf, blk = f'model.layers.{layer}.', f'blk.{layer}.'
        x = x + attention(norm(x, hf + 'input_layernorm.weight', eps), hf + 'self_attn.', blk)
        h = norm(x, hf + 'post_attention_layernorm.weight', eps)
        dense = layer < C['first_k_dense_replace']
        x = x + (ffn(h, hf + 'mlp.', blk, '') if dense else experts(h, hf + 'mlp.', blk))
    return mul(norm(x, 'model.norm.weight', eps), 'lm_head.weight', 'output.weight')


for ids, want in zip(G['input_ids'], G['logits']):
    error = np.abs(forward(ids) - want).max() / np.abs(want).max()
    assert error < 1e-5, error

for name in list(sums):
    if name.endswith(('attn_k_b.weight', 'attn_v_b.weight')):
        sums[name], counts[name] = sums[name].reshape(1, -1), counts[name][:1]
w = gguf.GGUFWriter(f'{sys.argv[1]}/deepseek_v2_lite.gguf', None)
w.add_string('general.type', 'imatrix')
w.add_array('imatrix.datasets', ['input_ids'])
w.add_uint32('imatrix.chunk_count', len(G['input_ids']))
w.add_uint32('imatrix.chunk_size', G['input_ids'].shape[1])
for name in sorted(sums):
    w.add_tensor(name + '.in_sum2', sums[name].astype(np.float32))
    w.add_tensor(name + '.counts', counts[name].astype(np.float32).reshape(-1, 1))
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
