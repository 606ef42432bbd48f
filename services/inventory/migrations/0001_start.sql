-- Accounts, products, purchases and the ledger of stock.
--
-- Numbers are bounded here as well as in the services, so that no sum can overflow whoever writes:
-- quantity <= 10^6, price and stock <= 10^12, hence a total <= 10^18. What the services alone bound
-- (lengths of keys and descriptions) has no CHECK: Postgres reads every CHECK of a table anew for each
-- statement that writes to it, and a single sale writes to three tables.

CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username text NOT NULL UNIQUE CHECK (char_length(username) BETWEEN 3 AND 50),
    email text NOT NULL DEFAULT '' CHECK (octet_length(email) <= 320),
    password_hash text NOT NULL,
    admin boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- A hot product's row is rewritten hundreds of times a second: room on its page keeps the rewrites
-- there (HOT) and its index untouched.
CREATE TABLE products (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (char_length(name) BETWEEN 1 AND 200),
    description text,
    price bigint NOT NULL CHECK (price BETWEEN 1 AND 1000000000000),
    stock bigint NOT NULL CHECK (stock BETWEEN 0 AND 1000000000000),
    -- Grows with every change of stock; starts at the clock in us, so that a new database never
    -- loses against nodes that remember an old one.
    version bigint NOT NULL,
    -- The highest fencing token that has touched this row: lower ones are refused.
    last_token bigint NOT NULL DEFAULT 0,
    -- Idempotency key of the request that created it.
    idem text UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 40);

-- No foreign keys: they double the cost of the hot insert; the sale's statement joins the users
-- and locks the product itself.
CREATE TABLE purchases (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL,
    product_id bigint NOT NULL,
    quantity bigint NOT NULL CHECK (quantity BETWEEN 1 AND 1000000),
    total_price bigint NOT NULL,
    remaining_stock bigint NOT NULL CHECK (remaining_stock >= 0),
    purchased_at timestamptz NOT NULL DEFAULT now(),
    idem text NOT NULL,
    token bigint NOT NULL,
    -- (version, place) is the order of arrival: the product's version that this purchase is part
    -- of, and the place in its batch.
    version bigint NOT NULL,
    place bigint NOT NULL,
    CONSTRAINT purchases_one_per_key UNIQUE (user_id, idem)
);
CREATE INDEX purchases_of_user ON purchases (user_id, id);

-- One row for each change of stock: the initial one, each batch that sold, each adjustment.
CREATE TABLE stock_ledger (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id bigint NOT NULL,
    version bigint NOT NULL,
    token bigint NOT NULL,
    delta bigint NOT NULL,
    stock_after bigint NOT NULL CHECK (stock_after >= 0),
    reason text NOT NULL, -- initial, sale, adjustment
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stock_ledger_one_per_version UNIQUE (product_id, version)
);
CREATE UNIQUE INDEX stock_ledger_one_initial ON stock_ledger (product_id) WHERE reason = 'initial';
