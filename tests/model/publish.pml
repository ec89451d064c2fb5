/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How commits come onto a branch and get their names: store/FORMAT.md, section 10.3, as
 * store/head/commit.c, store/head/pending.c, store/merge/join.c and store/object/refs_*.c do it.
 *
 * WRITERS machines each have CHANGES changes to commit to one branch, under one name that all want
 * first. Any may die between any two steps (CRASHES in all) and goes on from what its table has. A
 * reply may be lost (LOSSES in all); what was sent stays in the network for ever and may arrive at
 * any time, also again, also after its sender has died. Somebody makes a branch by the same name at
 * any time (Intruder), somebody finds what the name leads to at any time and builds on it (Finder).
 *
 * What must hold
 *  - the branch only grows: each commit it is set to descends from the one before
 *  - what the branch or the name leads to is there, with all that it descends from, and what was
 *    found by the name stays
 *  - no change is in the branch twice
 *  - an acknowledged name leads to the commit that it was acknowledged for, for ever; so no two are
 *    told that it is theirs
 *  - nobody is refused a name that is his own
 *  - in the end, whatever has happened, every acknowledged commit is in the branch, but where both
 *    sides have changed the same: then the head still has it
 * The end always comes: each attempt uses up an id or a tag, and there must be enough of them.
 *
 * Steps, by the numbers below
 *  1  commit.c commit_locked(): pending_settle(), is_asked_again(), check_refs()
 *  2  commit.c publish_snapshot(): publish() stores the object, pending_begin() notes it
 *  3  refs_name.c refs_claim_name() with refs_swap.c refs_place() and refs_swap()
 *  4  pending.c withdraw()
 *  5  land.c land_locked(): base and record in one batch
 *  6  join.c join_branch(), round_from(), take_back(); refs_move.c step(), judge()
 *  7  pending.c note_joined(), follow.c head_follow()
 *  8  commit.c head_commit() returns; pending.c pending_answered()
 *
 * Left out: packs (durable before the commit's object), what a merge makes of two trees (the rules
 * have a test of their own), removing and renaming of branches and removing of names, the collector,
 * and whoever picks an unnamed commit out of the listing before it was acknowledged. A lost PUT of a
 * commit's object is a commit that fails, as a crash before it is noted: what was stored is garbage.
 * Power loss is a crash: the record is synced before the name is tried and before an object goes.
 *
 * Mutants, each of which must fail: see tests/model/run.
 */
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef CHANGES
#define CHANGES 1
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef LOSSES
#define LOSSES 1
#endif
#ifndef CONFLICTS
#define CONFLICTS 0
#endif
#ifndef NAMES
#define NAMES 1 /* all want the same one at first; 0: nobody wants any */
#endif
#ifndef FINDERS
#define FINDERS 1
#endif
#ifndef IDS
#define IDS 7 /* commits a writer can make, merges included */
#endif
#ifndef TAGS
#define TAGS 9 /* swaps of the branch, and of the name, that it can try */
#endif

#if WRITERS * IDS > 30 || WRITERS * TAGS > 18
#error more than a word has bits, or than the network knows
#endif

#define BIT(id) (1 << (id))
#define ALL_IDS (1 + WRITERS * IDS)
#define ALL_TAGS (1 + WRITERS * TAGS)
#define OWNER(id) (((id) - 1) / IDS)
#define NONE 255

/* The store. Commit 0 is there from the start; a tag is the nonce of what was written. */
int objects = 1;
int above[ALL_IDS]; /* a commit and all it descends from */
byte change_of[ALL_IDS]; /* a snapshot's change, from 1; 0: a merge */
byte branch = 0, branch_tag = 0;
byte name_tag = 0, name_was = 0, name_to = NONE; /* NONE: nothing, or a tombstone */
bool clash = false; /* there is a branch by that name */

/* The network: what was sent, by the tag it makes. */
int branch_sent, name_sent;
byte branch_old[ALL_TAGS], branch_new[ALL_TAGS]; /* the tag that it needs, the commit */
byte name_old[ALL_TAGS], name_new[ALL_TAGS];

/* Where each writer is. */
byte base[WRITERS];
bool done[WRITERS];

mtype = { clean, stored, landed, joined };

/* What users know: nothing that the machines do depends on it. */
int acknowledged; /* commits */
byte name_owned = NONE; /* for what it was acknowledged */
byte found = NONE;
bool conflict[WRITERS]; /* it could not join for good */
byte finished;

hidden byte i_, j_;

byte crashes = CRASHES, losses = LOSSES, conflicts = CONFLICTS;
bool crash[WRITERS];

