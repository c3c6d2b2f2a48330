package lakecheck

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// pgType is a column's type with domains resolved to their base.
type pgType struct {
	name      string // pg_type.typname of the base type
	schema    string // its schema, as SQL writes it
	extension string // that it came with
	category  string // pg_type.typcategory
	kind      string // pg_type.typtype
	typmod    int32  // of the column, or of the domain that fixes it; -1 = none
	array     bool
	dims      int        // of an array: dimensions it was declared with
	members   []pgMember // attributes of a composite; the one type inside an array, range or multirange
}

type pgMember struct {
	name string
	pgType
}

// rule says how a Postgres type shows in the lake.
type rule struct {
	lake     string                // Iceberg type as canon.py names it; empty: the column is left out
	optional bool                  // the column may also be left out
	render   func(x string) string // SQL for the canonical text of the expression x of that type, NULL for NULL
}

// outputText is what the type's output function prints: a cast to text would strip the blanks of bpchar and add a
// netmask to inet.
func outputText(x string) string {
	return fmt.Sprintf("CASE WHEN (%s) IS NOT NULL THEN format('%%s', %s) END", x, x)
}

func castText(x string) string { return "(" + x + ")::text" }

// Values the lake cannot hold are NULL there: the infinities, years outside 1..9999, NaN in a decimal, 24:00:00.
func finiteOnly(condition, value string) func(string) string {
	return func(x string) string {
		return strings.ReplaceAll("CASE WHEN "+condition+" THEN ("+value+")::text END", "$", "("+x+")")
	}
}

func floatBits(send string) func(string) string {
	return finiteOnly("$ IS NOT NULL", "CASE WHEN $ = 'NaN' THEN 'nan' ELSE encode("+send+"($), 'hex') END")
}

const (
	timestampInRange   = "$ >= '0001-01-01 00:00:00' AND $ < '10000-01-01 00:00:00'"
	timestamptzInRange = "$ >= '0001-01-01 00:00:00+00' AND $ < '10000-01-01 00:00:00+00'"
	microseconds       = "(extract(epoch FROM $) * 1000000)::bigint"
)

// intervalMembers are the struct(months, days, microseconds) of an interval.
const intervalMembers = `'{' || (
 SELECT string_agg(octet_length(v) || ':' || v || ';', '' ORDER BY o) FROM (VALUES
  (1, (extract(year FROM $) * 12 + extract(month FROM $))::bigint::text),
  (2, extract(day FROM $)::bigint::text),
  (3, (extract(hour FROM $) * 3600000000 + extract(minute FROM $) * 60000000 + extract(microseconds FROM $))::bigint::text)
 ) AS m(o, v)) || '}'`

var scalarRules = map[string]rule{
	"bool":        {lake: "boolean", render: castText},
	"int2":        {lake: "int", render: castText},
	"int4":        {lake: "int", render: castText},
	"int8":        {lake: "long", render: castText},
	"oid":         {lake: "long", render: castText},
	"xid":         {lake: "long", render: castText},
	"cid":         {lake: "long", render: castText},
	"xid8":        {lake: "long", render: castText},
	"float4":      {lake: "float", render: floatBits("float4send")},
	"float8":      {lake: "double", render: floatBits("float8send")},
	"bytea":       {lake: "binary", render: func(x string) string { return "encode(" + x + ", 'hex')" }},
	"uuid":        {lake: "uuid", render: castText},
	"date":        {lake: "date", render: finiteOnly("$ BETWEEN '0001-01-01' AND '9999-12-31'", "$ - '1970-01-01'::date")},
	"time":        {lake: "time", render: finiteOnly("$ < '24:00'", microseconds)},
	"timestamp":   {lake: "timestamp", render: finiteOnly(timestampInRange, microseconds)},
	"timestamptz": {lake: "timestamptz", render: finiteOnly(timestamptzInRange, microseconds)},
	"interval":    {lake: "struct<months:int,days:int,microseconds:long>", render: finiteOnly("isfinite($)", intervalMembers)},
}

// textTypes show as Postgres prints them.
var textTypes = words(`text varchar bpchar name char json jsonb inet cidr macaddr macaddr8 bit varbit xml tsvector pg_lsn tid
	timetz point lseg line box path polygon circle`)

// optionalTextTypes may be left out: their text is locale's business or nobody's.
var optionalTextTypes = words(`money tsquery jsonpath pg_snapshot txid_snapshot`)

func words(text string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(text) {
		set[w] = true
	}
	return set
}

// ruleFor finds the rule of a type. depth keeps the aliases of nested types apart.
func ruleFor(t pgType, depth int) rule {
	switch {
	case t.array && t.dims > 1:
		return squareRule(ruleFor(t.members[0].pgType, depth+1), t.dims, depth)
	case t.array:
		return listRule(ruleFor(t.members[0].pgType, depth+1), depth)
	case t.kind == "m":
		return multirangeRule(ruleFor(t.members[0].pgType, depth+1), depth)
	case t.kind == "r":
		return rangeRule(ruleFor(t.members[0].pgType, depth+1))
	case t.kind == "c":
		return compositeRule(t, depth)
	case t.extension == "hstore" && t.name == "hstore":
		return hstoreRule(t, depth)
	case t.name == "numeric":
		return numericRule(t.typmod)
	case t.kind == "e", textTypes[t.name], t.extension == "citext":
		return rule{lake: "string", render: outputText}
	case optionalTextTypes[t.name]:
		return rule{lake: "string", optional: true, render: outputText}
	}
	return scalarRules[t.name] // reg* and unknown types have none: they are left out
}

