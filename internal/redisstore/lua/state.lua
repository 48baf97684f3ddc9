-- A user's state and notes.
--
-- asOf never goes back. Each asOf given out for a user is at most the score of
-- the user's last beat or the shard's clock, and the clock only grows. A write
-- therefore takes one more than the greater of the two. This also holds when
-- Redis' time steps back, and for users who have been forgotten.
local clock -- the shard's clock (ms), once it is loaded

local function keep_clock(shard_key)
  write_when_full(shard_key)
  call('HSET', shard_key, 'clock', clock)
end

-- Loads the clock: the asOf of a read. A clock that is more than MAX_AHEAD
-- behind now is set to now. No sweep has run lately then, or a failover has lost
-- what Redis gave out last.
local function load_clock(shard_key)
  clock = tonumber(call('HGET', shard_key, 'clock') or 0)
  if clock < now - MAX_AHEAD then
    clock = now
    keep_clock(shard_key)
  end
end

-- Returns an asOf greater than any given out for a user with this last beat.
-- The users of one script share it. Otherwise a read of many users would push the
-- clock ahead of the time.
local issued = 0
local function next_as_of(shard_key, last_beat)
  if issued <= last_beat then
    issued = math.max(now, last_beat, clock) + 1
    clock = issued
    keep_clock(shard_key)
  end
  return issued
end

-- Returns asOf, lastSeen and expiresAt (0: offline) of a user. last_beat and
-- last_seen are the user's scores in the online and lastseen sets, or false.
-- page_expired says that the user's page has expired. A user that only time has
-- changed since the last write, because the user or the page expired, gets a new
-- asOf.
local function state_of(shard_key, last_beat, last_seen, timeout, page_expired)
  last_beat = tonumber(last_beat or nil)
  last_seen = math.max(last_beat or 0, tonumber(last_seen or 0))
  if not last_beat then
    return clock, last_seen, 0
  end
  local expires_at = last_beat + timeout
  if expires_at <= now then
    return next_as_of(shard_key, last_beat), last_seen, 0
  elseif page_expired then
    return next_as_of(shard_key, last_beat), last_seen, expires_at
  end
  return math.max(last_beat, clock), last_seen, expires_at
end

-- Leaves the note "asOf change reason", due at due_at (ms). If a user changes
-- page before a connect is acknowledged, the note still says connected.
local function leave_note(notes_key, outbox_key, user, as_of, change, reason, due_at)
  if change == 'changed' then
    local note = call('HGET', notes_key, user)
    change = note and note:match('^%d+ (%a+)') or change
  end
  call('HSET', notes_key, user, as_of .. ' ' .. change .. ' ' .. reason)
  call('ZADD', outbox_key, due_at, user)
end

