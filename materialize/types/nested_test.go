package types

// nestedSetup makes the types of nestedCases. An attribute is dropped and one comes after values are there (late).
const nestedSetup = `
	create type pair as (a int, gone bool, b text); alter type pair drop attribute gone;
	create type deep as (n numeric(6,2), m mood, p pair, l int[], t tagset, big text, iv interval, d price);
	create type late as (a int2);
	create table rowed (x int, y text default 'y'); alter table rowed add z int8 default 7;
	create domain pairs as pair[]; create domain onepair as pair check ((value).a > 0);
	create type textrange as range (subtype = text, collation = "C"); create type moodrange as range (subtype = mood);
	create type pairrange as range (subtype = pair);
	create extension hstore; create extension citext; create extension ltree; create extension cube; create extension earthdistance`

// pairText prints a pair as values does.
const pairText = `case when v is distinct from null then coalesce((v).a::text, 'NULL') || ' ' || coalesce((v).b, 'NULL') end`

// rangeText prints a range as values does; numbers and texts alone.
const rangeText = `coalesce(lower(v)::text, 'NULL') || ' ' || coalesce(upper(v)::text, 'NULL') || ' ' || case when isempty(v) then 'empty'
	else (case when lower_inc(v) then '[' else '(' end) || (case when upper_inc(v) then ']' else ')' end) end`

const multirangeText = `'{' || coalesce((select string_agg('"' || coalesce(lower(e)::text, 'NULL') || ' ' || coalesce(upper(e)::text, 'NULL') || ' '
	|| case when lower_inc(e) then '[' else '(' end || case when upper_inc(e) then ']' else ')' end || '"', ',' order by o)
	from unnest(v) with ordinality u(e, o)), '') || '}'`

// squareText prints arrays of two dimensions as values does.
const squareText = `'{' || coalesce((select string_agg(to_json('{' || (select string_agg(coalesce(to_json(v[i][j]::text)::text, 'NULL'), ',' order by j)
	from generate_series(array_lower(v, 2), array_upper(v, 2)) j) || '}')::text, ',' order by i) from generate_series(array_lower(v, 1), array_upper(v, 1)) i), '') || '}'`

