/* Mixtral 8x22B: no space before the closing bracket. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_mixtral_v3 = {
	.name = "mixtral_v3",
	.bos = true,
	.head = "[INST] ",
	.system = {"", "\n\n"},
	.user = {"", "[/INST]"},
	.stops = {"</s>"},
	.templates = {
		"c7c5aba43d0f450f797fff16f26a5c01",
		"ede9c00e86352ad6af7d8a65eefbd8de",
	},
};
