-- The everyday heartbeat: somebody who is there says so again, on the same page.
-- Whatever else a beat may be, this leaves as it is, and to touch.
--
-- KEYS  1 online   2 shard (see lib)
--       3 the user's sessions   4 the user's page (see touch)
-- ARGV  1 user   2 session   3 timeout (ms)   4 page
-- Returns the asOf; if another session's page is shown, in an array with that; or
-- nil.
local ONLINE, SHARD, SESSIONS, PAGE = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local user, session, timeout, page = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]

local beat = tonumber(call('ZSCORE', ONLINE, user) or nil)
if not beat or beat + timeout <= now then
  return nil
end
local asOf = math.max(now, beat, tonumber(call('HGET', SHARD, 'clock') or 0)) + 1
if asOf > now + STEP then
  return nil
end
local shown = PAGE and call('GET', PAGE)
local own = shown == page
if PAGE and not own and (not shown or shown:sub(1, #session + 1) == session .. '\n') then
  return nil
end
if session ~= '' then
  if call('ZADD', SESSIONS, 'XX', 'CH', asOf, session) == 0 then
    return nil
  end
  call('PEXPIRE', SESSIONS, 2 * timeout)
elseif call('EXISTS', SESSIONS) == 1 then
  return nil
end
call('ZADD', ONLINE, asOf, user)
if own then
  call('PEXPIRE', PAGE, timeout + 2)
end
return shown and not own and { asOf, shown } or asOf
