/* ChatML of Qwen2 and Qwen1.5-MoE, which have a system of their own. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_qwen2 = {
	.name = "qwen2",
	.system = {"<|im_start|>system\n", "<|im_end|>\n"},
	.default_system = "You are a helpful assistant.",
	.user = {"<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"},
	.tokens = {"<|im_start|>", "<|im_end|>"},
	.stops = {"<|im_end|>"},
	.templates = {
		"8e4f393b7d70655c6db1a6dccd963b1a",
		"ae4fd950e724e8010d3b542a3bdb58b1",
		"b2f9f2a38d47921641420706576a45ea",
		"e580c2da83415028d5d943bd0bd9082f",
		"e83000dd638f8c39d63c0ab8ac046a45",
	},
};
