/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Any bytes as each of the small objects that change: branches and names, repos, the store's
 * format, the collector's state. Nothing may crash, and what is accepted must be the only way to
 * write what it says.
 */
#include "format/gcstate.h"
#include "format/repo.h"
#include "format/storeformat.h"
#include "sealed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void hold(int r, const struct buf *again, struct span object)
{
	if (r < 0 || !span_equal(buf_span(again), object))
		abort();
}

static void as_ref(struct span object)
{
	_cleanup_buf_ struct buf again = { 0 };
	_cleanup_ref_ struct ref r = { 0 }, copy = { 0 };

	if (ref_read(object, &r) == 0 && ref_copy(&r, &copy) == 0)
		hold(ref_write(&copy, &again), &again, object);
}

static void as_repo(struct span object)
{
	_cleanup_buf_ struct buf again = { 0 };
	_cleanup_repo_rec_ struct repo_rec r = { 0 }, copy = { 0 };

	if (repo_read(object, &r) == 0 && repo_rec_copy(&r, &copy) == 0)
		hold(repo_write(&copy, &again), &again, object);
}

static void as_format(struct span object)
{
	_cleanup_buf_ struct buf again = { 0 };
	struct format_rec f;

	if (format_read(object, &f) == 0)
		hold(format_write(&f, &again), &again, object);
}

static void as_gc_state(struct span object)
{
	_cleanup_gc_state_ struct gc_state g = { 0 };
	_cleanup_buf_ struct buf again = { 0 };

	if (gc_state_read(object, &g) == 0)
		hold(gc_state_write(&g, &again), &again, object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf object = { 0 };

	if (!sealed_copy(data, size, &object))
		return 0;
	as_ref(buf_span(&object));
	as_repo(buf_span(&object));
	as_format(buf_span(&object));
	as_gc_state(buf_span(&object));
	return 0;
}
