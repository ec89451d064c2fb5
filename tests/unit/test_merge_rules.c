/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The rules of a merge, line by line (store/merge/RULES.md).
 *
 * A name is written as text: "-" is not there; "f1" a file with content 1, "f1'" the same touched,
 * "d1" a directory with tree 1; "L" and "M" are links, "L1" a hard-linked file with content 1.
 */
#include "check.h"
#include "merge/rule.h"

static void put_value(struct merge_entry *e, const char *text)
{
	struct inode *i = &e->inode;
	bool is_touched = strchr(text, '\'');

	i->mode = 0644;
	i->type = text[0] == 'd' ? FT_DIR : FT_REG;
	i->mtime.sec = i->ctime.sec = is_touched ? 200 : 100;
	if (i->type == FT_DIR) {
		i->dir.id.b[0] = (uint8_t)text[1];
	} else {
		i->content.id.b[0] = (uint8_t)text[1];
		i->content.size = 1;
	}
}

static struct merge_entry entry_of(const char *text)
{
	struct merge_entry e = { .is_there = text[0] != '-' };

	if (!e.is_there)
		return e;
	if (text[0] == 'L' || text[0] == 'M') {
		e.has_link = true;
		e.link.b[0] = (uint8_t)text[0];
	}
	put_value(&e, text);
	return e;
}

struct line {
	const char *o, *a, *b;
	enum merge_verdict expected;
};

static enum merge_verdict mirrored(enum merge_verdict v)
{
	switch (v) {
	case MERGE_OURS:
		return MERGE_THEIRS;
	case MERGE_THEIRS:
		return MERGE_OURS;
	case MERGE_OURS_IN_THEIR_LINK:
		return MERGE_THEIRS_IN_OUR_LINK;
	case MERGE_THEIRS_IN_OUR_LINK:
		return MERGE_OURS_IN_THEIR_LINK;
	case MERGE_WE_DELETED:
		return MERGE_THEY_DELETED;
	case MERGE_THEY_DELETED:
		return MERGE_WE_DELETED;
	default:
		return v;
	}
}

/* Every line as it is, and with the sides exchanged. */
static void check_line(const struct line *l, enum merge_verdict (*rule)(const struct merge_entry *,
									const struct merge_entry *,
									const struct merge_entry *))
{
	struct merge_entry o = entry_of(l->o), a = entry_of(l->a), b = entry_of(l->b);

	if (rule(&o, &a, &b) != l->expected)
		fail_msg("%s | %s | %s gives %d, not %d", l->o, l->a, l->b, rule(&o, &a, &b),
			 l->expected);
	if (rule(&o, &b, &a) != mirrored(l->expected))
		fail_msg("%s | %s | %s gives %d, not %d", l->o, l->b, l->a, rule(&o, &b, &a),
			 mirrored(l->expected));
}

static void names_merge_by_the_table(void **state)
{
	static const struct line lines[] = {
		{ "f1", "f1", "f2", MERGE_THEIRS },
		{ "f1", "f1", "-", MERGE_THEIRS },
		{ "-", "-", "f1", MERGE_THEIRS },
		{ "f1", "f2", "f2'", MERGE_THEIRS }, /* the later one */
		{ "-", "f2'", "f2", MERGE_OURS },
		{ "f1", "f1'", "f2", MERGE_THEIRS },
		{ "f1", "f2", "f3", MERGE_BOTH_CHANGED },
		{ "-", "f2", "f3", MERGE_BOTH_ADDED },
		{ "f1", "-", "f1'", MERGE_OURS },
		{ "f1", "-", "f2", MERGE_WE_DELETED },
		{ "f1", "d1", "f2", MERGE_TYPES_DIFFER },
		{ "f1", "f1'", "d2", MERGE_THEIRS },
		{ "d1", "d1'", "f2", MERGE_THEIRS },
		{ "d1", "d2", "f2", MERGE_TYPES_DIFFER },
		{ "-", "d2", "f2", MERGE_TYPES_DIFFER },
		{ "d1", "d2", "d3", MERGE_DOWN },
		{ "f1", "d2", "d3", MERGE_DOWN },
		{ "-", "d2", "d3", MERGE_DOWN },
		{ "d1", "-", "d2", MERGE_DOWN },
		{ "f1", "-", "d2", MERGE_WE_DELETED },
		{ "d1", "-", "f2", MERGE_WE_DELETED },
		/* Links */
		{ "L1", "-", "L1", MERGE_OURS },
		{ "L1", "L1", "f2", MERGE_THEIRS },
		{ "f1", "L1", "f1", MERGE_OURS },
		{ "f1", "L1'", "f1'", MERGE_OURS },
		{ "f1", "L1", "f2", MERGE_THEIRS_IN_OUR_LINK },
		{ "f1", "L2", "f3", MERGE_BOTH_CHANGED },
		{ "f1", "L2", "f2", MERGE_OURS },
		{ "f1", "L1", "M1", MERGE_BOTH_CHANGED },
		{ "-", "L1", "M1", MERGE_BOTH_ADDED },
		{ "L1", "f2", "f3", MERGE_BOTH_CHANGED },
		{ "L1", "M1", "-", MERGE_THEIRS }, /* what it was is gone, by both */
		{ "L1", "M2", "-", MERGE_THEY_DELETED },
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		check_line(&lines[i], merge_name);
}

static void records_of_links_merge_by_the_table(void **state)
{
	static const struct line lines[] = {
		{ "L1", "L1'", "L2", MERGE_THEIRS },	  { "L1", "L2", "L2'", MERGE_THEIRS },
		{ "L1", "L2", "L3", MERGE_BOTH_CHANGED }, { "L1", "-", "L1'", MERGE_THEIRS },
		{ "L1", "-", "L2", MERGE_WE_DELETED },	  { "-", "-", "L2", MERGE_THEIRS },
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		check_line(&lines[i], merge_link);
}

static struct inode dir_of(uint16_t mode, int64_t mtime)
{
	return (struct inode){
		.type = FT_DIR, .mode = mode, .mtime.sec = mtime, .ctime.sec = mtime
	};
}

static void a_directorys_attributes_are_one_field_and_its_times_never_conflict(void **state)
{
	const struct inode o = dir_of(0755, 100), same = dir_of(0755, 300),
			   other = dir_of(0700, 200), third = dir_of(0777, 250);
	struct inode ret;

	assert_int_equal(merge_dir(&o, &same, &other, &ret), MERGE_THEIRS);
	assert_int_equal(ret.mode, 0700);
	assert_int_equal(ret.mtime.sec, 300);
	assert_int_equal(merge_dir(&o, &other, &same, &ret), MERGE_OURS);
	assert_int_equal(ret.mode, 0700);
	assert_int_equal(ret.mtime.sec, 300);
	/* Only one side's time has changed, backwards. */
	assert_int_equal(merge_dir(&same, &o, &same, &ret), MERGE_THEIRS);
	assert_int_equal(ret.mtime.sec, 100);
	assert_int_equal(merge_dir(&o, &third, &other, &ret), MERGE_ATTRS_DIFFER);
	assert_int_equal(ret.mtime.sec, 250);
	assert_int_equal(merge_dir(NULL, &o, &same, &ret), MERGE_THEIRS);
	assert_int_equal(merge_dir(NULL, &o, &other, &ret), MERGE_ATTRS_DIFFER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_merge_by_the_table),
		cmocka_unit_test(records_of_links_merge_by_the_table),
		cmocka_unit_test(
			a_directorys_attributes_are_one_field_and_its_times_never_conflict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
