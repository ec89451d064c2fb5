/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a server gives to clients that do nothing else: puts objects in parallel, or gets them in
 * ranges, and says how fast that went. tools/bench holds pfs against it.
 *
 *	bench-transfer put|get URL THREADS FILE SIZE
 *
 * URL is of an s3:// store. FILE is put as objects of 32 MiB below "bench/", one request each; SIZE
 * bytes is how much one GET of them asks for. Prints the seconds it took.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/deadline.h"
#include "base/fdio.h"
#include "base/text.h"
#include "base/thread.h"
#include "s3/client.h"

enum {
	REQUEST_MS = 60000,
	THREADS_MAX = 64,
	OBJECT_SIZE = 32 << 20, /* as a pack's */
};

struct work {
	struct s3_client *client;
	bool is_put;
	struct span file; /* mapped */
	uint64_t range; /* divides OBJECT_SIZE */
	atomic_uint_fast64_t next; /* of the pieces that the file is in, of @range each */
	atomic_int error;
};

static int do_piece(struct work *w, uint64_t at, uint8_t *into)
{
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	struct deadline dl = deadline_in_ms(REQUEST_MS);
	uint64_t off = at % OBJECT_SIZE, len = MIN(w->range, w->file.len - at);
	struct s3_request q = { .method = w->is_put ? "PUT" : "GET" };
	char key[64], range[64];

	snprintf(key, sizeof(key), "bench/%06llu", (unsigned long long)(at / OBJECT_SIZE));
	q.key = key;
	if (w->is_put) {
		q.body = span_of(w->file.data + at, len);
		q.has_body = true;
	} else {
		snprintf(range, sizeof(range), "bytes=%llu-%llu", (unsigned long long)off,
			 (unsigned long long)(off + len - 1));
		q.range = range;
		q.into = into;
		q.max = len;
	}
	return s3_request(w->client, &q, &dl, &reply);
}

static void *work(void *arg)
{
	struct work *w = arg;
	_cleanup_free_ uint8_t *into = w->is_put ? NULL : malloc(w->range);
	int r = w->is_put || into ? 0 : -ENOMEM;
	uint64_t at;

	while (r == 0 && !w->error && (at = w->next++ * w->range) < w->file.len)
		r = do_piece(w, at, into);
	if (r < 0)
		w->error = r;
	return NULL;
}

static int run(struct work *w, unsigned threads)
{
	pthread_t t[THREADS_MAX];
	unsigned n = 0;

	while (n < threads && thread_start(&t[n], "transfer", work, w) == 0)
		n++;
	for (unsigned i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	return n < threads ? -ENOMEM : w->error;
}

static int map_file(const char *path, struct span *ret)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret = span_of(p, (size_t)st.st_size);
	return 0;
}

int main(int argc, char **argv)
{
	struct work w = { 0 };
	uint64_t threads;
	int64_t began;
	int r;

	if (argc != 6 || parse_u64(argv[3], &threads) < 0 || threads > THREADS_MAX ||
	    parse_u64(argv[5], &w.range) < 0 || w.range == 0 || OBJECT_SIZE % w.range) {
		fputs("Usage: bench-transfer put|get URL THREADS FILE SIZE\n", stderr);
		return 2;
	}
	w.is_put = strcmp(argv[1], "put") == 0;
	if (w.is_put)
		w.range = OBJECT_SIZE;
	if (map_file(argv[4], &w.file) < 0 || s3_client_new(argv[2], &w.client) < 0)
		return 1;
	began = now_ns();
	r = run(&w, (unsigned)threads);
	if (r == 0)
		printf("%.3f\n", (double)(now_ns() - began) / 1e9);
	s3_client_free(w.client);
	return r < 0;
}
