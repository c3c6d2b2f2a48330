-- Random numbers and strings of clauses 2.1.6, 4.3.2 and 4.3.3 of the specification.
create function rnd(low int, high int) returns int language sql volatile as
  'select low + floor(random() * (high - low + 1))::int';
create function nurand(a int, low int, high int) returns int language sql volatile as
  'select ((rnd(0, a) | rnd(low, high)) + a / 3) % (high - low + 1) + low';
create function letters(low int, high int) returns text language sql volatile as
  'select substr(string_agg(md5(random()::text), ''''), 1, rnd(low, high)) from generate_series(0, high / 32)';
create function last_name(n int) returns text language sql immutable as
  $$ select s[n / 100 + 1] || s[n / 10 % 10 + 1] || s[n % 10 + 1]
     from (select array['BAR', 'OUGHT', 'ABLE', 'PRI', 'PRES', 'ESE', 'ANTI', 'CALLY', 'ATION', 'EING'] s) x $$;

-- The customer of a payment or an order status: 60 % by last name, the middle one of those in order of first name.
create function pick_customer(w int, d int) returns int language plpgsql volatile as $$
declare ids int[];
begin
  if rnd(1, 100) > 60 then return nurand(1023, 1, 3000); end if;
  select array_agg(c_id order by c_first) into ids from customer where c_w_id = w and c_d_id = d and c_last = last_name(nurand(255, 0, 999));
  if ids is null then return nurand(1023, 1, 3000); end if;
  return ids[(array_length(ids, 1) + 1) / 2];
end $$;

create function other_warehouse(w int, warehouses int) returns int language sql volatile as
  'select case when warehouses = 1 then w else (w + rnd(1, warehouses - 1) - 1) % warehouses + 1 end';

-- 2.4: false when an item does not exist, as in one order of a hundred; the caller then rolls back.
create function new_order(w int, warehouses int) returns boolean language plpgsql volatile as $$
declare
  d int := rnd(1, 10); c int := nurand(1023, 1, 3000); lines int := rnd(5, 15); wrong boolean := rnd(1, 100) = 1;
  o int; l record; s stock; price numeric; items int[] := '{}'; supplies int[] := '{}'; n int := 0; q int;
begin
  for i in 1..lines loop
    items := items || case when wrong and i = lines then 100001 else nurand(8191, 1, 100000) end;
    supplies := supplies || case when rnd(1, 100) = 1 then other_warehouse(w, warehouses) else w end;
  end loop;
  perform w_tax from warehouse where w_id = w;
  update district set d_next_o_id = d_next_o_id + 1 where d_w_id = w and d_id = d returning d_next_o_id - 1 into o;
  perform c_discount, c_last, c_credit from customer where c_w_id = w and c_d_id = d and c_id = c;
  insert into orders values (w, d, o, c, localtimestamp, null, lines, (w = all (supplies))::int);
  insert into new_order values (w, d, o);
  -- In an order of their own, so that two orders do not wait for each other.
  for l in select i, sw from unnest(items, supplies) u(i, sw) order by sw, i loop
    n := n + 1;
    q := rnd(1, 10);
    select i_price into price from item where i_id = l.i;
    if not found then return false; end if;
    select * into s from stock where s_w_id = l.sw and s_i_id = l.i for update;
    update stock set s_quantity = s.s_quantity - q + case when s.s_quantity >= q + 10 then 0 else 91 end,
      s_ytd = s.s_ytd + q, s_order_cnt = s.s_order_cnt + 1, s_remote_cnt = s.s_remote_cnt + (l.sw <> w)::int
      where s_w_id = l.sw and s_i_id = l.i;
    insert into order_line values (w, d, o, n, l.i, l.sw, null, q, q * price,
      (array[s.s_dist_01, s.s_dist_02, s.s_dist_03, s.s_dist_04, s.s_dist_05, s.s_dist_06, s.s_dist_07, s.s_dist_08, s.s_dist_09, s.s_dist_10])[d]);
  end loop;
  return true;
end $$;

-- 2.5: fifteen of a hundred are made at another warehouse than the customer's own; one customer of ten has bad credit.
create function payment(w int, warehouses int) returns void language plpgsql volatile as $$
declare
  d int := rnd(1, 10); amount numeric := rnd(100, 500000) / 100.0; cw int := w; cd int; c int; credit text; wn text; dn text;
begin
  cd := d;
  if rnd(1, 100) <= 15 then cw := other_warehouse(w, warehouses); cd := rnd(1, 10); end if;
  c := pick_customer(cw, cd);
  update warehouse set w_ytd = w_ytd + amount where w_id = w returning w_name into wn;
  update district set d_ytd = d_ytd + amount where d_w_id = w and d_id = d returning d_name into dn;
  select c_credit into credit from customer where c_w_id = cw and c_d_id = cd and c_id = c for update;
  update customer set c_balance = c_balance - amount, c_ytd_payment = c_ytd_payment + amount, c_payment_cnt = c_payment_cnt + 1,
    c_data = case when credit = 'BC' then left(concat_ws(' ', c, cd, cw, d, w, amount) || c_data, 500) else c_data end
    where c_w_id = cw and c_d_id = cd and c_id = c;
  insert into history values (c, cd, cw, d, w, localtimestamp, amount, wn || '    ' || dn);
end $$;

-- 2.6
create function order_status(w int) returns int language plpgsql volatile as $$
declare d int := rnd(1, 10); c int := pick_customer(w, d); o int;
begin
  perform c_balance, c_first, c_middle, c_last from customer where c_w_id = w and c_d_id = d and c_id = c;
  select o_id into o from orders where o_w_id = w and o_d_id = d and o_c_id = c order by o_id desc limit 1;
  return (select count(*) from (select ol_i_id, ol_quantity, ol_amount, ol_delivery_d from order_line where ol_w_id = w and ol_d_id = d and ol_o_id = o) x);
end $$;

-- 2.7: the oldest undelivered order of each district.
create function delivery(w int) returns void language plpgsql volatile as $$
declare carrier int := rnd(1, 10); o int; c int; total numeric;
begin
  for d in 1..10 loop
    select no_o_id into o from new_order where no_w_id = w and no_d_id = d order by no_o_id limit 1 for update skip locked;
    continue when not found;
    delete from new_order where no_w_id = w and no_d_id = d and no_o_id = o;
    update orders set o_carrier_id = carrier where o_w_id = w and o_d_id = d and o_id = o returning o_c_id into c;
    update order_line set ol_delivery_d = localtimestamp where ol_w_id = w and ol_d_id = d and ol_o_id = o;
    select sum(ol_amount) into total from order_line where ol_w_id = w and ol_d_id = d and ol_o_id = o;
    update customer set c_balance = c_balance + total, c_delivery_cnt = c_delivery_cnt + 1 where c_w_id = w and c_d_id = d and c_id = c;
  end loop;
end $$;

-- 2.8
create function stock_level(w int) returns bigint language sql volatile as $$
  select count(distinct s_i_id) from district
  join order_line on ol_w_id = d_w_id and ol_d_id = d_id and ol_o_id between d_next_o_id - 20 and d_next_o_id - 1
  join stock on s_w_id = ol_w_id and s_i_id = ol_i_id
  where d_w_id = w and d_id = rnd(1, 10) and s_quantity < rnd(10, 20) $$;
