-- Removes the mark of a changed page (see page_show.lua).
--
-- Returns the page shown now, or nil.
local page_key = KEYS[1]             -- string: the page shown
local page = ARGV[1]                 -- whose mark goes

local shown = redis.call('GET', page_key)
if shown == page .. '\n' then
  redis.call('SET', page_key, page, 'KEEPTTL')
end
return shown
