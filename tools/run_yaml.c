/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * YAML as JSON (run_config.h): the first document of a file. Plain scalars are typed, quoted ones
 * are strings; "<<" brings in what another mapping has.
 */
#include <stdio.h>
#include <yaml.h>

#include "record/record.h"
#include "run_config.h"

struct conversion {
	yaml_document_t *document;
	size_t nodes;
	const char *error; /* NULL: none */
};

static json_t *convert(struct conversion *c, int index, unsigned depth);

/* What JSON calls so, and what YAML's schema does besides. */
static json_t *convert_scalar(const yaml_node_t *n)
{
	static const char *const nulls[] = { "", "~", "Null", "NULL" };
	const char *text = (const char *)n->data.scalar.value;
	size_t len = n->data.scalar.length;

	if (n->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return json_stringn(text, len);
	for (size_t i = 0; i < sizeof(nulls) / sizeof(nulls[0]); i++)
		if (strcmp(text, nulls[i]) == 0)
			return json_null();
	if (strcmp(text, "True") == 0 || strcmp(text, "TRUE") == 0)
		return json_true();
	if (strcmp(text, "False") == 0 || strcmp(text, "FALSE") == 0)
		return json_false();
	return run_value(text, len);
}

static json_t *convert_sequence(struct conversion *c, const yaml_node_t *n, unsigned depth)
{
	json_t *j = json_array();

	for (yaml_node_item_t *i = n->data.sequence.items.start;
	     !c->error && i < n->data.sequence.items.top; i++)
		json_array_append_new(j, convert(c, *i, depth + 1));
	return j;
}

/* What the mapping itself says goes first. */
static void merge_into(json_t *into, const json_t *from)
{
	if (json_is_object(from))
		json_object_update_missing(into, (json_t *)from);
	for (size_t i = 0; i < json_array_size(from); i++)
		json_object_update_missing(into, json_array_get(from, i));
}

static json_t *convert_mapping(struct conversion *c, const yaml_node_t *n, unsigned depth)
{
	json_t *j = json_object(), *merged = json_array();

	for (yaml_node_pair_t *p = n->data.mapping.pairs.start;
	     !c->error && p < n->data.mapping.pairs.top; p++) {
		const yaml_node_t *key = yaml_document_get_node(c->document, p->key);
		const char *name;
		json_t *value;

		if (!key || key->type != YAML_SCALAR_NODE)
			continue;
		name = (const char *)key->data.scalar.value;
		value = convert(c, p->value, depth + 1);
		if (strcmp(name, "<<") == 0)
			json_array_append_new(merged, value);
		else
			json_object_set_new(j, name, value);
	}
	for (size_t i = 0; i < json_array_size(merged); i++)
		merge_into(j, json_array_get(merged, i));
	json_decref(merged);
	return j;
}

static json_t *convert(struct conversion *c, int index, unsigned depth)
{
	const yaml_node_t *n = yaml_document_get_node(c->document, index);

	/* An alias may lead back to what it is in, or to what has many others in it. */
	if (depth > CONFIG_DEPTH_MAX)
		c->error = "it is nested too deeply";
	else if (++c->nodes > CONFIG_NODES_MAX)
		c->error = "it has too many values";
	if (c->error || !n)
		return json_null();
	switch (n->type) {
	case YAML_SCALAR_NODE:
		return convert_scalar(n);
	case YAML_SEQUENCE_NODE:
		return convert_sequence(c, n, depth);
	case YAML_MAPPING_NODE:
		return convert_mapping(c, n, depth);
	default:
		return json_null();
	}
}

json_t *config_of_yaml(struct span text, char why[CONFIG_ERROR_MAX])
{
	struct conversion c = { 0 };
	yaml_document_t document;
	yaml_parser_t parser;
	json_t *j = NULL;

	if (!yaml_parser_initialize(&parser)) {
		snprintf(why, CONFIG_ERROR_MAX, "no memory");
		return NULL;
	}
	yaml_parser_set_input_string(&parser, text.data, text.len);
	if (!yaml_parser_load(&parser, &document)) {
		snprintf(why, CONFIG_ERROR_MAX, "line %zu: %s", parser.problem_mark.line + 1,
			 parser.problem ? parser.problem : "not to be understood");
		yaml_parser_delete(&parser);
		return NULL;
	}
	c.document = &document;
	/* An empty document has no root. */
	j = yaml_document_get_root_node(&document) ? convert(&c, 1, 0) : json_object();
	if (c.error) {
		snprintf(why, CONFIG_ERROR_MAX, "%s", c.error);
		json_decref(j);
		j = NULL;
	}
	yaml_document_delete(&document);
	yaml_parser_delete(&parser);
	return j;
}