#define IS_ABOVE(a, b) ((above[a] & BIT(b)) != 0) /* a descends from b, or is b */

inline check_refs() {
	assert((above[branch] & ~objects) == 0);
	assert(name_to == NONE || (above[name_to] & ~objects) == 0);
	assert(found == NONE || (objects & BIT(found)));
	assert(name_owned == NONE || name_to == name_owned)
}

/* In an atomic step: the swap @x of the branch arrives. What needed the tag that it replaces will
 * never fit again: it is forgotten, to have fewer states. */
inline branch_arrives(x) {
	assert(IS_ABOVE(branch_new[x], branch));
	branch = branch_new[x];
#ifndef UNCONDITIONAL
	forget_branches();
#endif
	branch_tag = x;
	check_refs();
	check_twice()
}

inline name_arrives(x) {
	name_to = name_new[x];
	name_was = name_tag;
	forget_names();
	name_tag = x;
	check_refs()
}

inline forget_branches() {
	i_ = 1;
	do
	:: i_ < ALL_TAGS ->
		if
		:: branch_old[i_] == branch_tag ->
			branch_sent = branch_sent & ~BIT(i_);
			branch_old[i_] = 0;
			branch_new[i_] = 0
		:: else
		fi;
		i_++
	:: else -> break
	od;
	i_ = 0
}

inline forget_names() {
	i_ = 1;
	do
	:: i_ < ALL_TAGS ->
		if
		:: name_old[i_] == name_tag ->
			name_sent = name_sent & ~BIT(i_);
			name_old[i_] = 0;
			name_new[i_] = 0
		:: else
		fi;
		i_++
	:: else -> break
	od;
	i_ = 0
}

inline check_twice() {
	i_ = 1;
	do
	:: i_ < ALL_IDS ->
		j_ = i_ + 1;
		do
		:: j_ < ALL_IDS && OWNER(j_) == OWNER(i_) ->
			assert(!(IS_ABOVE(branch, i_) && IS_ABOVE(branch, j_) && change_of[i_] != 0 &&
				 change_of[i_] == change_of[j_]));
			j_++
		:: else -> break
		od;
		i_++
	:: else -> break
	od;
	i_ = 0;
	j_ = 0
}

#ifdef UNCONDITIONAL
#define BRANCH_FITS(x) true
#else
#define BRANCH_FITS(x) (branch_old[x] == branch_tag)
#endif
/* For the sender, whose own may be forgotten. */
#ifdef UNCONDITIONAL
#define BRANCH_IS(tag) true
#else
#define BRANCH_IS(tag) ((tag) == branch_tag)
#endif
#define NAME_FITS(x) (name_old[x] == name_tag)

/* What is late, or comes again. One that arrived cannot fit any more: its tag does not come back. */
#define LATE(t) \
	:: atomic { t < ALL_TAGS && (branch_sent & BIT(t)) && branch_tag != t && BRANCH_FITS(t) -> \
		branch_arrives(t) } \
	:: atomic { t < ALL_TAGS && (name_sent & BIT(t)) && name_tag != t && NAME_FITS(t) -> \
		name_arrives(t) }

active proctype Network() {
end:
	do
	LATE(1) LATE(2) LATE(3) LATE(4) LATE(5) LATE(6)
#if WRITERS * TAGS > 6
	LATE(7) LATE(8) LATE(9) LATE(10) LATE(11) LATE(12)
#endif
#if WRITERS * TAGS > 12
	LATE(13) LATE(14) LATE(15) LATE(16) LATE(17) LATE(18)
#endif
	od
}

active [NAMES] proctype Intruder() {
end:
	/* refs_branch.c place(): looks for the name, then makes the branch. */
	if
	:: atomic { name_to == NONE -> skip };
		clash = true
	:: finished == WRITERS
	fi
}

active [FINDERS] proctype Finder() {
end:
	if
	:: atomic { name_to != NONE -> found = name_to }
	:: finished == WRITERS
	fi
}

active proctype Crasher() {
	byte w;
end:
	do
	:: atomic { crashes > 0 && finished < WRITERS ->
#if CRASHES > 1
		select(w : 0 .. WRITERS - 1);
#endif
		/* of one crash it does not matter which of them, who are all alike, it befalls */
		if
		:: !crash[w] && !done[w] -> crash[w] = true; crashes--
		:: else
		fi;
		w = 0 }
	od
}

inline new_id(kind) {
	assert(ids < IDS);
	id = 1 + w * IDS + ids;
	ids++;
	change_of[id] = kind;
	objects = objects | BIT(id)
}

