#!/usr/bin/env python3
"""What PhiMoE must give while a text grows past the length that its short factors are for.

usage: make_longrope.py     from this folder; writes models/phimoe/longrope.safetensors

The checkpoint is models/phimoe with original_max_position_embeddings 12. `last_logits` F32 [S, T, V]: row n - 1 of
sequence s has the logits behind its first n tokens, from a pass over these n tokens alone, with the factors and the
magnitude of its length (short up to 12, long beyond); by the formulas of make.py's Ref. `input_ids` I64 [S, T].

transformers takes the long magnitude but leaves the short factors; where both lists are the same its generate(), which
drops its cache at the 13th token and starts over, must give what Ref gives: that is checked. Needs what make.py needs.
"""
import json
import os
import shutil
import tempfile

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from make import Ref

ORIGINAL, N_GIVEN = 12, 8
HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(HERE, "models", "phimoe")


def checkpoint(path, equal):
    """The checkpoint with a short original length; equal: with the short factors in both lists."""
    c = json.load(open(os.path.join(MODEL, "config.json")))
    c["original_max_position_embeddings"] = c["rope_scaling"]["original_max_position_embeddings"] = ORIGINAL
    if equal:
        c["rope_scaling"]["long_factor"] = c["rope_scaling"]["short_factor"]
    json.dump(c, open(os.path.join(path, "config.json"), "w"))
    shutil.copy(os.path.join(MODEL, "model.safetensors"), path)


def last_logits(path, ids):
    ref = Ref(path)
    rows = [ref.forward(ids[:, :n])["logits"][:, -1] for n in range(1, ids.shape[1] + 1)]
    return torch.stack([torch.as_tensor(row) for row in rows], 1).float().numpy()


def check_generate(path, ids):
    """Greedy tokens and their logits: transformers against Ref on every length."""
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager",
                                                 experts_implementation="eager").eval()
    made = model.generate(ids[:, :N_GIVEN], max_new_tokens=12, do_sample=False, output_logits=True, eos_token_id=-1,
                          pad_token_id=0, return_dict_in_generate=True, use_cache=True)
    want = last_logits(path, made.sequences)
    for i, logits in enumerate(made.logits):
        error = np.abs(logits.float().numpy() - want[:, N_GIVEN - 1 + i]).max() / np.abs(want).max()
        print(f"{N_GIVEN + i} tokens: generate() is within {error:.1e}")
        assert error < 1e-5


def main():
    ids = torch.from_numpy(load_file(os.path.join(MODEL, "golden.safetensors"))["input_ids"])
    with tempfile.TemporaryDirectory() as path:
        checkpoint(path, equal=True)
        check_generate(path, ids)
        checkpoint(path, equal=False)
        save_file({"input_ids": ids.numpy(), "last_logits": np.ascontiguousarray(last_logits(path, ids))},
                  os.path.join(MODEL, "longrope.safetensors"))


main()
