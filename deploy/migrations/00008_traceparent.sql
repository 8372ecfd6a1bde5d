-- +goose Up
-- The W3C traceparent of the span that made the event; NULL unless it was
-- sampled. The release before names its columns and does not miss it.
-- A change of the catalogue alone, but one that waits for everybody who uses
-- the table; so that nobody queues behind it for long, it rather gives up.
SET LOCAL lock_timeout = '5s';
ALTER TABLE events ADD COLUMN traceparent text;
