#!/usr/bin/env python3
"""Makes the small sets of items in share/eval, and what the sample models must score on them.

usage: make_evals.py items TEXTS DIR                writes DIR/cloze.tsv and DIR/lines.tsv from TEXTS/DOMAIN.txt
       make_evals.py expect MODEL DIR OUT           writes OUT.cloze.tsv and OUT.lines.tsv by transformers in float32
       make_evals.py answers OUT                    writes pairs of texts and how the SQuAD evaluation compares them

`items` and `answers` need Python alone, and are the same bytes every time. `expect` needs torch, transformers and
tokenizers; it shares no code with the programs. Its rules are those of the pages: with choices, white space at the end
of a context is moved to the choice, prefix + context + choice are encoded as one text, and the tokens behind as many as
the context has alone are scored, at least the last; generation is greedy and ends before the first newline behind
text, at the end-of-text token, or after N_TOKENS.
"""
import collections
import os
import random
import re
import string
import sys

DOMAINS = ("prose", "tech", "code", "zh", "de")
N_CLOZE, N_LINES, N_TOKENS, STOP = 12, 12, 12, "\n"
CLOZE = "item context choice correct".split()
LINES = "item prompt answer".split()


def quote(text):
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def unquote(field):
    return re.sub(r"\\(.)", lambda m: {"t": "\t", "n": "\n", "\\": "\\"}[m[1]], field)


def write(path, columns, rows):
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        for row in [columns] + rows:
            f.write("\t".join(quote(str(x)) for x in row) + "\n")


def read(path):
    with open(path, encoding="utf-8", newline="\n") as f:
        lines = f.read().split("\n")[:-1]
    names = lines[0].split("\t")
    return [dict(zip(names, map(unquote, line.split("\t")))) for line in lines[1:]]


# ---- items ----------------------------------------------------------------------------------------------------------

def boundary(text, at, domain):
    """The next place from `at` on where a word ends and a blank follows; in Chinese any place between characters."""
    if domain == "zh":
        while text[at].isspace() or text[at - 1].isspace():
            at += 1
        return at
    while not (text[at] == " " and not text[at - 1].isspace() and not text[at + 1].isspace()):
        at += 1
    return at


