/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a user can do about what an S3 server says.
 */
#pragma once

#include "s3/xml.h"

/* For the end of a sentence: "; check the secret key", or "" where nobody can tell. Static. */
const char *s3_advice(const struct s3_error *said);

/* The same for what a connection died of, by libcurl's words. */
const char *s3_advice_on_connecting(const char *why);
