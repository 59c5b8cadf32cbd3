/* DeepSeek R1: as V3, and the answer begins with a thought. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_deepseek_r1 = {
	.name = "deepseek_r1",
	.bos = true,
	.system = {"", ""},
	.user = {"<｜User｜>", "<｜Assistant｜><think>\n"},
	.tokens = {"<｜User｜>", "<｜Assistant｜>"},
	.stops = {"<｜end▁of▁sentence｜>"},
	.templates = {
		"b59c4fde1d06da0055b25ceb4910aa64",
		"ceb8eeba3734151e900980bc03e7de1c",
	},
};
