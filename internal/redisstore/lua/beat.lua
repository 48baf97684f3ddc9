-- The everyday heartbeat: somebody who is there says so again, on the same page.
-- Whatever else a beat may be, this leaves as it is, and to touch.
--
-- KEYS  1 online   2 shard (see lib)
--       3 the user's sessions   4 the user's page (see touch)
-- ARGV  1 user   2 session   3 timeout (ms)   4 page
-- Returns the asOf; or asOf, lastSeen and the page shown, where these are not
-- the asOf and the page given; or nil.
local ONLINE, SHARD, SESSIONS, PAGE = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local user, session, timeout, page = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]

local beat = tonumber(call('ZSCORE', ONLINE, user) or nil)
if not beat or beat + timeout <= now then
  return nil
end
-- As show and owns of pages.lua, which every beat would make anew.
local shown = PAGE and call('GET', PAGE)
local own = shown == page
if PAGE and not own and (not shown or shown:sub(1, #session + 1) == session .. '\n') then
  return nil
end
local asOf = math.max(now, beat, tonumber(call('HGET', SHARD, 'clock') or 0)) + 1
local seen = score(asOf)
if session ~= '' or call('EXISTS', SESSIONS) == 1 then
  if call('ZADD', SESSIONS, 'XX', 'CH', seen, session) == 0 then
    return nil
  end
  call('PEXPIRE', SESSIONS, 2 * timeout)
end
call('ZADD', ONLINE, seen, user)
if own then
  call('PEXPIRE', PAGE, timeout + 2)
end
if seen == asOf and (own or not PAGE) then
  return asOf
end
return { asOf, seen, shown or page }
