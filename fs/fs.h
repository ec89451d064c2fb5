/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A mount: what all of the daemon shares. Everything in it is made before the first request and
 * freed after the last.
 *
 * Locks of fs/ are leaves, under which nothing else is taken: the lane's, files', root's, notify's,
 * controls' (but for a conversation's). None is held across an answer, a notification, or a call
 * into store/ that may wait.
 */
#pragma once

#include "head/head.h"
#include "object/store.h"
#include "options.h"
#include "service/service.h"
#include "stats.h"

struct autocommitter;
struct channel;
struct controls;
struct files;
struct keeper;
struct learner;
struct lane;
struct mapped;
struct notify;
struct rejoin;
struct root;
struct runs;

struct fs {
	const struct mount_options *opts; /* borrowed */
	struct store *store; /* owned, as all below */
	struct vnode_table *vnodes;
	struct heads *heads;
	struct channel *channel;
	struct lane *lane;
	struct notify *notify;
	struct files *files;
	struct root *root;
	struct controls *controls;
	struct runs *runs; /* NULL: nothing is written here */
	struct keeper *keeper;
	struct learner *learner;
	struct rejoin *rejoin; /* NULL: nothing is written here */
	struct autocommitter *autocommitter; /* likewise */
	struct mapped *mapped;
	struct service service;
	struct stats stats;
	/* Heads whose move is being told, or about to be. */
	atomic_uint moves;
	/* The last damaged file that was logged, and when (now_ns()). */
	atomic_uint_fast64_t damaged_node;
	atomic_int_fast64_t damage_said;
};
