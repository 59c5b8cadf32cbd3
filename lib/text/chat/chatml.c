/* ChatML: Qwen3, Yi and others. A turn of a system only where one is given. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_chatml = {
	.name = "chatml",
	.system = {"<|im_start|>system\n", "<|im_end|>\n"},
	.user = {"<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"},
	.tokens = {"<|im_start|>", "<|im_end|>"},
	.stops = {"<|im_end|>"},
	.templates = {
		"11faec84a21c4a1fe42cd1debbc7b5b5",
		"4457e3d12b367a860283f874ff58d644",
		"577a7fce73f72e1ee2be9fd6966bb5eb",
		"5df04857b410a18f4a8163316d06f462",
		"73ea9702fb6dbf024daba7430048f55b",
		"a344e8c84fb0282dda206a9e46a4ac01",
		"f0a6a8278439fdb056191e205a440263",
		"fc7579015a16bbd740f48cea39f88d70",
	},
};
