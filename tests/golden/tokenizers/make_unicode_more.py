#!/usr/bin/env python3
"""Writes lib/text/unicode_more.c: what normalizers and pre-tokenizers ask of characters.

    pip install unicodedata2==16.0.0 tokenizers==0.23.3
    tests/golden/tokenizers/make_unicode_more.py > lib/text/unicode_more.c

All of it is asked of the reference, which uses a different version of Unicode in each place. Where a grapheme ends is
seen through Precompiled: it replaces a grapheme of up to 5 bytes as a whole once a key of the charsmap begins it.
"""
import base64
import unicodedata2 as ucd
from tokenizers.normalizers import NFC, NFD, NFKC, NFKD, Lowercase, Precompiled, StripAccents
from tokenizers.pre_tokenizers import Punctuation
from charsmap import charsmap

CODES = [c for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]
CLASSES = ("OTHER CR LF CONTROL EXTEND LINKER OUTSIDER ZWJ PREPEND SPACING JAMO_L JAMO_V JAMO_T HANGUL PICTURE "
           "CONSONANT").split()


def runs(codes):
    out = []
    for c in sorted(codes):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
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


def rules(*pairs):
    return Precompiled(base64.b64decode(charsmap({a.encode(): b.encode() for a, b in pairs}))).normalize_str


def graphemes():
    mark, zwj, ka, virama, sign = "\u0301", "\u200d", "\u0915", "\u094d", "\u00a9"
    of_a, of_mark, of_ka, of_sign = rules(("a", "Z")), rules((mark, "M")), rules((ka, "K")), rules((sign, "C"))
    out = {}
    joined = {c for c in CODES if of_a("a" + chr(c)) == "Z"}
    prepend = {c for c in CODES if c not in joined and rules((chr(c), "Q"))(chr(c) + "a") == "Q"}
    for c in CODES:
        ch = chr(c)
        if c in joined:
            if ch == zwj:
                out[c] = "ZWJ"
            elif of_sign(sign + ch + zwj + sign + mark) == "C" + ch + zwj + "C":
                out[c] = "SPACING"
            elif of_ka(ka + ch + ka + mark) == "K" + ch + "K" + mark:
                out[c] = "LINKER"
            elif of_ka(ka + ch + virama + ka + mark) == "K" + ch + virama + "K" + mark:
                out[c] = "EXTEND"
            else:
                out[c] = "OUTSIDER"
        elif c in prepend:
            out[c] = "PREPEND"
        elif of_mark(ch + mark + "\u0302") == ch + "M":
            out[c] = {13: "CR", 10: "LF"}.get(c, "CONTROL")
        elif of_sign(sign + zwj + ch).startswith("C" + zwj):
            out[c] = "PICTURE"
        elif 0x800 <= c < 0x10000 and rules((ch, "K"))(ka + virama + ch + mark).endswith(virama + "K" + mark):
            out[c] = "CONSONANT"
    for first, last, name in ((0x1100, 0x115F, "JAMO_L"), (0xA960, 0xA97C, "JAMO_L"), (0x1160, 0x11A7, "JAMO_V"),
                              (0xD7B0, 0xD7C6, "JAMO_V"), (0x11A8, 0x11FF, "JAMO_T"), (0xD7CB, 0xD7FB, "JAMO_T"),
                              (0xAC00, 0xD7A3, "HANGUL")):
        for c in range(first, last + 1):
            assert c not in out or out[c] == "CONSONANT", hex(c)
            out[c] = name
    return out


def undecomposed():
    """What compatibility decomposition of Unicode 16 takes apart and the reference does not."""
    out = set()
    for c in CODES:
        if NFKD().normalize_str(chr(c)) != ucd.normalize("NFKD", chr(c)):
            assert NFKD().normalize_str(chr(c)) == NFKC().normalize_str(chr(c)) == chr(c), hex(c)
            out.add(c)
    return out


def lower():
    """Runs of code points, `step` apart, whose lower case is `change` away."""
    change, out = {}, []
    for c in CODES:
        low = Lowercase().normalize_str(chr(c))
        if c == 0x130:
            assert low == "i\u0307"
        elif low != chr(c):
            assert len(low) == 1
            change[c] = ord(low) - c
    for c in sorted(change):
        last = out[-1] if out else None
        if last and last[3] == change[c] and c - last[1] in (1, 2) and last[2] in (0, c - last[1]):
            last[1], last[2] = c, c - last[1]
        else:
            out.append([c, c, 0, change[c]])
    return [[a, b, step or 1, d] for a, b, step, d in out]


def main():
    print("/* Written by tests/golden/tokenizers/make_unicode_more.py from what the reference does. */")
    print('#include "text/unicode.h"')
    for name, codes, comment in (
            ("accent", {c for c in CODES if StripAccents().normalize_str("a" + chr(c)) == "a"}, "What StripAccents removes."),
            ("punctuation", {c for c in CODES if len(Punctuation().pre_tokenize_str("a" + chr(c))) == 2},
             "What the Punctuation pre-tokenizer sets apart."),
            ("undecomposed", undecomposed(), "Younger than the reference's NFKC and NFKD (Unicode 9): left where they are.")):
        array("struct moe_range", "moe_unicode_" + name, ["{0x%x, 0x%x}" % tuple(r) for r in runs(codes)], comment)
    array("struct moe_lower", "moe_unicode_lower", ["{0x%x, 0x%x, %d, %d}" % tuple(r) for r in lower()],
          "Lower case but for U+0130: first, last, step, what is added.")
    out, last, found = [], "OTHER", graphemes()
    for c in range(1, 0x110000):
        g = found.get(c, "OTHER")
        if g != last:
            out.append(f"0x{c << 5 | CLASSES.index(g):x}")
            last = g
    array("uint32_t", "moe_unicode_graphemes", ["0x0", *out],
          "First code point of a run << 5 | its enum moe_grapheme; a run ends where the next begins.")


main()
