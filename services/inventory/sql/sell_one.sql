-- sell.sql for a batch of one order: $1 product, $2 token, $3 user, $4 key, $5 quantity. The same
-- answer in the same columns, for two thirds of the server's time: no arrays, no sums, no sorting.
-- What must hold, and why, is said there.
WITH p AS MATERIALIZED (
    SELECT id, price, stock, version, last_token FROM products WHERE id = $1 FOR UPDATE),
known AS MATERIALIZED (
    SELECT id, product_id, quantity, total_price, remaining_stock, purchased_at
    FROM purchases WHERE user_id = $3::bigint AND idem = $4::text),
sold AS (
    INSERT INTO purchases
        (product_id, user_id, idem, token, version, place, quantity, total_price, remaining_stock)
    SELECT p.id, $3::bigint, $4::text, $2::bigint, p.version + 1, 1, $5::bigint,
           $5::bigint * p.price, p.stock - $5::bigint
    FROM p
    WHERE p.last_token <= $2::bigint AND $5::bigint <= p.stock AND NOT EXISTS (SELECT FROM known)
      AND EXISTS (SELECT FROM users WHERE users.id = $3::bigint)
    RETURNING id, product_id, quantity, total_price, remaining_stock, purchased_at),
moved AS (
    UPDATE products
    SET stock = products.stock - coalesce((SELECT quantity FROM sold), 0),
        version = products.version + 1, last_token = $2::bigint, updated_at = now()
    FROM p WHERE products.id = p.id AND p.last_token <= $2::bigint
    RETURNING products.stock, products.version),
ledger AS (
    INSERT INTO stock_ledger (product_id, version, token, delta, stock_after, reason)
    SELECT $1, moved.version, $2::bigint, -sold.quantity, moved.stock, 'sale' FROM moved, sold)
SELECT p.last_token, (SELECT version FROM products WHERE id = $1) = p.version AS whole, m.stock,
       m.version, s.*
FROM p LEFT JOIN moved m ON true LEFT JOIN (
    SELECT true AS fresh, 1::bigint AS place, sold.* FROM sold
    UNION ALL SELECT false, 1, known.* FROM known) s ON true
