-- Makes one bounded pass over one shard. It takes expired users offline, leaves a
-- note for each, and hands out the notes that are due. A note handed out is
-- leased: it is due again only when the lease ends.
--
-- Returns
--   1 the notes handed out: user, asOf, lastSeen, expiresAt, note, one after
--     the other
--   2 ms until something else may be due; -1 if nothing is known to be
--   3 how many users expired, 4 are online, 5 have a note
--   6 by how many ms the oldest expiry is late
--   7 how many ms old the oldest due note is
local online_key = KEYS[1]           -- sorted set: user -> last beat (ms)
local shard_key = KEYS[2]            -- hash: clock, swept, resumed (ms)
local lastseen_key = KEYS[3]         -- sorted set: user -> lastSeen (ms)
local notes_key = KEYS[4]            -- hash: user -> "asOf change reason"
local outbox_key = KEYS[5]           -- sorted set: user -> when the note is due (ms)
local timeout = tonumber(ARGV[1])    -- ms
local lease = tonumber(ARGV[2])      -- ms, of a new note
local max_lease = tonumber(ARGV[3])  -- ms, of an old note
local retention = tonumber(ARGV[4])  -- ms
local away = tonumber(ARGV[5])       -- ms between sweeps that count as an outage
local batch = tonumber(ARGV[6])      -- users each phase handles at most

-- Loads the clock and returns when the current grace began. A long pause between
-- sweeps was probably an outage of the whole platform, in which nobody could
-- beat: everybody gets one timeout to come back. There is no second grace right
-- after the first, or a sweep that always runs seldom would expire nobody.
local function resume()
  local kept = call('HMGET', shard_key, 'clock', 'swept', 'resumed')
  local swept, resumed = tonumber(kept[2] or now), tonumber(kept[3] or 0)
  if resumed > now then
    resumed = 0
  end
  if now - swept > away and now - resumed > 2 * timeout and resumed ~= swept then
    resumed = now
  end
  clock = math.max(now, tonumber(kept[1] or 0))
  write_when_full(shard_key)
  call('HSET', shard_key, 'clock', clock, 'swept', now, 'resumed', resumed)
  return resumed
end

-- Brings back to now what lies in the future because the time has stepped back:
-- beats, and notes due later than any lease lasts. Returns whether there may be
-- more beats.
local function repair_future()
  local users = call('ZRANGEBYSCORE', online_key, now + MAX_AHEAD, '+inf', 'WITHSCORES', 'LIMIT', 0, batch)
  for i = 1, #users, 2 do
    next_as_of(shard_key, tonumber(users[i + 1]))
    call('ZADD', online_key, now, users[i])
  end
  local latest = now + math.max(lease, max_lease) + MAX_AHEAD
  for _, user in ipairs(call('ZRANGEBYSCORE', outbox_key, latest, '+inf', 'LIMIT', 0, batch)) do
    call('ZADD', outbox_key, now, user)
  end
  return #users == 2 * batch
end

local handed_out = {}
local function hand_out(user, as_of, last_seen, expires_at, note)
  local n = #handed_out
  handed_out[n + 1], handed_out[n + 2], handed_out[n + 3] = user, as_of, last_seen
  handed_out[n + 4], handed_out[n + 5] = expires_at, note
end

-- Takes expired users offline. Returns how many, and by how many ms the oldest
-- expiry is late. It sends one command for all users: the call out of Lua is most
-- of a short command's time.
local function expire_users()
  local expired = call('ZRANGEBYSCORE', online_key, '-inf', now - timeout, 'WITHSCORES', 'LIMIT', 0, batch)
  if #expired == 0 then
    return 0, 0
  end
  local as_of = next_as_of(shard_key, 0) -- later than any of their beats
  local note, due_at = as_of .. ' disconnected timeout', now + math.min(lease, max_lease)
  local users, last_seen, notes, due = {}, {}, {}, {}
  for i = 1, #expired, 2 do
    local user, last_beat = expired[i], expired[i + 1]
    users[#users + 1] = user
    last_seen[i], last_seen[i + 1] = last_beat, user
    notes[i], notes[i + 1] = user, note
    due[i], due[i + 1] = due_at, user
  end
  call('ZREM', online_key, unpack(users))
  call('ZADD', lastseen_key, 'GT', unpack(last_seen))
  call('HSET', notes_key, unpack(notes))
  call('ZADD', outbox_key, unpack(due))
  -- A user who left with grace was seen later than the last beat.
  for i, seen in ipairs(call('ZMSCORE', lastseen_key, unpack(users))) do
    hand_out(users[i], as_of, tonumber(seen), 0, note)
  end
  return #users, now - timeout - tonumber(expired[2])
end

-- Hands out and leases the notes that are due. Returns how many ms old the oldest
-- is.
local function hand_out_due()
  local users = call('ZRANGEBYSCORE', outbox_key, '-inf', now, 'LIMIT', 0, batch)
  if #users == 0 then
    return 0
  end
  local notes = call('HMGET', notes_key, unpack(users))
  local last_beats = call('ZMSCORE', online_key, unpack(users))
  local last_seen = call('ZMSCORE', lastseen_key, unpack(users))
  local due, stray, oldest = {}, {}, 0
  for i, user in ipairs(users) do
    local note = notes[i]
    if note then
      -- The older a note, the longer its lease.
      local age = now - tonumber(note:match('%d+'))
      oldest = math.max(oldest, age)
      due[#due + 1] = now + math.min(math.max(age, lease), max_lease)
      due[#due + 1] = user
      local as_of, seen, expires_at = state_of(shard_key, last_beats[i], last_seen[i], timeout)
      hand_out(user, as_of, seen, expires_at, note)
    else
      stray[#stray + 1] = user
    end
  end
  if #due > 0 then call('ZADD', outbox_key, unpack(due)) end
  if #stray > 0 then call('ZREM', outbox_key, unpack(stray)) end
  return oldest
end

-- Forgets users after the retention. Returns whether there may be more.
local function forget_users()
  local users = call('ZRANGEBYSCORE', lastseen_key, '-inf', now - retention, 'LIMIT', 0, batch)
  if #users > 0 then
    call('ZREM', lastseen_key, unpack(users))
  end
  return #users == batch
end

-- Returns ms until the next expiry or due note, or -1 if there is none.
local function ms_until_next(resumed)
  local next = math.huge
  local first = call('ZRANGE', online_key, 0, 0, 'WITHSCORES')
  if first[2] then
    next = math.max(tonumber(first[2]), resumed) + timeout
  end
  first = call('ZRANGE', outbox_key, 0, 0, 'WITHSCORES')
  if first[2] then
    next = math.min(next, tonumber(first[2]))
  end
  return next == math.huge and -1 or math.max(next - now, 0)
end

local resumed = resume()
local more_future = repair_future()
local expired, late = 0, 0
if resumed + timeout <= now then
  expired, late = expire_users()
end
local oldest = hand_out_due()
local more_forgotten = forget_users()
local next = ms_until_next(resumed)
if more_future or more_forgotten then
  next = 0
end
return { handed_out, next, expired, call('ZCARD', online_key), call('ZCARD', outbox_key), late, oldest }
