#!/usr/bin/env python3
"""Tokenizers in the keys of GGUF files, with the ids and texts of the packages that the keys are made from.

    pip install gguf==0.19.0 sentencepiece==0.2.3 tokenizers==0.23.3
    tests/golden/tokenizers/make_gguf.py       writes gguf/llama.gguf: BPE of SentencePiece, learnt from share/text
    tests/golden/tokenizers/make_gguf.py -n 20000 --to X.gguf
    tests/golden/tokenizers/make_gguf.py -n 20000 --to X.gguf --pre NAME TOKENIZER.json

The other forms compare on random strings (make build/tests/unit/test_text_golden first), the last with the tokenizer of
a byte-level tokenizer.json. Not part of the tests.
"""
import argparse
import io
import json
import os
import subprocess
import sys
import gguf
import sentencepiece
from compare import Strings
from tokenizers import Tokenizer, decoders

HERE = os.path.dirname(os.path.abspath(__file__))
TEXT = os.path.join(HERE, "..", "..", "..", "share", "text")
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)


def learn(n):
    model = io.BytesIO()
    files = [os.path.join(TEXT, f) for f in sorted(os.listdir(TEXT)) if f.endswith(".txt")]
    sentencepiece.SentencePieceTrainer.train(
        input=files, model_writer=model, model_type="bpe", vocab_size=n, byte_fallback=True, character_coverage=0.99,
        normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        max_sentence_length=1 << 20, minloglevel=2)
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


class Adapter:
    """What Strings asks of a tokenizer."""

    def __init__(self, sp):
        self.sp = sp

    def get_added_tokens_decoder(self):
        return {}

    def get_vocab(self):
        return {self.sp.id_to_piece(i).replace("\u2581", " "): i for i in range(self.sp.get_piece_size())}


def from_sentencepiece(w, sp, seed):
    n = sp.get_piece_size()
    types = [UNKNOWN if sp.is_unknown(i) else CONTROL if sp.is_control(i) else BYTE if sp.is_byte(i) else NORMAL
             for i in range(n)]
    w.add_tokenizer_model("llama")
    w.add_token_list([sp.id_to_piece(i) for i in range(n)])
    w.add_token_scores([sp.get_score(i) for i in range(n)])
    w.add_token_types(types)
    w.add_bos_token_id(sp.bos_id())
    w.add_eos_token_id(sp.eos_id())
    w.add_unk_token_id(sp.unk_id())
    strings = Strings(Adapter(sp), seed)
    names = [sp.id_to_piece(i) for i in range(3)]

    def encode(text):
        # A name in a text becomes an id here, as tokenizer.json of the families has it; SentencePiece spells it out.
        return None if any(x in text for x in names) else sp.encode(text)
    known = [i for i in range(n) if types[i] in (NORMAL, BYTE)]
    # The way back is that of a tokenizer.json with such a model, which differs from SentencePiece's own where byte tokens
    # form no UTF-8.
    back = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                              decoders.Strip(" ", 1, 0)])
    return strings, encode, lambda ids, skip: back.decode([sp.id_to_piece(i) for i in ids]), known


def from_json(w, path, pre, seed):
    tok = Tokenizer.from_file(path)
    model = json.load(open(path))["model"]
    added = tok.get_added_tokens_decoder()
    vocab = {i: t for t, i in tok.get_vocab(with_added_tokens=True).items()}
    n = max(vocab) + 3
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list([vocab.get(i, f"[PAD{i}]") for i in range(n)])
    w.add_token_types([UNUSED if i not in vocab else NORMAL if i not in added else CONTROL if added[i].special else USER
                       for i in range(n)])
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in model["merges"]])
    return (Strings(tok, seed), lambda text: tok.encode(text, add_special_tokens=False).ids,
            lambda ids, skip: tok.decode(ids, skip_special_tokens=skip), sorted(vocab))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("-n", type=int, default=150)
    ap.add_argument("-s", type=int, default=1)
    ap.add_argument("--to", default=os.path.join(HERE, "gguf", "llama.gguf"))
    ap.add_argument("--pre")
    ap.add_argument("json", nargs="?")
    args = ap.parse_args()
    os.makedirs(os.path.dirname(os.path.abspath(args.to)), exist_ok=True)
    w = gguf.GGUFWriter(args.to, "llama")
    made = from_json(w, args.json, args.pre, args.s) if args.json else from_sentencepiece(w, learn(800), args.s)
    strings, encode, decode, known = made
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    base = args.to[:-len(".gguf")]
    with open(base + ".jsonl", "w") as out:
        done = 0
        while done < args.n:
            text = strings.make()
            ids = encode(text)
            if ids is not None:
                out.write(json.dumps({"text": text, "add_special": False, "ids": ids}) + "\n")
                done += 1
    with open(base + ".decode.jsonl", "w") as out:
        for _ in range(args.n):
            ids = [strings.r.choice(known) if strings.r.random() < .5 else known[strings.r.randrange(min(400, len(known)))]
                   for _ in range(strings.r.randint(0, 12))]
            skip = strings.r.random() < .5
            out.write(json.dumps({"ids": ids, "skip_special": skip, "text": decode(ids, skip)}) + "\n")
    build = os.environ.get("BUILD", "build")
    sys.exit(subprocess.call([f"{build}/tests/unit/test_text_golden", args.to, base + ".jsonl", base + ".decode.jsonl"]))


if __name__ == "__main__":
    main()
