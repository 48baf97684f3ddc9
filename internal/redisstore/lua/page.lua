-- A page is "session\nurl\ntitle". None of the three contains a control
-- character. Only the session whose page is shown renews the key, so the page
-- expires with that session.

-- Reports whether the page belongs to the session.
local function owns_page(session, page)
  return page and page:sub(1, #session + 1) == session .. '\n'
end

-- Shows a session's page for ttl ms, unless another session's page is shown and
-- takeover is false. Returns the page that is shown now, and whether the URL or
-- title changed.
local function show_page(page_key, session, page, ttl, takeover)
  local shown = redis.call('GET', page_key)
  if shown == page then
    redis.call('PEXPIRE', page_key, ttl)
    return page, false
  end
  if shown and not takeover and not owns_page(session, shown) then
    return shown, false
  end
  redis.call('SET', page_key, page, 'PX', ttl)
  return page, not shown or shown:match('\n.*') ~= page:match('\n.*')
end

-- Removes a session's page after ttl ms, or when it expires if that is sooner.
local function hide_page(page_key, session, ttl)
  if owns_page(session, redis.call('GET', page_key)) then
    redis.call('PEXPIRE', page_key, math.min(redis.call('PTTL', page_key), ttl))
  end
end

