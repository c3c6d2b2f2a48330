insert into item select i, rnd(1, 10000), letters(14, 24), rnd(100, 10000) / 100.0, letters(26, 50) from generate_series(1, 100000) i;
insert into warehouse select w, letters(6, 10), letters(10, 20), letters(10, 20), letters(10, 20), 'ST', '123411111', rnd(0, 2000) / 10000.0, 300000
  from generate_series(1, $W) w;
insert into district select w, d, letters(6, 10), letters(10, 20), letters(10, 20), letters(10, 20), 'ST', '123411111', rnd(0, 2000) / 10000.0, 30000, 3001
  from generate_series(1, $W) w, generate_series(1, 10) d;
insert into stock select w, i, rnd(10, 100), letters(24, 24), letters(24, 24), letters(24, 24), letters(24, 24), letters(24, 24), letters(24, 24),
  letters(24, 24), letters(24, 24), letters(24, 24), letters(24, 24), 0, 0, 0, letters(26, 50) from generate_series(1, $W) w, generate_series(1, 100000) i;
insert into customer select w, d, c, letters(8, 16), 'OE', last_name(case when c <= 1000 then c - 1 else nurand(255, 0, 999) end), letters(10, 20), letters(10, 20),
  letters(10, 20), 'ST', '123411111', '0123456789012345', localtimestamp, case when random() < 0.1 then 'BC' else 'GC' end, 50000, rnd(0, 5000) / 10000.0,
  -10, 10, 1, 0, letters(300, 500) from generate_series(1, $W) w, generate_series(1, 10) d, generate_series(1, 3000) c;
insert into history select c_id, c_d_id, c_w_id, c_d_id, c_w_id, localtimestamp, 10, letters(12, 24) from customer;
insert into orders select w, d, o, c, localtimestamp, case when o <= 2100 then rnd(1, 10) end, rnd(5, 15), 1
  from generate_series(1, $W) w, generate_series(1, 10) d,
  lateral (select c, row_number() over (order by md5(c::text || d::text || w::text))::int o from generate_series(1, 3000) c) x;
insert into new_order select o_w_id, o_d_id, o_id from orders where o_id > 2100;
insert into order_line select o_w_id, o_d_id, o_id, n, rnd(1, 100000), o_w_id, case when o_id <= 2100 then o_entry_d end, 5,
  case when o_id <= 2100 then 0 else rnd(1, 999999) / 100.0 end, letters(24, 24) from orders, generate_series(1, o_ol_cnt) n;
create index customer_name on customer (c_w_id, c_d_id, c_last, c_first);
create index orders_customer on orders (o_w_id, o_d_id, o_c_id, o_id);