inline new_tag() {
	assert(tags < TAGS);
	t = 1 + w * TAGS + tags;
	tags++
}

inline remove_object(x) {
	objects = objects & ~BIT(x);
	check_refs()
}

/* 3: claims the name for the record's commit: r is 0, EXIST or UNKNOWN. */
#define OK 0
#define EXIST 1
#define UNKNOWN 2
#define STALE 3

inline claim_name() {
	may_be_known = false;
	r = STALE;
	do
	:: r != STALE -> break
	:: r == STALE -> claim_once()
	od;
	atomic { old = 0; t = 0; tries = 0 }
}

inline claim_once() {
	if
	:: atomic { clash ->
#ifdef BRANCH_FIRST
		r = EXIST
#else
		skip
#endif
		};
		/* claim_beside_branch() */
		if
		:: atomic { r == STALE && name_to != record -> r = EXIST }
		:: atomic { r == STALE && name_to == record -> skip };
			renew();
			if
			:: r == STALE -> r = EXIST
			:: else
			fi
		:: r != STALE
		fi
	:: !clash ->
		do
		:: atomic { name_to != NONE && name_to == record -> skip }; renew(); break
		:: atomic { name_to != NONE && name_to != record ->
			may_be_known = (tries > 1 || (tries == 1 && name_was != old));
			r = EXIST };
			break
		:: atomic { name_to == NONE -> old = name_tag };
			tries++;
			send_name(record);
			if
			:: r == STALE
			:: r == OK -> look_again(); break
			:: r == UNKNOWN -> break
			fi
		od
	fi
}

/* Sends what is to take the place of what was found with the tag old; r as refs_swap(). */
inline send_name(what) {
	atomic {
		new_tag();
		if
		:: old == name_tag ->
			name_old[t] = old;
			name_new[t] = what;
			name_sent = name_sent | BIT(t)
		:: else
		fi };
	swap_name()
}

inline renew() {
#ifdef NO_RENEWAL
	r = OK
#else
	do
	:: atomic { name_to == record -> old = name_tag };
		send_name(record);
		if
		:: r == STALE
		:: else -> break
		fi
	:: atomic { name_to == NONE -> r = STALE }; break
	:: atomic { name_to != NONE && name_to != record -> r = EXIST }; break
	od
#endif
}

/* A branch that has come meanwhile: the name that was made with the tag t is buried. */
inline look_again() {
	if
	:: atomic { clash -> may_be_known = true };
		if
		:: atomic { name_tag == t -> old = t };
			send_name(NONE);
			if
			:: r == STALE || r == OK -> r = EXIST
			:: r == UNKNOWN
			fi
		:: atomic { name_tag != t -> r = EXIST }
		fi
	:: !clash
	fi
}

/* refs_swap(): OK, STALE or UNKNOWN, for what was sent with the tag t. */
inline swap_name() {
	do
	:: atomic { old == name_tag -> name_arrives(t); r = OK }; break
	:: atomic { old == name_tag && losses > 0 -> losses--; name_arrives(t); r = UNKNOWN };
		read_back_name()
	:: atomic { losses > 0 -> losses--; r = UNKNOWN };
		read_back_name()
	:: atomic { old != name_tag -> r = STALE };
		read_back_name()
	od
}

/* Breaks off the loop above, or goes round it once more: the same bytes. */
inline read_back_name() {
	if
	:: atomic { name_tag == t -> r = OK }; break
	:: atomic { name_tag == old -> skip }
	:: atomic { name_tag != t && name_tag != old -> r = STALE }; break
	:: r == UNKNOWN -> break /* the deadline passes */
	fi
}

/* 6: brings the base onto the branch: r is OK, UNKNOWN, or EXIST for a conflict. */
inline join_branch() {
	/* what is known of the branch may be old */
	atomic { tip = seen; old = seen_tag };
	r = STALE;
	do
	:: r == STALE && IS_ABOVE(tip, base[w]) -> r = OK; break
	:: r == STALE && IS_ABOVE(base[w], tip) && !IS_ABOVE(tip, base[w]) ->
		to = base[w];
		swap_branch()
	:: atomic { r == STALE && !IS_ABOVE(base[w], tip) && !IS_ABOVE(tip, base[w]) ->
		new_id(0);
		above[id] = BIT(id) | above[tip] | above[base[w]];
		to = id };
		swap_branch()
	:: atomic { r == STALE && !IS_ABOVE(base[w], tip) && !IS_ABOVE(tip, base[w]) &&
		    conflicts > 0 -> conflicts--; r = EXIST }; break
	:: r != STALE -> break
	od;
	atomic { to = 0; id = 0; t = 0; old = 0; tip = 0 }
}

