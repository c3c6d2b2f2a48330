package demo

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

const (
	holders      = 300  // rows in each of the three money tables
	startBalance = 1000 // of each of these rows
)

// TotalBalance is the sum over the three money tables in every committed state.
const TotalBalance = 3 * holders * startBalance

// moneyTables hold the balances. A transfer changes two rows, mostly of different tables.
var moneyTables = [3]string{"accounts", "savings", "vaults"}

// SumQuery adds the balances up through DuckDB, in all three tables at one state of the lake.
const SumQuery = `SELECT (SELECT sum(balance) FROM lake.public.accounts) + (SELECT sum(balance) FROM lake.public.savings)
 + (SELECT sum(balance) FROM lake.public.vaults)`

func schema() []string {
	statements := []string{
		`CREATE TYPE order_state AS ENUM ('new', 'paid', 'sent', 'returned')`,
		`CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%')`,
		// No primary keys on half of them: the lake needs none.
		`CREATE TABLE accounts (id int PRIMARY KEY, holder text NOT NULL, mail email, balance bigint NOT NULL)`,
		`CREATE TABLE savings (id int PRIMARY KEY, balance bigint NOT NULL, rate numeric(5,3) NOT NULL DEFAULT 1.25)`,
		`CREATE TABLE vaults (id int PRIMARY KEY, balance bigint NOT NULL)`,
		`CREATE TABLE transfers (id bigint NOT NULL, from_table text, from_id int, to_table text, to_id int, amount bigint, at timestamptz DEFAULT now())`,
		`CREATE TABLE orders (id bigint PRIMARY KEY, account int, state order_state DEFAULT 'new', total numeric(12,2), placed timestamptz DEFAULT clock_timestamp(), due date, comment text)`,
		`CREATE TABLE events (id bigint NOT NULL, kind text, at timestamptz NOT NULL, payload bytea) PARTITION BY RANGE (id)`,
		`CREATE TABLE events_old PARTITION OF events FOR VALUES FROM (MINVALUE) TO (1000000)`,
		`CREATE TABLE events_new PARTITION OF events FOR VALUES FROM (1000000) TO (MAXVALUE)`,
		`CREATE TABLE items (id bigint, sku uuid DEFAULT gen_random_uuid(), label varchar(40), code char(8), price numeric,
		 weight float8, ratio float4, tags text[], sizes int[], attrs jsonb, raw json, warranty interval, opens time, address inet,
		 on_sale bool, manual text)`,
		`CREATE TABLE staging (id bigint, v text)`,
		`CREATE TABLE heartbeats (id bigint)`,
		`INSERT INTO transfers (id, amount) VALUES (0, 0)`,
		`INSERT INTO staging SELECT i, 'staged ' || i FROM generate_series(1, 500) i`,
		`INSERT INTO events SELECT i * 400, 'seed', now() - i * interval '1 minute', decode(md5(i::text), 'hex') FROM generate_series(1, 5000) i`,
		`INSERT INTO items SELECT i, gen_random_uuid(), 'item ' || i, lpad(i::text, 5, '0'), CASE WHEN i % 50 = 0 THEN 'NaN' ELSE i * 1.10 END,
		 i / 7.0, i / 3.0, ARRAY['a' || i, NULL, 'ü "x"'], ARRAY[i, NULL, -i], jsonb_build_object('n', i, 'deep', jsonb_build_array(i, NULL, 'x')),
		 ('{"a" : ' || i || '}')::json, make_interval(months => i % 30, days => i % 11, secs => i * 0.5), make_time(i % 24, i % 60, i % 60 + 0.000001),
		 ('10.0.' || i % 256 || '.1')::inet, CASE i % 3 WHEN 0 THEN true WHEN 1 THEN false END, repeat(md5(i::text), i % 400)
		 FROM generate_series(1, 2000) i`,
	}
	for _, t := range moneyTables {
		extra, values := "", ""
		if t == "accounts" {
			extra, values = ", holder, mail", ", 'holder ' || i, 'h' || i || '@example.org'"
		}
		statements = append(statements, fmt.Sprintf(`INSERT INTO %s (id, balance%s) SELECT i, %d%s FROM generate_series(1, %d) i`,
			t, extra, startBalance, values, holders))
	}
	return statements
}

// ddlSteps are what changes under the running workload, in this order. None of the columns and tables the writers use
// goes away.
var ddlSteps = []string{
	`ALTER TABLE orders ADD COLUMN note text`,
	`ALTER TABLE items ADD COLUMN stock int DEFAULT 7`,
	`TRUNCATE staging`,
	`INSERT INTO staging SELECT i, 'again ' || i FROM generate_series(1, 50) i`,
	`ALTER TABLE items RENAME COLUMN label TO title`,
	`ALTER TABLE staging RENAME TO arrivals`,
	`UPDATE items SET stock = stock - 1 WHERE id % 5 = 0`,
	`ALTER TABLE items DROP COLUMN raw`,
	`VACUUM items`,
}

// CreateSchema makes the workload's tables and first rows in an empty database.
func CreateSchema(ctx context.Context, conn *pgx.Conn) error {
	for _, sql := range schema() {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("demo schema: %.80s: %w", sql, err)
		}
	}
	return nil
}