var nestedCases = []typeCase{
	{sqlType: "pair", iceberg: "struct", show: pairText, values: append(quote("(1,x)", "(,)", "(2,)", `(,"")`, `(-7,"a ""quoted"" ü")`),
		"row(3, repeat('long ', 2000))", "row(4, (select string_agg(md5(i::text), '') from generate_series(1, 300) i))")},
	{sqlType: "onepair", iceberg: "struct", show: pairText, values: quote("(1,x)")},
	{sqlType: "pair[]", iceberg: "list", values: append(quote(`{}`, `{"(1,x)",NULL,"(,)"}`), "array(select row(i, repeat(i::text, i))::pair from generate_series(1, 200) i)"),
		show: `'{' || coalesce((select string_agg(case when e is distinct from null then to_json(coalesce((e).a::text, 'NULL') || ' ' || coalesce((e).b, 'NULL'))::text else 'NULL' end, ',' order by o)
			from (select v[o] as e, o from generate_subscripts(v, 1) o) u), '') || '}'`},
	{sqlType: "pairs", iceberg: "list", values: quote(`{"(1,x)"}`), show: `'{' || to_json((v[1]).a || ' ' || (v[1]).b) || '}'`},
	{sqlType: "deep", iceberg: "struct", values: []string{
		`row(1.5, 'sad', row(1, 'x'), '{1,NULL}', '{a,b}', repeat('big', 3000), '1 mon 2 days', 7)`, `row(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`,
		`row(-1, 'höchst', row(NULL, NULL), '{}', NULL, (select string_agg(md5(i::text), '') from generate_series(1, 100) i), '-1 s', NULL)`},
		show: `concat_ws(' ', coalesce((v).n::text, 'NULL'), coalesce((v).m::text, 'NULL'), case when (v).p is distinct from null then coalesce(((v).p).a::text, 'NULL') || ' ' || coalesce(((v).p).b, 'NULL') else 'NULL' end,
			case when (v).l is null then 'NULL' else '{' || (select coalesce(string_agg(coalesce('"' || e || '"', 'NULL'), ',' order by o), '') from unnest((v).l) with ordinality u(e, o)) || '}' end,
			case when (v).t is null then 'NULL' else '{"a","b"}' end, coalesce((v).big, 'NULL'),
			case when (v).iv is null then 'NULL' else extract(month from (v).iv)::int8 || ' ' || extract(day from (v).iv)::int8 || ' ' || extract(microseconds from (v).iv)::int8 end, coalesce((v).d::text, 'NULL'))`},
	{sqlType: "rowed", iceberg: "struct", values: quote("(1,a,2)", "(,,)"), show: `coalesce((v).x::text, 'NULL') || ' ' || coalesce((v).y, 'NULL') || ' ' || coalesce((v).z::text, 'NULL')`},
	{sqlType: "int4range", iceberg: "struct", show: rangeText, values: quote("empty", "[1,5)", "(,)", "[,7]", "(3,)", "[-2147483648,2147483647)")},
	{sqlType: "int8range", iceberg: "struct", show: rangeText, values: quote("empty", "[1,5)", "(,9223372036854775807)")},
	{sqlType: "numrange", iceberg: "struct", show: rangeText, values: append(quote("[1.50,2.25]", "(,0)", "[1e50,)", "(1,2)", "empty"), `numrange(1, repeat('9', 400)::numeric, '(]')`)},
	{sqlType: "tstzrange", iceberg: "struct", values: quote("[2001-02-03 04:05:06+00,2002-02-03 04:05:06.5+00)", "(,)", "[-infinity,2001-01-01 00:00:00+00]"), outOfRange: 1,
		show: `coalesce(nullif(lower(v), '-infinity')::text, 'NULL') || ' ' || coalesce(upper(v)::text, 'NULL') || ' ' || (case when lower_inc(v) then '[' else '(' end) || (case when upper_inc(v) then ']' else ')' end)`},
	{sqlType: "daterange", iceberg: "struct", show: rangeText, values: quote("[2001-02-03,2002-02-03)", "(,2001-01-01)")},
	{sqlType: "textrange", iceberg: "struct", show: rangeText, values: append(quote("[a,b)", "(x,)", `["",zz]`), "textrange(repeat('a', 200), repeat('b', 3000), '()')", "textrange('a', repeat('b', 131))")},
	{sqlType: "moodrange", iceberg: "struct", show: rangeText, values: quote("[sad,höchst]", "(,höchst)")},
	{sqlType: "pairrange", iceberg: "struct", values: quote(`["(1,x)","(2,y)")`, `(,"(2,)"]`),
		show: `case when lower(v) is distinct from null then (lower(v)).a || ' ' || (lower(v)).b else 'NULL' end || ' ' || (upper(v)).a || ' ' || coalesce((upper(v)).b, 'NULL') || ' ' || case when lower_inc(v) then '[)' else '(]' end`},
	{sqlType: "int4multirange", iceberg: "list", show: multirangeText, values: append(quote("{}", "{[1,2)}", "{(,1),[3,4),[7,)}"), "(select range_agg(int4range(i * 3, i * 3 + 1)) from generate_series(1, 100) i)")},
	{sqlType: "nummultirange", iceberg: "list", show: multirangeText, values: append(quote("{[1.5,2.25],(3,4)}"), "(select range_agg(numrange(i * 3.25, i * 3.25 + 1, '[]')) from generate_series(1, 50) i)")},
	{sqlType: "textmultirange", iceberg: "list", show: multirangeText, values: append(quote("{[a,b),[c,d],(e,)}"), "(select range_agg(textrange(repeat(chr(96 + i), i * 20), repeat(chr(96 + i), i * 20 + 1))) from generate_series(1, 20) i)")},
	{sqlType: "int4range[]", iceberg: "list", show: `'{"1 2 [)",NULL,"NULL NULL empty"}'`, values: quote(`{"[1,2)",NULL,empty}`)},
	{sqlType: "int[][]", iceberg: "list", show: squareText, values: append(quote("{}", "{{1,2},{3,NULL}}", "{{NULL}}", "[2:3][5:5]={{1},{2}}"), "(select array_agg(array[i, NULL, -i]) from generate_series(1, 100) i)")},
	{sqlType: "text[][]", iceberg: "list", show: squareText, values: quote(`{{a,"b c"},{NULL,""}}`, "{{ü}}")},
	{sqlType: "int[][]", iceberg: "list", show: "NULL", values: quote("{1,2}", "{{{1}}}"), outOfRange: 2},
	{sqlType: "int[]", iceberg: "list", show: "NULL", values: quote("{{1,2},{3,4}}"), outOfRange: 1},
	{sqlType: "hstore", iceberg: "map", values: append(quote("", "a=>1", `bb=>NULL, a=>"x y", ""=>"", ü=>ö`), "(select hstore(array_agg('key' || i), array_agg(repeat(i::text, i))) from generate_series(1, 200) i)"),
		show: `'{' || coalesce((select string_agg(to_json(key)::text || '=>' || coalesce(to_json(value)::text, 'NULL'), ',' order by o) from each(v) with ordinality u(key, value, o)), '') || '}'`},
	{sqlType: "hstore[]", iceberg: "list", values: quote(`{"a=>1","",NULL}`), show: `'{"{\"a\"=>\"1\"}","{}",NULL}'`},
	{sqlType: "citext", iceberg: "string", values: append(quote("Abc", ""), "repeat('Long', 3000)")},
	{sqlType: "ltree", iceberg: "string", values: append(quote("Top.Science.Astronomy", "", "a", "abcdef", "abcdefg.x", "A_1.b"), "(repeat('level.', 300) || 'last')::ltree", "repeat('x', 250)::ltree")},
	{sqlType: "ltree[]", iceberg: "list", values: quote("{a.b,NULL}"), show: `'{"a.b",NULL}'`},
	{sqlType: "cube", iceberg: "string", values: append(quote("(1,2),(3,4.5)", "(1)", "(0,1e300,-1e-9)", "(1,2),(1,2)", "(2),(1)", "(NaN,1),(2,inf)", "()"), "cube(array(select i from generate_series(1, 100) i), array(select 2 * i from generate_series(1, 100) i))")},
	{sqlType: "earth", iceberg: "string", values: []string{"ll_to_earth(52.5, 13.4)"}},
	{sqlType: "citext[]", iceberg: "list", values: quote("{Abc,NULL}"), show: `'{"Abc",NULL}'`},
}
