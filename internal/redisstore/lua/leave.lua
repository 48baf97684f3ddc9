-- Ends a session, or moves its last beat back so that it expires after its grace.
--
-- Returns asOf, lastSeen, expiresAt (0: offline), the page shown or nil, and what
-- changed: 'disconnected' or ''.
local online_key = KEYS[1]           -- sorted set: user -> last beat (ms)
local shard_key = KEYS[2]            -- hash: clock (ms) and more
local lastseen_key = KEYS[3]         -- sorted set: user -> lastSeen (ms)
local notes_key = KEYS[4]            -- hash: user -> "asOf change reason"
local outbox_key = KEYS[5]           -- sorted set: user -> when the note is due (ms)
local sessions_key = KEYS[6]         -- sorted set: session -> last beat (ms)
local page_key = KEYS[7]             -- string: the page shown; absent if pages are in another Redis
local user = ARGV[1]
local session = ARGV[2]              -- '' is the default session
local grace = tonumber(ARGV[3])      -- ms
local timeout = tonumber(ARGV[4])    -- ms
local lease = tonumber(ARGV[5])      -- ms until the note is due

-- Returns the session's last beat, or nil if it is not there.
local function session_beat(last_beat, kept)
  if kept then
    return tonumber(call('ZSCORE', sessions_key, session) or nil)
  end
  return session == '' and last_beat or nil
end

-- Gives the session the beat that is left to it and returns the newest of all
-- sessions' beats.
local function end_session(kept, beat)
  if not kept then
    return beat
  elseif beat + timeout > now then
    call('ZADD', sessions_key, beat, session)
  else
    call('ZREM', sessions_key, session)
  end
  return tonumber(call('ZREVRANGE', sessions_key, 0, 0, 'WITHSCORES')[2] or 0)
end

local function unchanged(last_beat)
  local shown = last_beat and page_key and call('GET', page_key)
  local page_expired = page_key and not shown
  local as_of, seen, expires_at = state_of(shard_key, last_beat, call('ZSCORE', lastseen_key, user), timeout, page_expired)
  return { as_of, seen, expires_at, expires_at > 0 and shown or false, '' }
end

load_clock(shard_key)
local last_beat = tonumber(call('ZSCORE', online_key, user) or nil)
local kept = call('EXISTS', sessions_key) == 1
local beat = session_beat(last_beat, kept)
if not last_beat or not beat or beat + timeout <= now then
  return unchanged(last_beat)
end

local as_of = next_as_of(shard_key, last_beat)
if page_key then
  hide_page(page_key, session, grace)
end
local newest = end_session(kept, math.min(beat, now - timeout + grace))
if newest + timeout > now then
  newest = math.min(newest, last_beat)
  call('ZADD', online_key, newest, user)
  call('ZADD', lastseen_key, 'GT', now, user)
  return { as_of, now, newest + timeout, page_key and call('GET', page_key) or false, '' }
end

call('ZREM', online_key, user)
call('ZADD', lastseen_key, 'GT', now, user)
call('DEL', sessions_key)
leave_note(notes_key, outbox_key, user, as_of, 'disconnected', 'disconnect', now + lease)
return { as_of, now, 0, false, 'disconnected' }
