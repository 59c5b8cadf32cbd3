#!/usr/bin/env python3
"""A tokenizer from a tiktoken.model, with the ids and texts of the tiktoken package.

    pip install tiktoken==0.14.0 tokenizers==0.23.3
    tests/golden/tokenizers/make_tiktoken.py                 writes tiktoken/: 600 pieces learnt from share/text
    tests/golden/tokenizers/make_tiktoken.py -n 20000 -s 1 --vocab TOKENIZER.json DIR

The second form makes DIR with the byte-level vocabulary of another tokenizer and compares on random strings
(make build/tests/unit/test_text_golden first). Not part of the tests.
"""
import argparse
import base64
import json
import os
import subprocess
import sys
import tiktoken
from compare import Strings
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
TEXT = os.path.join(HERE, "..", "..", "..", "share", "text")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
END = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
PATTERN = "|".join([r"[\p{Han}]+", rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{END}",
                    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{END}", r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*",
                    r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
NAMES = {0: "[BOS]", 1: "[EOS]", 2: "<|im_end|>", 3: "<|im_user|>", 4: "<|im_assistant|>", 6: "<|start_header_id|>",
         7: "<|end_header_id|>", 9: "[EOT]", 10: "<|im_system|>", 17: "<|im_middle|>", 20: "caf\u00e9", 254: "[UNK]",
         255: "[PAD]"}


def byte_chars():
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in keep]
    return {**{b: chr(b) for b in keep}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


CHARS = byte_chars()
BYTES = {c: b for b, c in CHARS.items()}


def learn(n):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.train([os.path.join(TEXT, f) for f in sorted(os.listdir(TEXT)) if f.endswith(".txt")],
              trainers.BpeTrainer(vocab_size=n, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False))
    return tok.get_vocab(with_added_tokens=False)


def ranks_of(vocab):
    pieces = sorted((i, bytes(BYTES[c] for c in t)) for t, i in vocab.items() if all(c in BYTES for c in t))
    return {piece: rank for rank, (_, piece) in enumerate(pieces)}


class Adapter:
    """What Strings asks of a tokenizer."""

    def __init__(self, ranks, specials):
        self.ranks, self.specials = ranks, specials

    def get_added_tokens_decoder(self):
        return {i: type("T", (), {"content": t}) for t, i in self.specials.items()}

    def get_vocab(self):
        return {"".join(CHARS[b] for b in piece): rank for piece, rank in self.ranks.items()}


def write(path, ranks, n, seed, escape):
    os.makedirs(path, exist_ok=True)
    first = len(ranks)
    specials = {NAMES.get(i, f"<|reserved_token_{first + i}|>"): first + i for i in range(256)}
    with open(os.path.join(path, "tiktoken.model"), "w") as out:
        for piece, rank in ranks.items():
            out.write(base64.b64encode(piece).decode() + f" {rank}\n")
    with open(os.path.join(path, "tokenizer_config.json"), "w") as out:
        json.dump({"added_tokens_decoder": {str(first + i): {"content": t, "special": True} for i, t in NAMES.items()},
                   "bos_token": "[BOS]", "eos_token": "[EOS]", "tokenizer_class": "TikTokenTokenizer"}, out, indent=1)
        out.write("\n")
    enc = tiktoken.Encoding("x", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=specials)
    strings = Strings(Adapter(ranks, specials), seed)
    with open(os.path.join(path, "encode.jsonl"), "w") as out:
        for _ in range(n):
            text = strings.make()
            out.write(json.dumps({"text": text, "add_special": False, "ids": enc.encode(text, allowed_special="all")},
                                 ensure_ascii=escape) + "\n")
    known = first + 256
    with open(os.path.join(path, "decode.jsonl"), "w") as out:
        for _ in range(n):
            ids = [strings.r.randrange(known if strings.r.random() < .5 else min(400, known))
                   for _ in range(strings.r.randint(0, 12))]
            skip = strings.r.random() < .5
            text = enc.decode([i for i in ids if not (skip and i >= first)])
            out.write(json.dumps({"ids": ids, "skip_special": skip, "text": text}, ensure_ascii=escape) + "\n")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("-n", type=int, default=150)
    ap.add_argument("-s", type=int, default=1)
    ap.add_argument("--vocab")
    ap.add_argument("dir", nargs="?", default=os.path.join(HERE, "tiktoken"))
    args = ap.parse_args()
    vocab = json.load(open(args.vocab))["model"]["vocab"] if args.vocab else learn(600)
    write(args.dir, ranks_of(vocab), args.n, args.s, True)
    build = os.environ.get("BUILD", "build")
    sys.exit(subprocess.call([f"{build}/tests/unit/test_text_golden", args.dir, args.dir + "/encode.jsonl",
                              args.dir + "/decode.jsonl"]))


if __name__ == "__main__":
    main()
