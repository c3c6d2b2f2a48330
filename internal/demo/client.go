package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// transactionTimeout bounds one transaction, connecting included.
const transactionTimeout = 30 * time.Second

// errRollback makes a transaction roll back on purpose.
var errRollback = errors.New("rolled back on purpose")

// client is one writer's connection and random numbers.
type client struct {
	w      *Workload
	number int
	rng    *rand.Rand
	conn   *pgx.Conn
	seq    int64
}

func (c *client) close() {
	if c.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.conn.Close(ctx)
	c.conn = nil
}

// transaction runs one transaction of a random kind and journals its outcome.
func (c *client) transaction() error {
	ctx, cancel := context.WithTimeout(context.Background(), transactionTimeout)
	defer cancel()
	if c.conn == nil {
		conn, err := pgx.Connect(ctx, c.w.ConnString)
		if err != nil {
			return err
		}
		c.conn = conn
	}
	c.seq++
	id := int64(c.w.Run)<<48 | int64(c.number+1)<<32 | c.seq
	tx, err := c.conn.Begin(ctx)
	if err != nil {
		return err
	}
	rows, err := c.body(ctx, tx, id)
	if err != nil {
		return c.abandon(ctx, tx, id, err)
	}
	if err := tx.Commit(ctx); err != nil {
		var pgErr *pgconn.PgError
		if errors.As(err, &pgErr) && !isLostConnection(err) {
			c.w.Journal.record(id, failed)
			return err
		}
		c.w.Journal.record(id, unknown)
		return err
	}
	c.w.Journal.record(id, acked)
	c.w.commits.Add(1)
	c.w.rows.Add(rows)
	return nil
}

// abandon ends a transaction whose COMMIT was never sent: whatever happens now, it did not commit.
func (c *client) abandon(ctx context.Context, tx pgx.Tx, id int64, cause error) error {
	c.w.Journal.record(id, failed)
	c.w.rollbacks.Add(1)
	err := tx.Rollback(ctx)
	var pgErr *pgconn.PgError
	if errors.Is(cause, errRollback) || errors.As(cause, &pgErr) && pgErr.Code == "40P01" { // deadlocks happen
		return err
	}
	return cause
}

// body writes the transaction's journal row and one kind of work.
func (c *client) body(ctx context.Context, tx pgx.Tx, id int64) (rows int64, err error) {
	kinds := []struct {
		weight int
		run    func(context.Context, pgx.Tx, int64) (int64, error)
	}{
		{40, c.transfer}, {20, c.placeOrders}, {12, c.changeOrders}, {5, c.deleteOrders}, {13, c.logEvents},
		{5, c.changeItems}, {5, c.withSavepoints},
	}
	n := c.rng.IntN(100)
	for _, kind := range kinds {
		if n -= kind.weight; n < 0 {
			rows, err = kind.run(ctx, tx, id)
			break
		}
	}
	if err == nil && c.rng.IntN(100) < 6 {
		err = errRollback
	}
	return rows, err
}

func (c *client) exec(ctx context.Context, tx pgx.Tx, sql string, args ...any) (int64, error) {
	tag, err := tx.Exec(ctx, sql, args...)
	if err != nil {
		return 0, fmt.Errorf("%.60s: %w", sql, err)
	}
	return tag.RowsAffected(), nil
}

// transfer moves money between two tables and writes down that it did. Every kind of transaction begins with one, of
// amount zero if need be, so that transfers has one row for each committed transaction.
func (c *client) transfer(ctx context.Context, tx pgx.Tx, id int64) (int64, error) {
	from, to := c.rng.IntN(3), c.rng.IntN(3)
	fromID, toID, amount := c.rng.IntN(holders)+1, c.rng.IntN(holders)+1, c.rng.IntN(50)
	for _, leg := range []struct{ table, id, amount int }{{from, fromID, -amount}, {to, toID, amount}} {
		sql := "UPDATE " + moneyTables[leg.table] + " SET balance = balance + $1 WHERE id = $2"
		if _, err := c.exec(ctx, tx, sql, leg.amount, leg.id); err != nil {
			return 0, err
		}
	}
	n, err := c.exec(ctx, tx, "INSERT INTO transfers (id, from_table, from_id, to_table, to_id, amount) VALUES ($1, $2, $3, $4, $5, $6)",
		id, moneyTables[from], fromID, moneyTables[to], toID, amount)
	return n + 2, err
}

