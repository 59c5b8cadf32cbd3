/* Moonlight and Kimi K2. A turn of a system only where one is given. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_kimi = {
	.name = "kimi",
	.system = {"<|im_system|>system<|im_middle|>", "<|im_end|>"},
	.user = {"<|im_user|>user<|im_middle|>", "<|im_end|><|im_assistant|>assistant<|im_middle|>"},
	.tokens = {"<|im_user|>", "<|im_assistant|>", "<|im_middle|>", "<|im_end|>"},
	.stops = {"<|im_end|>"},
	.templates = {
		"5100424772fcd10b87280547d8614acd",
	},
};
