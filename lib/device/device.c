/* Opens devices by name. */
#include "device/device.h"

#include <string.h>

#include "device/cpu/cpu.h"

const char *moe_device_at(size_t i)
{
	static const char *const names[] = { "cpu" };
	return i < sizeof names / sizeof *names ? names[i] : NULL;
}

const char *moe_device_isa_at(size_t i)
{
	const struct moe_dot *dot = moe_dot_at(i);
	return dot ? dot->name : NULL;
}

enum moe_status moe_device_open(struct moe_device **out, const char *name, struct moe_pool *pool, struct moe_err *err)
{
	if (strcmp(name, "cpu") == 0)
		return moe_cpu_open(out, pool, err);
	return moe_err_set(err, MOE_EUSAGE, "device '%s' is not known: this build runs on 'cpu' only", name);
}

void moe_device_close(struct moe_device *device)
{
	if (device)
		device->close(device);
}
