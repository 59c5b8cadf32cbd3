/* Mixtral 8x7B as published later: a space before the bracket too, the system's text within it. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_mixtral_v1 = {
	.name = "mixtral_v1",
	.bos = true,
	.head = " [INST] ",
	.system = {"", "\n\n"},
	.user = {"", " [/INST]"},
	.stops = {"</s>"},
	.templates = {
		"6aef58edf0d62df9f89cfc57f651ff3d",
		"f20364a278b408570586a188d00f2f12",
	},
};
