/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whose keys are used, and what files of keys may look like.
 */
#include "base/log.h"
#include "base/text.h"
#include "s3/credentials.h"
#include "scratch.h"

static struct scratch home;

/* A home of its own with ~/.aws in it, and nothing set. */
static int arrange(void **state)
{
	static const char *const names[] = {
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",	    "AWS_SESSION_TOKEN",
		"AWS_PROFILE",	     "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unsetenv(names[i]);
	home = scratch_make();
	setenv("HOME", home.path, 1);
	assert_ok(mkdirat(home.fd, ".aws", 0700));
	log_set_quiet(true);
	complaint_clear();
	return 0;
}

static int clear(void **state)
{
	scratch_remove(&home);
	return 0;
}

static void put(const char *name, const char *text)
{
	assert_ok(write_file_atomic(home.fd, name, span_str(text), 0600));
}

static char *in_home(const char *name)
{
	char *path = strf("%s/%s", home.path, name);

	assert_non_null(path);
	return path;
}

/* What get() gives, as "ACCESS SECRET TOKEN", or its error. */
static int get(struct s3_credentials *c, char text[256])
{
	_cleanup_s3_keys_ struct s3_keys k = { 0 };
	int r = s3_credentials_get(c, &k);

	if (r == 0)
		snprintf(text, 256, "%s %s %s", k.access_key, k.secret_key, k.session_token ?: "-");
	return r;
}

static void assert_keys(const char *file, const char *profile, const char *want)
{
	_cleanup_(s3_credentials_freep) struct s3_credentials *c = NULL;
	char got[256];

	assert_ok(s3_credentials_new(file, profile, &c));
	if (get(c, got) < 0)
		fail_msg("no keys: %s", complaint());
	assert_string_equal(got, want);
}

static void assert_none(const char *file, const char *profile, int error, const char *sentence)
{
	_cleanup_(s3_credentials_freep) struct s3_credentials *c = NULL;
	char got[256];

	assert_ok(s3_credentials_new(file, profile, &c));
	complaint_clear();
	assert_int_equal(get(c, got), error);
	if (!strstr(complaint(), sentence))
		fail_msg("'%s' has no '%s'", complaint(), sentence);
	assert_null(strstr(complaint(), "hush"));
}

#define KEYS(a, s) "aws_access_key_id = " a "\naws_secret_access_key = " s "\n"

static void the_first_that_says_anything_is_used(void **state)
{
	_cleanup_free_ char *named = in_home("named");

	put(".aws/config", "[default]\n" KEYS("Ac", "s") "[profile other]\n" KEYS("Ao", "s"));
	assert_keys(NULL, NULL, "Ac s -");
	put(".aws/credentials", "[default]\n" KEYS("Ad", "s") "[work]\n" KEYS("Aw", "s"));
	assert_keys(NULL, NULL, "Ad s -");
	assert_keys(NULL, "other", "Ao s -");
	setenv("AWS_PROFILE", "work", 1);
	assert_keys(NULL, NULL, "Aw s -");
	setenv("AWS_ACCESS_KEY_ID", "Ae", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
	assert_keys(NULL, NULL, "Ae s -");
	setenv("AWS_SESSION_TOKEN", "t", 1);
	assert_keys(NULL, NULL, "Ae s t");
	/* a profile and a file that are named are meant */
	assert_keys(NULL, "other", "Ao s -");
	put("named", "[default]\n" KEYS("An", "s") "[p]\n" KEYS("Ap", "s"));
	assert_keys(named, NULL, "An s -");
	assert_keys(named, "p", "Ap s -");
}

static void variables_name_the_files(void **state)
{
	_cleanup_free_ char *other = in_home("other");

	put(".aws/credentials", "[default]\n" KEYS("Ad", "s"));
	put("other", "[default]\n" KEYS("Ao", "s"));
	setenv("AWS_SHARED_CREDENTIALS_FILE", other, 1);
	assert_keys(NULL, NULL, "Ao s -");
	setenv("AWS_SHARED_CREDENTIALS_FILE", "~/nowhere", 1);
	setenv("AWS_CONFIG_FILE", "~/other", 1);
	assert_keys(NULL, NULL, "Ao s -");
	setenv("AWS_SHARED_CREDENTIALS_FILE", "", 1);
	assert_keys(NULL, NULL, "Ad s -");
}

static void without_keys_it_is_said_where_was_looked(void **state)
{
	_cleanup_free_ char *named = in_home("named");

	assert_none(NULL, NULL, -EACCES, "AWS_ACCESS_KEY_ID is not set");
	assert_none(NULL, NULL, -EACCES, ".aws/credentials and ");
	assert_none(named, NULL, -EACCES, "named");
	put("named", "[default]\nregion = r\n");
	assert_none(named, NULL, -EACCES, "has no aws_access_key_id");
	assert_none(named, "p", -EACCES, "profile 'p' is not there");
	unsetenv("HOME");
	assert_none(NULL, NULL, -EACCES, "HOME is not set");
	/* not half of the environment and half of a file */
	setenv("AWS_ACCESS_KEY_ID", "A", 1);
	assert_none(NULL, NULL, -EACCES, "only one");
	setenv("AWS_SECRET_ACCESS_KEY", "hush\n", 1);
	assert_none(NULL, NULL, -EINVAL, "character");
}

static void a_named_file_is_its_owners_alone(void **state)
{
	static const mode_t bad[] = { 0640, 0604, 0620, 0602, 0610, 0644, 0666 };
	_cleanup_free_ char *named = in_home("named"), *dir = in_home(".aws");

	put("named", "[default]\n" KEYS("An", "s"));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_ok(fchmodat(home.fd, "named", bad[i], 0));
		assert_none(named, NULL, -EACCES, "0600");
	}
	assert_ok(fchmodat(home.fd, "named", 0400, 0));
	assert_keys(named, NULL, "An s -");
	assert_none(dir, NULL, -EACCES, "not a file");
	assert_ok(mkfifoat(home.fd, "pipe", 0600));
	free(named);
	named = in_home("pipe");
	assert_none(named, NULL, -EACCES, "not a file");
}

static void files_are_read_as_aws_does(void **state)
{
	static const char *const good[] = {
		"[default]\naws_access_key_id=A\naws_secret_access_key=s/+=\n",
		"[default]\r\naws_access_key_id = A\r\naws_secret_access_key = s/+=\r\n",
		"[default]\nAWS_Access_Key_ID=A\naws_secret_access_key=s/+=",
		"\xef\xbb\xbf[ default ]\naws_access_key_id\t=\tA \naws_secret_access_key=s/+=\n",
		"# c\n; c\n\n[default] # c\naws_access_key_id = A # c\naws_secret_access_key=s/+= ;\n",
		"[default]\n  aws_access_key_id=A\n  aws_secret_access_key=s/+=\n",
		"[x]\naws_access_key_id=B\n[default]\naws_access_key_id=A\n"
		"aws_secret_access_key=s/+=\n[y]\naws_secret_access_key=B\n",
		/* what lies further in belongs to what it follows */
		"[default]\ns3 =\n  aws_access_key_id = B\n  [x]\n  z\naws_access_key_id=A\n"
		"aws_secret_access_key=s/+=\n",
		"[x]\nnonsense\n[default]\naws_access_key_id=A\naws_secret_access_key=s/+=\n",
		"[default]\naws_access_key_id=A\n[x]\n[default]\naws_secret_access_key=s/+=\n",
		"[default]\naws_access_key_id=A\naws_secret_access_key=s/+=\naws_session_token=\n",
		"['default']\naws_access_key_id=A\naws_secret_access_key=s/+=\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		put(".aws/credentials", good[i]);
		assert_keys(NULL, NULL, "A s/+= -");
	}
	put(".aws/credentials", "[default]\n" KEYS("A", "s") "aws_session_token = t/+==\n");
	assert_keys(NULL, NULL, "A s t/+==");
	put(".aws/config", "[work]\n" KEYS("B", "s") "[profile \"my work\"]\n" KEYS("C", "s"));
	assert_keys(NULL, "my work", "C s -");
	assert_none(NULL, "work", -EACCES, "profile 'work' is not there");
}

static void what_cannot_be_understood_is_said_by_line(void **state)
{
	static const struct {
		const char *text, *sentence;
	} bad[] = {
		{ "AKIA:hush\n", "line 1" },
		{ "\naws_secret_access_key = hush\n", "line 2" },
		{ "[default\n", "line 1" },
		{ "[default] hush\n", "line 1" },
		{ "[default]\nhush\n", "line 2" },
		{ "[default]\n" KEYS("A", "hush") "aws_secret_access_key = hush2\n", "line 4" },
		{ "[default]\n" KEYS("A", "hu sh"), "line 3" },
		{ "[default]\n" KEYS("A", "hush\x01"), "line 3" },
		{ "[default]\n" KEYS("\xc3\xa4", "hush"), "line 2" },
		{ "[default]\n" KEYS("A", "hush\n  hush"), "line 4" },
		{ "[default]\naws_access_key_id = A\n", "has no aws_secret_access_key" },
		{ "[default]\naws_secret_access_key = hush\n", "has no aws_access_key_id" },
	};
	static const char nul[] = "[default]\naws_secret_access_key = hush\0hush\n";
	_cleanup_free_ char *big = malloc(1024 * 1024 + 2);

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		put(".aws/credentials", bad[i].text);
		assert_none(NULL, NULL, -EINVAL, ".aws/credentials");
		assert_none(NULL, NULL, -EINVAL, bad[i].sentence);
	}
	assert_ok(write_file_atomic(home.fd, ".aws/credentials", span_of(nul, sizeof(nul) - 1),
				    0600));
	assert_none(NULL, NULL, -EINVAL, "line 2");
	assert_non_null(big);
	memset(big, '\n', 1024 * 1024 + 1);
	big[1024 * 1024 + 1] = '\0';
	put(".aws/credentials", big);
	assert_none(NULL, NULL, -EINVAL, "longer");
}