// numericRule reads a typmod as numeric_typmod_precision and numeric_typmod_scale do.
func numericRule(typmod int32) rule {
	exact := rule{lake: "string", render: outputText}
	if typmod < 4 {
		return exact
	}
	precision := (typmod - 4) >> 16 & 0xffff
	scale := (typmod - 4) & 0x7ff
	if scale >= 1024 {
		scale -= 2048
	}
	switch {
	case scale < 0:
		precision, scale = precision-scale, 0
	case scale > precision:
		precision = scale
	}
	if precision > 38 {
		return exact
	}
	return rule{
		lake:   fmt.Sprintf("decimal(%d,%d)", precision, scale),
		render: finiteOnly("$ NOT IN ('NaN', 'Infinity', '-Infinity')", "$"),
	}
}

// tokenOf is SQL for the token of a text expression, which it has once: types inside types would make long queries longer
// with each level.
func tokenOf(value string) string {
	return fmt.Sprintf("(SELECT coalesce(octet_length(s.t) || ':' || s.t || ';', 'N;') FROM (SELECT %s AS t OFFSET 0) s)", value)
}

// listOf is the list of what a set-returning expression over $ gives: an array's or multirange's elements, at most one
// dimension of them.
func listOf(elem rule, depth int, condition, set string) rule {
	if elem.lake == "" {
		return rule{}
	}
	e := fmt.Sprintf("e%d", depth)
	items := fmt.Sprintf("coalesce((SELECT string_agg(%s, '' ORDER BY o) FROM %s AS u(%s, o)), '')", tokenOf(elem.render(e)), set, e)
	return rule{lake: "list<" + elem.lake + ">", optional: elem.optional, render: finiteOnly(condition, "'[' || "+items+" || ']'")}
}

// An array of composites is not unnested, which would tear them apart.
func listRule(elem rule, depth int) rule {
	i := fmt.Sprintf("i%d", depth)
	return listOf(elem, depth, "$ IS NOT NULL AND coalesce(array_ndims($), 1) = 1", fmt.Sprintf("(SELECT ($)[%[1]s], %[1]s FROM generate_subscripts($, 1) %[1]s)", i))
}

func multirangeRule(elem rule, depth int) rule {
	return listOf(elem, depth, "$ IS NOT NULL", "unnest($) WITH ORDINALITY")
}

// squareRule is of an array that was declared with more than one dimension: one with another number has no place.
func squareRule(elem rule, dims, depth int) rule {
	if elem.lake == "" {
		return rule{}
	}
	index, out := "", ""
	for d := 1; d <= dims; d++ {
		index += fmt.Sprintf("[i%d_%d]", depth, d)
	}
	out = elem.render("($)" + index)
	for d := dims; d > 0; d-- {
		i := fmt.Sprintf("i%d_%d", depth, d)
		out = fmt.Sprintf("'[' || coalesce((SELECT string_agg(%s, '' ORDER BY %[2]s) FROM generate_series(array_lower($, %[3]d), array_upper($, %[3]d)) %[2]s), '') || ']'", tokenOf(out), i, d)
	}
	return rule{lake: strings.Repeat("list<", dims) + elem.lake + strings.Repeat(">", dims), render: finiteOnly(fmt.Sprintf("$ IS NOT NULL AND coalesce(array_ndims($), %[1]d) = %[1]d", dims), out)}
}

// structOf is a struct of members, each rendered from an expression over $.
func structOf(condition string, names []string, members []rule, exprs []string) rule {
	r := rule{}
	var types, tokens []string
	for i, m := range members {
		if m.lake == "" {
			return rule{}
		}
		r.optional = r.optional || m.optional
		types = append(types, names[i]+":"+m.lake)
		tokens = append(tokens, tokenOf(m.render(exprs[i])))
	}
	if len(types) > 0 {
		r.lake = "struct<" + strings.Join(types, ",") + ">"
		r.render = finiteOnly(condition, "'{' || "+strings.Join(tokens, " || ")+" || '}'")
	}
	return r
}

// compositeRule asks whether a composite is there by IS DISTINCT FROM: IS NULL holds too for one with nothing but nulls.
func compositeRule(t pgType, depth int) rule {
	var names, exprs []string
	var members []rule
	for _, m := range t.members {
		names, exprs, members = append(names, m.name), append(exprs, "($)."+quoteIdent(m.name)), append(members, ruleFor(m.pgType, depth+1))
	}
	return structOf("$ IS DISTINCT FROM NULL", names, members, exprs)
}

func rangeRule(bound rule) rule {
	text := rule{lake: "string", render: func(x string) string { return x }}
	const bounds = `(CASE WHEN isempty($) THEN 'empty' ELSE (CASE WHEN lower_inc($) THEN '[' ELSE '(' END) || (CASE WHEN upper_inc($) THEN ']' ELSE ')' END) END)`
	return structOf("$ IS NOT NULL", []string{"lower", "upper", "bounds"}, []rule{bound, bound, text}, []string{"lower($)", "upper($)", bounds})
}

func hstoreRule(t pgType, depth int) rule {
	k, v := fmt.Sprintf("k%d", depth), fmt.Sprintf("v%d", depth)
	return rule{lake: "map<string,string>", render: finiteOnly("$ IS NOT NULL", fmt.Sprintf("'<' || coalesce((SELECT string_agg(%s || %s, '' ORDER BY o) FROM %s.each($) WITH ORDINALITY AS u(%s, %s, o)), '') || '>'",
		tokenOf(k), tokenOf(v), t.schema, k, v))}
}

func quoteIdent(name string) string { return pgx.Identifier{name}.Sanitize() }
