#!/usr/bin/env python3
"""Writes a matrix of importance as llama-imatrix saves it, of two layers of four experts, and the load table that it
holds: make_imatrix.py DIR. Needs numpy and gguf."""
import sys
import numpy as np
import gguf

D = sys.argv[1]
counts = {1: [5, 0, 7, 16777215], 3: [1, 2, 3, 4]}
w = gguf.GGUFWriter(f'{D}/imatrix.gguf', None)
w.add_string('general.type', 'imatrix')
w.add_array('imatrix.datasets', ['a.txt'])
w.add_uint32('imatrix.chunk_count', 3)
w.add_uint32('imatrix.chunk_size', 512)
for layer, n in counts.items():
    for name, width in (('gate', 8), ('up', 8), ('down', 4)):
        base = f'blk.{layer}.ffn_{name}_exps.weight'
        w.add_tensor(base + '.in_sum2', np.ones((4, width), dtype=np.float32))
        w.add_tensor(base + '.counts', np.array(n, dtype=np.float32).reshape(4, 1))
    w.add_tensor(f'blk.{layer}.attn_q.weight.in_sum2', np.ones((1, 8), dtype=np.float32))
    w.add_tensor(f'blk.{layer}.attn_q.weight.counts', np.array([[1536]], dtype=np.float32))
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
with open(f'{D}/imatrix.tsv', 'w') as f:
    f.write('layer\texpert\tcount\tweight\n')
    for layer, n in counts.items():
        for expert, count in enumerate(n):
            f.write(f'{layer}\t{expert}\t{count}\t0\n')
