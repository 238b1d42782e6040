/* SPDX-License-Identifier: MIT */
/*
 * model-fuzz.c - libFuzzer drives the model: each input is a sequence, run on the
 * backends of WRITEWATCH_FUZZ_BACKENDS (default: uffd-async,mprotect).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *list = getenv("WRITEWATCH_FUZZ_BACKENDS");
	char names[120], why[200], *name, *save = NULL;

	snprintf(names, sizeof(names), "%s",
		 list ? list : "uffd-async,mprotect");
	for (name = strtok_r(names, ",", &save); name;
	     name = strtok_r(NULL, ",", &save))
		if (!model_run(name, data, len, why, sizeof(why), false)) {
			fprintf(stderr, "%s: %s\n", name, why);
			abort();
		}
	return 0;
}
