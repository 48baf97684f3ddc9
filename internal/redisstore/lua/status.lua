-- Reads one user. statuses.lua would do, but this takes half its time.
--
-- Returns asOf, lastSeen, expiresAt (0: offline), the page shown or nil, and the
-- note or nil.
local online_key = KEYS[1]           -- sorted set: user -> last beat (ms)
local shard_key = KEYS[2]            -- hash: clock (ms) and more
local lastseen_key = KEYS[3]         -- sorted set: user -> lastSeen (ms)
local notes_key = KEYS[4]            -- hash: user -> "asOf change reason"
local page_key = KEYS[5]             -- string: the page shown; absent if pages are in another Redis
local user = ARGV[1]
local timeout = tonumber(ARGV[2])    -- ms

load_clock(shard_key)
local last_beat = call('ZSCORE', online_key, user)
local last_seen = call('ZSCORE', lastseen_key, user)
local shown = page_key and call('GET', page_key)
local as_of, seen, expires_at = state_of(shard_key, last_beat, last_seen, timeout, page_key and not shown)
return { as_of, seen, expires_at, expires_at > 0 and shown or false, call('HGET', notes_key, user) }
