/* Where models are found by name: samples that come with the programs, and the Hugging Face cache. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "tool.h"

#ifndef MOE_SHARE_DIR
#define MOE_SHARE_DIR "/usr/local/share/moe-tools"
#endif

enum { SAMPLE_FOLDERS = 4 };

/* The folders that samples are looked for in, by falling precedence; empty where one does not apply. */
static void sample_folder(int i, struct moe_buf *to)
{
	const char *share = getenv("MOE_SHARE");
	char exe[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);

	exe[n > 0 ? n : 0] = '\0';
	slash = strrchr(exe, '/');
	if (slash)
		*slash = '\0';
	to->n = 0;
	if (i == 0 && share && *share)
		moe_buf_addf(to, "%s/models", share);
	else if (i == 1 && slash)
		moe_buf_addf(to, "%s/../../share/models", exe);   /* build/bin in the source tree */
	else if (i == 2 && slash)
		moe_buf_addf(to, "%s/../share/moe-tools/models", exe);   /* bin beside share */
	else if (i == 3)
		moe_buf_addf(to, "%s/models", MOE_SHARE_DIR);
}

void tool_print_samples(const struct tool *tool)
{
	struct moe_buf folder = {0};

	for (int i = 0; i < SAMPLE_FOLDERS && strstr(tool->usage, "MODEL"); i++) {
		struct dirent **found;
		int n;

		sample_folder(i, &folder);
		n = folder.n && !folder.failed ? scandir(folder.p, &found, NULL, alphasort) : -1;
		for (int k = 0; k < n; k++) {
			if (*found[k]->d_name != '.')
				puts(found[k]->d_name);
			free(found[k]);
		}
		if (n >= 0)
			free(found);
	}
	moe_buf_free(&folder);
}

/* A place where a model may be: taken if it exists, else noted in `looked`. */
static char *try_place(struct moe_buf *looked, const char *fmt, ...) MOE_PRINTF(2, 3);
static char *try_place(struct moe_buf *looked, const char *fmt, ...)
{
	char *path;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vasprintf(&path, fmt, args);
	va_end(args);
	if (n < 0) {
		looked->failed = true;
		return NULL;
	}
	if (access(path, F_OK) == 0)
		return path;
	moe_buf_addf(looked, "%s%s", looked->n ? ", " : "", path);
	free(path);
	return NULL;
}

static char *find_sample(const char *name, struct moe_buf *looked)
{
	struct moe_buf folder = {0};
	char *path = NULL;

	for (int i = 0; i < SAMPLE_FOLDERS && !path; i++) {
		sample_folder(i, &folder);
		if (folder.n && !folder.failed)
			path = try_place(looked, "%s/%s", folder.p, name);
	}
	looked->failed = looked->failed || folder.failed;
	moe_buf_free(&folder);
	return path;
}

/* The cache that huggingface_hub keeps: HUB/models--ORG--NAME/refs/main holds the name of a directory in snapshots/. */
static char *find_hub(const char *org, int n_org, const char *name, struct moe_buf *looked)
{
	const char *hub = getenv("HF_HUB_CACHE"), *hf_home = getenv("HF_HOME"), *home = getenv("HOME");
	char *model = NULL, *refs = NULL, *path = NULL;
	struct moe_buf commit = {0};
	struct moe_err unused = {0};

	if (hub && *hub)
		model = try_place(looked, "%s/models--%.*s--%s", hub, n_org, org, name);
	else if (hf_home && *hf_home)
		model = try_place(looked, "%s/hub/models--%.*s--%s", hf_home, n_org, org, name);
	else if (home && *home)
		model = try_place(looked, "%s/.cache/huggingface/hub/models--%.*s--%s", home, n_org, org, name);
	if (model)
		refs = try_place(looked, "%s/refs/main", model);
	if (refs && !moe_read_all(refs, 4096, &commit, &unused)) {
		commit.p[strcspn(commit.p, " \r\n")] = '\0';
		if (*commit.p && !strchr(commit.p, '/') && *commit.p != '.')
			path = try_place(looked, "%s/snapshots/%s", model, commit.p);
	}
	moe_buf_free(&commit);
	free(refs);
	free(model);
	return path;
}

enum moe_status tool_model_path(struct tool_ctx *ctx, const char *name, char **out, struct moe_err *err)
{
	const char *slash = strchr(name, '/');
	bool plain = *name && *name != '/' && *name != '.';
	struct moe_buf looked = {0};
	char *path = NULL;

	(void)ctx;
	if (access(name, F_OK) == 0)
		path = strdup(name);
	else if (plain && !slash)
		path = find_sample(name, &looked);
	else if (plain && slash[1] && !strchr(slash + 1, '/'))
		path = find_hub(name, (int)(slash - name), slash + 1, &looked);
	*out = path;
	if (!path && looked.failed)
		moe_err_nomem(err, strlen(name), "a path");
	else if (!path && !strcmp(name, "-"))
		moe_err_set(err, MOE_EUSAGE, "'-': a model cannot be read from stdin: name a file or a directory");
	else if (!path && looked.n)
		moe_err_set(err, MOE_EIO, "%s: no such file or model; also looked for %s", name, looked.p);
	else if (!path)
		moe_err_set(err, MOE_EIO, "%s: %s", name, *name ? strerror(ENOENT) : "the name of a model is empty");
	moe_buf_free(&looked);
	return path ? MOE_OK : err->status;
}
