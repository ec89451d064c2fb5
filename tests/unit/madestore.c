/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Runs that nothing has run (madestore.h).
 */
#include "madestore.h"

#include "base/text.h"
#include "check.h"
#include "format/ref.h"
#include "object/reader.h"
#include "object/refs.h"
#include "record/archive.h"
#include "record/fields.h"
#include "record/trees.h"
#include "write/publish.h"
#include "write/session.h"

enum {
	TOGETHER = 1000 /* runs whose trees are stored at once */
};

static const struct refs_wait KNOWN = { .may_wait = true, .deadline = { INT64_MAX, NULL } };

struct oid made_id(const char *text)
{
	return oid_of(OID_CHUNK, text, strlen(text));
}

void made_repo(struct store *s, const char *repo)
{
	struct repo_rec rec = { .chunk = { 4096, 16384, 65536 },
				.root_mode = 0755,
				.default_branch = "main" };

	assert_ok(refs_create_repo(s->refs, repo, &rec, NULL));
}

static struct inode file_inode(const char *text, int64_t sec)
{
	struct inode i = { .type = FT_REG, .mode = 0644, .mtime.sec = sec, .ctime.sec = sec };

	i.content.size = i.content.data = strlen(text);
	i.content.id = i.content.size ? made_id(text) : *oid_empty_chunk();
	i.content.inlined = span_str(text);
	return i;
}

static struct inode dir_inode(void)
{
	return (struct inode){ .type = FT_DIR, .mode = 0755 };
}

static struct session *session_of(struct store *s, bool is_large)
{
	struct session_options o = { .store = s,
				     .chunk = { 4096, 16384, 65536 },
				     .is_large = is_large };
	struct session *w;

	assert_ok(session_new(&o, &w));
	return w;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct made_file *)a)->path, ((const struct made_file *)b)->path);
}

static size_t count_files(const struct made_file *files)
{
	size_t n = 0;

	while (n < MADE_FILES_MAX && files[n].path)
		n++;
	return n;
}

struct oid made_commit(struct store *s, const char *repo, const struct made_file *files,
		       int64_t sec, const struct run_id *run)
{
	_cleanup_buf_ struct buf former = { 0 }, object = { 0 };
	struct session *w = session_of(s, false);
	struct made_file all[MADE_FILES_MAX];
	struct commit_meta meta = { span_str("pfs.run"), span_str(run ? run->s : "") };
	struct publication p = { .store = s,
				 .branch = "main",
				 .generation = 1,
				 .author = "ann@lab",
				 .message = "made",
				 .deadline = DEADLINE_NEVER };
	size_t n = count_files(files);
	struct inode root = dir_inode();
	struct commit parent = { 0 };
	struct snapshot snap;
	struct repo_rec rec;
	struct oid id, now;
	_cleanup_ref_ struct ref ref = { 0 };

	assert_ok(refs_repo(s->refs, repo, &KNOWN, &rec));
	assert_ok(refs_get(s->refs, &rec.id, REF_BRANCH, "main", &KNOWN, &ref, NULL));
	if (!oid_is_null(&ref.target)) {
		assert_ok(refs_commit(s->refs, &rec.id, &ref.target, &KNOWN, &former));
		assert_ok(commit_read(buf_span(&former), NULL, &parent));
		p.parents = &ref.target;
		p.parent_count = 1;
		p.generation = parent.generation + 1;
	}
	memcpy(all, files, n * sizeof(*all));
	qsort(all, n, sizeof(*all), by_path);
	assert_ok(session_dir_begin(w, p.parent_count ? &parent.root.dir : NULL));
	for (size_t i = 0; i < n; i++) {
		struct inode ino = file_inode(all[i].text ?: "", sec);

		if (all[i].text)
			assert_ok(session_put(w, span_str(all[i].path), &ino));
		else
			assert_ok(session_remove(w, span_str(all[i].path)));
	}
	assert_ok(session_dir_end(w, (struct span){ 0 }, &root));
	assert_ok(session_finish(w, NULL, &snap));
	p.repo = rec.id;
	p.meta = &meta;
	p.meta_count = run ? 1 : 0;
	assert_ok(publish(&p, w, &snap, &id, &object));
	refs_note_commit(s->refs, &rec.id, &id, buf_span(&object));
	assert_ok(refs_move_branch(s->refs, &rec.id, "main", &ref.branch, &ref.target, &id, NULL,
				   &now));
	session_free(w);
	commit_release(&parent);
	repo_rec_release(&rec);
	return id;
}

