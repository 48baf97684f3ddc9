-- One bounded pass over one shard: takes expired users offline, leaving a note
-- for each, and hands out the notes that are due, leasing them so that the next
-- pass does not hand them out again at once.
--
-- KEYS  1 to 5 (see lib)
-- ARGV  1 timeout   2 lease   3 longest lease   4 retention   5 away (all ms)
--       6 batch, how many users at most
-- Returns the due (user, asOf, lastSeen, expiresAt, note, one after the other),
-- ms until something else may be due, users expired, users online, notes, ms
-- the oldest expiry was late, ms the oldest due note is old.
local timeout, lease, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local retention, away, batch = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

-- A sweep that was away for long was so with the rest of the platform, most
-- likely, and nobody could beat: people get one timeout to come back. Not twice
-- in a row, or a sweep that runs but now and then would expire nobody.
local before = call('HMGET', SHARD, 'clock', 'swept', 'resumed')
local swept, resumed = tonumber(before[2] or now), tonumber(before[3] or 0)
if resumed > now then resumed = 0 end
if now - swept > away and now - resumed > 2 * timeout and resumed ~= swept then
  resumed = now
end
clock = math.max(now, tonumber(before[1] or 0))
call('HSET', SHARD, 'clock', clock, 'swept', now, 'resumed', resumed)

-- Beats from the future: the time has stepped back. They count from now on.
local future = call('ZRANGEBYSCORE', ONLINE, now + STEP, '+inf', 'WITHSCORES', 'LIMIT', 0, batch)
for i = 1, #future, 2 do
  advance(tonumber(future[i + 1]))
  call('ZADD', ONLINE, now, future[i])
end
-- So do notes due later than any lease lasts.
for _, user in ipairs(call('ZRANGEBYSCORE', OUTBOX, now + math.max(lease, longest) + STEP, '+inf', 'LIMIT', 0, batch)) do
  call('ZADD', OUTBOX, now, user)
end

local handed, oldest = {}, 0
local function hand(user, asOf, seen, expires, text)
  local n = #handed
  handed[n + 1], handed[n + 2], handed[n + 3], handed[n + 4], handed[n + 5] = user, asOf, seen, expires, text
end

local expired, late = {}, 0
if resumed + timeout <= now then
  expired = call('ZRANGEBYSCORE', ONLINE, '-inf', now - timeout, 'WITHSCORES', 'LIMIT', 0, batch)
end
-- Below, a command for all of the users: most of a short command's time is
-- Lua's call.
if #expired > 0 then
  late = now - timeout - tonumber(expired[2])
  local asOf = advance(0) -- later than any of their beats
  local gone, seen, notes, leased = {}, {}, {}, {}
  local text, due = asOf .. ' timeout', now + math.min(lease, longest)
  for i = 1, #expired, 2 do
    local beat, user = expired[i + 1], expired[i]
    gone[#gone + 1] = user
    seen[i], seen[i + 1] = beat, user
    notes[i], notes[i + 1] = user, text
    leased[i], leased[i + 1] = due, user
  end
  call('ZREM', ONLINE, unpack(gone))
  call('ZADD', LASTSEEN, 'GT', unpack(seen))
  call('HSET', NOTES, unpack(notes))
  call('ZADD', OUTBOX, unpack(leased))
  -- Whoever left with grace was seen later than the last beat.
  for i, last in ipairs(call('ZMSCORE', LASTSEEN, unpack(gone))) do
    hand(gone[i], asOf, tonumber(last), 0, text)
  end
end

local users = call('ZRANGEBYSCORE', OUTBOX, '-inf', now, 'LIMIT', 0, batch)
if #users > 0 then
  local notes = call('HMGET', NOTES, unpack(users))
  local beats, seen = call('ZMSCORE', ONLINE, unpack(users)), call('ZMSCORE', LASTSEEN, unpack(users))
  local leased, stray = {}, {}
  for i, user in ipairs(users) do
    local text = notes[i]
    if text then
      -- The older a note, the longer until it is tried again.
      local age = now - tonumber(text:match('%d+'))
      oldest = math.max(oldest, age)
      leased[#leased + 1] = now + math.min(math.max(age, lease), longest)
      leased[#leased + 1] = user
      local asOf, last, expires = judge(beats[i], seen[i], timeout)
      hand(user, asOf, last, expires, text)
    else
      stray[#stray + 1] = user
    end
  end
  if #leased > 0 then call('ZADD', OUTBOX, unpack(leased)) end
  if #stray > 0 then call('ZREM', OUTBOX, unpack(stray)) end
end

local forgotten = call('ZRANGEBYSCORE', LASTSEEN, '-inf', now - retention, 'LIMIT', 0, batch)
if #forgotten > 0 then
  call('ZREM', LASTSEEN, unpack(forgotten))
end

local next = math.huge
local first = call('ZRANGE', ONLINE, 0, 0, 'WITHSCORES')
if first[2] then next = math.max(tonumber(first[2]), resumed) + timeout end
first = call('ZRANGE', OUTBOX, 0, 0, 'WITHSCORES')
if first[2] then next = math.min(next, tonumber(first[2])) end
if #forgotten == batch or #future == 2 * batch then next = now end
next = next == math.huge and -1 or math.max(next - now, 0)

return { handed, next, #expired / 2, call('ZCARD', ONLINE), call('ZCARD', OUTBOX), late, oldest }
