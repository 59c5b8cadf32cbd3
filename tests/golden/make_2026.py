#!/usr/bin/env python3
"""Reference outputs for the Mixture-of-Experts families of 2025-26; the rest is in make.py.

  make_2026.py                     variant a, beside this script
  make_2026.py --only models       one part: models or routers
  make_2026.py --name deepseek_v32,deepseek_v4
  make_2026.py --check             load every checkpoint again (transformers and Ref26) and compare with its golden
  make_2026.py --mistakes          how far typical mistakes move the logits, per checkpoint
  make_2026.py --variant b --seed 77 --out DIR     other shapes, other random numbers

models/   tiny random checkpoints in the published layout and what transformers computes from them in float32,
          checked against a second forward pass written here from the formulas (class Ref26).
routers/  cases-2026.json and three files: the routing policies that make.py lacks, on given logits, in double precision.
"""
import argparse, json, math, os, shutil, sys, tempfile
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
from make import (EXACT, SAFE, Ref, Tensors, deepseek_tensors, deepseek_v3, draw, draw_logits, gap, hf_mtp, np_sigmoid,  # noqa: E402
                  np_softmax, nprng, read_tensors, rel, report, route, top_lowest, yarn)

TOKENS = 32


# =====================================================================================================
# 1. Checkpoints
# =====================================================================================================
def base(arch, kind, a, **kw):
    c = dict(architectures=[arch], model_type=kind, attention_dropout=0.0, bos_token_id=0, eos_token_id=1, hidden_act="silu",
             hidden_size=40 if a else 48, initializer_range=0.02, rms_norm_eps=1e-3 if a else 3e-4, tie_word_embeddings=False,
             torch_dtype="float32", use_cache=True, vocab_size=128 if a else 144)
    c.update(kw)
    return c


def decoys(T, d, *names):
    """Tensors of parts that are not run (prediction layers, vision): a reader must skip them."""
    for n in names:
        T.add(n, (d,) if "norm" in n else (d, 2 * d), "lin", 5.0)


def glm4_moe_lite(v):
    a = v == "a"
    c, _ = deepseek_v3(v)
    c.update(architectures=["Glm4MoeLiteForCausalLM"], model_type="glm4_moe_lite", n_group=1, topk_group=1, rope_scaling=None,
             rope_theta=1000000 if a else 20000, routed_scaling_factor=1.8 if a else 1.3, n_routed_experts=8 if a else 12,
             num_experts_per_tok=3 if a else 4, first_k_dense_replace=1, partial_rotary_factor=1.0, rope_interleave=True,
             qk_nope_head_dim=16 if a else 10, v_head_dim=20 if a else 14, num_hidden_layers=3, max_position_embeddings=202752)
    c.pop("scoring_func"), c.pop("ep_size"), c.pop("moe_layer_freq")
    return c, deepseek_tensors(c)


def kimi_k25(v):
    c, T = deepseek_v3(v, "kimi")
    c.update(n_routed_experts=16 if v == "a" else 24, num_hidden_layers=3)
    T = deepseek_tensors(c)
    T.t = {("language_model." + n): s for n, s in T.t.items()}
    text = {k: x for k, x in c.items() if k != "architectures"}
    vis = dict(model_type="kimi_k25_vision", hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
               patch_size=14, pos_emb_height=4, pos_emb_width=4, pos_emb_time=2, merge_kernel_size=[2, 2])
    return dict(architectures=["Kimi_K25ForConditionalGeneration"], model_type="kimi_k25", text_config=text, vision_config=vis,
                projection_hidden_size=16, image_token_id=125, video_token_id=126, vision_start_token_id=123,
                vision_end_token_id=124, torch_dtype="float32", tie_word_embeddings=False), T


def minimax_m2(v):
    a = v == "a"
    c = base("MiniMaxM2ForCausalLM", "minimax_m2", a, head_dim=12 if a else 16, rotary_dim=6 if a else 4, intermediate_size=12,
             max_position_embeddings=196608, num_attention_heads=4 if a else 6, num_key_value_heads=2, num_experts_per_tok=3 if a else 5,
             num_hidden_layers=3, num_local_experts=12 if a else 14, rope_theta=5000000 if a else 30000, scoring_func="sigmoid",
             use_routing_bias=True, use_qk_norm=True, qk_norm_type="per_layer", router_jitter_noise=0.0, shared_intermediate_size=0,
             use_mtp=True, num_mtp_modules=3, mtp_transformer_layers=1, router_aux_loss_coef=0.001, output_router_logits=False)
    T, d, Dh = Tensors(), c["hidden_size"], c["head_dim"]
    H, Hk, E = c["num_attention_heads"], c["num_key_value_heads"], c["num_local_experts"]
    T.ends(c)
    for l in range(c["num_hidden_layers"]):
        p = f"model.layers.{l}."
        T.norm(p + "input_layernorm", d)
        T.gqa(p + "self_attn.", d, H, Hk, Dh)
        T.norm(p + "self_attn.q_norm", H * Dh)
        T.norm(p + "self_attn.k_norm", Hk * Dh)
        T.norm(p + "post_attention_layernorm", d)
        T.router(p + "block_sparse_moe.gate.weight", E, d)
        T.add(p + "block_sparse_moe.e_score_correction_bias", (E,), "ebias", 0.2)
        for e in range(E):
            T.glu(p + f"block_sparse_moe.experts.{e}.", c["intermediate_size"], d, ("w1", "w3", "w2"))
    T.norm("model.norm", d)
    return c, T


def hunyuan_v1_moe(v):
    a = v == "a"
    L, E, K = 3, 8 if a else 14, 3 if a else 4
    c = base("HunYuanMoEV1ForCausalLM", "hunyuan_v1_moe", a, attention_bias=False, head_dim=12 if a else 10, intermediate_size=14,
             max_position_embeddings=32768, moe_intermediate_size=[14] * L, moe_topk=[K] * L, num_attention_heads=4 if a else 6,
             num_experts=E, num_hidden_layers=L, num_key_value_heads=2, num_shared_expert=[1] * L, use_qk_norm=True, use_cla=False,
             rope_theta=10000.0, rope_scaling=dict(type="dynamic", alpha=1000.0 if a else 50.0, factor=1.0, beta_fast=32, beta_slow=1,
                                                   mscale=1.0, mscale_all_dim=1.0),
             tie_word_embeddings=a, pad_token_id=0, use_mixed_mlp_moe=True)
    T, d, Dh, H, Hk = Tensors(), c["hidden_size"], c["head_dim"], c["num_attention_heads"], c["num_key_value_heads"]
    T.ends(c)
    for l in range(L):
        p = f"model.layers.{l}."
        T.norm(p + "input_layernorm", d)
        T.gqa(p + "self_attn.", d, H, Hk, Dh)
        T.norm(p + "self_attn.query_layernorm", Dh)
        T.norm(p + "self_attn.key_layernorm", Dh)
        T.norm(p + "post_attention_layernorm", d)
        T.router(p + "mlp.gate.wg.weight", E, d)
        T.glu(p + "mlp.shared_mlp.", 14, d)
        for e in range(E):
            T.glu(p + f"mlp.experts.{e}.", 14, d)
    T.norm("model.norm", d)
    return c, T


def exaone_moe(v):
    a = v == "a"
    lt = ["sliding_attention"] * 3 + ["full_attention"] if a else ["sliding_attention", "full_attention"] * 2
    c = base("ExaoneMoEForCausalLM", "exaone_moe", a, first_k_dense_replace=1, head_dim=12 if a else 16, intermediate_size=48,
             is_moe_layer=[bool(i) for i in range(len(lt))], layer_types=lt, max_position_embeddings=262144, moe_intermediate_size=10,
             n_group=1, topk_group=1, norm_topk_prob=True, num_attention_heads=4, num_experts=12 if a else 14,
             num_experts_per_tok=3 if a else 4, num_hidden_layers=len(lt), num_key_value_heads=2 if a else 1, num_shared_experts=1,
             num_nextn_predict_layers=1, rope_scaling=None, rope_theta=1000000 if a else 50000, routed_scaling_factor=2.5,
             scoring_func="sigmoid", sliding_window=6 if a else 9, sliding_window_pattern="LLLG" if a else "LG", topk_method="noaux_tc")
    T, d, Dh = Tensors(), c["hidden_size"], c["head_dim"]
    H, Hk, E, I = c["num_attention_heads"], c["num_key_value_heads"], c["num_experts"], c["moe_intermediate_size"]
    T.ends(c)
    for l in range(len(lt)):
        p = f"model.layers.{l}."
        T.norm(p + "input_layernorm", d)
        T.gqa(p + "self_attn.", d, H, Hk, Dh)
        T.norm(p + "self_attn.q_norm", Dh)
        T.norm(p + "self_attn.k_norm", Dh)
        T.norm(p + "post_attention_layernorm", d)
        if l < c["first_k_dense_replace"]:
            T.glu(p + "mlp.", c["intermediate_size"], d)
            continue
        T.router(p + "mlp.gate.weight", E, d)
        T.add(p + "mlp.e_score_correction_bias", (E,), "ebias", 0.2)
        T.glu(p + "mlp.shared_experts.", I, d)
        for e in range(E):
            T.glu(p + f"mlp.experts.{e}.", I, d)
    T.norm("model.norm", d)
    decoys(T, d, "mtp.fc.weight", "mtp.norm.weight")
    return c, T


def indexer(T, p, c):
    h, D = c["index_n_heads"], c["index_head_dim"]
    T.lin(p + "wq_b", h * D, c["q_lora_rank"], gain=1.5)
    T.lin(p + "wk", D, c["hidden_size"])
    T.norm(p + "k_norm", D, True)
    T.lin(p + "weights_proj", h, c["hidden_size"])


def deepseek_v32(v):
    a = v == "a"
    c, _ = deepseek_v3(v)
    c.update(architectures=["DeepseekV32ForCausalLM"], model_type="deepseek_v32", num_nextn_predict_layers=0, index_n_heads=8,
             index_head_dim=14 if a else 16, index_topk=7 if a else 10, num_hidden_layers=3, first_k_dense_replace=1)
    T = deepseek_tensors(c)
    for l in range(c["num_hidden_layers"]):
        indexer(T, f"model.layers.{l}.self_attn.indexer.", c)
    return c, T


def glm_moe_dsa(v):
    a = v == "a"
    c, _ = deepseek_v3(v)
    L = 6 if a else 5
    c.update(architectures=["GlmMoeDsaForCausalLM"], model_type="glm_moe_dsa", num_nextn_predict_layers=0, index_n_heads=8,
             index_head_dim=14 if a else 16, index_topk=7 if a else 9, num_hidden_layers=L, first_k_dense_replace=2, intermediate_size=40, n_group=1,
             topk_group=1, n_routed_experts=8 if a else 10, num_experts_per_tok=3, moe_intermediate_size=8, indexer_rope_interleave=True,
             qk_nope_head_dim=12 if a else 10, v_head_dim=16, max_position_embeddings=202752,
             rope_parameters=dict(rope_theta=1000000 if a else 40000, rope_type="default"))
    c.pop("rope_scaling"), c.pop("rope_theta")
    if a:
        c.update(index_topk_freq=3, index_skip_topk_offset=2)         # full at 0, 1, 4
        full = [0, 1, 4]
    else:
        c.update(indexer_types=["full", "shared", "full", "full", "shared"])
        full = [0, 2, 3]
    T = deepseek_tensors(c)
    for l in full:
        indexer(T, f"model.layers.{l}.self_attn.indexer.", c)
    return c, T