/* refs_move_branch(); what is lost is taken back, and tip and old say what is there. */
inline swap_branch() {
	atomic {
		new_tag();
		if
		:: BRANCH_IS(old) ->
			branch_old[t] = old;
			branch_new[t] = to;
			branch_sent = branch_sent | BIT(t)
		:: else
		fi };
	do
	:: atomic { BRANCH_IS(old) -> branch_arrives(t); r = OK }; break
	:: atomic { BRANCH_IS(old) && losses > 0 -> losses--; branch_arrives(t); r = UNKNOWN };
		read_back_branch()
	:: atomic { losses > 0 -> losses--; r = UNKNOWN };
		read_back_branch()
	:: atomic { !BRANCH_IS(old) -> r = STALE };
		read_back_branch()
	od;
	atomic { seen = branch; seen_tag = branch_tag };
	if
#ifdef TAKE_BACK_UNKNOWN
	:: atomic { (r == STALE || r == UNKNOWN) && to != base[w] -> remove_object(to) }
	:: !((r == STALE || r == UNKNOWN) && to != base[w])
#else
	:: atomic { r == STALE && to != base[w] -> remove_object(to) }
	:: !(r == STALE && to != base[w])
#endif
	fi
}

inline read_back_branch() {
	if
#ifdef NO_READ_BACK
	:: atomic { r == UNKNOWN -> r = STALE; tip = branch; old = branch_tag }; break
	:: atomic { r != UNKNOWN -> r = STALE; tip = branch; old = branch_tag }; break
#else
#ifdef OUR_NONCE_ONLY
	:: atomic { branch_tag != old && branch_tag != t ->
#else
	:: atomic { branch_tag != old && IS_ABOVE(branch, to) -> r = OK }; break
	:: atomic { branch_tag != old && !IS_ABOVE(branch, to) ->
#endif
		r = STALE; tip = branch; old = branch_tag }; break
#ifdef OUR_NONCE_ONLY
	:: atomic { branch_tag == t -> r = OK }; break
#endif
	:: atomic { branch_tag == old -> skip }
	:: r == UNKNOWN -> break
#endif
	fi
}

/* 4: the record's commit got no name. */
inline withdraw() {
	atomic { id = record };
#ifdef REMOVE_FIRST
	if
	:: atomic { !may_be_known && is_first -> remove_object(id) }
	:: else
	fi;
	atomic { state = (prior -> landed : clean); has_name = false; id = 0 }
#else
	atomic { state = (prior -> landed : clean); has_name = false };
	if
#if defined(REMOVE_KNOWN) || defined(BRANCH_FIRST)
	:: atomic { true -> remove_object(id) }
#else
	:: atomic { !may_be_known && is_first -> remove_object(id) }
	:: !(!may_be_known && is_first)
#endif
	fi;
	id = 0
#endif
}

/* 3 to 5: r as claim_name(). */
inline finish() {
	assert(objects & BIT(record));
	if
	:: has_name -> claim_name()
	:: else -> r = OK
	fi;
	if
	:: r == EXIST -> withdraw(); r = EXIST
	:: r == OK ->
		atomic { base[w] = record; state = landed; dirty = false }
	:: r == UNKNOWN
	fi
}

inline join() {
	join_branch();
	if
	:: r == OK ->
		atomic { state = (has_name -> joined : clean); prior = false;
			 conflict[w] = false }
	:: r == EXIST -> conflict[w] = true
	:: r == UNKNOWN
	fi
}

/* heads_rejoin(), which a mount calls by itself. */
inline rejoin() {
	is_first = false;
	if
	:: state == stored -> finish()
	:: else
	fi;
	if
	:: state == landed -> join()
	:: else
	fi;
	follow()
}

inline follow() {
	if
	:: atomic { !dirty && (state == joined || state == clean) &&
		    IS_ABOVE(branch, base[w]) -> base[w] = branch }
	:: true
	fi
}

#ifdef BASE_ONLY
#define IS_ON_RECORD (has_name && !dirty && record == base[w] && \
	(state == landed || state == joined))
#else
#define IS_ON_RECORD (has_name && !dirty && (state == landed || state == joined))
#endif

