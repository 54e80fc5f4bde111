"""Views for the questions of docs/sql.md, and the logins that a person's own SQL runs as."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Frames are found by the index on time, hour by hour: a WHERE on `hour` opens those hours alone, where
# grouping all frames by their hour would read the whole history.
LATENCY_PER_HOUR = {
    "postgresql": """
CREATE VIEW latency_per_hour AS
SELECT h.hour, c.name AS camera, count(*) AS frames,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY l.ms) AS p50_ms,
       percentile_disc(0.95) WITHIN GROUP (ORDER BY l.ms) AS p95_ms,
       percentile_disc(0.99) WITHIN GROUP (ORDER BY l.ms) AS p99_ms,
       max(l.ms) AS max_ms
FROM generate_series((SELECT date_trunc('hour', min(captured_at), 'UTC') FROM frames),
                     (SELECT max(captured_at) FROM frames), interval '1 hour') AS h(hour)
JOIN frames f ON f.captured_at >= h.hour AND f.captured_at < h.hour + interval '1 hour'
JOIN cameras c ON c.id = f.camera_id
CROSS JOIN LATERAL (
    SELECT CAST(EXTRACT(EPOCH FROM f.stored_at - f.captured_at) * 1000 AS double precision) AS ms) l
WHERE NOT f.recorded
GROUP BY h.hour, c.name
""",
    "sqlite": """
CREATE VIEW latency_per_hour AS
WITH RECURSIVE hours(hour, until) AS (
    SELECT substr(first, 1, 13) || ':00:00.000000',
           strftime('%Y-%m-%d %H:00:00.000000', substr(first, 1, 19), '+1 hour')
    FROM (SELECT min(captured_at) AS first FROM frames) WHERE first IS NOT NULL
    UNION ALL
    SELECT until, strftime('%Y-%m-%d %H:00:00.000000', substr(until, 1, 19), '+1 hour')
    FROM hours WHERE until <= (SELECT max(captured_at) FROM frames)
), ranked AS (
    SELECT hour, camera_id, ms, row_number() OVER (PARTITION BY hour, camera_id ORDER BY ms) AS place,
           count(*) OVER (PARTITION BY hour, camera_id) AS frames
    FROM (SELECT h.hour, f.camera_id,
                 (strftime('%s', substr(f.stored_at, 1, 19))
                  - strftime('%s', substr(f.captured_at, 1, 19))) * 1000.0
                 + (substr(f.stored_at, 21) - substr(f.captured_at, 21)) / 1000.0 AS ms
          FROM hours h
          CROSS JOIN frames f INDEXED BY ix_frames_captured_at
          WHERE f.captured_at >= h.hour AND f.captured_at < h.until AND NOT f.recorded)
)
SELECT r.hour, c.name AS camera, r.frames,
       min(CASE WHEN r.place >= 0.5 * r.frames THEN r.ms END) AS p50_ms,
       min(CASE WHEN r.place >= 0.95 * r.frames THEN r.ms END) AS p95_ms,
       min(CASE WHEN r.place >= 0.99 * r.frames THEN r.ms END) AS p99_ms,
       max(r.ms) AS max_ms
FROM ranked r
JOIN cameras c ON c.id = r.camera_id
GROUP BY r.hour, c.name
""",
}
DAY_OF_HOUR = {
    "postgresql": "date_trunc('day', hour, 'UTC')",
    "sqlite": "substr(hour, 1, 10) || ' 00:00:00.000000'",
}
BUSIEST_CAMERAS = """
CREATE VIEW busiest_cameras AS
SELECT day, camera, detections, rank() OVER (PARTITION BY day ORDER BY detections DESC) AS place
FROM (SELECT {day} AS day, camera, CAST(sum(detections) AS bigint) AS detections
      FROM detections_per_hour GROUP BY 1, 2) d
"""
LEDGER_BALANCE = """
CREATE VIEW ledger_balance AS
SELECT camera, first_minute, last_minute, captured, stored,
       sampled_out, no_motion, queue_full, stale, corrupt, failed,
       captured - stored - sampled_out - no_motion - queue_full - stale - corrupt - failed AS in_flight
FROM (SELECT c.name AS camera, min(l.minute) AS first_minute, max(l.minute) AS last_minute, {sums}
      FROM frame_ledger l JOIN cameras c ON c.id = l.camera_id GROUP BY c.name) b
