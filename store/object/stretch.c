/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The memory of object/stretch.h.
 */
#include "object/stretch.h"

#include "base/thread.h"

enum {
	IDLE_MAX = 2, /* as many as are on their way to a fast reader */
};

struct stretches {
	pthread_mutex_t lock;
	uint8_t *idle[IDLE_MAX]; /* owned; guarded by lock, as the next */
	unsigned count;
};

int stretches_new(struct stretches **ret)
{
	struct stretches *s = new0(struct stretches, 1);

	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->lock, NULL);
	*ret = s;
	return 0;
}

void stretches_free(struct stretches *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->count; i++)
		free(s->idle[i]);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static uint8_t *take_idle(struct stretches *s)
{
	WITH_LOCK(&s->lock);

	return s->count > 0 ? s->idle[--s->count] : NULL;
}

static bool give_back(struct stretches *s, uint8_t *data)
{
	WITH_LOCK(&s->lock);

	if (s->count == IDLE_MAX)
		return false;
	s->idle[s->count++] = data;
	return true;
}

int stretch_get(struct stretches *s, size_t len, struct stretch *ret)
{
	/* One that would be half empty is not worth its memory. */
	bool is_large = len > STRETCH_LARGE / 2 && len <= STRETCH_LARGE;
	struct stretch got = {
		.data = is_large ? take_idle(s) : NULL,
		.size = is_large ? (size_t)STRETCH_LARGE : len,
		.home = is_large ? s : NULL,
	};

	if (!got.data)
		got.data = malloc(MAX(got.size, (size_t)1));
	if (!got.data)
		return -ENOMEM;
	*ret = got;
	return 0;
}

void stretch_release(struct stretch *s)
{
	if (!s->home || !s->data || !give_back(s->home, s->data))
		free(s->data);
	*s = (struct stretch){ 0 };
}
