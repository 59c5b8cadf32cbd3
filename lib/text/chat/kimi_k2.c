/* Kimi K2 and Moonlight as published, which have a system of their own. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_kimi_k2 = {
	.name = "kimi_k2",
	.system = {"<|im_system|>system<|im_middle|>", "<|im_end|>"},
	.default_system = "You are a helpful assistant",
	.user = {"<|im_user|>user<|im_middle|>", "<|im_end|><|im_assistant|>assistant<|im_middle|>"},
	.tokens = {"<|im_user|>", "<|im_assistant|>", "<|im_middle|>", "<|im_system|>", "<|im_end|>"},
	.stops = {"<|im_end|>"},
	.templates = {
		"711a25122276f9f3005b688bf9c5ddd4",
		"88ef123c70c3a22da6fb21d93cdf9409",
	},
};
