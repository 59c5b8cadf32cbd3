/* Llama 4: a header for each role. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_llama4 = {
	.name = "llama4",
	.bos = true,
	.system = {"<|header_start|>system<|header_end|>\n\n", "<|eot|>"},
	.trim_system = true,
	.user = {"<|header_start|>user<|header_end|>\n\n", "<|eot|><|header_start|>assistant<|header_end|>\n\n"},
	.tokens = {"<|begin_of_text|>", "<|header_start|>", "<|header_end|>", "<|eot|>"},
	.stops = {"<|eot|>"},
	.templates = {
		"c2252c84024e5be718cdcd2cc83838e7",
		"e38ad28dd1273d5da65d60cd7bbb9ac2",
	},
};
