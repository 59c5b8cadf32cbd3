/* DeepSeek V2 and Coder V2: as V1, the system's text and an empty line before. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_deepseek_v2 = {
	.name = "deepseek_v2",
	.bos = true,
	.system = {"", "\n\n"},
	.user = {"User: ", "\n\nAssistant:"},
	.templates = {
		"87e1980108b40447f64ecff9c8ef587d",
		"c1a2808bae5d557a70cf740fb1572391",
	},
};