/* "R/B/NAME" in its parts. */
static struct span part_of(const char *path, unsigned i)
{
	while (i-- > 0)
		path = strchr(path, '/') + 1;
	return span_of(path, strcspn(path, "/"));
}

/* One of a run's trees: directories are closed where the next path leaves them. */
static void put_tree(struct session *w, const char *name, const struct made_file *files, size_t n)
{
	struct made_file all[2 * MADE_FILES_MAX];
	const struct inode dir = dir_inode();

	if (n == 0)
		return;
	memcpy(all, files, n * sizeof(*all));
	qsort(all, n, sizeof(*all), by_path);
	assert_ok(session_dir_begin(w, NULL));
	for (size_t i = 0; i < n; i++) {
		struct inode ino = file_inode(all[i].text ?: "", 0);
		bool begins[2], ends[2];

		for (unsigned k = 0; k < 2; k++) {
			begins[k] = i == 0 || !span_equal(part_of(all[i].path, k),
							  part_of(all[i - 1].path, k));
			ends[k] = i + 1 == n ||
				  !span_equal(part_of(all[i].path, k), part_of(all[i + 1].path, k));
		}
		if (!all[i].text)
			ino = (struct inode){ .type = FT_CHR };
		if (begins[0])
			assert_ok(session_dir_begin(w, NULL));
		if (begins[0] || begins[1])
			assert_ok(session_dir_begin(w, NULL));
		assert_ok(session_put(w, part_of(all[i].path, 2), &ino));
		if (ends[0] || ends[1])
			assert_ok(session_dir_end(w, part_of(all[i].path, 1), &dir));
		if (ends[0])
			assert_ok(session_dir_end(w, part_of(all[i].path, 0), &dir));
	}
	assert_ok(session_dir_end(w, span_str(name), &dir));
}

static void put_trees(struct session *w, const struct made_run *run)
{
	struct made_file looked[2 * MADE_FILES_MAX];
	size_t n = count_files(run->read), more = count_files(run->looked);

	if (run->printed) {
		const struct inode dir = dir_inode(), ino = file_inode(run->printed, 0);

		assert_ok(session_dir_begin(w, NULL));
		assert_ok(session_put(w, span_str("stdout"), &ino));
		assert_ok(session_dir_end(w, span_str("extra"), &dir));
	}
	memcpy(looked, run->read, n * sizeof(*looked));
	memcpy(looked + n, run->looked, more * sizeof(*looked));
	put_tree(w, "looked", looked, n + more);
	put_tree(w, "read", run->read, n);
	put_tree(w, "written", run->written, count_files(run->written));
}

/* The repos that its files are in, as they are. */
static json_t *pins_of(struct store *s, const struct made_run *run)
{
	const struct made_file *lists[] = { run->read, run->looked, run->written };
	json_t *all = json_array(), *seen = json_object();

	for (size_t k = 0; k < ARRAY_SIZE(lists); k++) {
		for (size_t i = 0; i < count_files(lists[k]); i++) {
			struct span repo = part_of(lists[k][i].path, 0);
			_cleanup_free_ char *name = strndup((const char *)repo.data, repo.len);
			_cleanup_ref_ struct ref ref = { 0 };
			_cleanup_repo_rec_ struct repo_rec rec = { 0 };

			if (json_object_get(seen, name) ||
			    refs_repo(s->refs, name, &KNOWN, &rec) < 0)
				continue;
			assert_ok(
				refs_get(s->refs, &rec.id, REF_BRANCH, "main", &KNOWN, &ref, NULL));
			json_object_set_new(seen, name, json_true());
			json_array_append_new(
				all, json_pack("{s:s, s:o, s:s, s:o, s:o}", "repo", name, "repo_id",
					       json_of_id128(&rec.id), "branch", "main",
					       "branch_id", json_of_id128(&ref.branch), "commit",
					       json_of_oid(&ref.target)));
		}
	}
	json_decref(seen);
	return all;
}

