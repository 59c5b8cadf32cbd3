#!/usr/bin/env python3
"""Writes small/: tokenizers that use what the two large ones do not, with the reference's ids and texts.

    pip install tokenizers==0.23.3
    tests/golden/tokenizers/make_small.py
"""
import json
import os
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from compare import Strings

HERE = os.path.dirname(os.path.abspath(__file__))
TEXT = os.path.join(HERE, "..", "..", "..", "share", "text")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DIALECT = (r"^ +|x{2}|y{,2}z|[a-e&&[^cd]]+|[^\W_]{1,4}?(?=\d)|(?i)straße|k+\x{e9}?|[\p{^L}&&\P{N}&&[^\s]]|"
           r"(?<=\n).|\h{2,}$|(?>ab|a)b")


def train(pre, normalizer=None, byte_level=True):
    tok = Tokenizer(models.BPE())
    if normalizer:
        tok.normalizer = normalizer
    tok.pre_tokenizer = pre
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else []
    tok.train([os.path.join(TEXT, n + ".txt") for n in ("prose", "code", "de")],
              trainers.BpeTrainer(vocab_size=340, initial_alphabet=sorted(alphabet), show_progress=False))
    return tok


def bytelevel(*before, **more):
    return pre_tokenizers.Sequence([*before, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False, **more)])


def split(pattern, behavior, invert=False):
    return pre_tokenizers.Split(pattern, behavior, invert)


def made():
    base = train(bytelevel(split(Regex(GPT2), "isolated")))
    base.decoder = decoders.ByteLevel()
    model = json.loads(base.to_str())["model"]

    def variant(pre, normalizer=None, **changes):
        tok = Tokenizer.from_str(json.dumps({**json.loads(base.to_str()), "model": {**model, **changes}}))
        if pre:
            tok.pre_tokenizer = pre
        if normalizer:
            tok.normalizer = normalizer
        return tok

    yield "removed", variant(bytelevel(split(" ", "removed")))
    yield "with_previous", variant(bytelevel(split(Regex(r"\p{P}|\n"), "merged_with_previous")))
    yield "with_next", variant(bytelevel(split(Regex(r"\p{Lu}|'"), "merged_with_next")))
    yield "contiguous", variant(bytelevel(split(Regex(r"\s|\d"), "contiguous")))
    yield "inverted", variant(bytelevel(split(Regex(r"\w+"), "merged_with_previous", invert=True)))
    yield "digits", variant(bytelevel(pre_tokenizers.Digits(individual_digits=False), split(Regex(r"\s+$"), "isolated")))
    yield "gpt2", variant(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                   pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)]))
    yield "o200k", variant(bytelevel(split(Regex(O200K), "isolated")), ignore_merges=True)
    yield "dialect", variant(bytelevel(split(Regex(DIALECT), "isolated")))

    tok = variant(bytelevel(split(Regex(GPT2), "isolated")),
                  normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"q+"), "QU"),
                                        normalizers.Replace("ij", "\u0133")]))
    tok.add_special_tokens([AddedToken("<|end|>"), AddedToken("<|end|>x"), AddedToken("<mask>", lstrip=True),
                            AddedToken("\u00fc", normalized=False)])
    tok.add_tokens([AddedToken("word", single_word=True), AddedToken("right", rstrip=True), AddedToken("e\u0301e"),
                    AddedToken("both", lstrip=True, rstrip=True, single_word=True), AddedToken("  ", normalized=False),
                    AddedToken("qq")])
    yield "added", tok

    # White space that two added tokens claim; special tokens that normalisation alters; no decoder in a sequence.
    tok = variant(bytelevel(split(Regex(GPT2), "isolated")), normalizers.NFD())
    tok.add_special_tokens([AddedToken("\n", lstrip=True, rstrip=True), AddedToken("  ", lstrip=True, normalized=True),
                            AddedToken("\u00c9<K", rstrip=True, normalized=True), AddedToken("<s>", normalized=True)])
    tok.add_tokens([AddedToken("\t", rstrip=True), AddedToken("end", rstrip=True), AddedToken("\r", normalized=False)])
    tok.decoder = decoders.Sequence([])
    yield "blanks", tok

    tok = train(pre_tokenizers.Metaspace(), normalizers.Sequence([]), byte_level=False)
    pieces = json.loads(tok.to_str())["model"]
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"<0x{b:02X}>": 3 + b for b in range(256)}}
    for piece in pieces["vocab"]:
        vocab.setdefault(piece, len(vocab))
    tok = Tokenizer(models.BPE(vocab=vocab, merges=[tuple(m) for m in pieces["merges"]], unk_token="<unk>", fuse_unk=True,
                               byte_fallback=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tok.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])
    tok.add_special_tokens(["<unk>", "<s>", "</s>"])
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    yield "fallback", tok

    tok = Tokenizer.from_str(tok.to_str())
    tok.model.byte_fallback = False
    tok.decoder = decoders.Sequence([decoders.Strip("e", 1, 1), decoders.Fuse(), decoders.Strip("\u2581", 2, 1)])
    yield "unknown", tok

    tok = Tokenizer.from_str(json.dumps({**json.loads(tok.to_str()), "decoder": None}))
    tok.model.fuse_unk = False
    yield "no_decoder", tok


SPICE = ["<|end|>", "<|end|>x", " \t<mask>", "\u00fc", " word ", "words", "right \n", "ee\u0301e", "  both  ", "\u00e9e", "qq", "ij",
         "xxx", "yyz", "abcde", "STRASSE stra\u00dfe Stra\u1e9ee", "\u212a\u00e9", "abb", "DEADbeef\n", "\n.", "\u2581", "<0x41>", "<s>", "ee",
         "a1", "Foo's BAR'S", "it'LL", " The ", "the"]

MORE_SPICE = {"blanks": ["\n\n", "\n \n\r", "\t\n", "end \n  x", "\u00c9<K\r\n", " ", "   ", "\r", "E\u0301<K"]}


def encode(tok, text):
    try:
        return tok.encode(text, add_special_tokens=False).ids
    except BaseException as e:  # it panics on a token within white space that another token has taken
        assert type(e).__name__ == "PanicException"
        return None


def main():
    os.makedirs(os.path.join(HERE, "small"), exist_ok=True)
    for name, tok in made():
        path = os.path.join(HERE, "small", name)
        with open(path + ".json", "w") as out:
            out.write(json.dumps(json.loads(tok.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")
        tok = Tokenizer.from_file(path + ".json")
        strings = Strings(tok, name)
        spice = MORE_SPICE.get(name, SPICE)
        strings.makers += [lambda: strings.r.choice(spice)] * 16
        with open(path + ".jsonl", "w") as out:
            for i in range(100):
                text = strings.make()[:120]
                ids = encode(tok, text)
                if ids is not None:
                    out.write(json.dumps({"text": text, "add_special": False, "ids": ids}) + "\n")
        known = sorted(tok.get_vocab(with_added_tokens=True).values())
        with open(path + ".decode.jsonl", "w") as out:
            for i in range(60):
                ids = ([strings.r.choice(known) for _ in range(strings.r.randint(0, 12))] if i % 2 else
                       encode(tok, strings.make()[:40]) or [])
                skip = bool(strings.r.random() < .5)
                try:
                    text = tok.decode(ids, skip_special_tokens=skip)
                except BaseException as e:  # its Strip panics on a token shorter than `stop`
                    assert type(e).__name__ == "PanicException"
                    continue
                out.write(json.dumps({"ids": ids, "skip_special": skip, "text": text}) + "\n")


main()