static void a_changed_file_is_read_again(void **state)
{
	_cleanup_(s3_credentials_freep) struct s3_credentials *c = NULL;
	char got[256];

	assert_ok(s3_credentials_new(NULL, NULL, &c));
	assert_int_equal(get(c, got), -EACCES);
	put(".aws/config", "[default]\n" KEYS("Ac", "s"));
	assert_ok(get(c, got));
	assert_string_equal(got, "Ac s -");
	put(".aws/credentials", "[default]\n" KEYS("Ad", "s"));
	assert_ok(get(c, got));
	assert_string_equal(got, "Ad s -");
	/* half written */
	put(".aws/credentials", "[default]\naws_access_key_id = Ae\n");
	assert_ok(get(c, got));
	assert_string_equal(got, "Ad s -");
	put(".aws/credentials", "[default]\n" KEYS("Ae", "s"));
	assert_ok(get(c, got));
	assert_string_equal(got, "Ae s -");
}

static void refused_keys_are_looked_for_anew(void **state)
{
	_cleanup_(s3_credentials_freep) struct s3_credentials *c = NULL;
	_cleanup_s3_keys_ struct s3_keys former = { 0 };
	char got[256];

	put(".aws/credentials", "[default]\n" KEYS("A", "s"));
	assert_ok(s3_credentials_new(NULL, NULL, &c));
	assert_ok(s3_credentials_get(c, &former));
	assert_false(s3_credentials_refused(c, &former));
	put(".aws/credentials", "[default]\n" KEYS("A", "s") "aws_session_token = t\n");
	assert_true(s3_credentials_refused(c, &former));
	/* so for another thread whose request went out with the old ones */
	assert_true(s3_credentials_refused(c, &former));
	assert_ok(get(c, got));
	assert_string_equal(got, "A s t");
	put(".aws/credentials", "");
	assert_false(s3_credentials_refused(c, &former));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, arrange, clear)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(the_first_that_says_anything_is_used),
		CASE(variables_name_the_files),
		CASE(without_keys_it_is_said_where_was_looked),
		CASE(a_named_file_is_its_owners_alone),
		CASE(files_are_read_as_aws_does),
		CASE(what_cannot_be_understood_is_said_by_line),
		CASE(a_changed_file_is_read_again),
		CASE(refused_keys_are_looked_for_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
