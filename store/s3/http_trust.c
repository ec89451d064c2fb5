/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The authorities of s3/http_trust.h.
 */
#include "s3/http_trust.h"

#include <openssl/ssl.h>
#include <stdio.h>

#include "base/thread.h"

int trust_init(struct trust *t, const char *file)
{
	*t = (struct trust){ .file = file ? strdup(file) : NULL };
	pthread_mutex_init(&t->lock, NULL);
	return file && !t->file ? -ENOMEM : 0;
}

void trust_release(struct trust *t)
{
	X509_STORE_free(t->store);
	pthread_mutex_destroy(&t->lock);
	free(t->file);
}

static const char *file_of(const struct trust *t)
{
	return t->file ?: curl_version_info(CURLVERSION_NOW)->cainfo;
}

void trust_done(void *held)
{
	X509_STORE_free(held);
}

void trust_doubt(struct trust *t)
{
	WITH_LOCK(&t->lock);
	X509_STORE_free(t->store);
	t->store = NULL;
}

bool trust_is_refused(const char *text)
{
	/* OpenSSL's errors have a number; what the socket says has none. */
	return strstr(text, "error:") && !strstr(text, "unexpected eof");
}

/* A reference; reads the file if that was not done. NULL: it cannot be. */
static X509_STORE *store_of(struct trust *t)
{
	X509_STORE *s;

	WITH_LOCK(&t->lock);
	if (t->store) {
		X509_STORE_up_ref(t->store);
		return t->store;
	}
	s = X509_STORE_new();
	if (s && X509_STORE_load_file(s, file_of(t))) {
		/* As libcurl has it: an authority in the middle will do. */
		X509_STORE_set_flags(s, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN);
		X509_STORE_up_ref(s);
		t->store = s;
		return s;
	}
	X509_STORE_free(s);
	return NULL;
}

static CURLcode give_to(CURL *easy, void *tls, void *store)
{
	SSL_CTX_set1_cert_store(tls, store);
	return CURLE_OK;
}

/* Only libcurl over OpenSSL takes a store. */
static bool is_over_openssl(void)
{
	const char *tls = curl_version_info(CURLVERSION_NOW)->ssl_version;

	return tls && strncmp(tls, "OpenSSL", 7) == 0;
}

int trust_use(struct trust *t, CURL *easy, char text[CURL_ERROR_SIZE], void **ret_held)
{
	X509_STORE *s;

	if (!is_over_openssl() || !file_of(t)) {
		if (t->file && curl_easy_setopt(easy, CURLOPT_CAINFO, t->file) != CURLE_OK)
			return -ENOMEM;
		return 0;
	}
	s = store_of(t);
	if (!s) {
		snprintf(text, CURL_ERROR_SIZE,
			 "the authorities' certificates in %s cannot be read", file_of(t));
		return -EKEYREJECTED;
	}
	*ret_held = s;
	/* It would read them as well, and then be given ours. */
	if (curl_easy_setopt(easy, CURLOPT_CAINFO, NULL) != CURLE_OK ||
	    curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) != CURLE_OK ||
	    curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, s) != CURLE_OK ||
	    curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, give_to) != CURLE_OK)
		return -ENOMEM;
	return 0;
}
