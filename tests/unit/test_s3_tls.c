/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whom the client believes to be its server: one with a certificate of an authority that it knows,
 * or is told of, for the name that it is called by. The server is in here, with a certificate that
 * it signed itself.
 */
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"
#include "check.h"
#include "s3/client.h"
#include "scratch.h"

enum {
	SOON_MS = 300,
	ENOUGH_MS = 60000,
};

struct server {
	struct scratch dir; /* ca.pem in it is its certificate */
	SSL_CTX *tls;
	int listener, port;
	pthread_t thread;
	pthread_mutex_t lock; /* held for as long as a connection is served */
	atomic_uint replies;
};

/* For "127.0.0.1", from yesterday until tomorrow. */
static X509 *certificate_new(EVP_PKEY *key)
{
	X509 *c = X509_new();
	X509_NAME *name = X509_get_subject_name(c);
	X509_EXTENSION *names =
		X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");

	X509_set_version(c, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(c), 1);
	X509_gmtime_adj(X509_getm_notBefore(c), -86400);
	X509_gmtime_adj(X509_getm_notAfter(c), 86400);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"a test", -1, -1, 0);
	X509_set_issuer_name(c, name);
	X509_set_pubkey(c, key);
	X509_add_ext(c, names, -1);
	X509_EXTENSION_free(names);
	assert_true(X509_sign(c, key, EVP_sha256()) > 0);
	return c;
}

/* One connection, which ends with its first reply. */
static void serve(struct server *s, int fd)
{
	static const char reply[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
				    "Connection: close\r\n\r\nhi";
	SSL *tls = SSL_new(s->tls);
	char head[4096] = "";
	int len = 0, n = 1;

	SSL_set_fd(tls, fd);
	if (SSL_accept(tls) == 1) {
		while (n > 0 && !strstr(head, "\r\n\r\n") && len < (int)sizeof(head) - 1) {
			n = SSL_read(tls, head + len, (int)sizeof(head) - 1 - len);
			len += n;
		}
		if (n > 0 && SSL_write(tls, reply, (int)strlen(reply)) > 0)
			s->replies++;
		SSL_shutdown(tls);
	}
	SSL_free(tls);
}

static void *serve_all(void *arg)
{
	struct server *s = arg;
	int fd;

	while ((fd = accept(s->listener, NULL, NULL)) >= 0) {
		WITH_LOCK(&s->lock);
		serve(s, fd);
		close(fd);
	}
	return NULL;
}

static void use_certificate(struct server *s)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	X509 *certificate = certificate_new(key);
	_cleanup_free_ char *path = strf("%s/ca.pem", s->dir.path);
	BIO *pem = BIO_new_file(path, "w");

	assert_true(PEM_write_bio_X509(pem, certificate));
	BIO_free(pem);
	s->tls = SSL_CTX_new(TLS_server_method());
	assert_true(SSL_CTX_use_certificate(s->tls, certificate));
	assert_true(SSL_CTX_use_PrivateKey(s->tls, key));
	X509_free(certificate);
	EVP_PKEY_free(key);
}

static int server_start(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct server *s = new0(struct server, 1);
	socklen_t len = sizeof(a);

	pthread_mutex_init(&s->lock, NULL);
	s->dir = scratch_make();
	use_certificate(s);
	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_ok(bind(s->listener, (struct sockaddr *)&a, len));
	assert_ok(listen(s->listener, 16));
	assert_ok(getsockname(s->listener, (struct sockaddr *)&a, &len));
	s->port = ntohs(a.sin_port);
	assert_ok(thread_start(&s->thread, "server", serve_all, s));
	*state = s;
	return 0;
}

