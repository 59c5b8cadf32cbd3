/* gpt-oss: harmony without the system message that its template makes of the date. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_harmony = {
	.name = "harmony",
	.system = {"<|start|>system<|message|>", "<|end|>"},
	.user = {"<|start|>user<|message|>", "<|end|><|start|>assistant"},
	.tokens = {"<|start|>", "<|message|>", "<|end|>"},
	.stops = {"<|return|>", "<|call|>"},
	.templates = {
		"a974448844f0d5d87dc715ac7da7187e",
	},
};
