#!/usr/bin/env python3
"""Writes small/: tokenizers as SentencePiece makes them, and every normalizer, pre-tokenizer and decoder beside ByteLevel,
with the reference's ids and texts; t5.json.xz has the whole rules of nmt_nfkc.

    pip install tokenizers==0.23.3 sentencepiece==0.2.3
    tests/golden/tokenizers/make_pieces.py [-n STRINGS] [-o FOLDER]
"""
import argparse
import base64
import io
import json
import lzma
import os
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from charsmap import charsmap
from compare import Strings

HERE = os.path.dirname(os.path.abspath(__file__))
TEXT = os.path.join(HERE, "..", "..", "..", "share", "text")
RULES = {"a\u0301": "\u00e1", "\u00bd": "1/2", "\u2460": "1", "\u0001": "", "\u200b": " ", "\t": " ", "\n": " ", "\uff21": "A",
         "\u00a9": "(c)", "\u0915": "k", "\u1100": "g", "\u0600": "#", "\U0001f600": ":)", "e": "e", "ij": "\u0133", "\u0133": "ij"}
SPICE = ["\u2581", "\u2581\u2581", " ", "  ", "   ", "<unk>", "<s>", "</s>", "<0x41>", "<extra_id_0>", " <mask> ", "\u00bd", "\u2460", "\u0001",
         "a\u0301", "a\u0301\u0302", "\u200b", "\t", "\n", "\r\n", "\uff21", "\u00a9\u200d\U0001f600", "\u00a9\u0301", "\u0915\u094d\u0915\u0301",
         "\u1100\u1161\u11a8\u0301", "\u0600a", "\u0600\u0301", "\u0133", "ij", "\u0130", "\u212b", "\ufb01", "\u32ff", "\u1e9e",
         "e\u0301", "\u0345\u0301", "\uac01", "The", "word", "1234", "!?", "\u3002", "don't", "a-b", "\ufdfa", "|", "qqq", "\ufffd", "\ufeff"]


def train(kind, size, **more):
    out = io.BytesIO()
    lines = [line for n in ("prose", "de", "code", "zh") for line in open(os.path.join(TEXT, n + ".txt"), encoding="utf-8")]
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=out, model_type=kind, vocab_size=size,
                                             character_coverage=.98, minloglevel=2, num_threads=1, **more)
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(out.getvalue())
    return proto


def unigram(proto, **more):
    return models.Unigram([(p.piece, round(p.score, 5)) for p in proto.pieces], unk_id=proto.trainer_spec.unk_id, **more)


def bpe(proto, **more):
    """The merges are not in the model: every pair whose joined text has a lower id, in the order of those."""
    vocab = {p.piece: i for i, p in enumerate(proto.pieces)}
    merges = []
    for piece, i in vocab.items():
        if len(piece) > 1 and proto.pieces[i].type == 1:
            pairs = [(piece[:k], piece[k:]) for k in range(1, len(piece)) if piece[:k] in vocab and piece[k:] in vocab]
            merges += [(i, vocab[a], vocab[b], (a, b)) for a, b in pairs]
    return models.BPE(vocab=vocab, merges=[m[3] for m in sorted(merges)], unk_token="<unk>", **more)


def tokenizer(model, normalizer=None, pre=None, decoder=None, special=("<unk>", "<s>", "</s>")):
    tok = Tokenizer(model)
    if normalizer:
        tok.normalizer = normalizer
    if pre:
        tok.pre_tokenizer = pre
    if decoder:
        tok.decoder = decoder
    tok.add_special_tokens([s for s in special if tok.token_to_id(s) is not None])
    return tok


