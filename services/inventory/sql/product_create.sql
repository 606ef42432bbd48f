-- $1 name, $2 description or null, $3 price, $4 stock, $5 idempotency key or null.
--
-- The new product (fresh); or what stands in its way: the product with this name, the one with this
-- key. No row: one of these was committed after this statement began; asked again, it is seen.
WITH made AS (
    INSERT INTO products (name, description, price, stock, version, idem)
    VALUES ($1::text, $2::text, $3::bigint, $4::bigint,
            floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint, $5::text)
    ON CONFLICT DO NOTHING
    RETURNING *),
initial AS (
    INSERT INTO stock_ledger (product_id, version, token, delta, stock_after, reason)
    SELECT id, version, 0, stock, stock, 'initial' FROM made)
SELECT true AS fresh, true AS same_key, true AS same_body,
       id, name, description, price, stock, version, created_at, updated_at
FROM made
UNION ALL
SELECT false, coalesce(p.idem = $5::text, false),
       p.name = $1::text AND p.description IS NOT DISTINCT FROM $2::text AND p.price = $3::bigint
           AND coalesce((SELECT l.stock_after = $4::bigint FROM stock_ledger l
                         WHERE l.product_id = p.id AND l.reason = 'initial'), false),
       p.id, p.name, p.description, p.price, p.stock, p.version, p.created_at, p.updated_at
FROM products p
WHERE (p.name = $1::text OR p.idem = $5::text) AND NOT EXISTS (SELECT FROM made)
