-- One bounded pass over one shard: takes expired users offline, leaving a note
-- for each, and hands out the notes that are due, leasing them so that the next
-- pass does not hand them out again at once.
--
-- ARGV  1 timeout   2 lease   3 longest lease   4 retention   5 away (all ms)
--       6 batch, how many users at most
-- Returns the due ({user, state, note} each), ms until something else may be
-- due, users expired, users online, notes, ms the oldest expiry was late, ms
-- the oldest due note is old.
local timeout, lease, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local retention, away, batch = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

-- A sweep that was away for long was so with the rest of the platform, most
-- likely, and nobody could beat: people get one timeout to come back. Not twice
-- in a row, or a sweep that runs but now and then would expire nobody.
local shard = call('HMGET', SHARD, 'clock', 'swept', 'resumed')
local clockAt, swept = tonumber(shard[1] or 0), tonumber(shard[2] or now)
local resumed = tonumber(shard[3] or 0)
if resumed > now then resumed = 0 end
if now - swept > away and now - resumed > 2 * timeout and resumed ~= swept then
  resumed = now
end
clockAt = math.max(clockAt, now)

-- Beats from the future: the time has stepped back. They count from now on.
local future = call('ZRANGEBYSCORE', ONLINE, ms(now + STEP), '+inf', 'WITHSCORES', 'LIMIT', 0, batch)
for i = 1, #future, 2 do
  clockAt = math.max(clockAt, tonumber(future[i + 1]))
  call('ZADD', ONLINE, ms(now), future[i])
end
-- So do notes due later than any lease lasts.
for _, user in ipairs(call('ZRANGEBYSCORE', OUTBOX, ms(now + math.max(lease, longest) + STEP), '+inf', 'LIMIT', 0, batch)) do
  call('ZADD', OUTBOX, ms(now), user)
end

local expired, late = {}, 0
if resumed + timeout <= now then
  expired = call('ZRANGEBYSCORE', ONLINE, '-inf', ms(now - timeout), 'WITHSCORES', 'LIMIT', 0, batch)
end
if #expired > 0 then
  late = now - timeout - tonumber(expired[2])
  clockAt = clockAt + 1
  local users, seen, notes, due = {}, {}, {}, {}
  local text, at = ms(clockAt) .. ' timeout', ms(now)
  for i = 1, #expired, 2 do
    local user = expired[i]
    users[#users + 1] = user
    seen[i], seen[i + 1] = expired[i + 1], user
    notes[i], notes[i + 1] = user, text
    due[i], due[i + 1] = at, user
  end
  call('ZREM', ONLINE, unpack(users))
  call('ZADD', LASTSEEN, 'GT', unpack(seen))
  call('HSET', NOTES, unpack(notes))
  call('ZADD', OUTBOX, unpack(due))
end
call('HSET', SHARD, 'clock', ms(clockAt), 'swept', ms(now), 'resumed', ms(resumed))
kept = clockAt

local handed, oldest = {}, 0
local users = call('ZRANGEBYSCORE', OUTBOX, '-inf', ms(now), 'LIMIT', 0, batch)
if #users > 0 then
  -- A command for all of them: most of a short command's time is Lua's call.
  local notes = call('HMGET', NOTES, unpack(users))
  local beats, seen = call('ZMSCORE', ONLINE, unpack(users)), call('ZMSCORE', LASTSEEN, unpack(users))
  local due = {}
  for i, user in ipairs(users) do
    local text = notes[i]
    if text then
      -- The older a note, the longer until it is tried again.
      local age = now - tonumber(text:match('%d+'))
      oldest = math.max(oldest, age)
      due[#due + 1] = ms(now + math.min(math.max(age, lease), longest))
      due[#due + 1] = user
      handed[#handed + 1] = { user, judge(beats[i], seen[i], timeout), text }
    else
      call('ZREM', OUTBOX, user)
    end
  end
  if #due > 0 then
    call('ZADD', OUTBOX, unpack(due))
  end
end

local forgotten = call('ZRANGEBYSCORE', LASTSEEN, '-inf', ms(now - retention), 'LIMIT', 0, batch)
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
