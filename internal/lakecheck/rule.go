package lakecheck

import (
	"fmt"
	"strings"
)

// pgType is a column's type with domains resolved to their base.
type pgType struct {
	name     string  // pg_type.typname of the base type
	category string  // pg_type.typcategory
	kind     string  // pg_type.typtype
	typmod   int32   // of the column, or of the domain that fixes it; -1 = none
	elem     *pgType // of an array
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

// ruleFor finds the rule of a type. depth keeps the aliases of nested arrays apart.
func ruleFor(t pgType, depth int) rule {
	switch {
	case t.elem != nil:
		return listRule(ruleFor(*t.elem, depth+1), depth)
	case t.name == "numeric":
		return numericRule(t.typmod)
	case t.kind == "e", textTypes[t.name]:
		return rule{lake: "string", render: outputText}
	case optionalTextTypes[t.name]:
		return rule{lake: "string", optional: true, render: outputText}
	}
	return scalarRules[t.name] // composite, range, reg* and unknown types have none: they are left out
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

func listRule(elem rule, depth int) rule {
	if elem.lake == "" {
		return rule{}
	}
	e := fmt.Sprintf("e%d", depth)
	value := elem.render(e)
	items := fmt.Sprintf("coalesce((SELECT string_agg(coalesce(octet_length(%[1]s) || ':' || %[1]s || ';', 'N;'), '' ORDER BY o) "+
		"FROM unnest(%[3]s) WITH ORDINALITY AS u(%[2]s, o)), '')", value, e, "$")
	return rule{
		lake: "list<" + elem.lake + ">", optional: elem.optional,
		render: finiteOnly("$ IS NOT NULL", "'[' || "+items+" || ']'"),
	}
}
