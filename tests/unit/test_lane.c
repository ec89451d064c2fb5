/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The slow lane, of fs/lane.h: operations that wait here, in place of the store.
 */
#include <pthread.h>
#include <unistd.h>

#include "check.h"
#include "lane.h"

enum {
	DATA = 1 << 20,
	JOBS_MAX = 1000,
};

/* Operations run until it is opened. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t opened;
	bool is_open;
	unsigned ended;
} gate = { .lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER };

static int wait_at_gate(struct call *c, struct access *acc)
{
	pthread_mutex_lock(&gate.lock);
	while (!gate.is_open)
		pthread_cond_wait(&gate.opened, &gate.lock);
	gate.ended++;
	pthread_mutex_unlock(&gate.lock);
	return 0;
}

static const struct op op = { .id = FS_OP_WRITE, .run = wait_at_gate, .must_end = true };

static void open_gate(struct lane *l)
{
	pthread_mutex_lock(&gate.lock);
	gate.is_open = true;
	pthread_cond_broadcast(&gate.opened);
	pthread_mutex_unlock(&gate.lock);
	while (lane_length(l) > 0)
		usleep(1000);
}

static void what_brings_data_is_bounded_and_a_commit_is_always_taken(void **state)
{
	static uint8_t data[DATA];
	struct store store = { 0 };
	struct fs fs = { .store = &store };
	struct call c = { .fs = &fs, .op = &op, .patience = PATIENCE_DATA };
	_cleanup_(lane_freep) struct lane *l = NULL;
	unsigned taken = 0;

	assert_ok(lane_new(&fs, &l));
	/* Until not one byte more is taken. */
	for (size_t len = sizeof(data); len > 0; len /= 2) {
		int r = 0;

		c.data = span_of(data, len);
		while (r == 0 && taken < JOBS_MAX) {
			r = lane_submit(l, &c);
			taken += r == 0;
		}
		assert_int_equal(r, -ENOBUFS);
	}
	c.data = span_of(NULL, 0);
	c.name = span_str("commit");
	c.patience = PATIENCE_LONG;
	assert_ok(lane_submit(l, &c));
	c.patience = PATIENCE_META;
	assert_ok(lane_submit(l, &c));
	open_gate(l);
	assert_int_equal(gate.ended, taken + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_brings_data_is_bounded_and_a_commit_is_always_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
