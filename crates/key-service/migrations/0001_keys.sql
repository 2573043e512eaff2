CREATE TABLE keys (
    id TEXT PRIMARY KEY NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    name TEXT,
    user_id TEXT NOT NULL,
    tenant_id TEXT,
    roles TEXT NOT NULL,
    scopes TEXT NOT NULL,
    plan TEXT,
    attributes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    not_before BIGINT,
    expires_at BIGINT,
    revoked_at BIGINT,
    replaced_by TEXT REFERENCES keys (id),
    expiry_announced BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX keys_by_user ON keys (user_id);
CREATE INDEX keys_by_tenant ON keys (tenant_id);
CREATE INDEX keys_by_expiry ON keys (expiry_announced, expires_at);

-- One row. Every change locks it and counts it up, so that versions become visible in their order.
CREATE TABLE state (
    id BIGINT PRIMARY KEY NOT NULL CHECK (id = 1),
    version BIGINT NOT NULL
);

INSERT INTO state (id, version) VALUES (1, 0);

-- One row for each version. Times of delivery are in milliseconds, `at` in seconds.
CREATE TABLE events (
    version BIGINT PRIMARY KEY NOT NULL,
    type TEXT NOT NULL,
    key_id TEXT NOT NULL,
    hash TEXT NOT NULL,
    at BIGINT NOT NULL,
    data TEXT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    next_attempt_at BIGINT NOT NULL DEFAULT 0,
    delivered_at BIGINT
);

CREATE INDEX events_by_delivery ON events (delivered_at, version);