static json_t *array_of(const char *object)
{
	json_t *o = object ? json_loads(object, 0, NULL) : json_object(), *all = json_array(), *v;
	const char *key;

	assert_non_null(o);
	json_object_foreach (o, key, v)
		json_array_append_new(all, json_pack("{s:s, s:O, s:s}", "key", key, "value", v,
						     "from", "option"));
	json_decref(o);
	return all;
}

static void set_time(json_t *o, const char *key, int64_t sec)
{
	char text[RUN_TIME_LEN + 1];

	run_time_text(sec * 1000000000, text);
	json_object_set_new(o, key, json_string(text));
}

static struct run_id begin(struct store *s, const struct made_run *run)
{
	json_t *start = json_pack("{s:i, s:[s,s], s:s, s:i, s:i, s:s, s:o, s:o}", "pfs-run", 1,
				  "argv", run->command ?: "make", "it", "user", "ann", "uid", 1000,
				  "gid", 1000, "machine", "lab", "params", array_of(run->params),
				  "pinned", pins_of(s, run));
	struct run_id id;

	assert_non_null(start);
	json_object_set_new(start, "cwd", json_string("/home/ann"));
	if (run->name)
		json_object_set_new(start, "name", json_string(run->name));
	if (run->group)
		json_object_set_new(start, "group", json_string(run->group));
	if (run->parent)
		json_object_set_new(start, "parent", json_string(run->parent));
	set_time(start, "started", run->started);
	assert_ok(archive_begin(s, start, NULL, NULL, NULL, &id));
	json_decref(start);
	return id;
}

static void end(struct store *s, const struct made_run *run, const struct run_id *id,
		const struct tree_root *tree, const struct oid *published)
{
	json_t *e = json_pack("{s:i, s:s, s:s, s:i, s:o, s:o}", "pfs-run", 1, "id", id->s, "status",
			      run->status ?: "ok", "exit", 0, "metrics", array_of(run->metrics),
			      "tree", run_tree_json(tree));
	json_t *outputs = json_array();
	char hex[OID_HEX];

	assert_non_null(e);
	set_time(e, "ended", run->started + MADE_FEW_SECONDS);
	if (count_files(run->written) > 0) {
		struct span repo = part_of(run->written[0].path, 0);
		json_t *o = json_pack("{s:s%, s:s}", "repo", repo.data, repo.len, "branch", "main");
		_cleanup_free_ char *name = strndup((const char *)repo.data, repo.len);
		_cleanup_repo_rec_ struct repo_rec rec = { 0 };
		char repo_id[ID128_HEX];

		assert_ok(refs_repo(s->refs, name, &KNOWN, &rec));
		json_object_set_new(o, "repo_id", json_string(id128_hex(&rec.id, repo_id)));
		json_object_set_new(o, "result", json_string(oid_hex(&tree->id, hex)));
		if (published)
			json_object_set_new(o, "published", json_string(oid_hex(published, hex)));
		else
			json_object_set_new(o, "kept", json_sprintf("run-%s", id->s));
		json_array_append_new(outputs, o);
	}
	json_object_set_new(e, "outputs", outputs);
	assert_ok(archive_end(s, id, e, NULL));
	json_decref(e);
}

struct run_id made_run(struct store *s, const struct made_run *run)
{
	struct session *w = session_of(s, false);
	struct made_file names[MADE_FILES_MAX] = { 0 };
	const struct inode dir = dir_inode();
	struct run_id id = begin(s, run);
	struct oid published;
	struct snapshot snap;
	size_t n = count_files(run->written);

