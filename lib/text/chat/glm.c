/* GLM-4.5, the user's text and the role of the answer on lines of their own. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_glm = {
	.name = "glm",
	.head = "[gMASK]<sop>",
	.system = {"<|system|>\n", "\n"},
	.user = {"<|user|>\n", "\n<|assistant|>\n"},
	.tokens = {"[gMASK]", "<sop>", "<|user|>", "<|assistant|>"},
	.stops = {"<|user|>"},
	.templates = {
		"7e27c59c1aa49c0b1a39b6d0c84d2b5c",
	},
};
