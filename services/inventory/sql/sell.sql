-- One batch of orders of one product: $1 product, $2 token, $3 users, $4 keys, $5 quantities, the
-- arrays in order of arrival, no (user, key) twice.
--
-- Locks the product's row and claims the token, answers keys that are recorded, accepts orders in
-- order as long as stock lasts, records them and one ledger row, lowers the stock. One statement,
-- because in a pipeline an INSERT can't depend on whether the UPDATE found stock.
--
-- One row for each order sold (fresh) or recorded earlier; at least one for the product. stock is
-- null when the token was refused; no row: no such product.
--
-- `whole` is false when somebody committed between this statement's snapshot and its lock on the
-- row: then `known` may lack a key that is recorded by now, so nobody may be refused.
-- The insert is sorted by (user_id, idem): two products' batches with keys of one user in opposite
-- order would wait for each other for ever. No ON CONFLICT: a key that another batch recorded
-- meanwhile fails the statement, which then runs again and sees it.
WITH p AS MATERIALIZED (
    SELECT id, price, stock, version, last_token FROM products WHERE id = $1 FOR UPDATE),
seen AS MATERIALIZED (
    SELECT version FROM products WHERE id = $1),
asked AS MATERIALIZED (
    SELECT * FROM unnest($3::bigint[], $4::text[], $5::bigint[])
        WITH ORDINALITY AS t (user_id, idem, quantity, place)),
known AS MATERIALIZED (
    SELECT a.place, x.id, x.product_id, x.quantity, x.total_price, x.remaining_stock, x.purchased_at
    FROM asked a CROSS JOIN LATERAL (
        SELECT * FROM purchases x WHERE x.user_id = a.user_id AND x.idem = a.idem LIMIT 1) x),
fits AS MATERIALIZED (
    SELECT a.*, p.id AS product_id, a.quantity * p.price AS total_price,
           p.stock - (sum(a.quantity) OVER (ORDER BY a.place))::bigint AS left_after
    FROM p, asked a JOIN users u ON u.id = a.user_id
    WHERE p.last_token <= $2::bigint AND a.quantity <= p.stock
      AND a.place NOT IN (SELECT place FROM known)),
sold AS (
    INSERT INTO purchases
        (product_id, user_id, idem, token, version, place, quantity, total_price, remaining_stock)
    SELECT product_id, user_id, idem, $2::bigint, (SELECT version + 1 FROM p), place, quantity,
           total_price, left_after
    FROM fits WHERE left_after >= 0 ORDER BY user_id, idem
    RETURNING place, id, product_id, quantity, total_price, remaining_stock, purchased_at),
moved AS (
    UPDATE products
    SET stock = products.stock - (SELECT coalesce(sum(quantity), 0) FROM sold)::bigint,
        version = products.version + 1, last_token = $2::bigint, updated_at = now()
    FROM p WHERE products.id = p.id AND p.last_token <= $2::bigint
    RETURNING products.stock, products.version),
ledger AS (
    INSERT INTO stock_ledger (product_id, version, token, delta, stock_after, reason)
    SELECT $1, moved.version, $2::bigint, moved.stock - p.stock, moved.stock, 'sale'
    FROM moved, p WHERE moved.stock <> p.stock)
SELECT p.last_token, seen.version = p.version AS whole, m.stock, m.version, true AS fresh, s.*
FROM p LEFT JOIN seen ON true LEFT JOIN moved m ON true LEFT JOIN sold s ON true
UNION ALL
SELECT p.last_token, seen.version = p.version, m.stock, m.version, false, k.*
FROM p LEFT JOIN seen ON true LEFT JOIN moved m ON true JOIN known k ON true
