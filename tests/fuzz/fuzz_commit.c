/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Any bytes as a commit. Nothing may crash, and what is accepted keeps its id when it is written
 * again.
 */
#include "format/commit.h"
#include "sealed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf object = { 0 }, again = { 0 };
	_cleanup_commit_ struct commit c = { 0 };
	struct oid id, same;

	if (!sealed_copy(data, size, &object) || commit_read(buf_span(&object), NULL, &c) < 0)
		return 0;
	if (commit_id_of(buf_span(&object), &id) < 0 || commit_write(&c, &again, &same) < 0 ||
	    !oid_equal(&id, &same))
		abort();
	return 0;
}