	if (run->status && strcmp(run->status, "running") == 0) {
		session_free(w);
		return id;
	}
	assert_ok(session_dir_begin(w, NULL));
	put_trees(w, run);
	assert_ok(session_dir_end(w, (struct span){ 0 }, &dir));
	assert_ok(session_finish(w, NULL, &snap));
	for (size_t i = 0; i < n; i++)
		names[i] = (struct made_file){ (const char *)part_of(run->written[i].path, 2).data,
					       run->written[i].text };
	if (n > 0 && !run->is_unpublished) {
		struct span repo = part_of(run->written[0].path, 0);
		_cleanup_free_ char *name = strndup((const char *)repo.data, repo.len);

		published = made_commit(s, name, names, run->started + MADE_FEW_SECONDS, &id);
	}
	end(s, run, &id, &snap.root.dir, n > 0 && !run->is_unpublished ? &published : NULL);
	session_free(w);
	return id;
}

/* Texts of a run among many. */
struct texts {
	char path[MADE_FILES_MAX][64], text[MADE_FILES_MAX][64], params[96], metrics[64], name[32];
};

static struct made_run one_of_many(unsigned i, unsigned shared, int64_t since, struct texts *t)
{
	struct made_run run = { .started = since + i, .is_unpublished = true };
	unsigned n = 0;

	for (; n < shared && n < MADE_FILES_MAX - 1; n++) {
		snprintf(t->path[n], sizeof(t->path[n]), "data/main/shared%u", n);
		snprintf(t->text[n], sizeof(t->text[n]), "shared %u", n);
	}
	snprintf(t->path[n], sizeof(t->path[n]), "out/main/f%u", i > 0 ? i - 1 : 0);
	snprintf(t->text[n], sizeof(t->text[n]), "output %u", i > 0 ? i - 1 : 0);
	for (unsigned k = 0; k <= n; k++)
		run.read[k] = (struct made_file){ t->path[k], t->text[k] };
	snprintf(t->path[n + 1], sizeof(t->path[0]), "out/main/f%u", i);
	snprintf(t->text[n + 1], sizeof(t->text[0]), "output %u", i);
	/* Chains of ten: the first of each reads what nobody wrote. */
	if (i % 10 == 0)
		snprintf(t->text[n], sizeof(t->text[n]), "raw %u", i);
	run.written[0] = (struct made_file){ t->path[n + 1], t->text[n + 1] };
	snprintf(t->params, sizeof(t->params), "{\"lr\": %.4f, \"seed\": %u, \"model\": \"m%u\"}",
		 (i % 1000) / 1000.0, i, i % 7);
	snprintf(t->metrics, sizeof(t->metrics), "{\"acc\": %.6f}", (i * 7919 % 100000) / 1e5);
	snprintf(t->name, sizeof(t->name), "n%u", i % 100);
	run.params = t->params;
	run.metrics = t->metrics;
	run.name = t->name;
	return run;
}

void made_runs(struct store *s, unsigned count, unsigned shared, int64_t since)
{
	const struct inode dir = dir_inode();

	assert_true(shared <= MADE_FILES_MAX - 2);
	for (unsigned first = 0; first < count; first += TOGETHER) {
		struct session *w = session_of(s, true);
		struct reader_source src = reader_source(s->reader, NULL);
		struct snapshot snap;
		struct texts t;
		char name[16];

		assert_ok(session_dir_begin(w, NULL));
		for (unsigned i = first; i < MIN(count, first + TOGETHER); i++) {
			struct made_run run = one_of_many(i, shared, since, &t);

			assert_ok(session_dir_begin(w, NULL));
			put_trees(w, &run);
			snprintf(name, sizeof(name), "%08u", i);
			assert_ok(session_dir_end(w, span_str(name), &dir));
		}
		assert_ok(session_dir_end(w, (struct span){ 0 }, &dir));
		assert_ok(session_finish(w, NULL, &snap));
		for (unsigned i = first; i < MIN(count, first + TOGETHER); i++) {
			struct made_run run = one_of_many(i, shared, since, &t);
			struct run_id id = begin(s, &run);
			struct dirent_rec e;
			struct node *leaf;

			snprintf(name, sizeof(name), "%08u", i);
			assert_ok(dir_lookup(&src.base, &snap.root.dir, span_str(name), &leaf, &e));
			end(s, &run, &id, &e.inode.dir, NULL);
			node_unref(leaf);
		}
		session_free(w);
	}
}
