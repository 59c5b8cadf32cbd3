/* GLM-4 as published: no line break around the role of the answer. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_glm4 = {
	.name = "glm4",
	.head = "[gMASK]<sop>",
	.system = {"<|system|>\n", ""},
	.user = {"<|user|>\n", "<|assistant|>"},
	.tokens = {"[gMASK]", "<sop>", "<|user|>", "<|assistant|>"},
	.stops = {"<|user|>"},
	.templates = {
		"1838ade99ba37655a3e5ca753e1b0256",
		"a04e49485f21e385c02b9dae12437509",
	},
};
