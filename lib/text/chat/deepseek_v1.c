/* DeepSeek V1: User and Assistant as words, no turn of a system. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_deepseek_v1 = {
	.name = "deepseek_v1",
	.bos = true,
	.user = {"User: ", "\n\nAssistant:"},
	.templates = {
		"51cc2ffd5142f6115add2a874bc74132",
	},
};