def made():
    space, llama = pre_tokenizers.Metaspace, decoders.Sequence([
        decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    rules = normalizers.Precompiled(base64.b64decode(charsmap({a.encode(): b.encode() for a, b in RULES.items()})))
    seq = normalizers.Sequence

    words = train("bpe", 900, byte_fallback=True, normalization_rule_name="identity")
    model = bpe(words, byte_fallback=True, fuse_unk=True)
    tok = tokenizer(model, seq([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]), None, llama)
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    yield "sp_bpe", tok
    tok = tokenizer(model, None, space(prepend_scheme="first", split=False), llama)
    tok.add_tokens([AddedToken("word", single_word=True), AddedToken("<mask>", lstrip=True, special=True)])
    yield "sp_bpe_first", tok
    yield "sp_bpe_split", tokenizer(model, normalizers.NFKC(), space(prepend_scheme="always"), decoders.Metaspace())
    tok = tokenizer(bpe(train("bpe", 500, normalization_rule_name="identity"), fuse_unk=False), None, None, decoders.Fuse())
    yield "sp_bpe_unknown", tok

    large = train("unigram", 1200, unk_id=2, bos_id=-1, eos_id=1, pad_id=0, normalization_rule_name="nmt_nfkc")
    tok = tokenizer(unigram(large), seq([normalizers.Precompiled(large.normalizer_spec.precompiled_charsmap),
                                         normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "\u2581")]),
                    space(prepend_scheme="always"), decoders.Metaspace(), ("<pad>", "</s>", "<unk>"))
    tok.add_special_tokens([f"<extra_id_{i}>" for i in range(99, -1, -1)])
    tok.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    yield "t5", tok

    small = train("unigram", 700, byte_fallback=True, normalization_rule_name="identity")
    model = unigram(small)
    yield "unigram", tokenizer(model, seq([rules, normalizers.Replace(Regex(" {2,}"), " ")]),
                               pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), space()]), decoders.Metaspace())
    yield "unigram_bytes", tokenizer(unigram(small, byte_fallback=True), seq([normalizers.Nmt(), normalizers.NFKC()]),
                                     space(prepend_scheme="first", split=False), llama)
    yield "unigram_whole", tokenizer(model, normalizers.Lowercase(), None, decoders.Metaspace(prepend_scheme="never"))
    yield "rules_first", tokenizer(model, rules, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                                          space(prepend_scheme="first")]))
    yield "strip_first", tokenizer(model, seq([normalizers.Strip(), normalizers.Prepend("\u2581x")]), pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("isolated"), space(prepend_scheme="first")]), decoders.Metaspace(prepend_scheme="first"))
    yield "nfkd_first", tokenizer(model, seq([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Replace(Regex("^[q/]"), "")]),
                                  pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"\d"), "merged_with_next"),
                                                           space(prepend_scheme="first")]))
    yield "nfd", tokenizer(model, seq([normalizers.NFD(), normalizers.Strip(left=True, right=False)]), pre_tokenizers.Whitespace(),
                           decoders.Sequence([decoders.Replace(Regex("[\u2581e]+"), "_"), decoders.Fuse()]))
    yield "never", tokenizer(model, normalizers.NFC(), pre_tokenizers.Sequence([
        pre_tokenizers.CharDelimiterSplit("|"), pre_tokenizers.Punctuation("merged_with_previous"), space(prepend_scheme="never")]),
        decoders.Metaspace(prepend_scheme="never"))
    tok = tokenizer(model, seq([normalizers.Lowercase(), normalizers.NFKC()]), pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("removed"), space(replacement="_", prepend_scheme="always")]), decoders.Metaspace(replacement="_"))
    tok.add_tokens([AddedToken("word"), AddedToken("The", lstrip=True, rstrip=True), AddedToken("\ufb01", normalized=False)])
    yield "lowercase", tok


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("-n", type=int, default=90)
    ap.add_argument("-o", default=HERE)
    args = ap.parse_args()
    os.makedirs(os.path.join(args.o, "small"), exist_ok=True)
    for name, tok in made():
        large = name == "t5"
        path = os.path.join(args.o, name if large else os.path.join("small", name))
        text = json.dumps(json.loads(tok.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n"
        with lzma.open(path + ".json.xz", "wb", preset=9) if large else open(path + ".json", "wb") as out:
            out.write(text.encode())
        tok = Tokenizer.from_str(text)
        strings = Strings(tok, name)
        strings.makers += [lambda: strings.r.choice(SPICE)] * 16 + [strings.word] * 8
        with open(path + ".jsonl", "w") as out:
            for i in range(args.n):
                text = strings.make()[:120]
                out.write(json.dumps({"text": text, "add_special": False,
                                      "ids": tok.encode(text, add_special_tokens=False).ids}) + "\n")
        known = sorted(tok.get_vocab(with_added_tokens=True).values())
        with open(path + ".decode.jsonl", "w") as out:
            for i in range(args.n * 2 // 3):
                ids = ([strings.r.choice(known) for _ in range(strings.r.randint(0, 12))] if i % 2 else
                       tok.encode(strings.make()[:40], add_special_tokens=False).ids)
                skip = bool(strings.r.random() < .5)
                out.write(json.dumps({"ids": ids, "skip_special": skip, "text": tok.decode(ids, skip_special_tokens=skip)}) + "\n")


if __name__ == "__main__":
    main()
