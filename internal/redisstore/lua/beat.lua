-- Records the everyday heartbeat: a session that is online stays on its page.
-- Returns nil and records nothing if the beat changes more than that; touch.lua
-- then records it.
--
-- Returns the asOf. If lastSeen is not the asOf, or another page is shown than
-- the one given: asOf, lastSeen, page.
local online_key = KEYS[1]           -- sorted set: user -> last beat (ms)
local shard_key = KEYS[2]            -- hash: clock (ms) and more
local sessions_key = KEYS[3]         -- sorted set: session -> last beat (ms)
local page_key = KEYS[4]             -- string: the page shown; absent if pages are in another Redis
local user = ARGV[1]
local session = ARGV[2]              -- '' is the default session
local timeout = tonumber(ARGV[3])    -- ms
local page = ARGV[4]                 -- see page.lua

local last_beat = tonumber(call('ZSCORE', online_key, user) or nil)
if not last_beat or last_beat + timeout <= now then
  return nil
end
-- This inlines owns_page, so that a beat does not pay for page.lua.
local shown = page_key and call('GET', page_key)
local own = shown == page
if page_key and not own and (not shown or shown:sub(1, #session + 1) == session .. '\n') then
  return nil
end

local as_of = beat_as_of(shard_key, last_beat)
local seen = beat_score(shard_key, as_of)
-- All of this is there already and takes no room. The first write is an expiry,
-- so that a full Redis takes the rest too: see write_when_full.
local kept = session ~= '' or call('EXISTS', sessions_key) == 1
if kept then
  call('PEXPIRE', sessions_key, 2 * timeout)
  if call('ZADD', sessions_key, 'XX', 'CH', seen, session) == 0 then
    return nil
  end
end
if own then
  call('PEXPIRE', page_key, timeout + 2)
elseif not kept then
  write_when_full(shard_key)
end
call('ZADD', online_key, seen, user)
if seen == as_of and (own or not page_key) then
  return as_of
end
return { as_of, seen, shown or page }
