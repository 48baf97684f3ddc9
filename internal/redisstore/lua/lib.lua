-- KEYS of one shard, the same in every script, all in one slot:
--   1 online    zset  user -> last beat (ms); in grace, dated back
--   2 lastseen  zset  user -> lastSeen (ms) of those offline or in grace
--   3 outbox    zset  user -> when the note is next due (ms)
--   4 notes     hash  user -> "asOf reason" of the unannounced change
--   5 shard     hash  clock, swept, resumed (ms)
--
-- A beat's score is its asOf. Every other asOf given out is at most clock,
-- which only grows. So the greater of a user's score and clock is at least
-- every asOf given out for the user, and a write takes one more. That holds
-- when the time steps back, and for users who have been forgotten.
local ONLINE, LASTSEEN, OUTBOX, NOTES, SHARD = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local STEP = 1000 -- ms a score may be ahead of the time before that has stepped back

local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function ms(n) return string.format('%.0f', n) end

-- What a read may say as asOf. A clock that is behind by more than STEP is set:
-- no sweep has run of late, or this Redis has not what the one before it gave
-- out last.
local kept -- the clock, once known
local function clock()
  if not kept then
    kept = tonumber(call('HGET', SHARD, 'clock') or 0)
    if kept < now - STEP then
      kept = now
      call('HSET', SHARD, 'clock', ms(kept))
    end
  end
  return kept
end

-- Takes an asOf greater than any given out for a user whose last beat is given.
local function advance(beat)
  kept = math.max(now, beat, clock()) + 1
  call('HSET', SHARD, 'clock', ms(kept))
  return kept
end

-- Leaves a note that the user is to be announced.
local function note(user, asOf, reason, due)
  call('HSET', NOTES, user, ms(asOf) .. ' ' .. reason)
  call('ZADD', OUTBOX, ms(due), user)
end

-- A state as Go reads it.
local function state(asOf, seen, expires, page)
  return { expires > now and 1 or 0, asOf, seen, expires, page or false }
end

-- The state now of a user with those scores, false if there is none, in ONLINE
-- and LASTSEEN. One that time has changed since the last write (the user
-- expired, or the page did) gets an asOf of its own here.
local function judge(beat, seen, timeout, page)
  beat = tonumber(beat or nil)
  seen = math.max(beat or 0, tonumber(seen or 0))
  if not beat then
    return state(clock(), seen, 0)
  end
  local shown = page and call('GET', page)
  if beat + timeout <= now or page and not shown then
    return state(advance(beat), seen, beat + timeout, shown)
  end
  return state(math.max(beat, clock()), seen, beat + timeout, shown)
end

local function read(user, timeout, page)
  return judge(call('ZSCORE', ONLINE, user), call('ZSCORE', LASTSEEN, user), timeout, page)
end
