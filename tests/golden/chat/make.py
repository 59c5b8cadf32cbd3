#!/usr/bin/env python3
"""Writes cases.jsonl: what transformers' apply_chat_template makes of the templates here, one for each chat form.

    pip install transformers==5.23.0 jinja2 xxhash
    tests/golden/chat/make.py
    tests/golden/chat/make.py --known PUBLISHED.jinja...

The templates here are written anew from what is known of the families. The second form names for each published
template the form that writes just the same, judged by all cases, and the hash by which lib/text/chat knows it.
"""
import glob
import json
import os
import sys
import xxhash
from transformers.utils.chat_template_utils import render_jinja_template

HERE = os.path.dirname(os.path.abspath(__file__))
SYSTEMS = [None, "Be brief.", " \u3000Two\nlines\x1c \n", "e\u0301 {{ x }} {% y %} <|im_end|>"]
USERS = ["Hello", " What is\n\n5 > 3? \n", "<think>a</think> b", "\u4e2d\u6587 [INST] </s>\n\n\U0001f600"]


def render(template, system, user, bos):
    """None: the template refuses."""
    messages = [{"role": "system", "content": system}] if system is not None else []
    messages.append({"role": "user", "content": user})
    try:
        out, _ = render_jinja_template([messages], chat_template=template, add_generation_prompt=True, bos_token=bos,
                                       eos_token="</s>")
    except Exception as e:
        if "system" in str(e).lower() or "supported" in str(e) or "alternate" in str(e):
            return None
        raise
    return out[0]


def all_cases(template):
    return [render(template, s, u, "<s>") for s in SYSTEMS for u in USERS]


def read(path):
    with open(path) as f:
        return f.read()


def main():
    own = {os.path.basename(p)[:-len(".jinja")]: read(p) for p in sorted(glob.glob(os.path.join(HERE, "*.jinja")))}
    if sys.argv[1:2] == ["--known"]:
        want = {name: all_cases(t) for name, t in own.items()}
        for path in sys.argv[2:]:
            template = read(path)
            try:
                made = all_cases(template)
            except Exception as e:
                made = str(e)
            digest = xxhash.xxh3_128_hexdigest(template.rstrip().encode())
            print(digest, next((name for name in own if want[name] == made), "-"), path, sep="\t")
        return
    with open(os.path.join(HERE, "cases.jsonl"), "w") as out:
        for name, template in own.items():
            for system in SYSTEMS:
                for user in USERS:
                    out.write(json.dumps({"form": name, "system": system, "user": user,
                                          "text": render(template, system, user, "<s>")}) + "\n")


if __name__ == "__main__":
    main()
