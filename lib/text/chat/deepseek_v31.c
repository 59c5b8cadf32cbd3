/* DeepSeek V3.1: as V3, and the answer begins behind a thought that was left out. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_deepseek_v31 = {
	.name = "deepseek_v31",
	.bos = true,
	.system = {"", ""},
	.user = {"<｜User｜>", "<｜Assistant｜></think>"},
	.tokens = {"<｜User｜>", "<｜Assistant｜>"},
	.stops = {"<｜end▁of▁sentence｜>"},
	.templates = {
		"56ef7eac9b1d2a99ab9a527abb097f43",
		"a2f34257bda4d017e87909fb94ce570a",
	},
};