def longcat_flash(v):
    a = v == "a"
    c = base("LongcatFlashForCausalLM", "longcat_flash", a, attention_bias=False, attention_method="MLA", expert_ffn_hidden_size=12,
             ffn_hidden_size=48, kv_lora_rank=12 if a else 14, max_position_embeddings=131072, mla_scale_kv_lora=True,
             mla_scale_q_lora=True, moe_topk=4 if a else 5, n_routed_experts=10 if a else 14, norm_topk_prob=False,
             num_attention_heads=4 if a else 3, num_layers=2, q_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=8 if a else 6,
             rope_theta=10000000.0 if a else 20000.0, routed_scaling_factor=6.0 if a else 4.0, router_bias=False, v_head_dim=10,
             zero_expert_num=6, zero_expert_type="identity")
    T, d, E = Tensors(), c["hidden_size"], c["n_routed_experts"]
    T.ends(c)
    for l in range(c["num_layers"]):
        p = f"model.layers.{l}."
        for i in range(2):
            T.norm(p + f"input_layernorm.{i}", d)
            T.mla(p + f"self_attn.{i}.", c)
            T.norm(p + f"post_attention_layernorm.{i}", d)
            T.glu(p + f"mlps.{i}.", c["ffn_hidden_size"], d)
        T.router(p + "mlp.router.classifier.weight", E + 6, d)
        T.add(p + "mlp.router.e_score_correction_bias", (E + 6,), "bias", 0.05)
        for e in range(E):
            T.glu(p + f"mlp.experts.{e}.", 12, d)
    T.norm("model.norm", d)
    decoys(T, d, "model.mtp.layers.0.eh_proj.weight", "model.mtp.norm.weight")
    return c, T


def qwen_gdn(v, new):
    """qwen3_next, or (new) the text part of qwen3_5_moe under its multimodal prefix."""
    a = v == "a"
    Hv = 4 if a else 6
    c = base("Qwen3NextForCausalLM", "qwen3_next", a, attention_bias=False, rms_norm_eps=1e-3 if a else 4e-3, decoder_sparse_step=1, full_attention_interval=4 if a else 3,
             head_dim=16, intermediate_size=48, linear_conv_kernel_dim=4, linear_key_head_dim=8 if a else 6, linear_num_key_heads=2,
             linear_num_value_heads=Hv, linear_value_head_dim=10 if a else 8, max_position_embeddings=262144, mlp_only_layers=[] if a else [1],
             moe_intermediate_size=10, norm_topk_prob=True, num_attention_heads=4, num_experts=12,
             num_experts_per_tok=3 if a else 4, num_hidden_layers=4, num_key_value_heads=2 if a else 1,
             partial_rotary_factor=0.25 if a else 0.5, rope_scaling=None, rope_theta=10000000 if a else 10000,
             router_aux_loss_coef=0.001, shared_expert_intermediate_size=14, output_router_logits=False)
    T, d, E, I = Tensors(), c["hidden_size"], c["num_experts"], 10
    H, Hk, Dh = 4, c["num_key_value_heads"], 16
    K, V = 2 * c["linear_key_head_dim"], Hv * c["linear_value_head_dim"]
    if new:
        for k in ("full_attention_interval", "mlp_only_layers", "decoder_sparse_step", "norm_topk_prob", "rope_theta", "rope_scaling",
                  "partial_rotary_factor", "intermediate_size"):
            c.pop(k)
        c.update(model_type="qwen3_5_moe_text", full_attention_interval=3 if a else 2, attn_output_gate=True, mamba_ssm_dtype="float32",
                 rope_parameters=dict(rope_type="default", rope_theta=10000000 if a else 10000, partial_rotary_factor=0.25 if a else 0.5,
                                      mrope_interleaved=True, mrope_section=[1, 1, 0] if a else [2, 1, 1]))
    every = c["full_attention_interval"]
    c["layer_types"] = ["linear_attention" if (l + 1) % every else "full_attention" for l in range(c["num_hidden_layers"])]
    T.ends(c)

    def zero_norm(name, n):
        T.add(name + ".weight", (n,), "bias", 0.3)
    for l in range(c["num_hidden_layers"]):
        p = f"model.layers.{l}."
        zero_norm(p + "input_layernorm", d)
        if c["layer_types"][l] == "full_attention":
            T.lin(p + "self_attn.q_proj", 2 * H * Dh, d, gain=1.5)
            T.lin(p + "self_attn.k_proj", Hk * Dh, d, gain=1.5)
            T.lin(p + "self_attn.v_proj", Hk * Dh, d, gain=1.5)
            T.lin(p + "self_attn.o_proj", d, H * Dh)
            zero_norm(p + "self_attn.q_norm", Dh)
            zero_norm(p + "self_attn.k_norm", Dh)
        else:
            q = p + "linear_attn."
            if new:
                T.lin(q + "in_proj_qkv", 2 * K + V, d)
                T.lin(q + "in_proj_z", V, d)
                T.lin(q + "in_proj_b", Hv, d)
                T.lin(q + "in_proj_a", Hv, d)
            else:
                T.lin(q + "in_proj_qkvz", 2 * K + 2 * V, d)
                T.lin(q + "in_proj_ba", 2 * Hv, d)
            T.add(q + "conv1d.weight", (2 * K + V, 1, 4), "lin", 0.6)
            T.add(q + "A_log", (Hv,), "bias", 0.7)
            T.add(q + "dt_bias", (Hv,), "bias", 0.7)
            T.norm(q + "norm", c["linear_value_head_dim"])
            T.lin(q + "out_proj", d, V)
        zero_norm(p + "post_attention_layernorm", d)
        if l in c.get("mlp_only_layers", []):
            T.glu(p + "mlp.", c["intermediate_size"], d)
            continue
        T.router(p + "mlp.gate.weight", E, d)
        if new and a:                                   # fused in the file; variant b one tensor per expert
            T.add(p + "mlp.experts.gate_up_proj", (E, 2 * I, d), "lin", 1.5 / math.sqrt(d))
            T.add(p + "mlp.experts.down_proj", (E, d, I), "lin", 1.5 / math.sqrt(I))
        else:
            for e in range(E):
                T.glu(p + f"mlp.experts.{e}.", I, d)
        T.glu(p + "mlp.shared_expert.", 14, d)
        T.lin(p + "mlp.shared_expert_gate", 1, d)
    zero_norm("model.norm", d)
    decoys(T, d, "mtp.fc.weight", "mtp.norm.weight")
    if new:
        T.t = {n.replace("model.", "model.language_model.", 1) if n.startswith("model.") else n: s for n, s in T.t.items()}
        decoys(T, d, "model.visual.patch_embed.proj.weight", "model.visual.merger.norm.weight")
        text = {k: x for k, x in c.items() if k != "architectures"}
        c = dict(architectures=["Qwen3_5MoeForConditionalGeneration"], model_type="qwen3_5_moe", text_config=text, torch_dtype="float32",
                 tie_word_embeddings=False, image_token_id=125, video_token_id=126, vision_start_token_id=123, vision_end_token_id=124,
                 vision_config=dict(model_type="qwen3_5_moe_vision", depth=1, hidden_size=16, num_heads=2, intermediate_size=24))
    return c, T


def kimi_linear(v):
    a = v == "a"
    L, h, D = 5, 3 if a else 2, 10 if a else 12
    full = [3, 5] if a else [2]
    c = base("KimiLinearForCausalLM", "kimi_linear", a, first_k_dense_replace=1, head_dim=12, intermediate_size=56, kv_lora_rank=12 if a else 16,
             linear_attn_config=dict(full_attn_layers=full, head_dim=D, kda_layers=[i for i in range(1, L + 1) if i not in full],
                                     num_heads=h, short_conv_kernel_size=4),
             mla_use_nope=True, model_max_length=1048576, pad_token_id=127, moe_intermediate_size=10, moe_layer_freq=1, moe_renormalize=True,
             moe_router_activation_func="sigmoid", num_attention_heads=4, num_expert_group=1 if a else 4, num_experts=10 if a else 12,
             num_experts_per_token=3, num_hidden_layers=L, num_key_value_heads=4, num_nextn_predict_layers=0,
             num_shared_experts=1, q_lora_rank=None, qk_nope_head_dim=8, qk_rope_head_dim=4 if a else 6, rope_scaling=None,
             rope_theta=10000.0, routed_scaling_factor=2.446, topk_group=1 if a else 2, use_grouped_topk=True, v_head_dim=10)
    T, d, E, I = Tensors(), c["hidden_size"], c["num_experts"], c["moe_intermediate_size"]
    T.ends(c)
    for l in range(L):
        p = f"model.layers.{l}."
        T.norm(p + "input_layernorm", d)
        q = p + "self_attn."
        if l + 1 in full:
            T.mla(q, c)
        else:
            for x in "qkv":
                T.lin(q + x + "_proj", h * D, d)
                T.add(q + x + "_conv1d.weight", (h * D, 1, 4), "lin", 0.6)
            T.add(q + "A_log", (1, 1, h, 1), "bias", 0.7)
            T.add(q + "dt_bias", (h * D,), "bias", 0.7)
            T.lin(q + "f_a_proj", D, d)
            T.lin(q + "f_b_proj", h * D, D)
            T.lin(q + "b_proj", h, d)
            T.lin(q + "g_a_proj", D, d)
            T.lin(q + "g_b_proj", h * D, D)
            T.norm(q + "o_norm", D)
            T.lin(q + "o_proj", d, h * D)
        T.norm(p + "post_attention_layernorm", d)
        if l < c["first_k_dense_replace"]:
            T.glu(p + "mlp.", c["intermediate_size"], d)
            continue
        q = p + "block_sparse_moe."
        T.router(q + "gate.weight", E, d)
        T.add(q + "gate.e_score_correction_bias", (E,), "ebias", 0.2)
        for e in range(E):
            T.glu(q + f"experts.{e}.", I, d, ("w1", "w3", "w2"))
        T.glu(q + "shared_experts.", I, d)
    T.norm("model.norm", d)
    return c, T


