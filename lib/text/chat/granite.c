/* Granite: a header for each role. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_granite = {
	.name = "granite",
	.system = {"<|start_of_role|>system<|end_of_role|>", "<|end_of_text|>\n"},
	.user = {"<|start_of_role|>user<|end_of_role|>", "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>"},
	.tokens = {"<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"},
	.stops = {"<|end_of_text|>"},
	.templates = {
		"54581ea7c7166920ad20145afdf4bf61",
		"61c54e9923acd337fe537cbb17987158",
		"f62de5eea8959f8dad88a38dd4dc52c9",
	},
};
