/* ChatML of Qwen1.5, which has a system of its own. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_qwen1 = {
	.name = "qwen1",
	.system = {"<|im_start|>system\n", "<|im_end|>\n"},
	.default_system = "You are a helpful assistant",
	.user = {"<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"},
	.tokens = {"<|im_start|>", "<|im_end|>"},
	.stops = {"<|im_end|>"},
	.templates = {
		"82e1e6e330efbf9155e8e39c912b23ab",
		"e172667461b75b81f40d3b263dcc40bf",
	},
};
