-- The stock of product $1, and of the orders ($2 users, $3 keys) those whose key is recorded or whose
-- user does not exist. At least one row if there is such a product.
WITH p AS MATERIALIZED (
    SELECT stock, version FROM products WHERE id = $1),
said AS MATERIALIZED (
    SELECT a.place, u.id IS NOT NULL AS has_user, x.id, x.product_id, x.quantity, x.total_price,
           x.remaining_stock, x.purchased_at
    FROM unnest($2::bigint[], $3::text[]) WITH ORDINALITY AS a (user_id, idem, place)
    LEFT JOIN users u ON u.id = a.user_id
    LEFT JOIN LATERAL (
        SELECT * FROM purchases x WHERE x.user_id = a.user_id AND x.idem = a.idem LIMIT 1) x ON true
    WHERE u.id IS NULL OR x.id IS NOT NULL)
SELECT p.stock, p.version, s.* FROM p LEFT JOIN said s ON true
