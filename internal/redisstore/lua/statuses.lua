-- Reads users of one shard.
--
-- Returns for each user, one after the other, what status.lua returns.
local online_key = KEYS[1]           -- sorted set: user -> last beat (ms)
local shard_key = KEYS[2]            -- hash: clock (ms) and more
local lastseen_key = KEYS[3]         -- sorted set: user -> lastSeen (ms)
local notes_key = KEYS[4]            -- hash: user -> "asOf change reason"
local has_pages = KEYS[5]            -- from here on: each user's page; absent if pages are in another Redis
local timeout = tonumber(ARGV[1])    -- ms; from ARGV[2] on: the users

load_clock(shard_key)
local last_beats = call('ZMSCORE', online_key, unpack(ARGV, 2))
local last_seen = call('ZMSCORE', lastseen_key, unpack(ARGV, 2))
local notes = call('HMGET', notes_key, unpack(ARGV, 2))
local pages = has_pages and call('MGET', unpack(KEYS, 5))

local reply = {}
for i, last_beat in ipairs(last_beats) do
  local as_of, seen, expires_at = state_of(shard_key, last_beat, last_seen[i], timeout, pages and not pages[i])
  local n = 5 * i
  reply[n - 4], reply[n - 3], reply[n - 2] = as_of, seen, expires_at
  reply[n - 1] = expires_at > 0 and pages and pages[i] or false
  reply[n] = notes[i]
end
return reply
