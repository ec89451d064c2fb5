/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The way to a bucket, step by step, so that the first that does not work is told.
 */
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/text.h"
#include "doctor.h"
#include "s3/credentials.h"
#include "s3/http.h"

enum {
	CONNECT_MS = 10000,
	SKEW_WARN_S = 60,
	SKEW_FAIL_S = 900, /* S3 refuses what was signed in another quarter of an hour */
};

static bool check_keys(struct doctor *d, const struct s3_place *p)
{
	_cleanup_(s3_credentials_freep) struct s3_credentials *c = NULL;
	_cleanup_s3_keys_ struct s3_keys keys = { 0 };
	_cleanup_free_ char *source = NULL;
	int r = s3_credentials_new(p->credentials_file, p->profile, &c);

	if (r == 0)
		r = s3_credentials_get(c, &keys);
	if (r < 0) {
		finding_of_error(
			d, VERDICT_FAIL, "keys", r,
			"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, write "
			"~/.aws/credentials, or name a file of mode 0600 in the store's URL "
			"(credentials=FILE)");
		return false;
	}
	source = s3_credentials_source(c);
	finding(d, VERDICT_OK, "keys", "from %s", source ?: "memory");
	return true;
}

/* "host", "[::1]:9000" */
static char *bare_host(const char *host)
{
	if (host[0] == '[')
		return strndup(host + 1, strcspn(host + 1, "]"));
	return strndup(host, strcspn(host, ":"));
}

static bool check_name(struct doctor *d, const struct s3_place *p)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
	_cleanup_free_ char *host = bare_host(p->host);
	char address[NI_MAXHOST] = "?";
	int e = host ? getaddrinfo(host, NULL, &hints, &found) : EAI_MEMORY;

	if (e != 0) {
		finding(d, VERDICT_FAIL, "server",
			"the name %s leads to no address: %s; the endpoint in the store's URL, or DNS, "
			"is wrong",
			host, gai_strerror(e));
		return false;
	}
	getnameinfo(found->ai_addr, found->ai_addrlen, address, sizeof(address), NULL, 0,
		    NI_NUMERICHOST);
	freeaddrinfo(found);
	if (strcmp(host, address) != 0)
		finding(d, VERDICT_OK, "server", "%s is %s", host, address);
	return true;
}

static void check_clock(struct doctor *d, int64_t server)
{
	int64_t ahead = (int64_t)now_wall().tv_sec - server, by = ahead < 0 ? -ahead : ahead;

	if (server == 0)
		finding(d, VERDICT_WARN, "clock", "the server does not say what time it is");
	else if (by < SKEW_WARN_S)
		finding(d, VERDICT_OK, "clock", "that of the server differs by %lld s",
			(long long)by);
	else
		finding(d, by < SKEW_FAIL_S ? VERDICT_WARN : VERDICT_FAIL, "clock",
			"it is %lld s %s the server's; set both by NTP: times of commits are wrong, and "
			"beyond 15 minutes a server refuses requests",
			(long long)by, ahead > 0 ? "ahead of" : "behind");
}

/* Any answer will do, since nobody has signed. */
static bool check_connection(struct doctor *d, const struct s3_place *p)
{
	_cleanup_(http_freep) struct http *h = NULL;
	_cleanup_http_reply_ struct http_reply reply = { 0 };
	_cleanup_free_ char *url = strf("%s://%s/", p->scheme, p->host);
	struct http_request q = { .method = "GET", .url = url };
	struct deadline dl = deadline_in_ms(CONNECT_MS);
	int64_t began = now_ns();
	bool was_sent;
	int r = url ? http_new(p->ca_file, &h) : -ENOMEM;

	if (r == 0)
		r = http_exchange(h, &q, &dl, &reply, &was_sent);
	if (r == -EKEYREJECTED) {
		finding_of_error(d, VERDICT_FAIL, "server", r,
				 "a certificate authority of your own is named in the store's URL "
				 "(ca=FILE)");
		return false;
	}
	/* A body that is too long to be wanted is an answer. */
	if (r < 0 && r != -EFBIG) {
		finding_of_error(d, VERDICT_FAIL, "server", r,
				 "is it running, is the port right, is a firewall between?");
		return false;
	}
	finding(d, VERDICT_OK, "server", "%s answers %s, %.1f ms after it was first called", url,
		strcmp(p->scheme, "https") == 0 ? "by TLS, with a good certificate" : "without TLS",
		(double)(now_ns() - began) / 1e6);
	if (r == 0)
		check_clock(d, reply.date);
	return true;
}

bool doctor_server(struct doctor *d, const char *url)
{
	_cleanup_s3_place_ struct s3_place p = { 0 };
	int r = s3_place_parse(url, &p);
	bool has_keys;

	if (r < 0) {
		finding_of_error(d, VERDICT_FAIL, "url", r, NULL);
		return false;
	}
	has_keys = check_keys(d, &p);
	return check_name(d, &p) && check_connection(d, &p) && has_keys;
}
