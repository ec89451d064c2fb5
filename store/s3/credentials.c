/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Keys from a file, the environment or a profile; see s3/credentials.h for the order.
 *
 * Invariants
 *  - keys and token are of one source: never an access key of one and a secret of another
 *  - what a file held is wiped when it has been read, and so is every copy of a key at its release
 *  - no sentence has anything in it that stood behind a '='
 *  - files are looked at before they are read: what changes meanwhile is seen by the next look
 *
 * Threads: any; c->lock guards what was read. Files are read without it; who comes last wins, which
 * the next look puts right.
 */
#include "s3/credentials.h"

#include <fcntl.h>
#include <pthread.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"

enum {
	FILE_MAX = 1024 * 1024,
	FILES = 2, /* at most: credentials and config */
};

/* What tells whether a file has changed. */
struct stamp {
	bool is_there;
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

struct s3_credentials {
	char *file, *profile; /* owned, constant; NULL: not said */
	pthread_mutex_t lock;
	bool has_keys; /* guarded by lock, as all below */
	struct s3_keys keys;
	char *source; /* owned; where they are from */
	struct stamp stamps[FILES]; /* of the files, as they were when last read */
};

/* Where to look now. */
struct sources {
	char *paths[FILES]; /* owned; NULL: none */
	const char *profile; /* borrowed */
};

static void sources_release(struct sources *s)
{
	for (size_t i = 0; i < FILES; i++)
		free(s->paths[i]);
}

static void wipe(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

void s3_keys_release(struct s3_keys *k)
{
	free(k->access_key);
	wipe(k->secret_key);
	wipe(k->session_token);
	*k = (struct s3_keys){ 0 };
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_keys(const struct s3_keys *a, const struct s3_keys *b)
{
	return same_text(a->access_key, b->access_key) && same_text(a->secret_key, b->secret_key) &&
	       same_text(a->session_token, b->session_token);
}

static int keys_copy(const struct s3_keys *k, struct s3_keys *ret)
{
	_cleanup_s3_keys_ struct s3_keys copy = {
		.access_key = strdup(k->access_key),
		.secret_key = strdup(k->secret_key),
		.session_token = k->session_token ? strdup(k->session_token) : NULL,
	};

	if (!copy.access_key || !copy.secret_key || (k->session_token && !copy.session_token))
		return -ENOMEM;
	*ret = copy;
	copy = (struct s3_keys){ 0 };
	return 0;
}

int s3_credentials_new(const char *file, const char *profile, struct s3_credentials **ret)
{
	struct s3_credentials *c = new0(struct s3_credentials, 1);

	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->lock, NULL);
	c->file = file ? strdup(file) : NULL;
	c->profile = profile ? strdup(profile) : NULL;
	if ((file && !c->file) || (profile && !c->profile)) {
		s3_credentials_free(c);
		return -ENOMEM;
	}
	*ret = c;
	return 0;
}

void s3_credentials_free(struct s3_credentials *c)
{
	if (!c)
		return;
	s3_keys_release(&c->keys);
	pthread_mutex_destroy(&c->lock);
	free(c->source);
	free(c->file);
	free(c->profile);
	free(c);
}

/* What goes into a request's headers: visible ASCII. */
static bool is_clean(const char *s)
{
	for (; *s; s++)
		if (*s <= 0x20 || *s >= 0x7f)
			return false;
	return true;
}

/* NULL for "" as well. */
static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

/* Of a file that @name, a variable, names, or else @usual. Without HOME there is no "~/". */
static int path_of(const char *name, const char *usual, char **ret)
{
	const char *path = variable(name), *home = variable("HOME");

	if (!path)
		path = usual;
	if (strncmp(path, "~/", 2) != 0)
		*ret = strdup(path);
	else if (home)
		*ret = strf("%s%s", home, path + 1);
	else
		return 0;
	return *ret ? 0 : -ENOMEM;
}

static int sources_find(const struct s3_credentials *c, struct sources *ret)
{
	int r;

	ret->profile = c->profile;
	if (!ret->profile && !c->file)
		ret->profile = variable("AWS_PROFILE");
	if (!ret->profile)
		ret->profile = "default";
	if (c->file) {
		ret->paths[0] = strdup(c->file);
		return ret->paths[0] ? 0 : -ENOMEM;
	}
	r = path_of("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", &ret->paths[0]);
	if (r == 0)
		r = path_of("AWS_CONFIG_FILE", "~/.aws/config", &ret->paths[1]);
	return r;
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_stamp(const struct stamp *a, const struct stamp *b)
{
	return a->is_there == b->is_there && a->dev == b->dev && a->ino == b->ino &&
	       a->size == b->size && same_time(a->mtime, b->mtime) && same_time(a->ctime, b->ctime);
}

static void look(const struct sources *s, struct stamp ret[FILES])
{
	for (size_t i = 0; i < FILES; i++) {
		struct stat st;

		ret[i] = (struct stamp){ 0 };
		if (s->paths[i] && stat(s->paths[i], &st) == 0)
			ret[i] = (struct stamp){
				.is_there = true,
				.dev = st.st_dev,
				.ino = st.st_ino,
				.size = st.st_size,
				.mtime = st.st_mtim,
				.ctime = st.st_ctim,
			};
	}
}

/* A profile's keys being looked for in a file's text. */
struct reading {
	const char *path; /* for sentences */
	const char *profile;
	bool is_config; /* there it is [profile NAME] */
	unsigned line;
	bool is_in_section, is_ours, has_profile;
	bool is_in_value, is_value_ours; /* lines that are further in than this go on with it */
	size_t indent;
	struct s3_keys found; /* owned */
};

static int misread(const struct reading *rd, const char *what)
{
	return log_fail(-EINVAL, "%s, line %u: %s", rd->path, rd->line, what);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static char *trim(char *s)
{
	size_t len;

	while (is_blank(*s))
		s++;
	len = strlen(s);
	while (len > 0 && (is_blank(s[len - 1]) || s[len - 1] == '\r'))
		len--;
	s[len] = '\0';
	return s;
}

/* Ends @s before a comment that a blank comes before: keys have none in them. */
static void cut_comment(char *s)
{
	for (char *p = s; *p; p++)
		if ((*p == '#' || *p == ';') && (p == s || is_blank(p[-1]))) {
			*p = '\0';
			return;
		}
}

static bool is_profile(const struct reading *rd, char *section)
{
	static const char word[] = "profile";
	size_t len = sizeof(word) - 1;

	if (rd->is_config) {
		if (strcmp(section, "default") == 0)
			return strcmp(rd->profile, "default") == 0;
		if (strncmp(section, word, len) != 0 || !is_blank(section[len]))
			return false;
		section = trim(section + len);
	}
	len = strlen(section);
	if (len >= 2 && (section[0] == '"' || section[0] == '\'') &&
	    section[len - 1] == section[0]) {
		section[len - 1] = '\0';
		section++;
	}
	return strcmp(section, rd->profile) == 0;
}

static int read_section(struct reading *rd, char *s)
{
	char *end = strchr(s, ']'), *rest;

	if (!end)
		return misread(rd, "a section's ']' is missing");
	*end = '\0';
	rest = trim(end + 1);
	if (*rest && *rest != '#' && *rest != ';')
		return misread(rd, "there is something after a section's ']'");
	rd->is_in_section = true;
	rd->is_in_value = false;
	rd->is_ours = is_profile(rd, trim(s + 1));
	rd->has_profile |= rd->is_ours;
	return 0;
}

static char **key_named(struct s3_keys *k, const char *name)
{
	if (strcasecmp(name, "aws_access_key_id") == 0)
		return &k->access_key;
	if (strcasecmp(name, "aws_secret_access_key") == 0)
		return &k->secret_key;
	if (strcasecmp(name, "aws_session_token") == 0)
		return &k->session_token;
	return NULL;
}

static int read_setting(struct reading *rd, char *s)
{
	char *eq = strchr(s, '='), **key, *value;

	if (!rd->is_in_section)
		return misread(rd, "there is no [section] before it");
	rd->is_value_ours = false;
	if (!rd->is_ours)
		return 0;
	if (!eq)
		return misread(rd, "it is neither NAME = VALUE nor a [section] nor a comment");
	*eq = '\0';
	key = key_named(&rd->found, trim(s));
	if (!key)
		return 0;
	rd->is_value_ours = true;
	cut_comment(eq + 1);
	value = trim(eq + 1);
	if (!*value)
		return 0;
	if (!is_clean(value))
		return misread(rd, "a key or token has a character in it that none has");
	if (*key)
		return misread(rd, "it is said twice");
	*key = strdup(value);
	return *key ? 0 : -ENOMEM;
}

static int read_line(struct reading *rd, char *line)
{
	size_t indent = strspn(line, " \t");
	char *s = trim(line);

	if (*s == '\0' || *s == '#' || *s == ';')
		return 0;
	if (rd->is_in_value && indent > rd->indent)
		return rd->is_value_ours ? misread(rd, "a key or token goes over several lines")
					 : 0;
	if (*s == '[')
		return read_section(rd, s);
	rd->is_in_value = true;
	rd->indent = indent;
	return read_setting(rd, s);
}

/* @text ends with a NUL after @len bytes, and is changed. */
static int read_text(struct reading *rd, char *text, size_t len)
{
	char *end = text + len, *next;
	int r;

	if (strncmp(text, "\xef\xbb\xbf", 3) == 0)
		text += 3;
	for (; text < end; text = next + 1) {
		rd->line++;
		next = memchr(text, '\n', (size_t)(end - text));
		if (!next)
			next = end;
		*next = '\0';
		if (strlen(text) != (size_t)(next - text))
			return misread(rd, "there is a NUL in it");
		r = read_line(rd, text);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Opens it if it may be used: nobody else may read one that was named to us. 0 and -1 in @ret:
 * there is none. */
static int open_file(const char *path, bool is_named, int *ret)
{
	/* Not to wait for a pipe's other end. */
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR) && !is_named) {
		*ret = -1;
		return 0;
	}
	if (fd < 0 || fstat(fd, &st) < 0) {
		log_errno(-errno, "keys for S3 cannot be read from %s", path);
		return -EACCES;
	}
	if (!S_ISREG(st.st_mode))
		return log_fail(-EACCES, "%s, for S3's keys, is not a file", path);
	if (is_named && (st.st_mode & 077) != 0)
		return log_fail(-EACCES,
				"%s has keys for S3 and others may use it: it is to have mode 0600",
				path);
	*ret = TAKE_FD(fd);
	return 0;
}

/* What the file says of the profile; rd->found has keys only if all that is needed is there. */
static int read_keys(struct reading *rd, bool is_named)
{
	_cleanup_close_ int fd = -1;
	char *text;
	ssize_t n;
	int r;

	r = open_file(rd->path, is_named, &fd);
	if (r < 0 || fd < 0)
		return r;
	text = malloc(FILE_MAX + 1);
	if (!text)
		return -ENOMEM;
	n = pread_upto(fd, text, FILE_MAX + 1, 0);
	if (n < 0) {
		log_errno((int)n, "keys for S3 cannot be read from %s", rd->path);
		r = -EACCES;
	} else if (n > FILE_MAX) {
		r = log_fail(-EINVAL, "%s, for S3's keys, is longer than 1 MiB", rd->path);
	} else {
		text[n] = '\0';
		r = read_text(rd, text, (size_t)n);
	}
	explicit_bzero(text, n > 0 ? (size_t)n : 0);
	free(text);
	if (r == 0 && !rd->found.access_key != !rd->found.secret_key)
		return log_fail(-EINVAL, "%s: profile '%s' has no %s", rd->path, rd->profile,
				rd->found.access_key ? "aws_secret_access_key"
						     : "aws_access_key_id");
	return r;
}

/* 1 and the keys, 0 for none there, or an error. */
static int keys_of_file(const char *path, const char *profile, bool is_config, bool is_named,
			bool *has_profile, struct s3_keys *ret)
{
	struct reading rd = { .path = path, .profile = profile, .is_config = is_config };
	int r = read_keys(&rd, is_named);

	*has_profile |= rd.has_profile;
	if (r == 0 && rd.found.access_key) {
		*ret = rd.found;
		return 1;
	}
	s3_keys_release(&rd.found);
	return r;
}

/* 1 and the keys, 0 for none there, or an error. */
static int keys_of_environment(struct s3_keys *ret)
{
	const char *access = variable("AWS_ACCESS_KEY_ID");
	const char *secret = variable("AWS_SECRET_ACCESS_KEY");
	const char *token = variable("AWS_SESSION_TOKEN");
	struct s3_keys keys = { (char *)access, (char *)secret, (char *)token };
	int r;

	if (!access && !secret)
		return 0;
	if (!access || !secret)
		return log_fail(-EACCES, "of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one "
					 "is set");
	if (!is_clean(access) || !is_clean(secret) || (token && !is_clean(token)))
		return log_fail(-EINVAL, "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or "
					 "AWS_SESSION_TOKEN has a character in it that none has");
	r = keys_copy(&keys, ret);
	return r < 0 ? r : 1;
}

static int complain(const struct s3_credentials *c, const struct sources *s, bool has_profile)
{
	const char *what = has_profile ? "has no aws_access_key_id" : "is not there";

	if (c->file)
		return log_fail(-EACCES, "no keys for S3: profile '%s' %s in %s", s->profile, what,
				c->file);
	return log_fail(-EACCES, "no keys for S3: %sprofile '%s' %s in %s and %s",
			c->profile ? "" : "AWS_ACCESS_KEY_ID is not set, and ", s->profile, what,
			s->paths[0] ?: "~/.aws/credentials (HOME is not set)",
			s->paths[1] ?: "~/.aws/config");
}

/* Reads all anew. 0, the keys, and where they were (borrowed); or an error that was logged. */
static int find_keys(const struct s3_credentials *c, const struct sources *s, struct s3_keys *ret,
		     const char **ret_source)
{
	bool has_profile = false;
	int r = 0;

	*ret_source = "the environment";
	/* Who names a file or a profile means that one, whatever a shell has set. */
	if (!c->file && !c->profile)
		r = keys_of_environment(ret);
	for (size_t i = 0; r == 0 && i < FILES; i++) {
		if (!s->paths[i])
			continue;
		*ret_source = s->paths[i];
		r = keys_of_file(s->paths[i], s->profile, i == 1, c->file, &has_profile, ret);
	}
	if (r == 0)
		r = complain(c, s, has_profile);
	return r < 0 ? r : 0;
}

/* Reads anew what @s names, as it was at the look @stamps, and keeps what came of it. */
static int refresh(struct s3_credentials *c, const struct sources *s,
		   const struct stamp stamps[FILES])
{
	struct s3_keys keys = { 0 };
	const char *source;
	int r = find_keys(c, s, &keys, &source);

	if (r == -ENOMEM)
		return r;
	WITH_LOCK(&c->lock);
	/* also of files that are no good: they are complained of once */
	memcpy(c->stamps, stamps, sizeof(c->stamps));
	if (r < 0)
		return r;
	s3_keys_release(&c->keys);
	c->keys = keys;
	free(c->source);
	c->source = strdup(source);
	c->has_keys = true;
	return 0;
}

int s3_credentials_get(struct s3_credentials *c, struct s3_keys *ret)
{
	_cleanup_(sources_release) struct sources s = { 0 };
	struct stamp stamps[FILES];
	bool is_known, has_keys;
	int r;

	r = sources_find(c, &s);
	if (r < 0)
		return r;
	look(&s, stamps);
	{
		WITH_LOCK(&c->lock);
		has_keys = c->has_keys;
		is_known = has_keys && same_stamp(&stamps[0], &c->stamps[0]) &&
			   same_stamp(&stamps[1], &c->stamps[1]);
	}
	if (!is_known) {
		r = refresh(c, &s, stamps);
		/* A file may be in the middle of being written: what is known goes on until the
		 * server refuses it. */
		if (r < 0 && !has_keys)
			return r;
	}
	WITH_LOCK(&c->lock);
	return keys_copy(&c->keys, ret);
}

char *s3_credentials_source(struct s3_credentials *c)
{
	WITH_LOCK(&c->lock);

	return c->source ? strdup(c->source) : NULL;
}

bool s3_credentials_refused(struct s3_credentials *c, const struct s3_keys *former)
{
	_cleanup_(sources_release) struct sources s = { 0 };
	struct stamp stamps[FILES];

	if (sources_find(c, &s) < 0)
		return false;
	look(&s, stamps);
	if (refresh(c, &s, stamps) < 0)
		return false;
	WITH_LOCK(&c->lock);
	return !same_keys(&c->keys, former);
}
