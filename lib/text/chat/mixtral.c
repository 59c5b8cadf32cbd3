/* Mixtral as first published: instructions in brackets, no turn of a system. */
#include "text/chat.h"

const struct moe_chat_form moe_chat_form_mixtral = {
	.name = "mixtral",
	.bos = true,
	.user = {"[INST] ", " [/INST]"},
	.stops = {"</s>"},
	.templates = {
		"70bf874ad98f31f4b7f52373b11c60d7",
		"d9ad82c8941b8a8deefe5bbf0c367199",
		"f395fc5daa794129a5d004210ebce758",
	},
};