def cloze(text, domain):
    """Contexts of about 160 characters; what follows for about 40, against what follows elsewhere in the same text."""
    cuts = []
    for k in range(N_CLOZE):
        at = boundary(text, 200 + (len(text) - 400) * k // N_CLOZE, domain)
        begin, end = boundary(text, at - 160, domain), boundary(text, at + 40, domain)
        cuts.append((text[begin:at].lstrip(), text[at:end]))
    rows = []
    for k, (context, right) in enumerate(cuts):
        choices = [right] + [cuts[(k + step) % N_CLOZE][1] for step in (3, 6, 9)]
        if k % 2 and domain != "zh":   # the blank belongs to the context: it is moved
            context, choices = context + " ", [c[1:] for c in choices]
        order = list(range(4))
        random.Random(f"{domain} {k}").shuffle(order)
        rows += [[f"{domain}-{k + 1}", context, choices[i], int(i == 0)] for i in order]
    return rows


def lines(text, domain):
    """Three lines and a fourth without its last word (in Chinese: its last two characters), which is the answer."""
    all_lines, found = text.split("\n"), []
    for i in range(3, len(all_lines) - 1):
        line = all_lines[i]
        cut = len(line) - 2 if domain == "zh" else line.rfind(" ")
        answer = line[cut:].strip()
        if len(line) >= (12 if domain == "zh" else 30) and 2 <= len(answer) <= 12 and line[:cut].strip():
            found.append(("\n".join(all_lines[i - 3:i] + [line[:cut]]), answer))
    rows = []
    for k in range(N_LINES):
        prompt, answer = found[len(found) * k // N_LINES]
        accepted = [answer] + [a for a in [answer.rstrip(".,;:()")] if a and a != answer]
        rows += [[f"{domain}-{k + 1}", prompt, a] for a in accepted]
    return rows


def make_items(texts, out):
    os.makedirs(out, exist_ok=True)
    sets = {"cloze": (CLOZE, cloze), "lines": (LINES, lines)}
    for name, (columns, make) in sets.items():
        rows = []
        for domain in DOMAINS:
            with open(os.path.join(texts, domain + ".txt"), encoding="utf-8", newline="") as f:
                rows += make(f.read(), domain)
        write(os.path.join(out, name + ".tsv"), columns, rows)


# ---- judging --------------------------------------------------------------------------------------------------------

def normal(text):
    """As evaluate-v1.1.py and -v2.0.py of SQuAD do."""
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def f1(text, answer):
    a, b = normal(text).split(), normal(answer).split()
    if not a or not b:
        return float(a == b)
    same = sum((collections.Counter(a) & collections.Counter(b)).values())
    if same == 0:
        return 0.0
    p, r = same / len(a), same / len(b)
    return 2 * p * r / (p + r)


def judge(text, answers):
    blanks = " \t\n\v\f\r"
    return (max(int(text.strip(blanks) == a.strip(blanks)) for a in answers),
            max(int(normal(text) == normal(a)) for a in answers), max(f1(text, a) for a in answers))


PIECES = ["the", "The", "a", "an", "An", "THE", "cat", "Cat's", "dog,", "dog", "--", "a-b", "the.", "\u4e2d\u6587",
          "the\u4e2d", "\u00c4rger", "\u00e4rger", "\u0130stanbul", "\u01c5", "Stra\u00dfe", "\u0391\u03b2\u0393", "x\u00a0y",
          "\u3000", "\u2003", "\u0085", "42", "4.2", "the2", "a_b", "\u2019s", "\u00abthe\u00bb", "\u0301", "the\u0301",
          "\u00bd", "\u2167", "\u1e9e", "$5", "...", "", " ", "\x1c", "'a'", "\U00010400", "\U00031350", "\u00aa", "a\u0300n"]


def make_answers(out):
    rng, rows = random.Random(20261122), []
    for _ in range(400):
        a, b = (" ".join(rng.choice(PIECES) for _ in range(rng.randrange(6))) for _ in range(2))
        if rng.random() < 0.4:
            b = a.upper() if rng.random() < 0.5 else " ".join(reversed(a.split(" ")))
        rows.append([a, b, normal(a), *judge(a, [b])[:2], f"{f1(a, b):.6f}"])
    write(out, "text answer normal literal exact f1".split(), rows)


# ---- what the models must score -------------------------------------------------------------------------------------

def expect(model_dir, evals, out):
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    tok = Tokenizer.from_file(os.path.join(model_dir, "tokenizer.json"))
    bos, eos = model.config.bos_token_id, model.config.eos_token_id

    def encode(text):
        return [bos] + tok.encode(text, add_special_tokens=False).ids

    @torch.no_grad()
    def logits(ids):
        return model(torch.tensor([ids])).logits[0].double()

    def by_item(rows):
        items = {}
        for row in rows:
            items.setdefault(row["item"], []).append(row)
        return items

    rows, hits = [], [0, 0, 0]
    items = by_item(read(os.path.join(evals, "cloze.tsv")))
    for name, choices in items.items():
        sums, tokens, sizes = [], [], []
        for c in choices:
            whole, given = encode(c["context"] + c["choice"]), len(encode(c["context"].rstrip()))
            given = min(given, len(whole) - 1)
            lp = torch.log_softmax(logits(whole), -1)
            sums.append(sum(float(lp[i - 1, whole[i]]) for i in range(given, len(whole))))
            tokens.append(len(whole) - given)
            sizes.append(len(c["choice"].encode()))
        right = [c["correct"] for c in choices].index("1")
        best = [max(range(len(sums)), key=lambda i: sums[i] / d[i]) for d in ([1] * len(sums), tokens, sizes)]
        hit = [int(b == right) for b in best]
        hits = [h + x for h, x in zip(hits, hit)]
        rows.append([name, len(choices), right + 1, *(b + 1 for b in best), *hit, ",".join(f"{s:.6f}" for s in sums),
                     ",".join(map(str, tokens)), ",".join(map(str, sizes))])
    rows.append(["total", sum(r[1] for r in rows), "-", "-", "-", "-", *(f"{h / len(items):.6f}" for h in hits), "-", "-",
                 "-"])
    write(out + ".cloze.tsv", ("item choices correct best best_token best_byte plain per_token per_byte logprobs "
                               "tokens bytes").split(), rows)

    rows, margin = [], float("inf")
    items = by_item(read(os.path.join(evals, "lines.tsv")))
    for name, answers in items.items():
        ids = encode(answers[0]["prompt"])
        made, text, stop = [], "", "length"
        while len(made) < N_TOKENS:
            last = logits(ids + made)[-1]
            two = torch.topk(last, 2).values
            margin = min(margin, float(two[0] - two[1]))
            new = int(torch.argmax(last))
            if new == eos:
                stop = "eos"
                break
            made.append(new)
            text = tok.decode(made, skip_special_tokens=True)
            if STOP in text:
                text, stop = text[:text.index(STOP)], "text"
                break
        score = judge(text, [a["answer"] for a in answers])
        rows.append([name, score[0], score[1], f"{score[2]:.6f}", len(made), stop, text])
    n = len(rows)
    rows.append(["total", *(f"{sum(float(r[c]) for r in rows) / n:.6f}" for c in (1, 2, 3)), sum(r[4] for r in rows), "-",
                 "-"])
    write(out + ".lines.tsv", "item literal exact f1 tokens stop text".split(), rows)
    print(f"{model_dir}: least difference of the best two logits on the way: {margin:.6f}")


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "items":
        make_items(*sys.argv[2:])
    elif len(sys.argv) == 5 and sys.argv[1] == "expect":
        expect(*sys.argv[2:])
    elif len(sys.argv) == 3 and sys.argv[1] == "answers":
        make_answers(sys.argv[2])
    else:
        sys.exit(__doc__)


main()
