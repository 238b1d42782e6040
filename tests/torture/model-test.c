/* SPDX-License-Identifier: MIT */
/*
 * model-test.c - random sequences against the model, the same ones on each
 * backend; one that fails is shrunk to a sequence of which nothing can be left
 * out.
 *
 * WRITEWATCH_TEST_SEED replays, WRITEWATCH_TEST_SEQUENCES says how many.
 */
#include "../test.h"

#include <signal.h>

#include "model.h"

#define OPS 120u

static const char *backend;
static uint64_t seed = 1;
static long sequences = 1500;

struct sequence {
	uint8_t ops[OPS * MODEL_OP];
	size_t len;
	bool trace;
};

/* In a child: a sequence may crash or hang. */
static void run_child(void *arg)
{
	const struct sequence *s = arg;
	char why[200] = "";

	alarm(30);
	if (model_run(backend, s->ops, s->len, why, sizeof(why), s->trace))
		return;
	if (s->trace)
		printf("  %s\n", why);
	fflush(stdout);
	_exit(1);
}

static bool fails(struct sequence *s)
{
	return test_child(run_child, s) != 0;
}

/* Leave out ever smaller pieces, as long as it still fails. */
static void shrink(struct sequence *s)
{
	size_t piece;

	for (piece = s->len / 2 / MODEL_OP * MODEL_OP; piece >= MODEL_OP;
	     piece = piece / 2 / MODEL_OP * MODEL_OP) {
		size_t at = 0;

		while (at + piece <= s->len) {
			struct sequence less = *s;

			memmove(less.ops + at, less.ops + at + piece,
				s->len - at - piece);
			less.len -= piece;
			if (fails(&less))
				*s = less;
			else
				at += piece;
		}
	}
}

static void make(struct sequence *s, uint64_t random)
{
	size_t i;

	s->len = sizeof(s->ops);
	s->trace = false;
	for (i = 0; i < s->len; i++)
		s->ops[i] = (uint8_t)(test_random(&random) >> 32);
}

/* Many in one child, as long as they pass. */
static void run_many(void *arg)
{
	const long *range = arg;
	long i;

	for (i = range[0]; i < range[1]; i++) {
		struct sequence s;
		char why[200];

		make(&s, (seed + (uint64_t)i) * 0x9e3779b97f4a7c15u | 1);
		if (!model_run(backend, s.ops, s.len, why, sizeof(why), false))
			_exit(1);
	}
}

static void random_sequences_behave_as_the_model(void **state)
{
	long done, i;

	backend = getenv("WRITEWATCH_BACKEND");
	assert_non_null(backend);
	print_message("  seed %llu, %ld sequences\n", (unsigned long long)seed,
		      sequences);
	for (done = 0; done < sequences; done += 50) {
		long range[2] = { done, done + 50 };

		if (test_child(run_many, range) == 0)
			continue;
		for (i = range[0]; i < range[1]; i++) {
			struct sequence s;

			make(&s, (seed + (uint64_t)i) * 0x9e3779b97f4a7c15u |
					 1);
			if (!fails(&s))
				continue;
			shrink(&s);
			print_error("seed %llu fails; the shortest of it:\n",
				    (unsigned long long)(seed + (uint64_t)i));
			s.trace = true;
			fails(&s);
			fail();
		}
		print_error("a batch failed, but none of its sequences\n");
		fail();
	}
}

static int run(void)
{
	static const struct CMUnitTest cases[] = {
		CASE(random_sequences_behave_as_the_model),
	};
	const char *text = getenv("WRITEWATCH_TEST_SEED");

	if (text)
		seed = strtoull(text, NULL, 10);
	text = getenv("WRITEWATCH_TEST_SEQUENCES");
	if (text)
		sequences = strtol(text, NULL, 10);
	sequences /= test_slowness();
	return cmocka_run_group_tests_name("model", cases, NULL, NULL);
}

int main(void)
{
	return test_main(run);
}
