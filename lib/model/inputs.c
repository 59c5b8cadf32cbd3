/* Which matrices are multiplied with the same numbers. */
#include "model/inputs.h"

enum moe_part moe_part_input(enum moe_part part)
{
	switch (part) {
	case MOE_PART_Q:
	case MOE_PART_Q_A:
	case MOE_PART_KV_A:
	case MOE_PART_K:
	case MOE_PART_V:
	case MOE_PART_INDEX_K:
	case MOE_PART_INDEX_WEIGHTS: return MOE_PART_Q;
	case MOE_PART_Q_B:
	case MOE_PART_INDEX_Q: return MOE_PART_Q_B;
	case MOE_PART_KV_B:
	case MOE_PART_V_B: return MOE_PART_KV_B;
	case MOE_PART_CROSS_K:
	case MOE_PART_CROSS_V: return MOE_PART_CROSS_K;
	case MOE_PART_GATE:
	case MOE_PART_UP: return MOE_PART_UP;
	case MOE_PART_SHARED_GATE:
	case MOE_PART_SHARED_MIX:
	case MOE_PART_SHARED_UP: return MOE_PART_SHARED_UP;
	case MOE_PART_EXPERT_GATE:
	case MOE_PART_EXPERT_UP: return MOE_PART_EXPERT_UP;
	case MOE_PART_EMBED:
	case MOE_PART_HEAD: return MOE_PART_HEAD;
	case MOE_PART_K_B:
	case MOE_PART_O:
	case MOE_PART_CROSS_Q:
	case MOE_PART_CROSS_O:
	case MOE_PART_DOWN:
	case MOE_PART_ROUTER:
	case MOE_PART_SHARED_DOWN:
	case MOE_PART_EXPERT_DOWN:
	case MOE_PART_MTP_EH_PROJ:
	case MOE_PART_MTP_HEAD: return part;
	default: return MOE_N_PARTS;
	}
}