func (c *client) mark(ctx context.Context, tx pgx.Tx, id int64) error {
	_, err := c.exec(ctx, tx, "INSERT INTO transfers (id, amount) VALUES ($1, 0)", id)
	return err
}

func (c *client) placeOrders(ctx context.Context, tx pgx.Tx, id int64) (int64, error) {
	if err := c.mark(ctx, tx, id); err != nil {
		return 0, err
	}
	// Comments of up to 12 KB that do not compress well go to the TOAST relation.
	return c.exec(ctx, tx, `INSERT INTO orders (id, account, total, due, comment)
		SELECT $1::bigint * 32 + i, $2, round((random() * 1000)::numeric, 2), current_date + i,
		 (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, $3::int * (i % 3)))
		FROM generate_series(1, 10) i`, id, c.rng.IntN(holders)+1, c.rng.IntN(190))
}

func (c *client) changeOrders(ctx context.Context, tx pgx.Tx, id int64) (int64, error) {
	if err := c.mark(ctx, tx, id); err != nil {
		return 0, err
	}
	// The comment is not touched: its TOAST values stay where they are.
	return c.exec(ctx, tx, `UPDATE orders SET state = (ARRAY['new','paid','sent','returned'])[1 + $2]::order_state, total = total + 1
		WHERE id BETWEEN ($1::bigint - $3) * 32 AND ($1::bigint - $3) * 32 + 31`, id, c.rng.IntN(4), c.rng.IntN(40))
}

func (c *client) deleteOrders(ctx context.Context, tx pgx.Tx, id int64) (int64, error) {
	if err := c.mark(ctx, tx, id); err != nil {
		return 0, err
	}
	return c.exec(ctx, tx, `DELETE FROM orders WHERE id BETWEEN ($1::bigint - $2) * 32 AND ($1::bigint - $2) * 32 + 31 AND id % 2 = 0`, id, c.rng.IntN(60))
}

func (c *client) logEvents(ctx context.Context, tx pgx.Tx, id int64) (int64, error) {
	if err := c.mark(ctx, tx, id); err != nil {
		return 0, err
	}
	return c.exec(ctx, tx, `INSERT INTO events SELECT (random() * 2000000)::bigint, $1, clock_timestamp(), decode(md5(i::text), 'hex')
		FROM generate_series(1, 20) i`, strings.Repeat("e", c.rng.IntN(9)))
}

func (c *client) changeItems(ctx context.Context, tx pgx.Tx, id int64) (int64, error) {
	if err := c.mark(ctx, tx, id); err != nil {
		return 0, err
	}
	return c.exec(ctx, tx, `UPDATE items SET price = price + 0.01, tags = array_append(tags, 'more'), attrs = attrs || '{"seen": true}' WHERE id = $1`,
		c.rng.IntN(2000)+1)
}

// withSavepoints does a transfer, and between subtransactions that roll back one that stays.
func (c *client) withSavepoints(ctx context.Context, tx pgx.Tx, id int64) (rows int64, err error) {
	if rows, err = c.transfer(ctx, tx, id); err != nil {
		return 0, err
	}
	for i := range 6 {
		sub, err := tx.Begin(ctx)
		if err != nil {
			return 0, err
		}
		n, err := c.exec(ctx, sub, "INSERT INTO events VALUES ($1, 'sub', now(), NULL)", c.rng.IntN(2000000))
		if err == nil {
			_, err = c.exec(ctx, sub, "UPDATE accounts SET holder = holder || '.' WHERE id = $1 AND length(holder) < 60", c.rng.IntN(holders)+1)
		}
		if err != nil {
			return 0, err
		}
		if i%2 == 0 {
			err = sub.Rollback(ctx)
		} else {
			err, rows = sub.Commit(ctx), rows+n
		}
		if err != nil {
			return 0, err
		}
	}
	return rows, nil
}