def afmoe(v):
    a = v == "a"
    L, every, dense, S = 4, 4 if a else 3, 1 if a else 2, 1 if a else 2
    c = base("AfmoeForCausalLM", "afmoe", a, global_attn_every_n_layers=every, head_dim=12 if a else 10, intermediate_size=56,
             layer_types=["sliding_attention" if (i + 1) % every else "full_attention" for i in range(L)],
             max_position_embeddings=131072, moe_intermediate_size=10, mup_enabled=True, n_group=1, num_attention_heads=4,
             num_dense_layers=dense, num_expert_groups=1, num_experts=12 if a else 20, num_experts_per_tok=3 if a else 4,
             num_hidden_layers=L, num_key_value_heads=2 if a else 1, num_limited_groups=1, num_shared_experts=S, rope_scaling=None,
             rope_theta=10000, route_norm=True, route_scale=2.826, score_func="sigmoid", sliding_window=6 if a else 8, topk_group=1)
    T, d, Dh, E, I = Tensors(), c["hidden_size"], c["head_dim"], c["num_experts"], 10
    T.ends(c)
    T.t["model.embed_tokens.weight"] = ((c["vocab_size"], d), "embed", 0.25)
    for l in range(L):
        p = f"model.layers.{l}."
        T.norm(p + "input_layernorm", d)
        T.gqa(p + "self_attn.", d, 4, c["num_key_value_heads"], Dh)
        T.lin(p + "self_attn.gate_proj", 4 * Dh, d)
        T.norm(p + "self_attn.q_norm", Dh)
        T.norm(p + "self_attn.k_norm", Dh)
        for n in ("post_attention_layernorm", "pre_mlp_layernorm", "post_mlp_layernorm"):
            T.norm(p + n, d)
        if l < dense:
            T.glu(p + "mlp.", c["intermediate_size"], d)
            continue
        T.router(p + "mlp.router.gate.weight", E, d)
        T.add(p + "mlp.expert_bias", (E,), "bias", 0.2)
        T.glu(p + "mlp.shared_experts.", S * I, d)
        for e in range(E):
            T.glu(p + f"mlp.experts.{e}.", I, d)
    T.norm("model.norm", d)
    return c, T


def lfm2_moe(v):
    a = v == "a"
    lt = ["conv", "conv", "full_attention", "conv", "full_attention"] if a else ["conv", "full_attention", "conv", "full_attention"]
    c = base("Lfm2MoeForCausalLM", "lfm2_moe", a, conv_L_cache=3 if a else 4, conv_bias=False, intermediate_size=48, layer_types=lt,
             max_position_embeddings=128000, moe_intermediate_size=12, norm_eps=1e-3 if a else 3e-4, norm_topk_prob=True,
             num_attention_heads=4, num_dense_layers=2 if a else 1, num_experts=10 if a else 14, num_experts_per_tok=2,
             num_hidden_layers=len(lt), num_key_value_heads=2 if a else 1, pad_token_id=0, rope_theta=1000000.0 if a else 20000.0,
             routed_scaling_factor=1.0 if a else 1.7, tie_embedding=True, use_expert_bias=True)
    c.pop("rms_norm_eps"), c.pop("tie_word_embeddings")
    T, d, E, Dh = Tensors(), c["hidden_size"], c["num_experts"], c["hidden_size"] // 4
    T.ends(dict(c, tie_word_embeddings=True))
    for l in range(len(lt)):
        p = f"model.layers.{l}."
        T.norm(p + "operator_norm", d)
        if lt[l] == "conv":
            T.lin(p + "conv.in_proj", 3 * d, d, gain=1.3)
            T.add(p + "conv.conv.weight", (d, 1, c["conv_L_cache"]), "lin", 0.6)
            T.lin(p + "conv.out_proj", d, d)
        else:
            q, k, D = p + "self_attn.", c["num_key_value_heads"], Dh
            for n, rows in (("q", 4 * D), ("k", k * D), ("v", k * D)):
                T.lin(q + n + "_proj", rows, d, gain=1.5)
            T.lin(q + "out_proj", d, 4 * D)
            T.norm(q + "q_layernorm", D)
            T.norm(q + "k_layernorm", D)
        T.norm(p + "ffn_norm", d)
        f = p + "feed_forward."
        if l < c["num_dense_layers"]:
            T.glu(f, c["intermediate_size"], d, ("w1", "w3", "w2"))
            continue
        T.router(f + "gate.weight", E, d, gain=9.0)      # with wide biases: chosen scores can be small, so that 1e-6 matters
        T.add(f + "expert_bias", (E,), "bias", 1.2)
        for e in range(E):
            T.glu(f + f"experts.{e}.", 12, d, ("w1", "w3", "w2"))
    T.norm("model.embedding_norm", d)
    return c, T


