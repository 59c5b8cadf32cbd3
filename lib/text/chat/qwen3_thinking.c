/* ChatML of Qwen3's thinking models: the answer begins with a thought. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_qwen3_thinking = {
	.name = "qwen3_thinking",
	.system = {"<|im_start|>system\n", "<|im_end|>\n"},
	.user = {"<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n<think>\n"},
	.tokens = {"<|im_start|>", "<|im_end|>"},
	.stops = {"<|im_end|>"},
	.templates = {
		"9756c92851b2ce159aef94ccfa001454",
		"a81083ba27667fa2484f12b9f5152ece",
		"cb53a145cfc5e326bdee364f122d2352",
	},
};
