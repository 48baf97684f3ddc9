-- Records a beat of one session, whatever it changes.
--
-- Returns asOf, lastSeen, expiresAt, the page shown or nil, and what changed:
-- 'connected', 'changed' or ''.
local online_key = KEYS[1]           -- sorted set: user -> last beat (ms)
local shard_key = KEYS[2]            -- hash: clock (ms) and more
local lastseen_key = KEYS[3]         -- sorted set: user -> lastSeen (ms)
local notes_key = KEYS[4]            -- hash: user -> "asOf change reason"
local outbox_key = KEYS[5]           -- sorted set: user -> when the note is due (ms)
local sessions_key = KEYS[6]         -- sorted set: session -> last beat (ms)
local page_key = KEYS[7]             -- string: the page shown; absent if pages are in another Redis
local user = ARGV[1]
local session = ARGV[2]              -- '' is the default session
local reason = ARGV[3]               -- 'connect' or 'heartbeat'
local timeout = tonumber(ARGV[4])    -- ms
local lease = tonumber(ARGV[5])      -- ms until the note is due
local page = ARGV[6]                 -- see page.lua
local page_changed = ARGV[7] == '1'  -- the page in the other Redis has changed

local MAX_SESSIONS = 100 -- per user

-- The user's sessions are kept once the client has named one. The default session
-- that was there before becomes one of them.
local function beat_session(last_beat, seen)
  local kept = call('EXISTS', sessions_key) == 1
  if not kept and session == '' then
    return
  end
  if not kept and last_beat then
    call('ZADD', sessions_key, last_beat, '')
  end
  call('ZREMRANGEBYSCORE', sessions_key, '-inf', now - timeout)
  if call('ZADD', sessions_key, seen, session) == 1 then
    call('ZREMRANGEBYRANK', sessions_key, 0, -MAX_SESSIONS - 1)
  end
  call('PEXPIRE', sessions_key, 2 * timeout)
end

local last_beat = tonumber(call('ZSCORE', online_key, user) or nil)
local online = last_beat and last_beat + timeout > now
local as_of = beat_as_of(shard_key, last_beat)
local seen = beat_score(shard_key, as_of)

-- This is the first write. A full Redis refuses it, and so the whole script.
call('ZADD', online_key, seen, user)
beat_session(online and last_beat, seen)
if not last_beat then
  call('ZREM', lastseen_key, user)
end
if page_key then
  -- The page outlives the session by 2 ms, so that nobody is online without one.
  page, page_changed = show_page(page_key, session, page, timeout + 2, reason == 'connect' or not online)
end

-- A user past the timeout has gone and come back, even if no sweep has found it:
-- a read in between said offline.
local change = not online and 'connected' or page_changed and 'changed' or ''
if change ~= '' then
  leave_note(notes_key, outbox_key, user, as_of, change, reason, now + lease)
end
return { as_of, seen, seen + timeout, page, change }
