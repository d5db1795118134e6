-- The ledger and the quota of a fleet. Every time is read from luma.clock(), which a simulation can replace.

CREATE FUNCTION luma.clock() RETURNS timestamptz
    LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';

CREATE TABLE luma.accounts (
    account text PRIMARY KEY,
    base_url text NOT NULL,
    per_minute integer NOT NULL CHECK (per_minute > 0),
    concurrency integer NOT NULL CHECK (concurrency > 0),
    -- Units to be had at the same time, as far as the service has not refused more.
    capacity integer NOT NULL,
    -- The highest sum granted since the last refusal.
    granted integer NOT NULL,
    -- Jobs that have ended since the capacity changed, and how many must end before more is tried.
    ends integer NOT NULL DEFAULT 0,
    ends_needed integer NOT NULL DEFAULT 5,
    capacity_at timestamptz NOT NULL DEFAULT '-infinity',
    -- The last refusal of a request that began after the one before.
    refused_at timestamptz NOT NULL DEFAULT '-infinity',
    -- Nothing begins before closed_until; how often it was closed since the service granted anything.
    closings integer NOT NULL DEFAULT 0,
    closed_until timestamptz NOT NULL DEFAULT '-infinity'
);

-- A start of a process. It lives while its session lock is held, and for a grace after it was last seen.
CREATE TABLE luma.holders (
    holder uuid PRIMARY KEY,
    executor text NOT NULL,
    account text NOT NULL REFERENCES luma.accounts,
    lock_key bigint NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX holders_executor ON luma.holders (executor);

CREATE FUNCTION luma.is_locked(key bigint) RETURNS boolean
    LANGUAGE sql VOLATILE AS $$
    SELECT EXISTS (
        SELECT FROM pg_catalog.pg_locks
        WHERE locktype = 'advisory' AND granted AND objsubid = 1
            AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
            AND classid::bigint = ((key >> 32) & 4294967295) AND objid::bigint = (key & 4294967295)
    )
$$;

-- A restart of the server drops every lock at once: nobody is dead before the grace has passed since.
CREATE FUNCTION luma.lives(who uuid, grace interval) RETURNS boolean
    LANGUAGE sql VOLATILE AS $$
    SELECT COALESCE((
        SELECT CASE
            WHEN greatest(seen_at, pg_postmaster_start_time()) > clock_timestamp() - grace THEN true
            ELSE luma.is_locked(lock_key)
        END
        FROM luma.holders WHERE holder = who
    ), false)
$$;

CREATE TABLE luma.batches (
    batch uuid PRIMARY KEY,
    account text NOT NULL REFERENCES luma.accounts,
    base_url text NOT NULL,
    input text,
    input_sha256 text,
    lines bigint,
    cap_usd bigint,
    cap_jobs bigint,
    -- What is spent, in ten-thousandths of a dollar, kept with every event.
    low bigint NOT NULL DEFAULT 0,
    high bigint NOT NULL DEFAULT 0,
    jobs bigint NOT NULL DEFAULT 0,
    unpriced bigint NOT NULL DEFAULT 0,
    -- After a restore: since then each key without a job is in doubt.
    doubted_at timestamptz,
    created_at timestamptz NOT NULL,
    closed_at timestamptz
);

CREATE TABLE luma.tries (
    batch uuid NOT NULL REFERENCES luma.batches,
    custom_id text COLLATE "C" NOT NULL,
    try integer NOT NULL CHECK (try > 0),
    account text NOT NULL,
    -- Null where a damaged journal has lost the intent.
    request_id uuid,
    fingerprint text,
    model text NOT NULL,
    kind text NOT NULL,
    usd bigint,
    weight integer NOT NULL CHECK (weight > 0),
    begun_at timestamptz NOT NULL,
    at timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('intent', 'unknown', 'not_sent', 'rejected', 'settled', 'resent', 'accepted',
        'completed', 'failed', 'saved')),
    job uuid,
    status integer,
    -- The fault of a doubt, the kind of a rejection, the code of a failure.
    detail text,
    saved jsonb,
    holder uuid,
    -- Until when it counts among the units at the same time, and among those of a minute.
    place_until timestamptz,
    counts_until timestamptz,
    PRIMARY KEY (batch, custom_id, try)
);
CREATE UNIQUE INDEX tries_request_id ON luma.tries (request_id);
CREATE INDEX tries_job ON luma.tries (batch, job) WHERE job IS NOT NULL;
CREATE INDEX tries_open ON luma.tries (batch, state, at)
    WHERE state IN ('intent', 'unknown', 'accepted', 'completed');
CREATE INDEX tries_decided ON luma.tries (batch, custom_id, try) WHERE state IN ('settled', 'resent');
CREATE INDEX tries_place ON luma.tries (account, place_until) INCLUDE (weight) WHERE place_until IS NOT NULL;
CREATE INDEX tries_window ON luma.tries (account, counts_until) INCLUDE (weight) WHERE counts_until IS NOT NULL;

-- Units of jobs that run, are being submitted, or may run; and of those, what the service has granted.
CREATE FUNCTION luma.held(who text, at timestamptz, OUT units integer, OUT granted integer)
    LANGUAGE sql STABLE AS $$
    SELECT COALESCE(sum(weight), 0), COALESCE(sum(weight) FILTER (WHERE state = 'accepted'), 0)
    FROM luma.tries WHERE account = who AND place_until > at AND place_until < at + interval '1 day'
$$;

-- Keys that somebody has decided on since the batch was put in doubt.
CREATE TABLE luma.lifted (
    batch uuid NOT NULL REFERENCES luma.batches,
    custom_id text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (batch, custom_id)
);

-- Who waits for a place: only the lowest number of an account may enter.
CREATE SEQUENCE luma.turns;
CREATE TABLE luma.waiters (
    request_id uuid PRIMARY KEY,
    account text NOT NULL REFERENCES luma.accounts,
    number bigint NOT NULL DEFAULT nextval('luma.turns'),
    holder uuid NOT NULL,
    weight integer NOT NULL CHECK (weight > 0),
    -- Since when it could enter and has not.
    turn_at timestamptz
);
CREATE UNIQUE INDEX waiters_number ON luma.waiters (account, number);
CREATE INDEX waiters_holder ON luma.waiters (holder);

-- The only table with prompts. Rows are deleted by the retention.
CREATE TABLE luma.requests (
    batch uuid NOT NULL REFERENCES luma.batches,
    custom_id text COLLATE "C" NOT NULL,
    body jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (batch, custom_id)
);
CREATE INDEX requests_created_at ON luma.requests (created_at);
