-- A page is "session\nurl\ntitle"; none of the three holds a control character.
-- Only the session whose page is shown renews the key, so the page ends with it.

local function owns(session, shown)
  return shown and shown:sub(1, #session + 1) == session .. '\n'
end

-- Makes a session's page the one shown, unless that is another session's.
-- Returns the one shown, and whether subscribers have a change to hear of.
local function show(key, session, page, ttl, takeover)
  local shown = redis.call('GET', key)
  if shown == page then
    redis.call('PEXPIRE', key, ttl)
    return page, false
  end
  if shown and not takeover and not owns(session, shown) then
    return shown, false
  end
  redis.call('SET', key, page, 'PX', ttl)
  return page, not shown or shown:match('\n.*') ~= page:match('\n.*')
end

-- Takes a session's page down in ttl ms, or with the session if that is sooner.
local function hide(key, session, ttl)
  if owns(session, redis.call('GET', key)) then
    redis.call('PEXPIRE', key, math.min(redis.call('PTTL', key), tonumber(ttl)))
  end
end
