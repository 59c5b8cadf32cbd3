/* DeepSeek V3: a token for each role, no line breaks. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_deepseek_v3 = {
	.name = "deepseek_v3",
	.bos = true,
	.system = {"", ""},
	.user = {"<｜User｜>", "<｜Assistant｜>"},
	.tokens = {"<｜User｜>", "<｜Assistant｜>"},
	.stops = {"<｜end▁of▁sentence｜>"},
	.templates = {
		"1df512481f4f153856c5b21f29fce3a6",
		"4539344e06ec0b776878d9ac13b3ef51",
		"82bb975022b25f5158cd1105c674f0cc",
		"ad7b49225b980e366d68488b86e2e184",
		"ba826724af56e537759e4eeeb1ec9b77",
	},
};
