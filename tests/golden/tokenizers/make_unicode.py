#!/usr/bin/env python3
"""Writes lib/text/unicode_data.c.

    pip install unicodedata2==16.0.0 tokenizers==0.23.3
    tests/golden/tokenizers/make_unicode.py > lib/text/unicode_data.c

General categories come from unicodedata2 and are compared with what the reference tokenizer's \\p{..} match. The other
tables say what the reference does where it uses other versions of Unicode or derived properties, so they are asked
of it: \\w of its patterns, word characters around an added token with single_word, digits of Digits, and characters that its
NFC (Unicode 9) does not know to combine. So is the script Han, which general categories do not tell.
"""
import sys
import unicodedata2 as ucd
from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import NFC
from tokenizers.pre_tokenizers import Digits, Split

assert ucd.unidata_version == "16.0.0"
CATEGORIES = "Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co".split()
CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
TEXT = "".join(map(chr, CODES))


def matched(pattern):
    rest = set()
    for piece, _ in Split(Regex(f"(?:{pattern})"), "removed").pre_tokenize_str(TEXT):
        rest.update(map(ord, piece))
    return set(CODES) - rest


def runs(codes):
    out = []
    for c in sorted(codes):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def check_categories():
    for name in CATEGORIES + ["L", "M", "N", "P", "S", "Z", "C"]:
        if name == "Cs":
            continue
        ours = {c for c in CODES if ucd.category(chr(c)).startswith(name)}
        assert matched(rf"\p{{{name}}}") == ours, name


def single_word():
    tok = Tokenizer(WordLevel({"?": 0}, unk_token="?"))
    tok.add_tokens([AddedToken("q", single_word=True)])
    q = tok.token_to_id("q")
    texts = [chr(c) + "q" for c in CODES]
    out = set()
    for c, enc in zip(CODES, tok.encode_batch(texts)):
        if q not in enc.ids:
            out.add(c)
    return out


def digits():
    out = set()
    for piece, (_, _) in Digits(individual_digits=True).pre_tokenize_str("".join(c + "a" for c in TEXT)):
        if piece != "a" and len(piece) == 1:
            out.add(ord(piece))
    rest = set()
    for piece, _ in Digits(individual_digits=False).pre_tokenize_str("".join("a" + c for c in TEXT)):
        if piece.startswith("a") and len(piece) > 1:
            rest.update(map(ord, piece[1:]))
    return out - rest


def uncombined():
    nfc, out = NFC(), set()
    for c in CODES:
        ch = chr(c)
        if ucd.combining(ch):
            for s in ("a\u0345" + ch, "a" + ch + "\u0334b", "a" + ch + "\u0301"):
                if nfc.normalize_str(s) != ucd.normalize("NFC", s):
                    out.add(c)
        if ucd.decomposition(ch) and ucd.decomposition(ch)[0] != "<":
            s = ucd.normalize("NFD", ch)
            if nfc.normalize_str(s) != ucd.normalize("NFC", s):
                new = [c] + [int(x, 16) for x in ucd.decomposition(ch).split() if int(x, 16) > 0x3FF]
                out.update(new)
    return out


def array(kind, name, values, comment):
    print(f"\n/* {comment} */\nconst {kind} {name}[] = {{")
    line = "\t"
    for v in values:
        item = f"{v}, "
        if len(line) + 7 + len(item) > 118:
            print(line.rstrip())
            line = "\t"
        line += item
    print(line.rstrip() + "\n};")
    print(f"const size_t {name.replace('moe_unicode', 'moe_unicode_n')} = {len(values)};")


def main():
    check_categories()
    print("/* Written by tests/golden/tokenizers/make_unicode.py; Unicode 16.0 unless said otherwise. */")
    print('#include "text/unicode.h"')
    cats, last = [], None
    for c in range(0x110000):
        g = CATEGORIES.index(ucd.category(chr(c)))
        if g != last:
            cats.append(f"0x{c << 5 | g:x}")
            last = g
    array("uint32_t", "moe_unicode_categories", cats,
          "First code point of a run << 5 | its general category (enum moe_category); a run ends where the next begins.")
    word = matched(r"\w")
    for name, codes, comment in (
            ("word", word, r"\w of a pattern: alphabetic, marks, decimal digits, connectors."),
            ("adjacent", word ^ single_word(), "In \\w or in what an added token with single_word may not touch, not both."),
            ("numeric", digits(), "What the Digits pre-tokenizer splits off."),
            ("uncombined", uncombined(), "Younger than the reference's NFC (Unicode 9): it leaves them where they are."),
            ("han", matched(r"\p{Han}"), r"The script Han: \p{Han}.")):
        array("struct moe_range", "moe_unicode_" + name, ["{0x%x, 0x%x}" % tuple(r) for r in runs(codes)], comment)


main()
