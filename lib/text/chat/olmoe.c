/* OLMoE: roles as words in brackets, which are no tokens, on lines of their own. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_olmoe = {
	.name = "olmoe",
	.head = "<|endoftext|>",
	.system = {"<|system|>\n", "\n"},
	.user = {"<|user|>\n", "\n<|assistant|>\n"},
	.tokens = {"<|endoftext|>"},
	.stops = {"<|endoftext|>"},
	.templates = {
		"01ffe490beb9ab00050474b3eb00a239",
	},
};