def deepseek_v4(v):
    a = v == "a"
    ratios = [0, 4, 8, 4, 8] if a else [6, 4, 6, 0]
    c = base("DeepseekV4ForCausalLM", "deepseek_v4", a, compress_ratios=ratios + [0], compress_rope_theta=160000,
             hc_eps=1e-2, hc_mult=4 if a else 3, hc_sinkhorn_iters=4 if a else 3, head_dim=16 if a else 20, index_head_dim=12 if a else 14,
             index_n_heads=8, index_topk=3 if a else 4, max_position_embeddings=1048576, moe_intermediate_size=12, n_routed_experts=10 if a else 14,
             n_shared_experts=1, norm_topk_prob=True, num_attention_heads=4 if a else 6, num_experts_per_tok=3 if a else 4,
             num_hash_layers=2 if a else 1, num_hidden_layers=len(ratios), num_key_value_heads=1, num_nextn_predict_layers=1, o_groups=2,
             o_lora_rank=6, q_lora_rank=12, qk_rope_head_dim=8 if a else 6, rope_theta=10000,
             rope_scaling=dict(beta_fast=32, beta_slow=1, factor=16 if a else 8, original_max_position_embeddings=65536, type="yarn"),
             routed_scaling_factor=1.5 if a else 2.5, scoring_func="sqrtsoftplus", sliding_window=6 if a else 5, swiglu_limit=1.0 if a else 0.6,
             topk_method="noaux_tc")
    c["hidden_size"] = 24 if a else 30
    T, d, n, H, Dh = Tensors(), c["hidden_size"], c["hc_mult"], c["num_attention_heads"], c["head_dim"]
    E, I, u = c["n_routed_experts"], c["moe_intermediate_size"], c["q_lora_rank"]
    T.add("embed.weight", (c["vocab_size"], d), "embed", 1.0)
    T.lin("head", c["vocab_size"], d, gain=2.0)
    T.norm("norm", d)

    def hyper(p, rows, scales):
        T.add(p + "_fn", (rows, n * d), "lin", 1.0 / math.sqrt(n * d))
        T.add(p + "_base", (rows,), "bias", 0.7)
        T.add(p + "_scale", (scales,), "norm", 0.3)
    hyper("hc_head", n, 1)
    for l, R in enumerate(ratios):
        p = f"layers.{l}."
        hyper(p + "hc_attn", (2 + n) * n, 3)
        hyper(p + "hc_ffn", (2 + n) * n, 3)
        T.norm(p + "attn_norm", d)
        T.norm(p + "ffn_norm", d)
        q = p + "attn."
        T.lin(q + "wq_a", u, d)
        T.norm(q + "q_norm", u)
        T.lin(q + "wq_b", H * Dh, u)
        T.lin(q + "wkv", Dh, d)
        T.norm(q + "kv_norm", Dh)
        T.add(q + "attn_sink", (H,), "bias", 1.0)
        T.lin(q + "wo_a", c["o_groups"] * c["o_lora_rank"], H // c["o_groups"] * Dh)
        T.lin(q + "wo_b", d, c["o_groups"] * c["o_lora_rank"])

        def compressor(q, wide, D):
            T.add(q + "ape", (R, wide * D), "bias", 0.7)
            T.lin(q + "wkv", wide * D, d)
            T.lin(q + "wgate", wide * D, d)
            T.norm(q + "norm", D)
        if R:
            compressor(q + "compressor.", 2 if R == 4 else 1, Dh)
        if R == 4:
            h, D = c["index_n_heads"], c["index_head_dim"]
            T.lin(q + "indexer.wq_b", h * D, u)
            T.lin(q + "indexer.weights_proj", h, d)
            compressor(q + "indexer.compressor.", 2, D)
        f = p + "ffn."
        T.router(f + "gate.weight", E, d)
        if l < c["num_hash_layers"]:
            T.add(f + "gate.tid2eid", (c["vocab_size"], c["num_experts_per_tok"]), "table")
        else:
            T.add(f + "gate.bias", (E,), "bias", 0.3)
        for e in range(E):
            T.glu(f + f"experts.{e}.", I, d, ("w1", "w3", "w2"))
        T.glu(f + "shared_experts.", I, d, ("w1", "w3", "w2"))
    decoys(T, d, "mtp.0.e_proj.weight", "mtp.0.norm.weight")
    return c, T


MODELS = {
    "glm4_moe_lite": glm4_moe_lite,
    "minimax_m2": minimax_m2,
    "hunyuan_v1_moe": hunyuan_v1_moe,
    "exaone_moe": exaone_moe,
    "deepseek_v32": deepseek_v32,
    "glm_moe_dsa": glm_moe_dsa,
    "kimi_k25": kimi_k25,
    "longcat_flash": longcat_flash,
    "qwen3_next": lambda v: qwen_gdn(v, False),
    "qwen3_5_moe": lambda v: qwen_gdn(v, True),
    "kimi_linear": kimi_linear,
    "afmoe": afmoe,
    "lfm2_moe": lfm2_moe,
    "deepseek_v4": deepseek_v4,
}


def write_checkpoint(path, config, T, seed, model, v):
    import torch
    from safetensors.torch import save_file
    out = draw(seed, model, T)
    for name, (shape, kind, _) in T.t.items():
        if kind == "table":                             # K different experts for every token id
            g, E = nprng(seed, model, name), config["n_routed_experts"]
            t = torch.from_numpy(np.stack([g.permutation(E)[:shape[1]] for _ in range(shape[0])]))
            out[name] = t.to(torch.int64 if v == "a" else torch.int32)
    os.makedirs(path, exist_ok=True)
    save_file(out, os.path.join(path, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump(config, f, indent=2)
        f.write("\n")


# =====================================================================================================
# 2. Ref26: a forward pass written from the formulas; reads what is on disk
# =====================================================================================================
def route26(policy, logits, k, bias=None, scale=1.0, ids=None, **kw):
    """make.route plus: sqrtsoftplus (V4, with ids given: hash layers), softmax_bias (LongCat), sigmoid_1e6 (LFM2)."""
    if policy not in ("sqrtsoftplus", "softmax_bias", "sigmoid_1e6"):
        return route(policy=policy, logits=logits, k=k, bias=bias, scale=scale, **kw)
    x = np.asarray(logits, np.float64)
    s = {"sqrtsoftplus": lambda: np.sqrt(np.logaddexp(0, x)), "softmax_bias": lambda: np_softmax(x), "sigmoid_1e6": lambda: np_sigmoid(x)}[policy]()
    sel = s + (0 if bias is None else np.asarray(bias, np.float64))
    margin = gap(sel, k) if ids is None else np.full(len(x), np.inf)
    ids = top_lowest(sel, k) if ids is None else np.asarray(ids)
    w = np.take_along_axis(s, ids, 1)
    if policy == "sqrtsoftplus":
        w = w / (w.sum(1, keepdims=True) + 1e-20)
    if policy == "sigmoid_1e6" and kw.get("norm"):
        w = w / (w.sum(1, keepdims=True) + 1e-6)
    return dict(ids=ids, weights=w * scale, scores=s, sel=sel, margin=margin)


class Ref26(Ref):
    """The families of families-2026.md.

    bug: name of one deliberate mistake (MISTAKES), for measuring what a test on these files would notice."""

    def __init__(self, path, bug=""):
        c = json.load(open(os.path.join(path, "config.json")))
        raw = read_tensors(path)
        if "text_config" in c:
            c = c["text_config"]
            raw = {n.replace("model.language_model.", "model.").removeprefix("language_model."): x for n, x in raw.items()}
        self.w = {n: x if "tid2eid" in n else x.float() for n, x in raw.items()}
        self.type, self.bug, self.rec, self.index = c["model_type"], bug, {}, {}
        if "rope_parameters" in c:
            r = c["rope_parameters"]
            c.update(rope_theta=r["rope_theta"], partial_rotary_factor=r.get("partial_rotary_factor", 1.0),
                     rope_scaling=None if r["rope_type"] == "default" else r)
        if self.type == "kimi_linear":
            c.update(n_group=c["num_expert_group"], num_experts_per_tok=c["num_experts_per_token"], norm_topk_prob=c["moe_renormalize"])
        if self.type == "longcat_flash":
            c.update(num_hidden_layers=c["num_layers"], num_key_value_heads=c["num_attention_heads"], num_experts_per_tok=c["moe_topk"])
        if self.type == "lfm2_moe":
            c.update(rms_norm_eps=c["norm_eps"])
        if self.type == "hunyuan_v1_moe":
            D = c["head_dim"]
            if bug != "theta not stretched":
                c["rope_theta"] *= c["rope_scaling"]["alpha"] ** (D / (D - 2))
            c.update(rope_scaling=None, num_experts_per_tok=c["moe_topk"][0])
        if self.type == "deepseek_v4":
            self.w = {("model." + n if n[:5] in ("layer", "norm.") else n.replace("embed.", "model.embed_tokens.").replace("head.weight", "lm_head.weight")): x
                      for n, x in self.w.items()}
        self.c = c
        self.H, self.Hk = c["num_attention_heads"], c["num_key_value_heads"]
        self.Dh = c.get("head_dim") or c["hidden_size"] // self.H
        if self.type == "lfm2_moe":
            self.Dh = c["hidden_size"] // self.H

    def is_bug(self, *names):
        return self.bug in names

    def norm(self, x, name, eps=None):
        import torch
        eps = eps or self.c["rms_norm_eps"]
        w = self.w[name + ".weight"]
        if self.type in ("qwen3_next", "qwen3_5_moe_text") and not name.endswith("linear_attn.norm"):
            w = w if self.is_bug("plain norms") else 1 + w
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * w

    @staticmethod
    def silu(x):
        return x / (1 + (-x).exp())

    def sdp(self, q, k, v, scale, ok, sinks=None):
        """q [b, H, n, D], k, v [b, Hk, m, .], ok [n, m] or [b, n, m]: visible -> [b, n, H, Dv]."""
        import torch
        g = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(g, 1), v.repeat_interleave(g, 1)
        ok = ok if ok.dim() == 2 else ok[:, None]
        s = (q @ k.transpose(-1, -2) * scale).masked_fill(~ok, -math.inf)
        if sinks is not None:
            s = torch.cat([s, sinks[None, :, None, None].expand(*s.shape[:3], 1)], -1)
        p = torch.softmax(s, -1)[..., :k.shape[2]]
        return (p @ v).transpose(1, 2)

    def visible(self, n, window=None):
        import torch
        i, j = torch.arange(n)[:, None], torch.arange(n)[None]
        return (j <= i) & (j > i - window) if window else j <= i

    # ---- grouped-query attention with its variations
    def gqa(self, l, x):
        import torch
        c, t, n = self.c, self.type, x.shape[1]
        p = f"model.layers.{l}.self_attn."
        q, k, v = (self.lin(x, p + m + "_proj") for m in "qkv")
        gate = None
        if t in ("qwen3_next", "qwen3_5_moe_text"):
            if self.is_bug("gate rows after all query rows"):
                q, gate = q.chunk(2, -1)
            else:
                q = q.view(*x.shape[:2], self.H, 2 * self.Dh)
                q, gate = (y.reshape(*x.shape[:2], -1) for y in q.split(self.Dh, -1))
        if t == "afmoe":
            gate = self.lin(x, p + "gate_proj")
        if t == "minimax_m2":
            if self.is_bug("q/k norm per head"):
                def per_head(y, name):
                    h = y.view(*y.shape[:2], -1, self.Dh)
                    return (h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + c["rms_norm_eps"])).flatten(-2) * self.w[name + ".weight"]
                q, k = per_head(q, p + "q_norm"), per_head(k, p + "k_norm")
            else:
                q, k = self.norm(q, p + "q_norm"), self.norm(k, p + "k_norm")
        q, k, v = self.heads(q, self.H), self.heads(k, self.Hk), self.heads(v, self.Hk)
        names = {"hunyuan_v1_moe": ("query_layernorm", "key_layernorm"), "lfm2_moe": ("q_layernorm", "k_layernorm"), "minimax_m2": None}.get(t, ("q_norm", "k_norm"))
        window = roped = True
        if t in ("exaone_moe", "afmoe"):
            window = roped = c["layer_types"][l] == "sliding_attention"
            roped = roped or self.is_bug("rope on full layers")
        D = c["rotary_dim"] if t == "minimax_m2" else int(self.Dh * c.get("partial_rotary_factor", 1))
        if self.is_bug("rope on all dims"):
            D = self.Dh
        late = (t == "hunyuan_v1_moe") != self.is_bug("q/k norm on the other side of rope")
        if names and not late and not self.is_bug("no q/k norm"):
            q, k = self.norm(q, p + names[0]), self.norm(k, p + names[1])
        if roped:
            cs = self.rope_angles(D, n)
            q, k = (self.rotate(y, cs, self.is_bug("interleaved rope")) for y in (q, k))
        if names and late:
            q, k = self.norm(q, p + names[0]), self.norm(k, p + names[1])
        w = c.get("sliding_window") if t in ("exaone_moe", "afmoe") and window and not self.is_bug("no window") else None
        o = self.sdp(q, k, v, self.Dh ** -0.5, self.visible(n, w + 1 if w and self.is_bug("window one wider") else w)).flatten(-2)
        if gate is not None and not self.is_bug("no output gate"):
            o = o * (self.silu(gate) if self.is_bug("silu output gate") else torch.sigmoid(gate))
        return self.lin(o, p + ("out_proj" if t == "lfm2_moe" else "o_proj"))

    # ---- MLA with its variations: indexer, LongCat factors, no rope
    def mla26(self, p, x, l):
        import torch
        c, t, H = self.c, self.type, self.H
        n, r, z = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["kv_lora_rank"]
        u, T = x, x.shape[1]
        eps = c["rms_norm_eps"] if self.is_bug("rms_norm_eps inside MLA") else 1e-6
        if c["q_lora_rank"]:
            raw = self.lin(x, p + "q_a_proj")
            u = self.norm(raw, p + "q_a_layernorm", eps)
        q = self.heads(self.lin(u, p + ("q_b_proj" if c["q_lora_rank"] else "q_proj")), H)
        a = self.lin(x, p + "kv_a_proj_with_mqa")
        lat, kpe = self.norm(a[..., :z], p + "kv_a_layernorm", eps), a[:, None, :, z:]
        if t == "longcat_flash" and not self.is_bug("no MLA factors"):
            q, lat = q * (c["hidden_size"] / c["q_lora_rank"]) ** 0.5, lat * (c["hidden_size"] / z) ** 0.5
            if self.is_bug("factor on k_pe too"):
                kpe = kpe * (c["hidden_size"] / z) ** 0.5
        qpe = q[..., n:]
        if t != "kimi_linear" or self.is_bug("rope in MLA"):
            cs = self.rope_angles(r, T)
            qpe, kpe = (self.rotate(y, cs, not self.is_bug("half-split rope")) for y in (qpe, kpe))
        kv = self.heads(self.lin(lat, p + "kv_b_proj"), H)
        k = torch.cat([kv[..., :n], kpe.expand(-1, H, -1, -1)], -1)
        scale, s = (n + r) ** -0.5, c.get("rope_scaling")
        if s and s["type"] == "yarn" and s["mscale_all_dim"]:
            scale *= self.yarn_g(s["mscale_all_dim"]) ** 2
        ok = self.visible(T)
        if t in ("deepseek_v32", "glm_moe_dsa") and not self.is_bug("dense attention"):
            if self.index_full(l):
                self.chosen = self.select(p + "indexer.", l, x, raw if self.is_bug("query from the latent before its norm") else u, cs, ok)
            elif self.is_bug("shared layers dense"):
                self.chosen = None
            ok = ok if self.chosen is None else self.chosen
        return self.lin(self.sdp(torch.cat([q[..., :n], qpe], -1), k, kv[..., n:], scale, ok).flatten(-2), p + "o_proj")

    def index_full(self, l):
        c = self.c
        if c.get("indexer_types"):
            return c["indexer_types"][l] == "full"
        return max(l - c.get("index_skip_topk_offset", 2) + 1, 0) % c.get("index_topk_freq", 1) == 0

    def select(self, p, l, x, u, cs, ok):
        """Lightning indexer -> [b, n, n] bool; records scores, margin and the set."""
        import torch
        c, b, T = self.c, x.shape[0], x.shape[1]
        h, D = c["index_n_heads"], c["index_head_dim"]
        q = self.heads(self.lin(u, p + "wq_b"), h)
        k = x @ self.w[p + "wk.weight"].T
        if not self.is_bug("k_norm without mean"):
            k = k - k.mean(-1, keepdim=True)
        k = k * torch.rsqrt(k.pow(2).mean(-1, keepdim=True) + 1e-6) * self.w[p + "k_norm.weight"]
        if not self.is_bug("k_norm without bias"):
            k = k + self.w[p + "k_norm.bias"]
        inter = (self.type == "glm_moe_dsa") != self.is_bug("the other rope layout in the indexer")
        k = k[:, None]
        if self.is_bug("indexer ropes the last dims"):
            q, k = q.flip(-1), k.flip(-1)
        if not self.is_bug("no rope in the indexer"):
            q, k = self.rotate(q, cs, inter), self.rotate(k, cs, inter)
        g = self.lin(x, p + "weights_proj").transpose(1, 2) * h ** -0.5
        s = q @ k.transpose(-1, -2) * D ** -0.5
        s = s if self.is_bug("no relu") else s.clamp(min=0)
        s = (s * g[..., None]).sum(1)
        return self.keep(l, s, ok.expand(b, T, T), c["index_topk"])

    def keep(self, l, s, ok, K):
        import torch
        masked = s.masked_fill(~ok, -math.inf)
        K = min(K + self.is_bug("one more kept"), s.shape[-1])
        ids = torch.from_numpy(top_lowest(masked.numpy(), K).copy())
        sel = torch.zeros_like(ok).scatter(-1, ids, True) & ok
        with np.errstate(invalid="ignore"):
            m = np.nan_to_num(gap(masked.numpy(), K), nan=np.inf, posinf=np.inf)
        self.index[l] = dict(scores=s.masked_fill(~ok, 0), mask=sel, margin=torch.from_numpy(m.astype(np.float32)))
        return sel

    # ---- recurrent mixers
    def conv(self, x, w, act=True):
        """Causal depthwise convolution; x [b, n, C], w [C, 1, k]."""
        import torch
        k = w.shape[-1]
        if self.is_bug("taps reversed"):
            w = w.flip(-1)
        y = torch.cat([x.new_zeros(x.shape[0], k - 1, x.shape[2]), x], 1)
        y = sum(y[:, j:j + x.shape[1]] * w[:, 0, j] for j in range(k))
        return self.silu(y) if act else y

    def delta(self, q, k, v, g, beta):
        """Gated delta rule; q, k [b, n, h, dk], v [b, n, h, dv], g [b, n, h] or [b, n, h, dk], beta [b, n, h]."""
        import torch
        if not self.is_bug("q, k not normalised"):
            q, k = (y / torch.sqrt(y.pow(2).sum(-1, keepdim=True) + 1e-6) for y in (q, k))
        q = q * q.shape[-1] ** -0.5
        if g.dim() == 3:
            g = g[..., None]
        elif self.is_bug("one decay per head"):
            g = g.mean(-1, keepdim=True)
        S, out = q.new_zeros(q.shape[0], *q.shape[2:], v.shape[-1]), []
        for t in range(q.shape[1]):
            a, K, old = g[:, t].exp()[..., None], k[:, t, :, :, None], S
            e = v[:, t] - ((S if self.is_bug("error before decay") else a * S) * K).sum(-2)
            S = a * S + K * (beta[:, t, :, None] * e)[..., None, :]
            out.append((q[:, t, :, :, None] * (old if self.is_bug("old state read") else S)).sum(-2))
        return torch.stack(out, 1)

    def qwen_delta(self, l, x):
        import torch
        c, w, p = self.c, self.w, f"model.layers.{l}.linear_attn."
        hk, hv, dk, dv = (c["linear_" + n] for n in ("num_key_heads", "num_value_heads", "key_head_dim", "value_head_dim"))
        sh, m = x.shape[:2], hv // hk
        if p + "in_proj_qkvz.weight" in w:
            y = self.lin(x, p + "in_proj_qkvz")
            ba = self.lin(x, p + "in_proj_ba")
            if self.is_bug("qkvz not grouped by key head"):
                mix, z = y.split([2 * hk * dk + hv * dv, hv * dv], -1)
                b, a = ba.chunk(2, -1)
            else:
                q, k, v, z = y.view(*sh, hk, -1).split([dk, dk, m * dv, m * dv], -1)
                mix = torch.cat([i.flatten(-2) for i in (q, k, v)], -1)
                b, a = (i.flatten(-2) for i in ba.view(*sh, hk, -1).split(m, -1))
        else:
            mix, z, b, a = (self.lin(x, p + "in_proj_" + n) for n in ("qkv", "z", "b", "a"))
        q, k, v = self.conv(mix, w[p + "conv1d.weight"]).split([hk * dk, hk * dk, hv * dv], -1)
        q, k = (i.view(*sh, hk, dk) for i in (q, k))
        q, k = (i.repeat(1, 1, m, 1) if self.is_bug("key heads tiled") else i.repeat_interleave(m, 2) for i in (q, k))
        g = -w[p + "A_log"].exp() * torch.logaddexp(a + (0 if self.is_bug("no dt_bias") else w[p + "dt_bias"]), torch.zeros(()))
        o = self.delta(q, k, v.reshape(*sh, hv, dv), g, torch.sigmoid(b))
        z = z.reshape(*sh, hv, dv)
        o = self.norm(o, p + "norm", 1e-6 if self.is_bug("eps 1e-6 in the gated norm") else None)
        o = o * (torch.sigmoid(z) if self.is_bug("sigmoid z") else self.silu(z))
        return self.lin(o.flatten(-2), p + "out_proj")

    def kda(self, l, x):
        import torch
        c, w, p = self.c["linear_attn_config"], self.w, f"model.layers.{l}.self_attn."
        sh = (*x.shape[:2], c["num_heads"], c["head_dim"])
        q, k, v = (self.conv(self.lin(x, p + i + "_proj"), w[p + i + "_conv1d.weight"]).view(sh) for i in "qkv")
        g = (self.lin(self.lin(x, p + "f_a_proj"), p + "f_b_proj") + w[p + "dt_bias"]).view(sh)
        g = -w[p + "A_log"].view(-1, 1).exp() * torch.logaddexp(g, torch.zeros(()))
        o = self.norm(self.delta(q, k, v, g, torch.sigmoid(self.lin(x, p + "b_proj"))), p + "o_norm")
        z = self.lin(self.lin(x, p + "g_a_proj"), p + "g_b_proj").view(sh)
        return self.lin((o * (self.silu(z) if self.is_bug("silu output gate") else torch.sigmoid(z))).flatten(-2), p + "o_proj")

    def short_conv(self, l, x):
        p = f"model.layers.{l}.conv."
        B, C, v = self.lin(x, p + "in_proj").chunk(3, -1)
        if self.is_bug("B and C exchanged"):
            B, C = C, B
        return self.lin(C * self.conv(B * v, self.w[p + "conv.weight"], self.is_bug("silu after the convolution")), p + "out_proj")

    # ---- experts
    def policy(self):
        c, t = self.c, self.type
        K = c["num_experts_per_tok"]
        if t == "deepseek_v4":
            return dict(policy="sqrtsoftplus", k=K, scale=c["routed_scaling_factor"])
        if t == "longcat_flash":
            return dict(policy="softmax_bias", k=K, scale=c["routed_scaling_factor"])
        if t == "lfm2_moe":
            return dict(policy="sigmoid_1e6", k=K, norm=c["norm_topk_prob"], scale=c["routed_scaling_factor"])
        if t in ("hunyuan_v1_moe", "qwen3_next", "qwen3_5_moe_text"):
            return dict(policy="softmax", k=K, norm=c.get("norm_topk_prob", True))
        if t == "minimax_m2":
            return dict(policy="noaux_tc", k=K, norm=True)
        if t == "afmoe":
            return dict(policy="noaux_tc", k=K, norm=True, scale=c["route_scale"])
        return dict(policy="noaux_tc", k=K, norm=c["norm_topk_prob"], scale=c["routed_scaling_factor"], groups=c["n_group"],
                    top_groups=c["topk_group"], group_score="top2")

    def router_names(self, l):
        """Names of gate and selection bias (None: absent) of layer l; (None, None) if it is dense."""
        for q in ("mlp.", "block_sparse_moe.", "feed_forward.", "ffn."):
            p = f"model.layers.{l}.{q}"
            for g in ("gate", "gate.wg", "router.gate", "router.classifier"):
                if p + g + ".weight" in self.w:
                    b = [p + n for n in ("gate.e_score_correction_bias", "e_score_correction_bias", "router.e_score_correction_bias",
                                         "expert_bias", "gate.bias") if p + n in self.w]
                    return p, p + g, b[0] if b else None
        return None, None, None

    def expert(self, h, p):
        if p + "w1.weight" in self.w:
            names = ("w1", "w3", "w2")
        elif p + "gate_proj.weight" in self.w:
            names = ("gate_proj", "up_proj", "down_proj")
        else:                                           # fused
            p, e = p[:-1].rsplit(".", 1)
            g, u = (h @ self.w[p + ".gate_up_proj"][int(e)].T).chunk(2, -1)
            return self.silu(g) * u @ self.w[p + ".down_proj"][int(e)].T
        g, u = (h @ self.w[p + n + ".weight"].T for n in names[:2])
        lim = self.c.get("swiglu_limit")
        if lim and not (self.is_bug("shared expert unclamped") and "shared" in p):
            u = u.clamp(-lim, lim)
            g = self.silu(g).clamp(max=lim) if self.is_bug("clamp after silu") else self.silu(g.clamp(max=lim, min=-lim if self.is_bug("gate clamped below") else None))
        else:
            g = self.silu(g)
        return (g * u) @ self.w[p + names[2] + ".weight"].T

    def ffn(self, l, x, ids=None, skip=None):
        import torch
        p, gate, bias = self.router_names(l)
        if gate is None:
            p = f"model.layers.{l}." + ("feed_forward." if self.type == "lfm2_moe" else "mlp.")
            return self.expert(x, p)
        shape, x = x.shape, x.reshape(-1, x.shape[-1])
        logits = x @ self.w[gate + ".weight"].T
        b = None if bias is None or self.is_bug("bias left out") else self.w[bias].flatten().numpy()
        kw = self.policy()
        if self.is_bug("not normalised"):
            kw.update(norm=False)
        if self.is_bug("no scaling factor"):
            kw.update(scale=1.0)
        if p + "gate.tid2eid" in self.w and not self.is_bug("hash layers route by score"):
            kw.update(ids=self.w[p + "gate.tid2eid"][ids.reshape(-1)].long().numpy())
        r = route26(logits=logits.numpy(), bias=b, **kw)
        w = r["weights"]
        if self.is_bug("bias in the weight") and b is not None:
            w = np.take_along_axis(r["sel"], r["ids"], 1)
            w = w / w.sum(1, keepdims=True) * kw.get("scale", 1) if kw["policy"] != "softmax_bias" else w * kw["scale"]
        if self.is_bug("normalised weights"):
            w = w / w.sum(1, keepdims=True) * kw["scale"]
        if self.is_bug("1e-20 in place of 1e-6"):
            w = np.take_along_axis(r["scores"], r["ids"], 1)
            w = w / w.sum(1, keepdims=True) * kw["scale"]
        if self.is_bug("uniform weights in hash layers") and "ids" in kw:
            w = np.full_like(w, kw["scale"] / kw["k"])
        self.rec[l] = dict(r, logits=logits)
        wt, y = torch.tensor(w, dtype=torch.float32), torch.zeros_like(x)
        E = self.c["n_routed_experts"] if self.type == "longcat_flash" else logits.shape[1]
        for e in range(logits.shape[1]):
            tok, slot = np.nonzero(r["ids"] == e)
            if len(tok) == 0:
                continue
            if e >= E:                                  # zero-computation experts
                if not self.is_bug("identity experts give zero"):
                    h = x if skip is None or not self.is_bug("identity of the un-normed state") else skip.reshape(-1, x.shape[-1])
                    y[tok] += wt[tok, slot][:, None] * h[tok]
                continue
            y[tok] += wt[tok, slot][:, None] * self.expert(x[tok], p + f"experts.{e}.")
        for s in ("shared_experts.", "shared_expert.", "shared_mlp."):
            if p + s + "gate_proj.weight" in self.w or p + s + "w1.weight" in self.w:
                z = self.expert(x, p + s)
                if p + "shared_expert_gate.weight" in self.w and not self.is_bug("shared expert ungated"):
                    z = z * torch.sigmoid(self.lin(x, p + "shared_expert_gate"))
                y = y + z
        return y.view(shape)

    # ---- layers
    def mixer(self, l, x):
        c, t, p = self.c, self.type, f"model.layers.{l}.self_attn."
        if t == "lfm2_moe" and c["layer_types"][l] == "conv":
            return self.short_conv(l, x)
        if t in ("qwen3_next", "qwen3_5_moe_text") and c["layer_types"][l] == "linear_attention":
            return self.qwen_delta(l, x)
        if t == "kimi_linear" and l + 1 in c["linear_attn_config"]["kda_layers"]:
            return self.kda(l, x)
        return self.mla26(p, x, l) if "kv_lora_rank" in c else self.gqa(l, x)

    def block(self, l, x):
        p = f"model.layers.{l}."
        if self.type == "longcat_flash":
            def sub(i, y):
                y = y + self.mla26(p + f"self_attn.{i}.", self.norm(y, p + f"input_layernorm.{i}"), l)
                return y, self.norm(y, p + f"post_attention_layernorm.{i}")
            x, m = sub(0, x)
            moe = self.ffn(l, m, skip=x)
            x = x + self.expert(m, p + "mlps.0.") + (moe if self.is_bug("MoE joins after the first half") else 0)
            x, m = sub(1, x)
            return x + self.expert(m, p + "mlps.1.") + (0 if self.is_bug("MoE joins after the first half") else moe)
        if self.type == "afmoe":
            x = x + self.norm(self.mixer(l, self.norm(x, p + "input_layernorm")), p + "post_attention_layernorm")
            y = self.ffn(l, self.norm(x, p + "pre_mlp_layernorm"))
            return x + (y if self.is_bug("no norm after the FFN") else self.norm(y, p + "post_mlp_layernorm"))
        n1, n2 = ("operator_norm", "ffn_norm") if self.type == "lfm2_moe" else ("input_layernorm", "post_attention_layernorm")
        x = x + self.mixer(l, self.norm(x, p + n1))
        return x + self.ffn(l, self.norm(x, p + n2))

    def forward(self, ids):
        c, w = self.c, self.w
        self.rec, self.index, self.chosen = {}, {}, None
        if self.type == "deepseek_v4":
            return self.v4_forward(ids)
        x = w["model.embed_tokens.weight"][ids]
        if c.get("mup_enabled") and not self.is_bug("embedding not scaled"):
            x = x * c["hidden_size"] ** 0.5
        hidden = [x]
        for l in range(c["num_hidden_layers"]):
            x = self.block(l, x)
            hidden.append(x)
        f = self.norm(x, "model.embedding_norm" if self.type == "lfm2_moe" else "model.norm")
        return dict(logits=self.lin(f, "lm_head") if "lm_head.weight" in w else f @ w["model.embed_tokens.weight"].T, hidden=hidden, final=f)

    # ---- DeepSeek V4
    def v4_rope(self, x, pos, R, sign=1):
        """Rotate the last r dims of x [..., n, D] at positions pos [n], interleaved, angles of a layer of ratio R."""
        import torch
        c, r = self.c, self.c["qk_rope_head_dim"]
        theta = float(c["compress_rope_theta"] if R or self.is_bug("one theta for all layers") else c["rope_theta"])
        inv, f = np.array([theta ** (-2 * i / r) for i in range(r // 2)]), 1.0
        if R or self.is_bug("yarn on window layers"):
            s = c["rope_scaling"]
            o = s["original_max_position_embeddings"]
            lo, hi = (r * math.log(o / (2 * math.pi * b)) / (2 * math.log(theta)) for b in (s["beta_fast"], s["beta_slow"]))
            lo, hi = max(math.floor(lo), 0), min(math.ceil(hi), r - 1)
            ramp = np.clip((np.arange(r // 2) - lo) / (hi - lo + 0.001 * (lo == hi)), 0, 1)
            inv = inv * (1 - ramp) + inv / s["factor"] * ramp
            f = 0.1 * math.log(s["factor"]) + 1 if self.is_bug("yarn factor on cos and sin") else 1.0
        ang = pos.float()[:, None] * torch.tensor(inv, dtype=torch.float32)
        cos, sin = ang.cos() * f, ang.sin() * f * sign
        if self.is_bug("rope on the first dims"):
            return self.rotate(x, (cos, sin), True)
        if self.is_bug("half-split rope"):
            return torch.cat([x[..., :-r], self.rotate(x[..., -r:], (cos, sin), False)], -1)
        return torch.cat([x[..., :-r], self.rotate(x[..., -r:], (cos, sin), True)], -1)

    def v4_mix(self, X, p):
        """Hyper-connection maps of one sub-layer: pre [.., n], post [.., n], C [.., n, n]."""
        import torch
        c, n, e = self.c, self.c["hc_mult"], self.c["hc_eps"]
        f = X.flatten(-2)
        f = f * torch.rsqrt(f.pow(2).mean(-1, keepdim=True) + c["rms_norm_eps"])
        m, b, s = f @ self.w[p + "_fn"].T, self.w[p + "_base"], self.w[p + "_scale"]
        pre = torch.sigmoid(m[..., :n] * s[0] + b[:n]) + e
        if m.shape[-1] == n:
            return pre
        post = 2 * torch.sigmoid(m[..., n:2 * n] * s[1] + b[n:2 * n])
        if self.is_bug("eps in post"):
            post = post + e
        C = torch.softmax((m[..., 2 * n:] * s[2] + b[2 * n:]).unflatten(-1, (n, n)), -1) + e
        C = C / (C.sum(-2, keepdim=True) + e)
        for _ in range(c["hc_sinkhorn_iters"] - (0 if self.is_bug("one iteration more") else 1)):
            C = C / (C.sum(-1, keepdim=True) + e)
            C = C / (C.sum(-2, keepdim=True) + e)
        return pre, post, C.transpose(-1, -2) if self.is_bug("C not transposed") else C

    def v4_compress(self, x, p, R, D):
        import torch
        a, z, B = self.lin(x, p + "wkv"), self.lin(x, p + "wgate"), self.w[p + "ape"]
        out, sparse = [], R == 4
        for w in range(x.shape[1] // R):
            cur, old = slice(w * R, w * R + R), slice(w * R - R, w * R)
            if sparse:
                A, S = (slice(0, D), slice(D, 2 * D))[::-1 if self.is_bug("series A and B exchanged") else 1]
                v, g = [a[:, cur, S]], [z[:, cur, S] + B[:, S]]
                if w and not self.is_bug("no overlap"):
                    v, g = [a[:, old, A]] + v, [z[:, old, A] + B[:, A]] + g
                v, g = torch.cat(v, 1), torch.cat(g, 1)
            else:
                v, g = a[:, cur], z[:, cur] + B
            out.append((v * torch.softmax(g, 1)).sum(1))
        y = self.norm(torch.stack(out, 1), p + "norm")
        pos = torch.arange(len(out)) * R + (R - 1 if self.is_bug("entries at the window's last position") else 0)
        return self.v4_rope(y, pos, R)

    def v4_attention(self, l, x):
        import torch
        c, H, Dh = self.c, self.H, self.Dh
        p, R, (b, T, _) = f"model.layers.{l}.attn.", c["compress_ratios"][l], x.shape
        pos = torch.arange(T)
        u = self.norm(self.lin(x, p + "wq_a"), p + "q_norm")
        q = self.heads(self.lin(u, p + "wq_b"), H)
        if not self.is_bug("q heads not normalised"):
            q = q * torch.rsqrt(q.pow(2).mean(-1, keepdim=True) + c["rms_norm_eps"])
        q = self.v4_rope(q, pos, R)
        keys = self.v4_rope(self.norm(self.lin(x, p + "wkv"), p + "kv_norm"), pos, R)
        ok = self.visible(T, c["sliding_window"]).expand(b, T, T)
        if R and not self.is_bug("window only"):
            comp = self.v4_compress(x, p + "compressor.", R, Dh)
            W = comp.shape[1]
            see = (torch.arange(W)[None] < ((pos + (R if self.is_bug("open window visible") else 1)) // R)[:, None]).expand(b, T, W)
            if R == 4 and not self.is_bug("no indexer"):
                h, D, i = c["index_n_heads"], c["index_head_dim"], p + "indexer."
                ck = self.v4_compress(x, i + "compressor.", R, D)
                iq = self.v4_rope(self.heads(self.lin(u, i + "wq_b"), h), pos, R)
                g = self.lin(x, i + "weights_proj").transpose(1, 2) * h ** -0.5
                s = iq @ ck[:, None].transpose(-1, -2) * D ** -0.5
                see = self.keep(l, ((s if self.is_bug("no relu") else s.clamp(min=0)) * g[..., None]).sum(1), see, c["index_topk"])
            keys, ok = torch.cat([keys, comp], 1), torch.cat([ok, see], 2)
        sinks = None if self.is_bug("no sinks") else self.w[p + "attn_sink"]
        o = self.sdp(q, keys[:, None], keys[:, None], Dh ** -0.5, ok, sinks).transpose(1, 2)
        if not self.is_bug("context not rotated back"):
            o = self.v4_rope(o, pos, R, -1)
        o = o.transpose(1, 2).reshape(b, T, c["o_groups"], -1)
        A = self.w[p + "wo_a.weight"].unflatten(0, (c["o_groups"], -1))
        return self.lin(torch.einsum("btgd,grd->btgr", o, A).flatten(-2), p + "wo_b")

    def v4_forward(self, ids):
        c = self.c
        X = self.w["model.embed_tokens.weight"][ids][:, :, None].repeat(1, 1, c["hc_mult"], 1)
        hidden = [X]
        for l in range(c["num_hidden_layers"]):
            p = f"model.layers.{l}."
            for name, fn in (("attn", lambda y: self.v4_attention(l, y)), ("ffn", lambda y: self.ffn(l, y, ids))):
                pre, post, C = self.v4_mix(X, p + "hc_" + name)
                y = fn(self.norm((pre[..., None] * X).sum(-2), p + name + "_norm"))
                X = post[..., None] * y[:, :, None] + C.transpose(-1, -2) @ X
            hidden.append(X)
        f = self.norm((self.v4_mix(X, "hc_head")[..., None] * X).sum(-2), "model.norm")
        return dict(logits=self.lin(f, "lm_head"), hidden=hidden, final=f)


# Mistakes that a reader of these files might make; every one must show in the logits
GQA_ROUTER = ["bias left out", "bias in the weight"]
MISTAKES = {
    "glm4_moe_lite": ["half-split rope", "rms_norm_eps inside MLA", "no scaling factor", "not normalised"] + GQA_ROUTER,
    "minimax_m2": ["q/k norm per head", "rope on all dims", "interleaved rope", "not normalised"] + GQA_ROUTER,
    "hunyuan_v1_moe": ["theta not stretched", "q/k norm on the other side of rope", "not normalised", "interleaved rope"],
    "exaone_moe": ["rope on full layers", "no window", "window one wider", "q/k norm on the other side of rope", "no scaling factor"] + GQA_ROUTER,
    "deepseek_v32": ["the other rope layout in the indexer", "dense attention", "no relu", "k_norm without mean", "k_norm without bias",
                     "no rope in the indexer", "indexer ropes the last dims", "query from the latent before its norm", "one more kept", "half-split rope"] + GQA_ROUTER,
    "glm_moe_dsa": ["the other rope layout in the indexer", "dense attention", "shared layers dense", "no relu", "k_norm without bias",
                    "one more kept", "half-split rope", "rms_norm_eps inside MLA"] + GQA_ROUTER,
    "kimi_k25": ["half-split rope", "no scaling factor"] + GQA_ROUTER,
    "longcat_flash": ["identity experts give zero", "identity of the un-normed state", "normalised weights", "MoE joins after the first half",
                      "no MLA factors", "factor on k_pe too", "half-split rope", "no scaling factor"] + GQA_ROUTER,
    "qwen3_next": ["plain norms", "sigmoid z", "key heads tiled", "error before decay", "old state read", "taps reversed", "q, k not normalised",
                   "gate rows after all query rows", "qkvz not grouped by key head", "no output gate", "shared expert ungated", "no dt_bias",
                   "rope on all dims", "eps 1e-6 in the gated norm", "not normalised"],
    "qwen3_5_moe": ["plain norms", "sigmoid z", "key heads tiled", "error before decay", "old state read", "taps reversed",
                    "gate rows after all query rows", "no output gate", "shared expert ungated", "rope on all dims", "not normalised"],
    "kimi_linear": ["rope in MLA", "silu output gate", "one decay per head", "error before decay", "old state read", "taps reversed",
                    "rms_norm_eps inside MLA", "no scaling factor"] + GQA_ROUTER,
    "afmoe": ["rope on full layers", "no window", "window one wider", "no output gate", "silu output gate", "embedding not scaled",
              "no norm after the FFN", "q/k norm on the other side of rope", "no scaling factor"] + GQA_ROUTER,
    "lfm2_moe": ["taps reversed", "silu after the convolution", "B and C exchanged", "1e-20 in place of 1e-6",
                 "q/k norm on the other side of rope"] + GQA_ROUTER,
    "deepseek_v4": ["C not transposed", "context not rotated back", "yarn on window layers", "yarn factor on cos and sin", "one theta for all layers",
                    "clamp after silu", "gate clamped below", "shared expert unclamped", "hash layers route by score", "uniform weights in hash layers",
                    "q heads not normalised", "rope on the first dims", "half-split rope", "series A and B exchanged", "no overlap",
                    "entries at the window's last position", "open window visible", "no indexer", "window only", "no relu", "one more kept", "no sinks",
                    "eps in post", "one iteration more"] + GQA_ROUTER,
}


# =====================================================================================================
# 3. The same through transformers, and the golden files
# =====================================================================================================
DECOYS = ("mtp.", "model.mtp.", "model.visual.", "vision_tower.", "mm_projector.")


def hf_load26(path):
    """Fresh transformers model in float32 from the checkpoint directory, and its decoder."""
    import torch, transformers
    c = json.load(open(os.path.join(path, "config.json")))
    t, tmp, cfg = c["model_type"], None, None
    if t == "deepseek_v4":                              # transformers knows ratios 0, 4, 128 only; the heavy ratio goes in by another key
        L = c["num_hidden_layers"]
        heavy = {r for r in c["compress_ratios"][:L] if r not in (0, 4)}
        r = [r if r in (0, 4) else 128 for r in c["compress_ratios"][:L]]
        with open_copy(path, dict(c, compress_ratios=r, compress_rate_hca=heavy.pop())) as tmp:
            cfg = transformers.AutoConfig.from_pretrained(tmp)
    arch = {"exaone_moe": "ExaoneMoeForCausalLM", "qwen3_5_moe": "Qwen3_5MoeForCausalLM"}.get(t, c["architectures"][0])
    if t == "longcat_flash":                            # transformers reads the rope width from head_dim, which releases do not have
        cfg = transformers.AutoConfig.from_pretrained(path)
        cfg.head_dim = c["qk_rope_head_dim"]
    if t == "qwen3_5_moe":
        cfg = transformers.AutoConfig.from_pretrained(path).text_config
    kw = {} if t == "longcat_flash" else dict(experts_implementation="eager")
    src = path
    if t == "longcat_flash":                            # transformers wants gate and up rows of the identity experts too; zeros, never used
        src = padded_longcat(path, c)
    try:
        m, info = getattr(transformers, arch).from_pretrained(
            src, **({} if cfg is None else dict(config=cfg)), dtype=torch.float32, attn_implementation="eager", output_loading_info=True, **kw)
    finally:
        if src != path:
            shutil.rmtree(src)
    L = c.get("num_hidden_layers", -1)
    bad = [k for k in info["missing_keys"]]
    bad += [k for k in info["unexpected_keys"] if not k.startswith((f"model.layers.{L}.",) + DECOYS)]
    assert not bad and not info["mismatched_keys"], (bad, info)
    m.eval()
    return m, m.model.language_model if t == "kimi_k25" else m.model


class open_copy:
    """Temporary folder with another config.json."""

    def __init__(self, path, config):
        self.config = config

    def __enter__(self):
        self.tmp = tempfile.mkdtemp()
        json.dump(self.config, open(os.path.join(self.tmp, "config.json"), "w"))
        return self.tmp

    def __exit__(self, *_):
        shutil.rmtree(self.tmp)


def padded_longcat(path, c):
    import torch
    from safetensors.torch import save_file
    tmp = tempfile.mkdtemp()
    shutil.copy(os.path.join(path, "config.json"), tmp)
    w = read_tensors(path)
    for l in range(c["num_layers"]):
        p = f"model.layers.{l}.mlp.experts."
        for e in range(c["n_routed_experts"], c["n_routed_experts"] + c["zero_expert_num"]):
            for n in ("gate_proj", "up_proj"):
                w[p + f"{e}.{n}.weight"] = torch.zeros(c["expert_ffn_hidden_size"], c["hidden_size"])
    save_file(w, os.path.join(tmp, "model.safetensors"), metadata={"format": "pt"})
    return tmp


def hf_run26(m, dec, ids):
    """Logits, hidden states, routers' and indexers' answers, by hooks."""
    import torch
    rec, hooks = dict(hidden={}, router={}, index={}), []
    last = dec.embedding_norm if hasattr(dec, "embedding_norm") else dec.norm
    hooks.append(last.register_forward_hook(lambda _, a, o: rec.__setitem__("last", o.detach().clone())))
    for l, layer in enumerate(dec.layers):
        if l == 0:
            hooks.append(layer.register_forward_pre_hook(
                lambda _, a, k: rec["hidden"].__setitem__(0, (a[0] if a else k["hidden_states"]).detach().clone()), with_kwargs=True))
        hooks.append(layer.register_forward_hook(
            lambda _, a, o, l=l: rec["hidden"].__setitem__(l + 1, (o[0] if isinstance(o, tuple) else o).detach().clone())))
        for n, sub in layer.named_modules():
            k = type(sub).__name__
            if k.lower().endswith("router") or k == "HunYuanMoEV1Gate":
                hooks.append(sub.register_forward_hook(lambda _, a, o, l=l: rec["router"].__setitem__(l, o)))
            if k.endswith("Indexer"):
                hooks.append(sub.register_forward_hook(lambda _, a, o, l=l: rec["index"].__setitem__(l, o)))
    with torch.no_grad():
        rec["logits"] = m(input_ids=ids, use_cache=False).logits
    for h in hooks:
        h.remove()
    return rec


def names26(m, path):
    """save_pretrained of the loaded model gives back the names and shapes on disk; a set of differences."""
    tmp = tempfile.mkdtemp()
    try:
        m.save_pretrained(tmp)
        ours, theirs = ({(n, tuple(x.shape)) for n, x in read_tensors(p).items()} for p in (path, tmp))
    finally:
        shutil.rmtree(tmp)
    L = json.load(open(os.path.join(path, "config.json"))).get("num_hidden_layers")
    return sorted(n for n, _ in ours ^ theirs if not n.startswith(DECOYS + (f"model.layers.{L}.",)))


def add_vision(path):
    """Random vision tensors in the released layout, as the whole model's save_pretrained names them."""
    import torch, transformers
    from safetensors.torch import load_file, save_file
    m = transformers.Kimi_K25ForConditionalGeneration(transformers.AutoConfig.from_pretrained(path))
    tmp = tempfile.mkdtemp()
    try:
        m.save_pretrained(tmp)
        other = {n.removeprefix("model."): x.shape for n, x in read_tensors(tmp).items() if "vision_tower." in n or "mm_projector." in n}
    finally:
        shutil.rmtree(tmp)
    f = os.path.join(path, "model.safetensors")
    w = load_file(f)
    for n, s in other.items():
        w[n] = torch.from_numpy(nprng("vision", n).standard_normal(tuple(s), dtype=np.float32)) * 0.1
    assert other
    save_file(w, f, metadata={"format": "pt"})


# Families that need blocks of their own lie apart.
NEXT = {"longcat_flash", "qwen3_next", "qwen3_5_moe", "kimi_linear", "afmoe", "lfm2_moe", "deepseek_v4"}


def folder(out, name):
    return os.path.join(out, "models-next" if name in NEXT else "models", name)


def make_model(name, v, seed, out):
    import torch
    from safetensors.torch import save_file
    path = folder(out, name)
    config, T = MODELS[name](v)
    shutil.rmtree(path, ignore_errors=True)
    write_checkpoint(path, config, T, seed, name, v)
    if name == "kimi_k25":
        add_vision(path)
    text = config.get("text_config", config)
    n = TOKENS
    ref, mtp = Ref26(path), text.get("num_nextn_predict_layers") and name == "glm4_moe_lite"
    for salt in range(400):                             # texts on which no choice is closer than rounding can decide
        ids = torch.from_numpy(nprng(seed, name, "ids", salt).integers(0, 120, (2, n)))
        with torch.no_grad():
            r = ref.forward(ids)
            index = dict(ref.index)
            if mtp:
                ref.mtp(ids, r["final"])
        if min([x["margin"].min() for x in ref.rec.values()] + [x["margin"].min() for x in index.values()]) > SAFE:
            break
    else:
        raise SystemExit(f"{name}: no text with wide margins")
    m, dec = hf_load26(path)
    h = hf_run26(m, dec, ids)
    L = text.get("num_layers", text.get("num_hidden_layers"))
    note = dict(text=salt, ref=rel(r["logits"], h["logits"]), final=rel(r["final"], h["last"]),
                hidden=max(rel(r["hidden"][l], h["hidden"][l]) for l in range(L + 1)))
    assert note["ref"] < 3e-6, note
    if name not in ("longcat_flash", "kimi_k25", "deepseek_v4"):          # transformers cannot write these names back
        note["names"] = names26(m, path)
    g = dict(input_ids=ids, logits=h["logits"], final=h["last"])
    for l in range(L + 1):
        g[f"hidden.{l}"] = h["hidden"][l]
    low = tot = 0
    assert sorted(h["router"]) == [l for l in range(L) if ref.router_names(l)[0]], name
    for l, o in sorted(h["router"].items()):
        lg, hw, hid = o[0].float(), o[1], o[2]
        p, gate, bias = ref.router_names(l)
        kw = ref.policy()
        table = p + "gate.tid2eid" in ref.w
        if table:
            kw.update(ids=ref.w[p + "gate.tid2eid"][ids.reshape(-1)].long().numpy())
        x = route26(logits=lg.numpy(), bias=None if bias is None else ref.w[bias].flatten().numpy(), **kw)
        ids_t = torch.from_numpy(np.ascontiguousarray(x["ids"]))
        pos = (hid[:, None, :] == ids_t[:, :, None])
        assert pos.sum() == ids_t.numel(), (name, l, "transformers chose other experts")
        w = (hw[:, None, :] * pos).sum(-1)
        assert rel(w.double(), torch.from_numpy(x["weights"])) < 1e-5, (name, l, "other weights")
        sh = (2, n, -1)
        g[f"router_logits.{l}"] = lg.view(sh)
        g[f"router_scores.{l}"] = torch.from_numpy(x["scores"]).float().view(sh)
        g[f"expert_ids.{l}"] = ids_t.int().view(sh)
        g[f"expert_weights.{l}"] = w.float().view(sh)
        mg = torch.from_numpy(x["margin"]).float()      # infinite in hash layers: nothing is compared
        g[f"margin.{l}"] = mg.view(2, n)
        low += int((mg < 1e-4).sum())
        tot += mg.numel()
    note["margin<1e-4"] = f"{low}/{tot}"
    assert sorted(h["index"]) == sorted(index), name
    cut = 0
    for l, o in sorted(h["index"].items()):             # positions that transformers' indexer took, among the visible ones
        x, o = index[l], o.long()
        got = torch.zeros(*x["mask"].shape[:2], x["mask"].shape[2] + 1, dtype=torch.bool)
        got.scatter_(-1, torch.where(o < 0, x["mask"].shape[2], o), True)
        see = x["scores"].new_ones(x["mask"].shape[1:], dtype=torch.bool).tril() if name != "deepseek_v4" else \
            torch.arange(x["mask"].shape[2])[None] < ((torch.arange(n)[:, None] + 1) // 4)
        assert torch.equal(got[..., :-1] & see, x["mask"]), (name, l, "transformers selected other positions")
        g[f"index_mask.{l}"] = x["mask"].to(torch.uint8)
        g[f"index_scores.{l}"] = x["scores"]
        g[f"index_margin.{l}"] = x["margin"]
        cut += int(torch.isfinite(x["margin"]).sum())
    if index:
        note["index_cuts"] = cut
    if mtp:
        with torch.no_grad():
            g["mtp_logits"], x = ref.mtp(ids, h["last"])
            rr = ref.rec[L]
            g["mtp_expert_ids"] = torch.from_numpy(rr["ids"].copy()).int().view(2, n - 1, -1)
            g["mtp_expert_weights"] = torch.from_numpy(rr["weights"]).float().view(2, n - 1, -1)
            g["mtp_margin"] = torch.from_numpy(rr["margin"]).float().view(2, n - 1)
            g["mtp_hidden"] = x
            g["mtp_logits_prenorm_input"] = ref.mtp(ids, h["hidden"][L])[0]
            m.config.num_mtp_layers, m.config.mtp_mlp_layer_types = 1, ["sparse"]
            note["mtp"] = hf_mtp(m, path, ids, h["last"], g["mtp_logits"])
    save_file({k: x.contiguous() for k, x in g.items()}, os.path.join(path, "golden.safetensors"))
    for k in os.listdir(path):
        os.chmod(os.path.join(path, k), 0o644)
    note["reload"], _ = check_model(path)
    least = min(mistakes(name, path), key=lambda x: x[1])
    assert least[1] > 2e-4, least                       # ten times the tolerance
    note["least mistake"] = "%s %.1e" % least
    report(name, path, note)


def check_model(path):
    """Relative differences of a freshly loaded transformers model and of Ref26 from the golden logits."""
    import torch
    from safetensors.torch import load_file
    g = load_file(os.path.join(path, "golden.safetensors"))
    with torch.no_grad():
        a = rel(hf_load26(path)[0](input_ids=g["input_ids"], use_cache=False).logits, g["logits"])
        b = rel(Ref26(path).forward(g["input_ids"])["logits"], g["logits"])
    assert max(a, b) <= EXACT, (path, a, b)
    return a, b


def mistakes(name, path):
    """(mistake, relative change of the logits) for each."""
    import torch
    from safetensors.torch import load_file
    g, out = load_file(os.path.join(path, "golden.safetensors")), []
    for bug in MISTAKES[name]:
        with torch.no_grad():
            out.append((bug, rel(Ref26(path, bug).forward(g["input_ids"])["logits"], g["logits"])))
    return out


# =====================================================================================================
# 4. Routing policies on given logits, numpy in double precision
# =====================================================================================================
def router_files(v):
    a = v == "a"
    return {
        "v4": (64 if a else 72, [-0.9, -0.25, 0.0, 0.3], [
            dict(name="sqrtsoftplus", policy="sqrtsoftplus", k=6, scale=1.5, bias=True),
            dict(name="sqrtsoftplus_hash", policy="sqrtsoftplus", k=6, scale=1.5, table=True)]),
        "longcat": (72 if a else 60, [-0.02, 0.0, 0.01, 0.03], [
            dict(name="softmax_bias", policy="softmax_bias", k=12, scale=6.0, bias=True, n_real=48 if a else 36)]),
        "lfm2": (32 if a else 40, [-0.9, -0.25, 0.0, 0.3], [
            dict(name="sigmoid_1e6", policy="sigmoid_1e6", k=4, norm=True, bias=True),
            dict(name="sigmoid_1e6_no_bias", policy="sigmoid_1e6", k=4, norm=True, scale=1.7)]),
    }


def make_routers(v, seed, out):
    from safetensors.numpy import save_file
    path, listing = os.path.join(out, "routers"), []
    os.makedirs(path, exist_ok=True)
    for tag, (E, levels, cases) in router_files(v).items():
        r = nprng(seed, "2026", tag)
        bias, V = r.choice(np.array(levels, np.float32), E), 100
        table = np.stack([r.permutation(E)[:6] for _ in range(V)]).astype(np.int32)
        tokens = r.integers(0, V, 64).astype(np.int32)

        def run(x, c, rows=slice(None)):
            kw = {k: y for k, y in c.items() if k not in ("name", "bias", "table", "n_real")}
            return route26(logits=x, bias=bias if c.get("bias") else None, ids=table[tokens[rows]] if c.get("table") else None, **kw)
        x = np.empty((64, E), np.float32)
        for t in range(64):                             # rows as in make.draw_logits; LFM2 also far below zero
            for _ in range(1000):
                y = r.standard_normal(E) * 1.6
                y = np.full(E, 0.25) if t == 0 else np.round(y * 2) / 2 if t < 24 else y
                y = np.clip(y - 12 * (tag == "lfm2" and 40 <= t < 48), -16, 9).astype(np.float32)
                if 24 <= t < 32:
                    i, j = r.choice(E, 2, replace=False)
                    y[i] = y[j] = y.max() + np.float32(0.125)
                g = [float(run(y[None], c, slice(t, t + 1))["margin"][0]) for c in cases]
                if all((q == 0 and t < 32) or q > 1e-6 for q in g):
                    break
            else:
                raise SystemExit(f"{tag}: no row {t}")
            x[t] = y
        tens = dict(logits=x)
        if any(c.get("bias") for c in cases):
            tens["bias"] = bias
        if any(c.get("table") for c in cases):
            tens.update(table=table, tokens=tokens)
        for c in cases:
            n, a = c["name"], run(x, c)
            tens[n + ".ids"], tens[n + ".weights"] = a["ids"].astype(np.int32), a["weights"]
            if not c.get("table"):
                tens[n + ".margin"] = a["margin"]
            if "n_real" in c:
                tens[n + ".real"] = (a["ids"] < c["n_real"]).sum(1).astype(np.int32)
            elif c.get("bias"):
                cnt = np.bincount(a["ids"].ravel(), minlength=E)
                step = np.sign(cnt.mean() - cnt)
                tens[n + ".bias_next"] = bias.astype(np.float64) + 1e-3 * step
                tens[n + ".bias_next_centred"] = bias.astype(np.float64) + 1e-3 * (step - step.mean())
            hf_router_agrees(tag, c, x, bias, table, tokens, a)
            listing.append(dict(file=f"2026-{tag}.safetensors", case=n, n_experts=E, top_k=c["k"], **{k: y for k, y in c.items() if k not in ("name", "k")}))
        save_file({k: np.ascontiguousarray(y) for k, y in tens.items()}, os.path.join(path, f"2026-{tag}.safetensors"))
        os.chmod(os.path.join(path, f"2026-{tag}.safetensors"), 0o644)
    with open(os.path.join(path, "cases-2026.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(e) for e in listing) + "\n]\n")
    print("routers:", len(listing), "cases; transformers' routers agree on the rows without ties")


def hf_router_agrees(tag, c, x, bias, table, tokens, a):
    """transformers' own router class with an identity matrix for its weight."""
    import torch, transformers
    from transformers.models.deepseek_v4 import modeling_deepseek_v4 as v4
    from transformers.models.lfm2_moe import modeling_lfm2_moe as lfm
    from transformers.models.longcat_flash import modeling_longcat_flash as cat
    E, rows = x.shape[1], slice(32, 64)
    h, b, eye = torch.from_numpy(x[rows]), torch.from_numpy(bias), torch.eye(E)
    if tag == "v4":
        cfg = transformers.DeepseekV4Config(hidden_size=E, n_routed_experts=E, num_experts_per_tok=c["k"], routed_scaling_factor=c["scale"],
                                            vocab_size=len(table), num_hidden_layers=2, layer_types=["sliding_attention"] * 2)
        m = (v4.DeepseekV4HashRouter if c.get("table") else v4.DeepseekV4TopKRouter)(cfg)
        m.weight.data = eye
        if c.get("table"):
            m.tid2eid = torch.from_numpy(table)
            _, w, i = m(h, torch.from_numpy(tokens[rows]))
        else:
            m.e_score_correction_bias = b
            _, w, i = m(h)
    elif tag == "longcat":
        m = cat.LongcatFlashTopkRouter(transformers.LongcatFlashConfig(hidden_size=E, n_routed_experts=c["n_real"], zero_expert_num=E - c["n_real"],
                                                                       moe_topk=c["k"], routed_scaling_factor=c["scale"]))
        m.classifier.weight.data, m.e_score_correction_bias = eye, b
        _, w, i = m(h)
    else:
        m = lfm.Lfm2MoeTopKRouter(transformers.Lfm2MoeConfig(hidden_size=E, num_experts=E, num_experts_per_tok=c["k"], norm_topk_prob=True,
                                                             use_expert_bias=bool(c.get("bias")), routed_scaling_factor=c.get("scale", 1.0)))
        m.weight.data = eye
        _, w, i = m(h, b)
    w, i = w.detach().numpy(), i.numpy()
    for r in range(32):
        ours = dict(zip(a["ids"][32 + r].tolist(), a["weights"][32 + r]))
        assert set(ours) == set(i[r].tolist()), (tag, c["name"], r)
        assert all(abs(ours[e] - y) <= 1e-5 * max(ours.values()) for e, y in zip(i[r].tolist(), w[r].tolist())), (tag, c["name"], r)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", default=HERE, help="output folder (default: beside this script)")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--variant", default="a", choices=["a", "b"])
    ap.add_argument("--only", help="comma list of models, routers")
    ap.add_argument("--name", help="comma list of model names")
    ap.add_argument("--check", action="store_true", help="only reload the written checkpoints and compare")
    ap.add_argument("--mistakes", action="store_true", help="only measure how far typical mistakes move the logits")
    a = ap.parse_args()
    import torch
    torch.set_num_threads(1)
    import transformers
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    names = a.name.split(",") if a.name else list(MODELS)
    parts = (a.only or ("models" if a.name else "models,routers")).split(",")
    for n in names if a.check or a.mistakes else []:
        path = folder(a.out, n)
        if a.check:
            print("%s: transformers %.1e, Ref26 %.1e" % (n, *check_model(path)), flush=True)
        if a.mistakes:
            print(n + ": " + ", ".join("%s %.1e" % x for x in sorted(mistakes(n, path), key=lambda x: x[1])), flush=True)
    if a.check or a.mistakes:
        return
    os.makedirs(a.out, exist_ok=True)
    if "models" in parts:
        for n in names:
            make_model(n, a.variant, a.seed, a.out)
    if "routers" in parts:
        make_routers(a.variant, a.seed, a.out)


if __name__ == "__main__":
    main()
