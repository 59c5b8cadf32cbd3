#!/usr/bin/env python3
"""Compares ids and texts with the reference on random strings, which aim at what splits and merges differently.

    pip install tokenizers==0.23.3
    make build/tests/unit/test_text_golden
    tests/golden/tokenizers/compare.py [-n STRINGS] [-s SEED] [-k KEEP] TOKENIZER.json

Not part of the tests: it writes what the reference says to KEEP.jsonl and KEEP.decode.jsonl (default: in /tmp) and lets
test_text_golden check it. Where the reference panics there is nothing to compare with; how often it does is said.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import unicodedata
from tokenizers import Tokenizer


def pools(tok):
    added = [t.content for t in tok.get_added_tokens_decoder().values()]
    assigned = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    marks = [c for c in assigned if unicodedata.category(chr(c))[0] == "M"]
    young = [c for c in range(0x110000) if unicodedata.category(chr(c)) == "Cn" and c < 0x20000]
    numbers = [c for c in assigned if unicodedata.category(chr(c))[0] == "N"]
    punct = [c for c in assigned if unicodedata.category(chr(c))[0] in "PS"]
    vocab = [t for t in tok.get_vocab()]
    return added, assigned, marks, young, numbers, punct, vocab


class Strings:
    def __init__(self, tok, seed):
        self.r = random.Random(seed)
        (self.added, self.assigned, self.marks, self.young, self.numbers, self.punct, self.vocab) = pools(tok)
        self.makers = [self.ascii, self.space, self.any, self.mark, self.new, self.number, self.punctuation, self.contraction,
                       self.token, self.broken_token, self.cjk, self.hangul, self.latin, self.run, self.word, self.wild]

    def some(self, codes, most=6):
        return "".join(chr(self.r.choice(codes)) for _ in range(self.r.randint(1, most)))

    def ascii(self):
        return self.some(range(32, 127), 12)

    def space(self):
        return "".join(self.r.choice(" \t\n\r\v\f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u200b  \n\n")
                       for _ in range(self.r.randint(1, 6)))

    def any(self):
        return self.some(self.assigned)

    def mark(self):
        return self.some(range(0x41, 0x7b), 2) + self.some(self.marks, 5)

    def new(self):
        return self.some(self.young)

    def number(self):
        return self.some(self.numbers) if self.r.random() < .4 else self.some(range(48, 58), 9)

    def punctuation(self):
        return self.some(self.punct) if self.r.random() < .5 else self.some(b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", 6)

    def contraction(self):
        s = self.r.choice("'\u2019") + self.r.choice(["s", "t", "re", "ve", "m", "ll", "d", "\u017f", "st", "x"])
        return "".join(self.r.choice((c.upper(), c)) for c in s)

    def token(self):
        return self.r.choice(self.added) if self.added else "<"

    def broken_token(self):
        t = self.token()
        i, j = sorted((self.r.randint(0, len(t)), self.r.randint(0, len(t))))
        return t[i:j]

    def cjk(self):
        return self.some([*range(0x4e00, 0x4f00), *range(0x9f90, 0x9fb0), *range(0x3040, 0x3100), 0x3001, 0x3002,
                          0xff0c, 0xf900, 0x2f800, 0x3400, 0x20000], 8)

    def hangul(self):
        return self.some([*range(0x1100, 0x1120), *range(0x1161, 0x1176), *range(0x11a7, 0x11c3), 0xac00, 0xac01], 6)

    def latin(self):
        return self.some(range(0xc0, 0x250), 8)

    def run(self):
        return self.r.choice("a \n1\u2581'\u4e00\u0301=-\U0001f600") * self.r.randint(1, 90)

    def word(self):
        return self.r.choice(self.vocab).replace("\u0120", " ").replace("\u2581", " ").replace("\u010a", "\n")

    def wild(self):
        return chr(self.r.choice((self.r.randrange(0xd800), self.r.randrange(0xe000, 0x110000))))

    def make(self):
        return "".join(self.r.choice(self.makers)() for _ in range(self.r.choice((1, 2, 3, 5, 8, 20))))


def ask(method, *args, **options):
    """What the reference says; None where it panics: its Strip does on a token shorter than `stop`, its added tokens where
    one with lstrip begins in white space that the one before has taken."""
    try:
        return method(*args, **options)
    except BaseException as e:
        if type(e).__name__ != "PanicException":
            raise
        return None


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("-n", type=int, default=20000)
    ap.add_argument("-s", type=int, default=1)
    ap.add_argument("-k", default="/tmp/compare-tokenizer")
    ap.add_argument("tokenizer")
    args = ap.parse_args()
    tok = Tokenizer.from_file(args.tokenizer)
    strings = Strings(tok, args.s)
    n_panics = 0
    with open(args.k + ".jsonl", "w") as out:
        for _ in range(args.n):
            text = strings.make()
            found = ask(tok.encode, text, add_special_tokens=False)
            n_panics += found is None
            if found is not None:
                out.write(json.dumps({"text": text, "add_special": False, "ids": found.ids}) + "\n")
    known = sorted(tok.get_vocab(with_added_tokens=True).values())
    with open(args.k + ".decode.jsonl", "w") as out:
        for _ in range(args.n):
            ids = [strings.r.choice(known) if strings.r.random() < .5 else known[strings.r.randrange(min(400, len(known)))]
                   for _ in range(strings.r.randint(0, 12))]
            skip = strings.r.random() < .5
            text = ask(tok.decode, ids, skip_special_tokens=skip)
            n_panics += text is None
            if text is not None:
                out.write(json.dumps({"ids": ids, "skip_special": skip, "text": text}) + "\n")
    print(f"# seed {args.s}: {args.n} texts and {args.n} lists of ids; the reference panics on {n_panics} of them",
          flush=True)
    build = os.environ.get("BUILD", "build")
    sys.exit(subprocess.call([f"{build}/tests/unit/test_text_golden", args.tokenizer, args.k + ".jsonl",
                              args.k + ".decode.jsonl"]))


if __name__ == "__main__":
    main()
