"""Charsmaps of Precompiled: a double array from keys to where their replacement begins, then the replacements."""
import base64, struct


def charsmap(rules):
    """rules: {bytes: bytes}, no NUL in keys."""
    texts, where = b"", {}
    for value in rules.values():
        if value not in where:
            where[value] = len(texts)
            texts += value + b"\0"
    trie = {}
    for key, value in rules.items():
        node = trie
        for b in key:
            node = node.setdefault(b, {})
        node[0] = where[value]
    units, used = [0] * 256, {0}
    bases = set()

    def place(at, node):
        labels = sorted(node)
        base = 1
        while base in bases or any((base ^ c) in used for c in labels) or (at ^ base) >= 1 << 21:
            base += 1
        bases.add(base)
        while len(units) <= (base | 255):
            units.extend([0] * 256)
        used.update(base ^ c for c in labels)
        units[at] |= (at ^ base) << 10 | (1 << 8 if 0 in node else 0)
        for c in labels:
            units[base ^ c] = node[0] | 1 << 31 if c == 0 else c
        for c in labels:
            if c:
                place(base ^ c, node[c])

    place(0, trie)
    return base64.b64encode(struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + texts).decode()