/* 2 */
inline store_snapshot() {
	atomic {
		new_id(change + 1);
		above[id] = BIT(id) | above[base[w]] };
#ifdef NAME_BEFORE_RECORD
	if
	:: wants_name ->
		if
		:: atomic { name_to == NONE -> new_tag(); name_old[t] = name_tag; name_new[t] = id;
			    name_sent = name_sent | BIT(t); name_arrives(t); t = 0 }
		:: name_to != NONE
		fi
	:: else
	fi;
#endif
	atomic {
		prior = (state == landed);
		record = id;
		state = stored;
		has_name = wants_name;
		id = 0 };
	is_first = true
}

/* In words of commit.c: r is OK, EXIST or UNKNOWN; what it makes is base or record. */
inline commit() {
	/* 1 */
	r = OK;
	is_first = false;
	if
	:: state == stored -> finish();
		if
		:: r == EXIST -> r = OK /* its maker was not told that it is there */
		:: else
		fi
	:: else
	fi;
	if
	:: r == OK && wants_name && IS_ON_RECORD -> answer = record
	:: r == OK && !(wants_name && IS_ON_RECORD) ->
		if
		:: atomic { wants_name && (clash || name_to != NONE) -> r = EXIST }
		:: atomic { !(wants_name && (clash || name_to != NONE)) -> skip };
			if
			:: dirty -> store_snapshot(); finish()
			:: else -> /* nothing has changed: an unnamed one that has landed since */
				assert(!wants_name)
			fi
		fi;
		answer = base[w]
	:: else
	fi;
	if
	:: r == OK && state == landed -> join(); r = OK
	:: else
	fi
}

/* 8: that nobody is refused any more what he was told is one step with telling him. */
inline acknowledge() {
	follow();
	atomic {
		acknowledged = acknowledged | BIT(answer);
		assert(objects & BIT(answer));
		if
		:: wants_name ->
			assert(name_owned == NONE);
			name_owned = answer
		:: else
		fi;
		check_refs();
		if
		:: state == joined -> state = clean
		:: else
		fi;
		has_name = false;
		answer = 0;
		change++;
		dirty = (change < CHANGES) }
}

/* A user with one change after another, who asks again for what he was not told. */
proctype Writer(byte w) {
	/* Its table, and its user's memory. */
	mtype state = clean;
	byte record, change, ids, tags; /* ids and tags: used up */
	bool has_name; /* in the record */
	bool prior; /* the base before the record's commit was not on the branch */
	bool dirty = true, wants_name = NAMES == 1;
	/* What a crash forgets. */
	byte r, id, t, old, to, tip, seen, seen_tag, tries, answer;
	bool is_first, may_be_known;

start:
	{
		atomic { seen = branch; seen_tag = branch_tag };
		do
		:: change < CHANGES ->
			if
			:: state == stored || state == landed || state == joined -> rejoin()
			:: true
			fi;
#ifdef ACK_BEFORE_NAME
			if
			:: wants_name && !clash && name_to == NONE ->
				atomic { assert(name_owned == NONE); name_owned = 1 + w * IDS + ids }
			:: else
			fi;
#endif
			commit();
			if
			:: r == OK -> acknowledge()
			:: r == EXIST ->
				assert(clash || (name_to != NONE && OWNER(name_to) != w));
				wants_name = false
			:: r == UNKNOWN
			fi
		:: change == CHANGES && (state == stored || (state == landed && !conflict[w])) ->
			rejoin()
		:: change == CHANGES && state != stored &&
		   (state != landed || conflict[w]) -> break
		od;
		atomic { finished++; done[w] = true; crash[w] = false }
	} unless {
		/* all but the table is forgotten */
		atomic {
			crash[w] && !done[w] ->
			crash[w] = false;
			r = 0; id = 0; t = 0; old = 0; to = 0; tip = 0; seen = 0; seen_tag = 0;
			tries = 0; answer = 0;
			is_first = false;
			may_be_known = false;
			goto start
		}
	}
}

/* In the end */
active proctype Judge() {
	byte w;
	atomic { finished == WRITERS ->
		do
		:: w < WRITERS ->
			if
			:: !conflict[w] -> assert(IS_ABOVE(branch, base[w]))
			:: else -> assert(objects & BIT(base[w]))
			fi;
			w++
		:: else -> break
		od;
		w = 1;
		do
		:: w < ALL_IDS ->
			assert(!(acknowledged & BIT(w)) || IS_ABOVE(branch, w) ||
			       (conflict[OWNER(w)] && IS_ABOVE(base[OWNER(w)], w)));
			w++
		:: else -> break
		od
	}
}

init {
	byte w;
	atomic {
		above[0] = 1;
		do
		:: w < WRITERS ->
			run Writer(w);
			w++
		:: else -> break
		od;
		w = 0
	}
}