"""
COUNTED = ("captured", "stored", "sampled_out", "no_motion", "queue_full", "stale", "corrupt", "failed")
CAMERA_STATES = """
CREATE VIEW camera_states AS
SELECT c.name AS camera, e.state, e.at AS since,
       lead(e.at) OVER (PARTITION BY e.camera_id ORDER BY e.at, e.state) AS until, e.reason, e.ingest
FROM camera_events e
JOIN cameras c ON c.id = e.camera_id
"""
# Seconds between two moments, and the days that a state touches; what lasts still lasts until now.
UPTIME = {
    "postgresql": """
CREATE VIEW camera_uptime AS
SELECT day, camera, sum(seconds) FILTER (WHERE state = 'live') AS live_s,
       sum(seconds) FILTER (WHERE state NOT IN ('stopped', 'ended')) AS wanted_s,
       coalesce(sum(seconds) FILTER (WHERE state = 'live'), 0)
       / nullif(sum(seconds) FILTER (WHERE state NOT IN ('stopped', 'ended')), 0) AS uptime
FROM (SELECT d.day, s.camera, s.state,
             CAST(EXTRACT(EPOCH FROM least(coalesce(s.until, now()), d.day + interval '24 hours')
                                     - greatest(s.since, d.day)) AS double precision) AS seconds
      FROM camera_states s
      CROSS JOIN LATERAL generate_series(date_trunc('day', s.since, 'UTC'), coalesce(s.until, now()),
                                         interval '24 hours') AS d(day)) p
WHERE seconds > 0
GROUP BY day, camera
""",
    "sqlite": """
CREATE VIEW camera_uptime AS
WITH RECURSIVE spans AS (
    SELECT camera, state, since, coalesce(until, strftime('%Y-%m-%d %H:%M:%f000', 'now')) AS until
    FROM camera_states
), days(day, next) AS (
    SELECT substr(first, 1, 10) || ' 00:00:00.000000',
           strftime('%Y-%m-%d 00:00:00.000000', substr(first, 1, 10), '+1 day')
    FROM (SELECT min(since) AS first FROM spans) WHERE first IS NOT NULL
    UNION ALL
    SELECT next, strftime('%Y-%m-%d 00:00:00.000000', substr(next, 1, 10), '+1 day')
    FROM days WHERE next <= (SELECT max(until) FROM spans)
), edges AS (
    SELECT d.day, s.camera, s.state, max(s.since, d.day) AS since, min(s.until, d.next) AS until
    FROM days d JOIN spans s ON s.since < d.next AND s.until > d.day
), parts AS (
    SELECT day, camera, state,
           strftime('%s', substr(until, 1, 19)) - strftime('%s', substr(since, 1, 19))
           + (substr(until, 21) - substr(since, 21)) / 1000000.0 AS seconds
    FROM edges
)
SELECT day, camera, sum(seconds) FILTER (WHERE state = 'live') AS live_s,
       sum(seconds) FILTER (WHERE state NOT IN ('stopped', 'ended')) AS wanted_s,
       coalesce(sum(seconds) FILTER (WHERE state = 'live'), 0)
       / nullif(sum(seconds) FILTER (WHERE state NOT IN ('stopped', 'ended')), 0) AS uptime
FROM parts
WHERE seconds > 0
GROUP BY day, camera
""",
}
VIEWS = ("latency_per_hour", "busiest_cameras", "ledger_balance", "camera_states", "camera_uptime")


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    sums = ", ".join(f"CAST(sum(l.{name}) AS bigint) AS {name}" for name in COUNTED)
    views = (
        LATENCY_PER_HOUR[dialect],
        BUSIEST_CAMERAS.format(day=DAY_OF_HOUR[dialect]),
        LEDGER_BALANCE.format(sums=sums),
        CAMERA_STATES,
        UPTIME[dialect],
    )
    for view in views:
        op.get_bind().exec_driver_sql(view)  # op.execute would take the colons of times for parameters
    op.create_table(
        "reader_logins",
        sa.Column("role", sa.String(63), nullable=False),
        sa.Column("password", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("role", name="pk_reader_logins"),
    )


def downgrade() -> None:
    op.drop_table("reader_logins")
    for view in reversed(VIEWS):
        op.execute(f"DROP VIEW {view}")