static int server_stop(void **state)
{
	struct server *s = *state;

	shutdown(s->listener, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	close(s->listener);
	SSL_CTX_free(s->tls);
	scratch_remove(&s->dir);
	free(s);
	return 0;
}

static struct s3_client *client_of(const struct server *s, const char *endpoint, bool with_ca)
{
	struct s3_client *c;
	_cleanup_free_ char *url =
		strf("s3://bucket?endpoint=%s:%d%s%s%s", endpoint, s->port, with_ca ? "&ca=" : "",
		     with_ca ? s->dir.path : "", with_ca ? "/ca.pem" : "");

	assert_ok(s3_client_new(url, &c));
	return c;
}

/* Reads an object; what comes of it. */
static int ask_by(struct s3_client *c, int64_t ms)
{
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	uint8_t into[2] = { 0 };
	struct s3_request q = { .method = "GET", .key = "k", .into = into, .max = 2 };
	struct deadline dl = deadline_in_ms(ms);
	int r;

	complaint_clear();
	r = s3_request(c, &q, &dl, &reply);
	if (r == 0)
		assert_memory_equal(into, "hi", 2);
	return r;
}

static int ask(const struct server *s, const char *endpoint, bool with_ca, int64_t ms)
{
	_cleanup_(s3_client_freep) struct s3_client *c = client_of(s, endpoint, with_ca);

	return ask_by(c, ms);
}

static void an_authority_that_is_named_is_trusted(void **state)
{
	struct server *s = *state;

	assert_ok(ask(s, "https://127.0.0.1", true, ENOUGH_MS));
	assert_int_equal(s->replies, 1);
}

static void one_that_is_not_known_is_refused_at_once(void **state)
{
	struct server *s = *state;

	assert_int_equal(ask(s, "https://127.0.0.1", false, ENOUGH_MS), -EIO);
	assert_non_null(strstr(complaint(), "certificate"));
	assert_non_null(strstr(complaint(), "ca=FILE"));
	assert_int_equal(s->replies, 0);
}

/* Another certificate, which the file has or not. */
static void change_certificate(struct server *s, bool file_has_it)
{
	_cleanup_free_ char *path = strf("%s/ca.pem", s->dir.path);
	_cleanup_free_ char *aside = strf("%s/aside.pem", s->dir.path);

	WITH_LOCK(&s->lock);
	SSL_CTX_free(s->tls);
	if (!file_has_it)
		assert_ok(rename(path, aside));
	use_certificate(s);
	if (!file_has_it)
		assert_ok(rename(aside, path));
}

static void a_file_that_changes_is_read_anew(void **state)
{
	struct server *s = *state;
	_cleanup_(s3_client_freep) struct s3_client *c = client_of(s, "https://127.0.0.1", true);

	assert_ok(ask_by(c, ENOUGH_MS));
	change_certificate(s, false);
	assert_int_equal(ask_by(c, ENOUGH_MS), -EIO);
	change_certificate(s, true);
	assert_ok(ask_by(c, ENOUGH_MS));
}

static void a_certificate_of_another_name_is_refused(void **state)
{
	struct server *s = *state;

	assert_int_equal(ask(s, "https://localhost", true, ENOUGH_MS), -EIO);
	assert_non_null(strstr(complaint(), "localhost"));
	assert_int_equal(s->replies, 0);
}

static void http_is_not_spoken_to_a_server_of_https(void **state)
{
	struct server *s = *state;

	assert_int_equal(ask(s, "http://127.0.0.1", false, SOON_MS), -ETIME);
	assert_int_equal(s->replies, 0);
}

static void versions_that_do_not_meet_are_said_at_once(void **state)
{
	struct server *s = *state;

	assert_true(SSL_CTX_set_max_proto_version(s->tls, TLS1_VERSION));
	assert_int_equal(ask(s, "https://127.0.0.1", true, ENOUGH_MS), -EIO);
	assert_non_null(strstr(complaint(), "Is it http or https?"));
	assert_int_equal(s->replies, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, server_start, server_stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_authority_that_is_named_is_trusted),
		TEST(one_that_is_not_known_is_refused_at_once),
		TEST(a_file_that_changes_is_read_anew),
		TEST(a_certificate_of_another_name_is_refused),
		TEST(http_is_not_spoken_to_a_server_of_https),
		TEST(versions_that_do_not_meet_are_said_at_once),
	};

	unsetenv("https_proxy");
	unsetenv("HTTPS_PROXY");
	unsetenv("all_proxy");
	unsetenv("ALL_PROXY");
	unsetenv("http_proxy");
	setenv("AWS_ACCESS_KEY_ID", "a", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "b", 1);
	log_set_quiet(true);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
