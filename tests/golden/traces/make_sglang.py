#!/usr/bin/env python3
"""Writes what SGLang's recorder of expert distributions dumps, and the load tables in it: make_sglang.py DIR. Needs
torch; no engine: the dictionaries are laid out as expert_distribution.py of SGLang 0.5 builds them.

sglang-stat.pt       mode `stat`: logical_count [steps, layers, experts], of a model whose first layer has no experts
sglang-pass-R.pt     mode `per_pass` of rank R: a record for each pass, of physical experts, and the map to logical ones
sglang-token.pt      mode `per_token`: the same with what every token chose
"""
import sys
import torch

D = sys.argv[1]
STEPS, LAYERS, EXPERTS, PHYSICAL = 3, 4, 6, 8
torch.manual_seed(5)


def table(name, counts):
    with open(f'{D}/{name}.tsv', 'w') as f:
        f.write('layer\texpert\tcount\tweight\n')
        for l in range(LAYERS):
            if counts[l].sum():
                for e in range(EXPERTS):
                    f.write(f'{l}\t{e}\t{counts[l, e]}\t0\n')


stat = torch.randint(0, 50, (STEPS, LAYERS, EXPERTS), dtype=torch.int32)
stat[:, 0] = 0
torch.save(dict(rank=0, logical_count=stat, average_utilization_rate_over_window=0.75), f'{D}/sglang-stat.pt')
table('sglang-stat', stat.sum(0))

# Two of six experts have a copy, other ones in each layer.
place = torch.stack([torch.cat([torch.arange(EXPERTS), torch.tensor([l % EXPERTS, (l + 3) % EXPERTS])])
                     [torch.randperm(PHYSICAL)] for l in range(LAYERS)])
total = torch.zeros((LAYERS, EXPERTS), dtype=torch.int64)
for rank in range(2):
    records = []
    for step in range(STEPS):
        physical = torch.randint(0, 50, (LAYERS, PHYSICAL), dtype=torch.int32)
        physical[0] = 0
        total.scatter_add_(1, place, physical.long())
        records.append(dict(forward_pass_id=step + 1, rank=rank, gatherer_key='primary',
                            global_physical_count=physical))
    torch.save(dict(records=records, last_physical_to_logical_map=place), f'{D}/sglang-pass-{rank}.pt')
table('sglang-pass', total)

ids = torch.randint(0, PHYSICAL, (LAYERS, 5, 2), dtype=torch.int32)
ids[0] = -1
physical = torch.zeros((LAYERS, PHYSICAL), dtype=torch.int32)
for l in range(1, LAYERS):
    physical[l] = torch.bincount(ids[l].flatten(), minlength=PHYSICAL)
torch.save(dict(records=[dict(forward_pass_id=1, rank=0, gatherer_key='primary', input_ids=[5, 6, 7, 8, 9],
                              positions=[0, 1, 2, 3, 4], extend_seq_lens=[5], forward_mode=1,
                              topk_ids_of_layer=ids, misc_objects=[], global_physical_count=physical)],
                last_physical_to_logical_map=place), f'{D}/sglang-token.pt')
table('sglang-token', torch.zeros((LAYERS, EXPERTS), dtype=torch.int64).scatter_add_(1, place, physical.long()))
