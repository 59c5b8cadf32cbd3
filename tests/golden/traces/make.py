#!/usr/bin/env python3
"""Writes the same choices of experts as other software saves them, and as the table that moe-route --print shows:
make.py DIR. Needs numpy, safetensors and torch; seeded, so that the same command writes the same content."""
import json, os, sys
import numpy as np
import torch
from safetensors.numpy import save_file

D = sys.argv[1]
os.makedirs(D, exist_ok=True)
rng = np.random.default_rng(7)
E, K, LAYERS, LENGTHS = 64, 3, [1, 2], [5, 3]


def draw(n, experts=E):
    """ids and weights [n, layers, k] of n tokens, each expert once; weights are exact in every float type there is."""
    ids = np.array([[rng.choice(experts, K, replace=False) for _ in LAYERS] for _ in range(n)])
    weights = np.sort(rng.integers(1, 128, ids.shape) / 128.0)[..., ::-1]
    return ids, weights


def table(path, source, sequences, weighted=True, tokens=None, layers=LAYERS):
    with open(f'{D}/{path}', 'w') as f:
        f.write('source\tseq\tpos\ttoken\tlayer\tchoice\texpert\tweight\n')
        for s, (ids, weights) in enumerate(sequences):
            for t in range(len(ids)):
                for l, layer in enumerate(layers):
                    for c in range(ids.shape[2]):
                        token = -1 if tokens is None else tokens[s][t]
                        w = '%.9g' % weights[t, l, c] if weighted else ''
                        f.write(f'{source}\t{s}\t{t}\t{token}\t{layer}\t{c}\t{ids[t, l, c]}\t{w}\n')


seqs = [draw(n) for n in LENGTHS]
tokens = [rng.integers(0, 1000, n) for n in LENGTHS]
table('two.tsv', 'two', seqs, tokens=tokens)
ids, weights = seqs[0]
for kind in ('uint8', 'uint16', 'int32', 'int64'):
    np.save(f'{D}/one-{kind}.npy', ids.astype(kind))
    table(f'one-{kind}.tsv', f'one-{kind}', seqs[:1], weighted=False)
np.save(f'{D}/fortran.npy', np.asfortranarray(ids.astype('int32')))
table('fortran.tsv', 'fortran', seqs[:1], weighted=False)
np.save(f'{D}/flat.npy', ids[:, 0].astype('int16'))
table('flat.tsv', 'flat', [(ids[:, :1], weights[:, :1])], weighted=False, layers=[1])
np.save(f'{D}/big-endian.npy', ids.astype('>i4'))
np.save(f'{D}/impossible.npy', np.where(ids == ids[3, 1, 2], 255, ids).astype('uint8'))

arrays = {}
for s, (i, w) in enumerate(seqs):
    arrays |= {f'ids.{s}': i.astype('uint16'), f'weights.{s}': w.astype('float16'),
               f'tokens.{s}': tokens[s].astype('int32')}
np.savez(f'{D}/two.npz', **arrays)
os.makedirs(f'{D}/deflated', exist_ok=True)
np.savez_compressed(f'{D}/deflated/two.npz', **arrays)
save_file(arrays, f'{D}/two.safetensors')

# A list of what each request returned; of the second the layers come first, so that its strides are no rows'.
lists = [{'ids': torch.from_numpy(i.astype('int32')), 'weights': torch.from_numpy(w.copy()).bfloat16(),
          'tokens': torch.from_numpy(tokens[s]), 'prompt': 'a', 'score': 1.5, 'n': 2**40, 'none': None}
         for s, (i, w) in enumerate(seqs)]
lists[1]['ids'] = lists[1]['ids'].permute(1, 0, 2).contiguous().permute(1, 0, 2)
torch.save(lists, f'{D}/two.pt')
torch.save(torch.from_numpy(ids.astype('uint16')), f'{D}/plain.pt')
table('plain.tsv', 'plain', seqs[:1], weighted=False)


class Evil:
    def __reduce__(self):
        return os.system, ('echo executed',)


torch.save([torch.from_numpy(ids), Evil()], f'{D}/evil.pt')

with open(f'{D}/two.csv', 'w') as f:   # layer by layer, as a program that logs layers writes it
    f.write('seq,token,layer,expert,weight,token_id,source\n')
    for s, (i, w) in enumerate(seqs):
        for l, layer in enumerate(LAYERS):
            for t in range(len(i)):
                for c in range(K):
                    f.write(f'{s},{t},{layer},{i[t, l, c]},{w[t, l, c]},{tokens[s][t]},two\n')
with open(f'{D}/two.jsonl', 'w') as f:
    for s, (i, w) in enumerate(seqs):
        for t in range(len(i)):
            for l, layer in enumerate(LAYERS):
                f.write(json.dumps({'token': t, 'layer': layer, 'experts': i[t, l].tolist(),
                                    'weights': w[t, l].tolist(), 'seq': s, 'token_id': int(tokens[s][t])}) + '\n')
with open(f'{D}/router_trace_rank0.jsonl', 'w') as f:   # a step is a sequence; the last layer is that of MTP
    for s, (i, _) in enumerate(seqs):
        for l, layer in enumerate(LAYERS):
            r = {'step': 100 + s, 'stage': 'pre_dispatch', 'block': 'decoder', 'layer': layer, 'rank': 0,
                 'num_tokens': len(i), 'topk': K, 'top_indices': i[:, l].tolist()}
            if l == 1:
                r |= {'block': 'mtp', 'layer': 0, 'mtp_idx': 0, 'hs_offset': 0}
            f.write(json.dumps(r) + '\n')
table('router_trace_rank0.tsv', 'router_trace_rank0', seqs, weighted=False)

# More experts than a byte, and than two bytes, can tell apart.
for n in (300, 70000):
    ids, weights = draw(4, n)
    ids[0, 0, 0] = n - 1 if n - 1 not in ids[0, 0] else ids[0, 0, 0]
    np.savez(f'{D}/e{n}.npz', ids=ids.astype('int32'), weights=weights.astype('float32'))
    table(f'e{n}.tsv', f'e{n}', [(ids, weights)])

# Scores of a router, and the three largest with their softmax.
for kind in ('float32', 'float16'):
    logits = rng.integers(-400, 400, (6, 16)).astype(kind) / 128
    np.save(f'{D}/logits-{kind}.npy', logits)
    logits = logits.astype('float64')
    top = np.argsort(-logits, axis=1, kind='stable')[:, :K]
    soft = np.exp(logits - logits.max(1, keepdims=True))
    soft /= soft.sum(1, keepdims=True)
    table(f'logits-{kind}.tsv', f'logits-{kind}',
          [(top[:, None], np.take_along_axis(soft, top, 1)[:, None].astype('float32'))], layers=[3])
